"""The BigQuery emulator, with what time travel needs: `python -m sandbox.bigquery start ...`.

bqemulator keeps earlier versions of a table (its ADR 0016) after each statement that stands alone,
not after a script, so that `FOR SYSTEM_TIME AS OF` would miss every batch that a script applied.
Here each table that a script changes has a version from before its first change and one after each.

It also reads a statement about ten times on its way to DuckDB, in pure Python, which is most of
what it does. Here what was read once is remembered, and the many small objects that this makes are
not gone through for cycles every few milliseconds, which took half of the time.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import bqemulator.cli as emulator
import duckdb_extensions
import sqlglot
from bqemulator.domain.errors import OutOfRangeError
from bqemulator.jobs import executor
from bqemulator.scripting.ast import IfStmt, SqlStmt, Statement
from bqemulator.scripting.parser import parse_script
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError

_run_script = executor._run_script
_parse = Dialect.parse
PLACE = {"line", "col", "start", "end"}


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


@lru_cache(64)
def _parsed(dialect: Dialect, sql: str) -> list[Any]:
    """Without the places of names in the text, of which no error tells: a dictionary for each name
    makes a copy of a tree take four times as long."""
    trees = _parse(dialect, sql)
    for node in (node for tree in trees if tree for node in tree.walk()):
        if node._meta:
            node._meta = {k: v for k, v in node._meta.items() if k not in PLACE} or None
    return trees


def parse(dialect: Dialect, sql: str, **options: Any) -> list[Any]:
    """As sqlglot's own; the trees are the caller's to change."""
    if any(value is not None for value in options.values()):
        return _parse(dialect, sql, **options)
    return [tree and tree.copy() for tree in _parsed(dialect, sql)]


def main() -> None:
    # The spatial extension is installed from its wheel; DuckDB itself would download it.
    duckdb_extensions.import_extension("spatial")
    executor._run_script = run_script
    Dialect.parse = parse  # type: ignore[method-assign, assignment]
    # "Invalid snapshot time" is an invalid query on BigQuery, not an error of the server.
    OutOfRangeError.bq_reason = "invalid"
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    emulator.main()


if __name__ == "__main__":
    main()
