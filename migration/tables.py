"""An older system's BigQuery tables: their rows into ours, their marts compared, their names kept.

Old rows are stamped older than any live read, so that live rows win.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from core.ledger import is_import
from core.schema import Table
from core.sql import in_effect, literal, quoted
from migration.compare import RULE, Comparison, compare
from migration.plan import InvalidPlan, Mart
from stores.bigquery import CALL_TIMEOUT_SECONDS, JOB_TIMEOUT_SECONDS, Warehouse
from stores.datasets import dbt_datasets

ROWS_AT_ONCE = 10_000
TABLE_ID = re.compile(r"(?:([\w.:-]+?)\.)?([\w-]+)\.([\w-]+)", re.ASCII)
# Where a table is put that gives its name to a view.
MOVED = "__before"
# What its queries are written down under.
ASKED: dict[str, Any] = {"source": "moving_in", "purpose": "moving-in"}


@dataclass(frozen=True)
class OldTable:
    """A table of the older system as it is, read in full."""

    name: str
    columns: dict[str, str]
    rows: int
    modified_at: datetime
    is_view: bool


def table_id(warehouse: Warehouse, name: str) -> str:
    """`project.dataset.table`; without a project, the platform's own. Raises InvalidPlan."""
    found = TABLE_ID.fullmatch(name)
    if not found:
        raise InvalidPlan(f"{name!r} is not project.dataset.table")
    project, dataset, table = found.groups()
    return f"{project or warehouse.project}.{dataset}.{table}"


def model_id(warehouse: Warehouse, name: str) -> str:
    """A model's table. `gold.name` is that of the platform, whatever its datasets are called."""
    dataset, _, table = name.rpartition(".")
    if dataset in dbt_datasets(""):
        return table_id(warehouse, f"{warehouse.dataset_prefix}{dataset}.{table}")
    return table_id(warehouse, name)


def look_at(warehouse: Warehouse, name: str) -> OldTable:
    """What the table is and how many rows it has. Raises InvalidPlan when it is not there."""
    try:
        table = warehouse.table(name)
    except NotFound as error:
        raise InvalidPlan(f"there is no table {name}") from error
    counted = warehouse.query(f"SELECT COUNT(*) AS n FROM `{name}`", **ASKED)
    return OldTable(
        name=name,
        columns={field.name: field.field_type for field in table.schema},
        rows=int(counted[0]["n"]),
        modified_at=table.modified.astimezone(UTC),
        is_view=table.table_type != "TABLE",
    )


def pieces(warehouse: Warehouse, old: OldTable, at_once: int) -> Iterator[list[dict[str, Any]]]:
    """All rows, so many at once. Of a table they are listed, which is free; a view is queried."""
    if old.is_view:
        job = warehouse.submit(f"SELECT * FROM `{old.name}`", **ASKED)
        rows = job.result(
            page_size=ROWS_AT_ONCE, retry=warehouse.retry, timeout=JOB_TIMEOUT_SECONDS
        )
    else:
        rows = warehouse.client.list_rows(
            warehouse.table(old.name),
            page_size=ROWS_AT_ONCE,
            retry=warehouse.retry,
            timeout=CALL_TIMEOUT_SECONDS,
        )
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(dict(row.items()))
        if len(held) == at_once:
            yield held
            held = []
    if held:
        yield held


def stamp_for(warehouse: Warehouse, table: Table, old: OldTable) -> datetime:
    """When the old rows were observed, at the latest: before the first live read, whatever the old
    table's own time says, so that no old row takes the place of a live one."""
    rows = warehouse.query(
        f"""
        SELECT MIN(observed_at) AS first_at FROM {warehouse.names.raw("_loads")}
        WHERE source = {literal(table.source)} AND mode = 'incremental' AND observed_at IS NOT NULL
        """,
        source=table.source,
        purpose="ledger",
    )
    first_at: datetime | None = rows[0]["first_at"]
    if first_at is None:
        return old.modified_at
    return min(old.modified_at, first_at - timedelta(microseconds=1))


def is_imported(warehouse: Warehouse, table: Table, import_id: str, note: str) -> bool:
    """Whether the same rows were imported by the same plan."""
    rows = warehouse.query(
        f"""
        SELECT COUNT(*) AS n FROM {warehouse.names.raw("_loads")}
        WHERE
            source = {literal(table.source)} AND mode = 'backfill' AND state = 'applied'
            AND {is_import(import_id, note)}
        """,
        source=table.source,
        purpose="ledger",
    )
    return bool(rows[0]["n"])


