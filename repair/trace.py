"""The batch that wrote a row as it is now, and what the ledger tells of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.cloud import bigquery

from core.batch import Window
from core.errors import OperationRejected
from core.schema import Table
from core.sql import literal, quoted
from stores.bigquery import Warehouse


def trace(warehouse: Warehouse, table: Table, key: str) -> list[str]:
    """What is known of the rows under a key, in lines to print.

    The values of a key of several columns are joined by commas. Raises OperationRejected when there
    is no such row.
    """
    names = table.key or table.known_by
    values = key.rsplit(",", len(names) - 1)
    if len(values) != len(names):
        raise OperationRejected(f"a row of {table.name} is asked for by {','.join(names)}")
    if not warehouse.has_source(table):
        raise OperationRejected(f"nothing was ever loaded into {table.name}")
    types = {column.name: column.type for column in table.columns}
    wanted = " AND ".join(f"{quoted(name)} = @key{n}" for n, name in enumerate(names))
    rows = warehouse.query(
        f"SELECT _batch_id, _inserted_at, _is_deleted FROM {warehouse.names.raw(table.name)} "
        f"WHERE {wanted} ORDER BY _inserted_at",
        source=table.source,
        purpose="ledger",
        parameters=[
            bigquery.ScalarQueryParameter(f"key{n}", types[name], typed(value, types[name], name))
            for n, (name, value) in enumerate(zip(names, values, strict=True))
        ],
    )
    if not rows:
        raise OperationRejected(f"{table.name} has no row with {','.join(names)} = {key}")
    told = []
    for row in rows:
        told.append(
            f"row       batch {row['_batch_id']}, inserted {moment(row['_inserted_at'])}, "
            f"{'deleted' if row['_is_deleted'] else 'not deleted'}"
        )
        told += of_batch(warehouse, table, row["_batch_id"])
    return told


def of_batch(warehouse: Warehouse, table: Table, batch_id: str) -> list[str]:
    """A batch's lines of the ledger in words, and the later batches that were undone."""
    rows = warehouse.query(
        f"""
        SELECT
            batch_id, mode, state, window_start, window_end, observed_at, code_version, message,
            applied_at
        FROM {warehouse.names.raw("_loads")}
        WHERE
            source = {literal(table.source)}
            AND (batch_id = {literal(batch_id)} OR state = 'undone')
        ORDER BY applied_at, batch_id
        """,
        source=table.source,
        purpose="ledger",
    )
    told = []
    for row in (row for row in rows if row["batch_id"] == batch_id):
        note = f"; {row['message']}" if row["message"] else ""
        told.append(
            f"batch     {row['state']} {moment(row['applied_at'])}: {row['mode']}, "
            f"{Window(row['window_start'], row['window_end'])}, observed "
            f"{moment(row['observed_at'])}, code {row['code_version']}{note}"
        )
    undone = [row for row in rows if row["state"] == "undone" and row["batch_id"] > batch_id]
    told += [f"undone    {row['batch_id']}, {moment(row['applied_at'])}" for row in undone]
    return told


def typed(value: str, type_: str, name: str) -> Any:
    """A key's value as its column has it. Raises OperationRejected when it is no such value."""
    if type_ != "TIMESTAMP":
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise OperationRejected(
            f"{name} is a time, such as 2026-01-02T03:04:05Z: {value}"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "at an unknown time"
