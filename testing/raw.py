"""Raw tables as the loader declares them, filled with literal rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from core.schema import META, Table

Query = Callable[[str], list[dict[str, Any]]]
Row = Mapping[str, Any]
# One of ph_news, with all that staging wants.
ARTICLE: Row = {
    "article_id": "a1",
    "url": "https://outlet.example/1",
    "source": "outlet",
    "category": "general",
    "published_at": "2026-03-01 12:00:00+00",
    "_first_seen_at": "2026-03-01 13:00:00+00",
    "_last_seen_at": "2026-03-01 13:00:00+00",
    "_batch_id": "b1",
    "_inserted_at": "2026-03-01 13:00:00+00",
}


def create(query: Query, table: Table, dataset: str = "raw") -> None:
    """An empty raw table in `dataset`, instead of one that may stand there."""
    query(f"create schema if not exists {dataset}")
    columns = ", ".join(f"`{c.name}` {c.type}" for c in (*table.columns, *META))
    partition = (
        f"partition by timestamp_trunc({table.partition_by}, month)" if table.partition_by else ""
    )
    query(f"create or replace table {dataset}.{table.name} ({columns}) {partition}")


def insert(query: Query, table: Table, rows: Iterable[Row], dataset: str = "raw") -> None:
    """Adds rows; a column that a row does not name is null, and no row is deleted by itself."""
    declared = {column.name: column.type for column in (*table.columns, *META)}
    found = [{"_is_deleted": False, **row} for row in rows]
    assert found
    names = [name for name in declared if any(name in row for row in found)]
    assert {name for row in found for name in row} == set(names)
    values = ",\n".join(
        f"({', '.join(_literal(row.get(name), declared[name]) for name in names)})" for row in found
    )
    columns = ", ".join(f"`{name}`" for name in names)
    query(f"insert into {dataset}.{table.name} ({columns}) values {values}")


def _literal(value: object, type_: str) -> str:
    if value is None:
        return f"cast(null as {type_})"
    if isinstance(value, bool | int | float):
        return str(value)
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"timestamp '{escaped}'" if type_ == "TIMESTAMP" else f"'{escaped}'"