def count_missing(
    warehouse: Warehouse, table: Table, old: OldTable, key: str, deleted: str | None
) -> int | None:
    """How many live rows of the old table the source lacks, as far as it was read.

    None before the first read. `key` and `deleted` are old columns. Rows that an earlier import
    brought and no read has had are missing, too.
    """
    if not warehouse.has_source(table):
        return None
    loads = warehouse.names.raw("_loads")
    (name,) = table.key
    is_live = f"NOT IFNULL(o.{quoted(deleted)}, FALSE)" if deleted else "TRUE"
    (row,) = warehouse.query(
        f"""
        SELECT
            (
                SELECT COUNT(*) FROM {loads}
                WHERE {in_effect(loads, table.source)} AND mode = 'incremental'
            ) AS reads,
            (
                SELECT COUNT(*) FROM `{old.name}` AS o
                WHERE
                    {is_live}
                    AND CAST(o.{quoted(key)} AS STRING) NOT IN (
                        SELECT t.{quoted(name)} FROM {warehouse.names.raw(table.name)} AS t
                        WHERE NOT t._is_deleted AND t._batch_id NOT IN (
                            SELECT b.batch_id FROM {loads} AS b
                            WHERE b.source = {literal(table.source)} AND b.mode = 'backfill'
                        )
                    )
            ) AS missing
        """,
        **ASKED,
    )
    return int(row["missing"]) if row["reads"] else None


def compare_mart(warehouse: Warehouse, mart: Mart) -> Comparison:
    """The old table and what takes its place, row by row.

    A table that gave its name to a view is read where it was put.
    """
    old, new = table_id(warehouse, mart.old), model_id(warehouse, mart.new)
    if warehouse.table_if_any(f"{old}{MOVED}"):
        old = f"{old}{MOVED}"
    compared = {name: sql for name, sql in mart.columns.items() if name not in mart.uncompared}
    asked = {"old": {name: quoted(name) for name in compared}, "new": compared}
    for number, rule in enumerate(mart.expected):
        asked[rule.only or "new"][f"{RULE}{number}"] = str(rule.where or rule.equals)
    rows = {
        side: warehouse.query(select(warehouse, columns, table), **ASKED)
        for (side, columns), table in zip(asked.items(), (old, new), strict=True)
    }
    return compare(old, rows["old"], new, rows["new"], mart.key, mart.tolerance, mart.expected)


def select(warehouse: Warehouse, columns: Mapping[str, str], table: str) -> str:
    """The query of a table's rows under other names; `{gold}` and the like are our datasets."""
    listed = ",\n".join(f"    {sql} AS {quoted(name)}" for name, sql in columns.items())
    for dataset in dbt_datasets(""):
        named = f"`{warehouse.project}`.`{warehouse.dataset_prefix}{dataset}`"
        listed = listed.replace(f"{{{dataset}}}", named)
    return f"SELECT\n{listed}\nFROM `{table}`"


def keep_name(warehouse: Warehouse, mart: Mart) -> str:
    """A view with the old columns has the old name; in one line what was done.

    A table of that name is copied beside it first (`...__before`), which is free. Repeating
    it, after any interruption, ends the same.
    """
    old, new = table_id(warehouse, mart.old), model_id(warehouse, mart.new)
    client, options = warehouse.client, {"retry": warehouse.retry, "timeout": CALL_TIMEOUT_SECONDS}
    wanted = bigquery.Table(old)
    wanted.view_query = select(warehouse, mart.columns, new)
    wanted.description = f"What was {mart.old}, made of {new}. Read {new} instead."
    told = ""
    existing = warehouse.table_if_any(old)
    if existing and existing.table_type == "VIEW":
        client.delete_table(old, **options)
    elif existing:
        copy = partial(
            client.copy_table,
            old,
            f"{old}{MOVED}",
            job_config=bigquery.CopyJobConfig(write_disposition="WRITE_TRUNCATE"),
            **options,
        )
        warehouse.run(copy, **ASKED)
        client.delete_table(old, **options)
        told = f"; the table that stood there is {old}{MOVED}"
    client.create_table(wanted, exists_ok=True, **options)
    return f"{old} is a view of {new}{told}"


def as_report(comparisons: list[Comparison], at: datetime, plan: str) -> str:
    """The comparison report, Markdown."""
    lines: list[str] = [f"# Old and new marts, {at:%Y-%m-%d %H:%M} UTC", "", f"By {plan}.", ""]
    lines += [f"- {one.message}" for one in comparisons]
    return "\n".join([*lines, "", *(one.markdown for one in comparisons), ""])
