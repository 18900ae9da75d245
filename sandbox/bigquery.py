"""The BigQuery emulator, with what time travel needs: `python -m sandbox.bigquery start ...`.

bqemulator keeps earlier versions of a table (its ADR 0016) after each statement that stands alone,
not after a script, so that `FOR SYSTEM_TIME AS OF` would miss every batch that a script applied.
Here each table that a script changes has a version from before its first change and one after each.

When a table was last changed it does not tell: here each change moves that time.

It forgets the labels of what a statement makes, of an item of a list of tables, and of a job. Here
they are kept as BigQuery keeps them, since they tell whose a table is, and what a build has billed.

It does not put back what a TRUNCATE in a transaction removed when that is rolled back, as it does
with other DML. Here it does.

It takes NUMERIC for DuckDB's DECIMAL, which has three decimals; here it has BigQuery's nine.

It also reads a statement about ten times on its way to DuckDB, in pure Python, which is most of
what it does. Here what was read once is remembered, what only looks at a statement gets no copy of
its own, a copy takes two thirds of the time, and the many small objects that this makes are not
gone through for cycles every few milliseconds, which took half of the time.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import bqemulator.cli as emulator
import duckdb_extensions
import sqlglot
from bqemulator.api.routes import jobs as jobs_api
from bqemulator.api.routes import tables as tables_api
from bqemulator.catalog import ddl_sync
from bqemulator.domain.errors import OutOfRangeError
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter as scripting
from bqemulator.scripting.ast import IfStmt, SqlStmt, Statement
from bqemulator.scripting.parser import parse_script
from bqemulator.sql.rewriter import alter_table_set_options
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError
from sqlglot.expressions import core as expressions

_run_script = executor._run_script
_parse = Dialect.parse
_parse_one = sqlglot.parse_one
_deepcopy = expressions.deepcopy  # type: ignore[attr-defined]
_sync_created_table = ddl_sync.sync_created_table
_sync_created_view = ddl_sync.sync_created_view
_sync_created_schema = ddl_sync.sync_created_schema
_table_to_list_item = tables_api._table_to_list_item
_dml_targets = scripting._dml_targets
_build_job_response = jobs_api._build_job_response
_record_change = SnapshotManager.record_change
# They find out what a statement is and what it names, and change no tree.
READERS = {
    *("bqemulator.catalog.ddl_sync", "bqemulator.jobs.ddl_result", "bqemulator.jobs.executor"),
    *("bqemulator.jobs.routine_ddl", "bqemulator.api.routes.jobs", "bqemulator.sql.inner_query"),
    *("bqemulator.sql.catalog_schema", __name__),
}
FLAT = {str, int, bool, type(None)}
PLACE = {"line", "col", "start", "end"}
ALTERED = re.compile(r"^\s*(?:/\*.*?\*/\s*)?alter\s+table\s+(\S+)\s+set\s+options", re.I | re.S)
IF_NOT_EXISTS = re.compile(r"^\s*create\s+table\s+if\s+not\s+exists\b", re.I)
LABELS = re.compile(r"options\s*\(.*?\blabels\s*=\s*\[(.*?)\]", re.I | re.S)
LABEL = re.compile(r"""\(\s*['"]([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*\)""")
NUMERIC = exp.DataType.build("DECIMAL(38, 9)")


def changed_tables(sql: str, project: str) -> set[tuple[str, str, str]]:
    """Project, dataset and name of each table that a script's statements may change."""
    found: set[tuple[str, str, str]] = set()
    for statement in _statements(parse_script(sql).statements):
        # What sqlglot cannot read is no DML; whether it is right is the emulator's to say.
        with contextlib.suppress(ParseError):
            tree = sqlglot.parse_one(statement, read="bigquery")
            found |= set(executor._dml_target_tables(tree, project))
    return found


def _statements(statements: Iterable[Statement]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, SqlStmt) and not statement.sql.upper().endswith("TRANSACTION"):
            yield statement.sql
        elif isinstance(statement, IfStmt):
            for _, body in statement.branches:
                yield from _statements(body)
            yield from _statements(statement.else_body or ())


def dml_targets(bq_sql: str, project_id: str) -> list[str]:
    """As the emulator's own, with the table of a TRUNCATE."""
    with contextlib.suppress(ParseError):
        tree = sqlglot.parse_one(bq_sql, read="bigquery")
        if isinstance(tree, exp.TruncateTable):
            return [
                f'"{project}__{dataset}"."{name}"'
                for project, dataset, name in executor._dml_target_tables(tree, project_id)
            ]
    return list(_dml_targets(bq_sql, project_id))


async def run_script(interpreter: Any, source: str, ctx: Any) -> Any:
    """Run a script, and keep the versions of its tables."""
    tables = changed_tables(source, interpreter._project_id)
    async with ctx.engine.write_lock():
        for table in tables:
            if not ctx.catalog.list_snapshots_for_table(*table):
                ctx.snapshots.capture(*table)
    result = await _run_script(interpreter, source, ctx)
    async with ctx.engine.write_lock():
        for table in tables:
            ctx.snapshots.record_change(*table)
    return result


def record_change(manager: Any, *table: str) -> Any:
    """As the emulator's own, and the table says when."""
    version = _record_change(manager, *table)
    if found := manager._catalog.get_table(*table):
        changed = {"last_modified_time": manager._clock.now()}
        manager._catalog.update_table(found.model_copy(update=changed))
    return version


def sync_created_schema(sql: str, project: str, ctx: Any) -> None:
    """As the emulator's own, with the labels of `CREATE SCHEMA`."""
    parts = ddl_sync._detect_create_schema(sql, project)
    stood = parts and ctx.catalog.get_dataset(*parts)
    _sync_created_schema(sql, project, ctx)
    if parts and not stood and (labels := stated_labels(sql)):
        made = ctx.catalog.get_dataset(*parts)
        ctx.catalog.update_dataset(made.model_copy(update={"labels": labels}))


def sync_created_table(sql: str, project: str, ctx: Any) -> None:
    """As the emulator's own, with the labels of `CREATE TABLE` and of `ALTER TABLE SET OPTIONS`."""
    target = ddl_sync._detect_plain_create_table(sql)
    found = None
    if target is not None and IF_NOT_EXISTS.search(sql):
        found = ctx.catalog.get_table(*ddl_sync._split_target(target, project))
    _sync_created_table(sql, project, ctx)
    if target is None and (altered := ALTERED.search(sql)):
        target = exp.to_table(altered[1], dialect="bigquery")
    if target is not None:
        _label(target, found.labels if found else stated_labels(sql), project, ctx)


def sync_created_view(sql: str, project: str, ctx: Any) -> None:
    """As the emulator's own, with the labels of `CREATE VIEW`."""
    _sync_created_view(sql, project, ctx)
    target, _ = ddl_sync._detect_plain_create_view(sql)
    if target is not None:
        _label(target, stated_labels(sql), project, ctx)


def _label(target: Any, labels: dict[str, str] | None, project: str, ctx: Any) -> None:
    table = ctx.catalog.get_table(*ddl_sync._split_target(target, project))
    if table and labels is not None and labels != table.labels:
        ctx.catalog.update_table(table.model_copy(update={"labels": labels}))


def stated_labels(sql: str) -> dict[str, str] | None:
    """The labels among the options of a statement; None where it has no such option."""
    if (found := LABELS.search(sql)) is None:
        return None
    pairs: list[tuple[str, str]] = LABEL.findall(found[1])
    return dict(pairs)


def table_to_list_item(table: Any) -> dict[str, Any]:
    item: dict[str, Any] = _table_to_list_item(table)
    return item | ({"labels": table.labels} if table.labels else {})


def build_job_response(
    project_id: str, job_id: str, job_meta: Any, config: dict[str, Any]
) -> dict[str, Any]:
    """As the emulator's own; the job keeps the labels that it was sent with."""
    job_meta.configuration.setdefault("labels", config.get("labels", {}))
    return _build_job_response(project_id, job_id, job_meta, config)


def matching_parenthesis(sql: str, cursor: int) -> int | None:
    """Where the parenthesis ends that begins at the cursor; the emulator takes the first end."""
    depth = 0
    for place in range(cursor, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if depth == 0 and sql[place] == ")":
            return place
    return None


@lru_cache(64)
def _parsed(dialect: Dialect, sql: str) -> list[Any]:
    """Without the places of names in the text, of which no error tells: a dictionary for each name
    makes a copy of a tree take four times as long."""
    trees = _parse(dialect, sql)
    for node in (node for tree in trees if tree for node in tree.walk()):
        if node._meta:
            node._meta = {k: v for k, v in node._meta.items() if k not in PLACE} or None
        if isinstance(node, exp.DataType) and node.this == exp.DType.DECIMAL:
            node.set("expressions", NUMERIC.copy().expressions)
    return trees


def parse(dialect: Dialect, sql: str, **options: Any) -> list[Any]:
    """As sqlglot's own; the trees are the caller's to change."""
    if any(value is not None for value in options.values()):
        return _parse(dialect, sql, **options)
    return [tree and tree.copy() for tree in _parsed(dialect, sql)]


def copied(value: Any) -> Any:
    """As `copy.deepcopy`, which is slow with places of names, a dictionary for each of them."""
    if type(value) is dict and all(type(inner) in FLAT for inner in value.values()):
        return value.copy()
    return _deepcopy(value)


def parse_one(sql: str, read: Any = None, **options: Any) -> Any:
    """As sqlglot's own; a module of READERS gets the remembered tree itself."""
    if options or sys._getframe(1).f_globals["__name__"] not in READERS:
        return _parse_one(sql, read=read, **options)
    (tree, *_) = _parsed(Dialect.get_or_raise(read), sql)
    if tree is None:
        raise ParseError(f"No expression was parsed from {sql!r}")
    return tree


def main() -> None:
    # The spatial extension is installed from its wheel; DuckDB itself would download it.
    duckdb_extensions.import_extension("spatial")
    executor._run_script = run_script
    SnapshotManager.record_change = record_change  # type: ignore[method-assign, assignment]
    room: Any
    for room in (executor, scripting):
        room.sync_created_schema = sync_created_schema
        room.sync_created_table = sync_created_table
        room.sync_created_view = sync_created_view
    scripting._dml_targets = dml_targets
    jobs_api._build_job_response = build_job_response
    tables_api._table_to_list_item = table_to_list_item  # type: ignore[assignment]
    alter_table_set_options._match_balanced_parens = matching_parenthesis
    sqlglot.parse_one = parse_one  # type: ignore[assignment]
    expressions.deepcopy = copied  # type: ignore[attr-defined, assignment]
    Dialect.parse = parse  # type: ignore[method-assign, assignment]
    # "Invalid snapshot time" is an invalid query on BigQuery, not an error of the server.
    OutOfRangeError.bq_reason = "invalid"
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    emulator.main()


if __name__ == "__main__":
    main()
