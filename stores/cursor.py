"""What the ledger says when a run begins: where the source's last look left off, and what became of
the batches that stand in its buckets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from google.cloud import bigquery

from core.ledger import CHANGES, Change, Changes, Cursor
from core.schema import Table
from core.sql import literal
from core.stamps import later
from stores.bigquery import Warehouse
from stores.ledger import Known, known_of

# The last incremental line, and those of the batches, are sought in the partitions of these days
# first.
RECENT_DAYS = 40
# Builds lie less far apart, except those of a source that brings nothing.
CHANGES_DAYS = 7


def read_position(warehouse: Warehouse, table: Table, batch_ids: Iterable[str]) -> Known:
    """The cursor, what is known of these batches, and what was applied of late: one question, as
    each costs 10 MiB.

    The cursor is empty before the first incremental look. A line that an undo took back does not
    count, nor one of a look that began before the undo and was written after the moment that the
    table went back to, nor one whose watermark was in the future when it was written.

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
    changed = [
        Change(row["state"], row["applied_at"], row["touched_from"], row["touched_to"])
        for row in rows
        if row["kind"] == "change"
    ]
    cursor = Cursor(undos=undos)
    if found:
        known_digests = json.loads(found["known_digests"] or "{}")
        cursor = Cursor(found["watermark"], known_digests, found["is_held"], undos)
    changes = Changes(now - timedelta(days=CHANGES_DAYS), tuple(changed))
    return replace(known, cursor=cursor, changes=changes)


def position_query(warehouse: Warehouse, table: Table, *, is_recent: bool) -> str:
    """One row of the kind `look`, if there is any, one `batch` for each state of each batch that
    `@ids` names, one `change` for each batch applied or undone of late, and always one `clock`."""
    bound = (
        f"AND applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {RECENT_DAYS} DAY)"
        if is_recent
        else ""
    )
    return f"""
    WITH lines AS (
        SELECT
            batch_id, state, mode, watermark, known_digests, back_to, touched_from, touched_to,
            applied_at,
            state = 'held' OR COALESCE(held, 0) > 0 AS is_held, COALESCE(undos, 0) AS undos
        FROM {warehouse.names.raw("_loads")}
        WHERE source = {literal(table.source)} {bound}
    ),
    compared AS (
        SELECT
            state, watermark, known_digests, is_held, applied_at, MAX(undos) OVER () AS undos,
            MIN(back_to) OVER (
                ORDER BY undos DESC RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS went_back_to
        FROM lines
        WHERE
            state = 'undone' OR mode = 'incremental' AND watermark <= {later("applied_at")}
            AND state IN ('applied', 'held', 'no_change')
    ),
    looks AS (
        SELECT
            watermark, known_digests, is_held, undos, applied_at,
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
        'look' AS kind, CURRENT_TIMESTAMP() AS now,
        watermark, known_digests, is_held, undos, counts,
        CAST(NULL AS STRING) AS batch_id, CAST(NULL AS STRING) AS state,
        CAST(NULL AS TIMESTAMP) AS applied_at, 0 AS number,
        CAST(NULL AS TIMESTAMP) AS touched_from, CAST(NULL AS TIMESTAMP) AS touched_to
    FROM looks
    UNION ALL
    SELECT
        'batch', CURRENT_TIMESTAMP(), CAST(NULL AS TIMESTAMP), CAST(NULL AS STRING), FALSE, 0,
        FALSE, batch_id, state, applied_at, number,
        CAST(NULL AS TIMESTAMP), CAST(NULL AS TIMESTAMP)
    FROM batches
    UNION ALL
    SELECT
        'change', CURRENT_TIMESTAMP(), CAST(NULL AS TIMESTAMP), CAST(NULL AS STRING), FALSE, 0,
        FALSE, batch_id, state, applied_at, 0, touched_from, touched_to
    FROM lines
    WHERE
        state IN ({", ".join(map(literal, CHANGES))})
        AND applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {CHANGES_DAYS} DAY)
    UNION ALL
    SELECT
        'clock', CURRENT_TIMESTAMP(), CAST(NULL AS TIMESTAMP), CAST(NULL AS STRING), FALSE, 0,
        FALSE, CAST(NULL AS STRING), CAST(NULL AS STRING), CAST(NULL AS TIMESTAMP), 0,
        CAST(NULL AS TIMESTAMP), CAST(NULL AS TIMESTAMP)
    """
