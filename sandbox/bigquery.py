"""The BigQuery emulator, with what time travel needs: `python -m sandbox.bigquery start ...`.

bqemulator keeps earlier versions of a table (its ADR 0016) after each statement that stands alone,
not after a script, so that `FOR SYSTEM_TIME AS OF` would miss every batch that a script applied.
Here each table that a script changes has a version from before its first change and one after each.

When a table was last changed it does not tell: here each change moves that time.

After a statement that renames or drops a column it tells of the columns as they were. Here it tells
of those that there are.

It forgets the labels of what a statement makes, of an item of a list of tables, and of a job. Here
they are kept as BigQuery keeps them, since they tell whose a table is, and what a build has billed.

It does not put back what a TRUNCATE in a transaction removed when that is rolled back, as it does
with other DML. Here it does.

It answers requests that only read in threads of their own, on DuckDB's one connection, where a
statement of another request takes the place of theirs before its rows are fetched: a list of rows
was of another query. Here one thread answers all.

A column that a patch adds to a table's schema it tells of, and no statement finds it. Here it is in
the table, as on BigQuery.

It takes NUMERIC for DuckDB's DECIMAL, which has three decimals; here it has BigQuery's nine.

It also reads a statement about ten times on its way to DuckDB, in pure Python, which is most of
what it does. Here what was read once is remembered, what only looks at a statement gets no copy of
its own, a copy takes half of the time, a rule is asked only about nodes of a class that it may
apply to, and the many small objects that this makes are not gone through for cycles every few
milliseconds, which took half of the time. Its log of requests and its metrics are left out: nothing
reads them, and they took 1 ms of each request.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import bqemulator.cli as emulator
import duckdb_extensions
import fastapi.routing
import sqlglot
from bqemulator.api import app as api_app
from bqemulator.api.routes import jobs as jobs_api
from bqemulator.api.routes import tables as tables_api
from bqemulator.catalog import ddl_sync
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.domain.errors import OutOfRangeError
from bqemulator.jobs import executor
from bqemulator.scripting import interpreter as scripting
from bqemulator.scripting.ast import IfStmt, SqlStmt, Statement
from bqemulator.scripting.parser import parse_script
from bqemulator.sql import inner_query
from bqemulator.sql.rewriter import alter_table_set_options
from bqemulator.sql.rules import TranslationRule, get_all_rules
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.expressions import core as expressions

_run_script = executor._run_script
_reject_dml_on_immutable = executor._reject_dml_on_immutable
_capture_dml_snapshots = executor._capture_dml_snapshots
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
_update_table = DuckDBCatalogRepository.update_table
_rewrite_for_row_access = inner_query.rewrite_for_row_access  # type: ignore[attr-defined]
_apply_session_pragmas = DuckDBEngine._apply_session_pragmas
# They find out what a statement is and what it names, and change no tree.
READERS = {
    *("bqemulator.catalog.ddl_sync", "bqemulator.jobs.ddl_result", "bqemulator.jobs.executor"),
    *("bqemulator.jobs.routine_ddl", "bqemulator.api.routes.jobs", "bqemulator.sql.inner_query"),
    *("bqemulator.sql.catalog_schema", __name__),
}
FLAT = {str, int, bool, type(None)}
PLACE = {"line", "col", "start", "end"}
ALTERED = re.compile(r"^\s*(?:/\*.*?\*/\s*)?alter\s+table\s+(\S+)\s+set\s+options", re.I | re.S)
ALTERED_COLUMN = re.compile(r"^\s*alter\s+table\s+\S+\s+(?:rename|drop)\s+column\b", re.I)
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


def begins_with_control(sql: str) -> bool:
    """The text is a script whose first statement is none of SQL's own, as all of the loader's are.

    Whether a text is DML the emulator finds out twice, by what it begins with, after sqlglot has
    read all of it: a quarter of a second for a script of the loader.
    """
    statements = parse_script(sql).statements
    return len(statements) > 1 and not isinstance(statements[0], SqlStmt)


def reject_dml_on_immutable(project: str, sql: str, ctx: Any) -> None:
    if not begins_with_control(sql):
        _reject_dml_on_immutable(project, sql, ctx)


async def capture_dml_snapshots(project: str, sql: str, ctx: Any) -> None:
    if not begins_with_control(sql):
        await _capture_dml_snapshots(project, sql, ctx)


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


def altered_columns(sql: str) -> tuple[exp.Table, dict[str, str | None]] | None:
    """The table of a statement and what its columns become: a new name, None for one dropped."""
    if not ALTERED_COLUMN.search(sql):
        return None
    tree = sqlglot.parse_one(sql, read="bigquery")
    changes: dict[str, str | None] = {}
    for action in tree.args["actions"]:
        if isinstance(action, exp.RenameColumn):
            changes[action.this.name] = action.args["to"].name
        elif isinstance(action, exp.Drop):
            changes[action.this.name] = None
    return tree.this, changes


def sync_altered_columns(sql: str, project: str, ctx: Any) -> None:
    """The catalog has the columns as a statement has renamed or dropped them."""
    if (altered := altered_columns(sql)) is None:
        return
    target, changes = altered
    table = ctx.catalog.get_table(*ddl_sync._split_target(target, project))
    fields = tuple(
        one.model_copy(update={"name": changes.get(one.name, one.name)})
        for one in table.schema_.fields
        if changes.get(one.name, one.name) is not None
    )
    schema = table.schema_.model_copy(update={"fields": fields})
    ctx.catalog.update_table(table.model_copy(update={"schema_": schema}))


def update_table(catalog: Any, table: Any) -> Any:
    """As the emulator's own; the table gets the columns that a patch has given its schema."""
    stood = catalog.get_table(table.project_id, table.dataset_id, table.table_id)
    updated = _update_table(catalog, table)
    known = {one.name for one in stood.schema_.fields} if stood else set()
    new = [tables_api._field_to_rest(one) for one in table.schema_.fields if one.name not in known]
    if known and new and table.table_type == "TABLE":
        where = quoted_table_ref(table.project_id, table.dataset_id, table.table_id)
        for name, kind in bq_schema_to_duckdb_columns(new):
            # What a statement has made is there already.
            catalog._engine.execute(f'ALTER TABLE {where} ADD COLUMN IF NOT EXISTS "{name}" {kind}')
    return updated


