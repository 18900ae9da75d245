"""What an inspection finds in the ledger and the buckets. Ages are by BigQuery's clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import bigquery

from alerting.findings import Finding
from core.batch import MANIFEST, batch_of
from core.ledger import FINAL_STATES, is_replay_of
from core.schema import Table
from core.sql import literal
from stores.bigquery import Warehouse
from stores.platform import Platform

SOURCE = "operations"


def parked(warehouse: Warehouse) -> list[Finding]:
    """Batches that were given up and not brought back, by themselves or by a replay's copy.

    Of all time: one that was not brought back is not over because it is old.
    """
    final = ", ".join(literal(state) for state in FINAL_STATES if state != "parked")
    lines = warehouse.names.raw("_loads")
    rows = warehouse.query(
        f"""
        SELECT parked.source, parked.batch_id, MAX(parked.message) AS message
        FROM {lines} AS parked
        LEFT JOIN {lines} AS done
            ON
                done.source = parked.source
                AND done.state IN ({final})
                AND (
                    done.batch_id = parked.batch_id
                    OR {is_replay_of("done", "parked.batch_id")}
                )
        WHERE parked.state = 'parked'
        GROUP BY parked.source, parked.batch_id
        HAVING COUNT(done.batch_id) = 0
        ORDER BY parked.source, parked.batch_id
        """,
        source=SOURCE,
        purpose="ledger",
    )
    by_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_source[row["source"]].append(row)
    return [
        Finding(
            key=f"parked-batch:{source}",
            kind="parked-batch",
            scope="ledger",
            title=f"{source}: {len(batches)} parked batch{'es' * (len(batches) > 1)}",
            cause="\n".join(f"{row['batch_id']}: {row['message']}" for row in batches),
            source=source,
            window=f"batch {batches[0]['batch_id']}",
        )
        for source, batches in by_source.items()
    ]


def requests_spent(warehouse: Warehouse) -> dict[str, int]:
    """Requests of this month (UTC) by source, counted as stores/budget.py counts them."""
    rows = warehouse.query(
        f"""
        SELECT source, SUM(requests) AS spent
        FROM (
            SELECT
                source, reservation_id,
                COALESCE(MAX(IF(state = 'settled', requests, NULL)), MAX(requests)) AS requests
            FROM {warehouse.names.raw("_requests")}
            WHERE recorded_at >= TIMESTAMP_TRUNC(CURRENT_TIMESTAMP(), MONTH)
            GROUP BY source, reservation_id
        ) AS reservations
        GROUP BY source
        """,
        source=SOURCE,
        purpose="ledger",
    )
    return {row["source"]: int(row["spent"]) for row in rows}


def nearly_spent(
    spent: Mapping[str, int], budgets: Mapping[str, int], share: float, now: datetime
) -> list[Finding]:
    """Plans of which this month (UTC) hardly a request is left."""
    return [
        Finding(
            key=f"request-budget:{source}",
            kind="request-budget",
            scope="ledger",
            title=f"{source}: {spent[source]:,} of {allowed:,} requests spent",
            cause=f"the plan has {max(0, allowed - spent[source]):,} requests left "
            "until the month ends (UTC)",
            source=source,
            window=f"{now:%Y-%m}",
        )
        for source, allowed in budgets.items()
        if spent.get(source, 0) >= share * allowed
    ]


def over_budget(warehouse: Warehouse, limit: int) -> list[Finding]:
    """More bytes billed in 24 hours than is meant to be."""
    day = "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 24 HOUR)"
    rows = warehouse.query(
        f"""
        SELECT source, SUM(bytes_billed) AS bytes_billed
        FROM (
            SELECT source, bytes_billed FROM {warehouse.names.raw("_jobs")}
            WHERE started_at > {day}
            UNION ALL
            SELECT source, bytes_billed FROM {warehouse.names.raw("_builds")}
            WHERE started_at > {day}
        ) AS billed
        WHERE bytes_billed > 0
        GROUP BY source
        ORDER BY bytes_billed DESC
        """,
        source=SOURCE,
        purpose="ledger",
    )
    total = sum(row["bytes_billed"] for row in rows)
    if total <= limit:
        return []
    shares = ", ".join(f"{row['source']} {row['bytes_billed']:,}" for row in rows)
    return [
        Finding(
            key="bytes-billed",
            kind="bytes-billed",
            scope="ledger",
            title="more bytes billed than budgeted",
            cause=f"{total:,} bytes in 24 hours, {limit:,} budgeted; {shares}",
            window="the last 24 hours",
        )
    ]


def unloaded(
    platform: Platform, tables: Iterable[Table], age: timedelta
) -> tuple[list[Finding], dict[str, str]]:
    """Committed batches that the ledger does not know although they are old, and by address why a
    bucket could not be listed.
    """
    committed: dict[str, tuple[str, datetime]] = {}
    unlisted: dict[str, str] = {}
    for table in tables:
        prefix = platform.prefix(table.source)
        found, not_found = platform.stored(table.source)
        unlisted |= {address: str(error) for address, error in not_found.items()}
        for _, stored in found:
            batch_id = batch_of(stored.name, prefix)
            if batch_id and stored.name.endswith(f"/{MANIFEST}"):
                committed[batch_id] = (table.source, stored.created_at)
    if not committed:
        return [], unlisted
    rows = platform.warehouse.query(
        f"""
        SELECT CURRENT_TIMESTAMP() AS now, CAST(NULL AS STRING) AS batch_id
        UNION ALL
        SELECT CURRENT_TIMESTAMP(), batch_id
        FROM {platform.warehouse.names.raw("_loads")}
        WHERE batch_id IN UNNEST(@ids) AND state IN ({", ".join(map(literal, FINAL_STATES))})
        """,
        source=SOURCE,
        purpose="ledger",
        parameters=[bigquery.ArrayQueryParameter("ids", "STRING", sorted(committed))],
    )
    known = {row["batch_id"] for row in rows}
    waiting: dict[str, list[str]] = defaultdict(list)
    for batch_id, (source, created_at) in sorted(committed.items()):
        if batch_id not in known and rows[0]["now"] - created_at > age:
            waiting[source].append(batch_id)
    hours = age.total_seconds() / 3600
    return [
        Finding(
            key=f"unloaded-batch:{source}",
            kind="unloaded-batch",
            scope="ledger",
            title=f"{source}: {len(batches)} committed batch{'es' * (len(batches) > 1)} not loaded",
            cause=f"committed over {hours:g} h ago and not in the ledger: {', '.join(batches)}",
            source=source,
            window=f"batch {batches[0]}",
        )
        for source, batches in waiting.items()
    ], unlisted


def new_fields(
    warehouse: Warehouse, since: datetime | None
) -> tuple[list[Finding], datetime | None]:
    """Changes of what sources send that were announced since, and the last one's time."""
    start = literal(since) if since else "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)"
    rows = warehouse.query(
        f"""
        SELECT source, table_name, field, change, batch_id, announced_at
        FROM {warehouse.names.raw("_fields")}
        WHERE announced_at > {start}
        ORDER BY announced_at, source, field
        """,
        source=SOURCE,
        purpose="ledger",
    )
    by_batch: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_batch[row["source"], row["batch_id"]].append(row)
    found = [
        Finding(
            key=f"schema-change:{source}:{batch_id}",
            kind="schema-change",
            scope="notice",
            title=f"{source} sends other fields",
            cause=", ".join(f"{row['change']} field {row['field']}" for row in changes)
            + "; kept in _extra or null",
            source=source,
            window=f"batch {batch_id}",
        )
        for (source, batch_id), changes in by_batch.items()
    ]
    return found, max((row["announced_at"] for row in rows), default=since)


def ledger_age(warehouse: Warehouse, within: timedelta) -> list[Finding]:
    """A ledger into which nothing has been written for so long: no source was even asked.

    When the table was last written to and what time it is are free to ask; the lines are asked when
    the one is long ago.
    """
    written_at = warehouse.table(warehouse.raw_id("_loads")).modified
    asked = warehouse.query("SELECT CURRENT_TIMESTAMP() AS now", source=SOURCE, purpose="ledger")
    if written_at and asked[0]["now"] - written_at <= within:
        return []
    rows = warehouse.query(
        f"""
        SELECT CURRENT_TIMESTAMP() AS now, MAX(applied_at) AS last_at
        FROM {warehouse.names.raw("_loads")}
        WHERE applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 40 DAY)
        """,
        source=SOURCE,
        purpose="ledger",
    )
    last: datetime | None = rows[0]["last_at"]
    if last is not None and rows[0]["now"] - last <= within:
        return []
    return [
        Finding(
            key="ledger:age",
            kind="ledger",
            scope="ledger-age",
            title="the ledger stands still",
            cause=f"its last line is of {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            if last
            else "it has no line of the last 40 days",
        )
    ]
