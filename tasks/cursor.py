"""Where a source's last look left off, by the ledger."""

from __future__ import annotations

import json

from core.ledger import Cursor
from core.schema import Table
from core.sql import literal
from core.steps import step
from tasks.warehouse import Warehouse

# The last incremental line is sought in the partitions of these days first.
RECENT_DAYS = 40


def read_cursor(warehouse: Warehouse, table: Table) -> Cursor:
    """Where the source's last incremental look left off; an empty Cursor before the first one.

    A line that an undo took back does not count, nor one of a look that began before the undo and
    was written after the moment that the table went back to.
    """
    undos = 0
    with step("decide.read_ledger"):
        for recent in (True, False):
            bound = (
                f"AND applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {RECENT_DAYS} DAY)"
                if recent
                else ""
            )
            sql = f"""
            WITH lines AS (
                SELECT
                    state, watermark, seen, held, back_to, applied_at, COALESCE(undos, 0) AS undos
                FROM {warehouse.names.raw("_loads")}
                WHERE
                    source = {literal(table.source)} {bound}
                    AND (
                        state = 'undone' OR mode = 'incremental' AND watermark IS NOT NULL
                        AND state IN ('applied', 'held', 'looked')
                    )
            ),
            compared AS (
                SELECT
                    state, watermark, seen, held, applied_at, MAX(undos) OVER () AS undos,
                    MIN(back_to) OVER (
                        ORDER BY undos DESC RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                    ) AS went_back_to
                FROM lines
            )
            SELECT
                watermark, seen, held, undos,
                state != 'undone' AND COALESCE(applied_at < went_back_to, TRUE) AS counts
            FROM compared
            ORDER BY counts DESC, watermark DESC, applied_at DESC LIMIT 1
            """
            rows = warehouse.query(sql, source=table.source, purpose="ledger")
            undos = max([undos, *(row["undos"] for row in rows)])
            if rows and rows[0]["counts"]:
                seen = json.loads(rows[0]["seen"] or "{}")
                return Cursor(rows[0]["watermark"], seen, rows[0]["held"] or 0, undos)
    return Cursor(undos=undos)
