"""What BigQuery's on-demand price counts of a statement, in bytes.

https://cloud.google.com/bigquery/pricing#on_demand_pricing and .../docs/estimate-costs: the columns
that are read, of the partitions that constants leave; at least 10 MB per table and statement. DML
that updates or deletes bills what it reads, and on top every column of the partitions that it
changes; an INSERT, and a MERGE that only inserts, bills what it reads
(.../docs/reference/standard-sql/dml-syntax#on-demand_query_size_calculation). Load jobs, views,
copies, TRUNCATE TABLE and metadata are free. A statement of a script counts by itself, temporary
tables included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

MIB, GIB = 2**20, 2**30
FLOOR = 10 * MIB
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#data_type_sizes; a text
# adds its characters to two bytes.
BYTES = {
    **dict.fromkeys(("INT64", "FLOAT64", "TIMESTAMP", "DATE", "DATETIME", "TIME"), 8),
    "NUMERIC": 16,
    "BIGNUMERIC": 32,
    "BOOL": 1,
    "STRING": 2,
}
COMPARISONS = (exp.Between, exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


@dataclass(frozen=True)
class Sized:
    """A table: bytes per value of each column, rows, and the months over which they spread.

    `ranges` are the names by which statements bound the partitioning column: its own, and those
    that views give it. A bounded statement touches `touched_months` of them.
    """

    columns: Mapping[str, float]
    types: Mapping[str, str]
    rows: float
    months: float = 1
    ranges: frozenset[str] = frozenset()
    touched_months: float = 1

    def bytes_of(self, columns: set[str] | None, is_bounded: bool) -> float:
        """All columns when `columns` is None."""
        width = sum(
            size for name, size in self.columns.items() if columns is None or name in columns
        )
        share = min(1.0, self.touched_months / self.months) if is_bounded else 1.0
        return width * self.rows * share

    def times(self, scale: float) -> Sized:
        """So much more history: as many more rows, over as many more months."""
        return replace(self, rows=self.rows * scale, months=self.months * scale)


def width_of(type_: str, characters: float) -> float:
    return BYTES[type_] + (characters if type_ == "STRING" else 0)


@dataclass
class Warehouse:
    """Tables and views by `project.dataset.table`; a name in one part is a temporary table."""

    tables: dict[str, Sized] = field(default_factory=dict)
    views: dict[str, exp.Expression] = field(default_factory=dict)

    def add_view(self, name: str, sql: str) -> None:
        self.views[name] = parsed(sql)

    def bill(self, sql: str, variables: Iterable[str] = ()) -> dict[str, float]:
        """Bytes billed per table that a statement names; `variables` are those of its script."""
        tree = parsed(sql)
        is_view = isinstance(tree, exp.Create) and tree.args["kind"] == "VIEW"
        if is_view or isinstance(tree, exp.TruncateTable) or gives_nothing(tree):
            return {}
        tree = self._with_views(tree)
        read: dict[str, set[str]] = {}
        scans: dict[str, int] = {}
        target = written(tree)
        if target:
            read[target], scans[target] = own_columns(tree), 1
        for query in queries(tree):
            for name, columns in self._scans(query):
                scans[name] = scans.get(name, 0) + 1
                read[name] = read.get(name, set()) | columns
        billed = {}
        for name, wanted in read.items():
            table = self.tables[name]
            is_bounded = bounds(tree, table.ranges, set(variables)) >= scans[name]
            size = table.bytes_of(wanted, is_bounded)
            if name == target and changes_rows(tree):
                size += table.bytes_of(None, is_bounded)
            billed[name] = max(float(FLOOR), size)
        return billed

    def _with_views(self, tree: exp.Expression) -> exp.Expression:
        """The statement with every view written out, those of views included."""
        for table in list(tree.find_all(exp.Table)):
            if view := self.views.get(table.name):
                query = exp.Subquery(this=self._with_views(view.copy()))
                table.replace(exp.alias_(query, table.alias, table=True))
        return tree

    def _scans(self, query: exp.Expression) -> Iterator[tuple[str, set[str]]]:
        """Each scan of a table, with the columns of it that the result needs."""
        named = {table.name for table in query.find_all(exp.Table)} & self.tables.keys()
        schema: dict[str, object] = {name: dict(self.tables[name].types) for name in named}
        tree = qualify(
            query.copy(), schema=schema, dialect="bigquery", validate_qualify_columns=False
        )
        tree = pushdown_projections(tree, schema=schema, dialect="bigquery")
        for scope in traverse_scope(tree):
            for alias, (_, source) in scope.selected_sources.items():
                if isinstance(source, exp.Table):
                    yield source.name, {c.name for c in scope.columns if c.table == alias}


def parsed(sql: str) -> Any:
    """A statement in which a table's name is one part, `project.dataset.table`, with an alias."""
    tree = sqlglot.parse_one(sql, read="bigquery")
    for table in tree.find_all(exp.Table):
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        # The library compares names of tables in small letters.
        name = ".".join(part.name for part in table.parts).lower()
        table.set("this", exp.to_identifier(name, quoted=True))
        table.set("db", None)
        table.set("catalog", None)
    return tree


def written(tree: exp.Expression) -> str | None:
    """The table whose rows a statement changes."""
    return str(tree.this.name) if isinstance(tree, exp.Merge | exp.Update | exp.Delete) else None


def changes_rows(tree: exp.Expression) -> bool:
    """Whether a DML statement updates or deletes; a MERGE may only insert."""
    if not isinstance(tree, exp.Merge):
        return True
    branches = tree.args["whens"].expressions
    return any(not isinstance(branch.args["then"], exp.Insert) for branch in branches)


def own_columns(tree: exp.Expression) -> set[str]:
    """The columns of the changed table that a DML statement reads outside of its subqueries."""
    alias, found = tree.this.alias, set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.Column):
            is_own = node.table == alias or (not node.table and not isinstance(tree, exp.Merge))
            found |= {node.name} if is_own else set()
        elif isinstance(node, exp.EQ) and isinstance(node.parent, exp.Update):
            # What is assigned is not read.
            waiting.append(node.expression)
        elif not isinstance(node, exp.Query):
            waiting += list(node.iter_expressions())
    return found


def gives_nothing(tree: exp.Expression) -> bool:
    """Whether it is dbt's way to ask for the columns of a query: `where false and ... limit 0`."""
    where = tree.args.get("where")
    return bool(where and any(one == exp.false() for one in where.this.flatten()))


def queries(tree: exp.Expression) -> Iterator[exp.Expression]:
    """The outermost queries of a statement. The source of a MERGE that is a table is read whole."""
    using = tree.args.get("using")
    if isinstance(using, exp.Table):
        yield exp.select("*").from_(using.copy())
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.Select | exp.SetOperation):
            yield node
        else:
            waiting += list(node.iter_expressions())


def bounds(tree: exp.Expression, ranges: Iterable[str], variables: set[str]) -> int:
    """How often a statement filters a partitioning column by constants."""
    found = 0
    for comparison in tree.find_all(*COMPARISONS):
        # What an IF compares filters nothing, also in a WHERE.
        if isinstance(comparison.find_ancestor(exp.If, exp.Select), exp.If):
            continue
        column, *others = comparison.iter_expressions()
        constant = all(
            not one.table and one.name in variables
            for other in others
            for one in other.find_all(exp.Column)
        )
        found += isinstance(column, exp.Column) and column.name in ranges and constant
    return found