def sync_created_schema(sql: str, project: str, ctx: Any) -> None:
    """As the emulator's own, with the labels of `CREATE SCHEMA`."""
    parts = ddl_sync._detect_create_schema(sql, project)
    stood = parts and ctx.catalog.get_dataset(*parts)
    _sync_created_schema(sql, project, ctx)
    if parts and not stood and (labels := stated_labels(sql)):
        made = ctx.catalog.get_dataset(*parts)
        ctx.catalog.update_dataset(made.model_copy(update={"labels": labels}))


def sync_created_table(sql: str, project: str, ctx: Any) -> None:
    """As the emulator's own, with the labels of `CREATE TABLE` and of `ALTER TABLE SET OPTIONS`,
    and with the columns that another ALTER TABLE has changed."""
    sync_altered_columns(sql, project, ctx)
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


@lru_cache(256)
def _read(dialect: Dialect, sql: str) -> list[Any] | Exception:
    """Without the places of names in the text, of which no error tells: a dictionary for each name
    makes a copy of a tree take four times as long. A script that is no statement fails as often as
    it is read."""
    try:
        trees = _parse(dialect, sql)
    except SqlglotError as error:
        return error
    for node in (node for tree in trees if tree for node in tree.walk()):
        if node._meta and PLACE.issuperset(node._meta):
            node._meta = None
        if isinstance(node, exp.DataType) and node.this == exp.DType.DECIMAL:
            node.set("expressions", NUMERIC.copy().expressions)
    return trees


def _parsed(dialect: Dialect, sql: str) -> list[Any]:
    found = _read(dialect, sql)
    if isinstance(found, Exception):
        raise found.with_traceback(None)
    return found


def parse(dialect: Dialect, sql: str, **options: Any) -> list[Any]:
    """As sqlglot's own; the trees are the caller's to change."""
    if any(value is not None for value in options.values()):
        return _parse(dialect, sql, **options)
    return [tree and tree.copy() for tree in _parsed(dialect, sql)]


class Copying(threading.local):
    a_tree = False


_copying = Copying()


