"""Reading and writing the ledger, `raw._loads`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from google.cloud import bigquery

from core.batch import BATCH_ID, Manifest, NoChange, Window, new_batch_id
from core.errors import CountMismatch, OperationRejected
from core.ledger import (
    CHANGES,
    COUNTED,
    FINAL_STATES,
    NO_COUNTS,
    Change,
    Changes,
    Cursor,
    Line,
    State,
    columns_of,
    line_of,
)
from core.schema import Mode, Table
from core.sql import literal
from core.steps import step
from core.version import code_version
from stores.bigquery import Warehouse

# What an apply script tells of its line besides the counts.
TIMES = ("touched_from", "touched_to", "applied_at", "previous_at")
# What a batch that was loaded came to.
LOADED: tuple[State, ...] = ("applied", "superseded", "held")


@dataclass(frozen=True)
class Known:
    """What the ledger knows of some batches; `now` is BigQuery's clock."""

    now: datetime
    final: dict[str, datetime] = field(default_factory=dict)
    applied: dict[str, datetime] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    # Where the last look left off, and what was applied or undone of late: by read_position.
    cursor: Cursor = field(default_factory=Cursor)
    changes: Changes | None = None

    @property
    def batch_ids(self) -> set[str]:
        return {*self.final, *self.applied, *self.failures}


def read_known(warehouse: Warehouse, source: str, batch_ids: Iterable[str]) -> Known:
    """What the ledger says of these batches. One row is the clock's, which is of no batch."""
    ids = sorted(batch_ids)
    sql = f"""
    SELECT
        CURRENT_TIMESTAMP() AS now, CAST(NULL AS STRING) AS batch_id, CAST(NULL AS STRING) AS state,
        CAST(NULL AS TIMESTAMP) AS applied_at, 0 AS number
    UNION ALL
    SELECT CURRENT_TIMESTAMP(), batch_id, state, MAX(applied_at), COUNT(*)
    FROM {warehouse.names.raw("_loads")}
    WHERE source = {literal(source)} AND batch_id IN UNNEST(@ids)
    GROUP BY batch_id, state
    """
    parameter = bigquery.ArrayQueryParameter("ids", "STRING", ids)
    rows = warehouse.query(sql, source=source, purpose="ledger", parameters=[parameter])
    return known_of(rows[0]["now"], rows)


def known_of(now: datetime, rows: Iterable[Mapping[str, Any]]) -> Known:
    """What rows of batch_id, state, the last applied_at and the number of lines come to."""
    known = Known(now)
    for row in rows:
        if row["state"] in FINAL_STATES:
            known.final[row["batch_id"]] = row["applied_at"]
        if row["state"] in (*LOADED, "undone"):
            # What is undone is kept as long as what was applied then, to be replayed.
            before = known.applied.get(row["batch_id"], row["applied_at"])
            known.applied[row["batch_id"]] = max(before, row["applied_at"])
        if row["state"] == "failed":
            known.failures[row["batch_id"]] = row["number"]
    return known


def read_lines(
    warehouse: Warehouse,
    source: str,
    batch_ids: Iterable[str],
    states: Iterable[State] = LOADED,
) -> list[Line]:
    """The lines in these states of these batches, oldest batch first."""
    ids = sorted(batch_ids)
    if not ids:
        return []
    names = [one.name for one in fields(Line) if one.name != "previous_at"]
    rows = warehouse.query(
        f"""
        SELECT {", ".join(names)} FROM {warehouse.names.raw("_loads")}
        WHERE
            source = {literal(source)} AND batch_id IN UNNEST(@ids)
            AND state IN ({", ".join(map(literal, states))})
        ORDER BY batch_id
        """,
        source=source,
        purpose="ledger",
        parameters=[bigquery.ArrayQueryParameter("ids", "STRING", ids)],
    )
    return [Line(**row) for row in rows]


def read_changes(warehouse: Warehouse, source: str, since: datetime | None) -> Changes:
    """What was applied or undone from this moment on; without one only the last of all."""
    wanted = f"AND applied_at >= {literal(since)}" if since else ""
    rows = warehouse.query(
        f"""
        SELECT {", ".join(column.name for column in fields(Change))}
        FROM {warehouse.names.raw("_loads")}
        WHERE
            source = {literal(source)} AND state IN ({", ".join(map(literal, CHANGES))}) {wanted}
        ORDER BY applied_at DESC
        {"" if since else "LIMIT 1"}
        """,
        source=source,
        purpose="ledger",
    )
    return Changes(since or datetime.min.replace(tzinfo=UTC), tuple(Change(**row) for row in rows))


