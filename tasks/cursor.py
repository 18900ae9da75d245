"""What the ledger says when a run begins: where the source's last look left off, and what became of
the batches that stand in its buckets."""

from __future__ import annotations

import json
from collections.abc import Iterable

from google.cloud import bigquery

from core.ledger import Cursor
from core.schema import Table
from core.sql import literal
from core.steps import step
from tasks.ledger import Known, known_of
from tasks.warehouse import Warehouse

# The last incremental line, and those of the batches, are sought in the partitions of these days
# first.
RECENT_DAYS = 40


def read_cursor(warehouse: Warehouse, table: Table) -> Cursor:
    """Where the source's last incremental look left off; an empty Cursor before the first one.

    A line that an undo took back does not count, nor one of a look that began before the undo and
    was written after the moment that the table went back to.
    """
    with step("decide.read_ledger"):
        return read_position(warehouse, table, ())[0]


def read_position(
    warehouse: Warehouse, table: Table, batch_ids: Iterable[str]
) -> tuple[Cursor, Known]:
    """The cursor, and what is known of these batches: one question, as each costs 10 MiB.

    It is asked of recent lines; once more, of all, when these have no look, or lack a batch.
    """
    ids = sorted(batch_ids)
    undos = 0
    for recent in (True, False):
        rows = warehouse.query(
            position_query(warehouse, table, is_recent=recent),
            source=table.source,
            purpose="ledger",
            parameters=[bigquery.ArrayQueryParameter("ids", "STRING", ids)],
        )
        now = rows[0]["now"]
        looks = [row for row in rows if row["kind"] == "look"]
        undos = max([undos, *(row["undos"] for row in looks)])
        found = next((row for row in looks if row["counts"]), None)
        known = known_of(now, (row for row in rows if row["kind"] == "batch"))
        if found and known.batch_ids >= set(ids):
            break
    if not found:
        return Cursor(undos=undos), known
    seen = json.loads(found["seen"] or "{}")
    return Cursor(found["watermark"], seen, found["held"] or 0, undos), known


def position_query(warehouse: Warehouse, table: Table, *, is_recent: bool) -> str:
    """One row of the kind `look`, if there is any, one `batch` for each state of each batch that
    `@ids` names, and always one `clock`."""
    bound = (
        f"AND applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {RECENT_DAYS} DAY)"
        if is_recent
        else ""
    )
    return f"""
    WITH lines AS (
        SELECT
            batch_id, state, mode, watermark, seen, held, back_to, applied_at,
            COALESCE(undos, 0) AS undos
        FROM {warehouse.names.raw("_loads")}
        WHERE source = {literal(table.source)} {bound}
    ),
    compared AS (
        SELECT
            state, watermark, seen, held, applied_at, MAX(undos) OVER () AS undos,
            MIN(back_to) OVER (
                ORDER BY undos DESC RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS went_back_to
        FROM lines
        WHERE
            state = 'undone' OR mode = 'incremental' AND watermark IS NOT NULL
            AND state IN ('applied', 'held', 'looked')
    ),
    looks AS (
        SELECT
            watermark, seen, held, undos, applied_at,
            state != 'undone' AND COALESCE(applied_at < went_back_to, TRUE) AS counts
        FROM compared
        ORDER BY counts DESC, watermark DESC, applied_at DESC LIMIT 1
    ),
    batches AS (
        SELECT batch_id, state, MAX(applied_at) AS applied_at, COUNT(*) AS number
        FROM lines
        WHERE batch_id IN UNNEST(@ids)
        GROUP BY batch_id, state
    )
    SELECT
        'look' AS kind, CURRENT_TIMESTAMP() AS now, watermark, seen, held, undos, counts,
        CAST(NULL AS STRING) AS batch_id, CAST(NULL AS STRING) AS state,
        CAST(NULL AS TIMESTAMP) AS applied_at, 0 AS number
    FROM looks
    UNION ALL
    SELECT
        'batch', CURRENT_TIMESTAMP(), CAST(NULL AS TIMESTAMP), CAST(NULL AS STRING), 0, 0, FALSE,
        batch_id, state, applied_at, number
    FROM batches
    UNION ALL
    SELECT
        'clock', CURRENT_TIMESTAMP(), CAST(NULL AS TIMESTAMP), CAST(NULL AS STRING), 0, 0, FALSE,
        CAST(NULL AS STRING), CAST(NULL AS STRING), CAST(NULL AS TIMESTAMP), 0
    """