def copied(value: Any) -> Any:
    """As `copy.deepcopy`, which is slow with places of names, a dictionary for each of them, and
    with the types of nodes, a tree for each. Types are replaced, never changed: copies share them.
    """
    if isinstance(value, exp.Expression):
        if _copying.a_tree:
            return value
        _copying.a_tree = True
        try:
            return value.__deepcopy__({})
        finally:
            _copying.a_tree = False
    if type(value) is dict and all(type(inner) in FLAT for inner in value.values()):
        return value.copy()
    return _deepcopy(value)


class Asked(BaseException):
    """A rule looks at more than the class of a node."""


class OfClass:
    """Says only of which class it is."""

    its_class: type

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return type(self).its_class
        raise Asked


@lru_cache(None)
def rules_of(its_class: Any) -> list[TranslationRule]:
    """The rules that may apply to a node of this class: all others see by the class that they do
    not. There are about ninety, and a statement has hundreds of nodes."""
    # Some rules compare the name of the class.
    node: Any = type(its_class.__name__, (OfClass,), {"its_class": its_class})()
    found = []
    for rule in get_all_rules():
        try:
            may_apply = rule.applies_to(node)
        except Asked:
            may_apply = True
        if may_apply:
            found.append(rule)
    return found


def apply_first_matching_rule(translator: Any, node: Any, tree: Any) -> bool:
    """As the emulator's own, with the rules of the node's class."""
    if node.parent is None and node is not tree:
        return False
    for rule in rules_of(type(node)):  # type: ignore[arg-type]
        if rule.applies_to(node) and (replacement := rule.rewrite(node)) is not node:
            node.replace(replacement)
            return True
    return False


def rewrite_for_row_access(bq_sql: str, **about: Any) -> str:
    """As the emulator's own; where no table is named there is nothing to rewrite, nor to copy."""
    with contextlib.suppress(SqlglotError):
        if sqlglot.parse_one(bq_sql, read="bigquery").find(exp.Table) is None:
            return bq_sql
    return str(_rewrite_for_row_access(bq_sql, **about))


def apply_session_pragmas(engine: Any) -> None:
    """As the emulator's own. Tables are small: a second thread costs more than it does."""
    _apply_session_pragmas(engine)
    engine.connection.execute("SET threads = 1")


async def run_endpoint_function(
    *, dependant: Any, values: dict[str, Any], is_coroutine: bool
) -> Any:
    """As FastAPI's own, without threads."""
    answer = dependant.call(**values)
    return await answer if is_coroutine else answer


class Through:
    """In place of a middleware."""

    def __init__(self, app: Any, **_: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


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
    # DuckDB looks for pandas, which is not installed, several times for each statement.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    executor._run_script = run_script
    SnapshotManager.record_change = record_change  # type: ignore[method-assign, assignment]
    DuckDBCatalogRepository.update_table = update_table  # type: ignore[method-assign, assignment]
    room: Any
    for room in (executor, scripting):
        room.sync_created_schema = sync_created_schema
        room.sync_created_table = sync_created_table
        room.sync_created_view = sync_created_view
    scripting._dml_targets = dml_targets
    jobs_api._build_job_response = build_job_response
    tables_api._table_to_list_item = table_to_list_item  # type: ignore[assignment]
    alter_table_set_options._match_balanced_parens = matching_parenthesis
    remembered = lru_cache(16)(parse_script)
    for room in (executor, scripting, sys.modules[__name__]):
        room.parse_script = remembered
    for room, name, ours in (
        (executor, "_reject_dml_on_immutable", reject_dml_on_immutable),
        (executor, "_capture_dml_snapshots", capture_dml_snapshots),
        (inner_query, "rewrite_for_row_access", rewrite_for_row_access),
        (SQLTranslator, "_apply_first_matching_rule", apply_first_matching_rule),
        (DuckDBEngine, "_apply_session_pragmas", apply_session_pragmas),
        (fastapi.routing, "run_endpoint_function", run_endpoint_function),
        (api_app, "MetricsMiddleware", Through),
        (api_app, "AccessLogMiddleware", Through),
        (api_app, "CorrelationIdMiddleware", Through),
    ):
        setattr(room, name, ours)
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