def read_states(warehouse: Warehouse, table: Table, batch_id: str) -> dict[State, datetime]:
    """When a batch of the source came into each state; empty where the ledger does not know it.

    Raises OperationRejected for what is no batch id, and for a batch of another source.
    """
    if not BATCH_ID.fullmatch(batch_id):
        example = "20260102T030405678901_0a1b2c3d"
        raise OperationRejected(f"{batch_id!r} is not a batch id; one looks like {example}")
    rows = warehouse.query(
        f"""
        SELECT source, state, MAX(applied_at) AS applied_at
        FROM {warehouse.names.raw("_loads")}
        WHERE batch_id = {literal(batch_id)}
        GROUP BY source, state
        """,
        source=table.source,
        purpose="ledger",
    )
    if others := {row["source"] for row in rows} - {table.source}:
        raise OperationRejected(
            f"batch {batch_id} is of {', '.join(others)}, not of {table.source}"
        )
    return {row["state"]: row["applied_at"] for row in rows}


def read_announced(warehouse: Warehouse, source: str, batch_ids: Iterable[str]) -> tuple[str, ...]:
    """What these batches were the first to show: `new field surprise`, in words."""
    ids = sorted(batch_ids)
    if not ids:
        return ()
    rows = warehouse.query(
        f"""
        SELECT field, change FROM {warehouse.names.raw("_fields")}
        WHERE source = {literal(source)} AND batch_id IN UNNEST(@ids)
        ORDER BY field, change
        """,
        source=source,
        purpose="ledger",
        parameters=[bigquery.ArrayQueryParameter("ids", "STRING", ids)],
    )
    return tuple(f"{row['change']} field {row['field']}" for row in rows)


def line_of_load(manifest: Manifest, found: Mapping[str, Any]) -> Line:
    """The ledger's line of a batch, by its manifest and what its script came to."""
    counts = {name: int(found[name]) for name in COUNTED}
    return line_of(manifest, found["state"], **counts, **{name: found[name] for name in TIMES})


def record_no_change(warehouse: Warehouse, batch: NoChange) -> Line:
    """Write that the source was asked and had nothing new: the heartbeat for freshness."""
    line = NO_COUNTS | columns_of(batch) | {"state": "no_change", "applied_at": "now"}
    with step("look.record"):
        warehouse.insert_line("_loads", line, batch.source)
    return line_of(batch, "no_change")


def record_failure(
    warehouse: Warehouse, table: Table, batch_id: str, message: str, *, is_parked: bool
) -> None:
    """Write that a batch failed to load; the third time it is parked."""
    warehouse.insert_line(
        "_loads",
        {
            "batch_id": batch_id,
            "source": table.source,
            "table_name": table.name,
            "state": "parked" if is_parked else "failed",
            "code_version": code_version(),
            "message": message[:2000],
            "applied_at": "now",
        },
        table.source,
    )


def record_mismatch(
    warehouse: Warehouse, table: Table, mode: Mode, window: Window, mismatch: CountMismatch
) -> None:
    """Write that a source gave another number of rows than it counts; nothing of it is loaded."""
    now = datetime.now(UTC)
    warehouse.insert_line(
        "_loads",
        {
            "batch_id": new_batch_id(now),
            "source": table.source,
            "table_name": table.name,
            "mode": mode,
            "state": "failed",
            "window_start": window.start,
            "window_end": window.end,
            "extracted": mismatch.landed,
            "source_count": mismatch.source_count,
            "code_version": code_version(),
            "message": mismatch.cause,
            "observed_at": now,
            "applied_at": "now",
        },
        table.source,
    )


def is_known(warehouse: Warehouse, manifest: Manifest) -> bool:
    """Whether the ledger has the batch: asked before anything else after any error of an apply."""
    with step("load.read_ledger"):
        known = read_known(warehouse, manifest.source, [manifest.batch_id])
    return manifest.batch_id in known.final
