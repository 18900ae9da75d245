"""Google's own analyser of its SQL (ZetaSQL, compiled to WebAssembly) over a catalog of tables.

It knows names, types and signatures as BigQuery does, and nothing of limits, partition filters or
transactions. Of BigQuery's planner it has one rule: what an outer join has to compare.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from zetasql.api import Analyzer, ConstantBuilder, FunctionBuilder, TableBuilder
from zetasql.core import wasm_client
from zetasql.core.exceptions import ServerError
from zetasql.types import (
    AnalyzerOptions,
    FunctionArgumentType,
    FunctionArgumentTypeOptions,
    FunctionEnums,
    FunctionSignature,
    LanguageOptions,
    ProductMode,
    SignatureArgumentKind,
    SimpleCatalog,
    TypeKind,
    ZetaSQLBuiltinFunctionOptions,
)

# BigQuery's types. What else the analyser can make, FLOAT32 for one, is no type there.
KINDS: dict[str, TypeKind] = {
    **{
        name: TypeKind[f"TYPE_{name}"]
        for name in (
            *("STRING", "BYTES", "INT64", "NUMERIC", "BIGNUMERIC", "BOOL", "JSON"),
            *("DATE", "DATETIME", "TIME", "TIMESTAMP", "ARRAY", "STRUCT", "INTERVAL"),
        )
    },
    "FLOAT64": TypeKind.TYPE_DOUBLE,
}
NAMES = {kind: name for name, kind in KINDS.items()}
# Compiling the module takes 15 to 30 s and is done once per machine. The place is read here, since
# a stack of the tests has a cache of its own.
CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "data-pipelines" / "wasmtime"
)
# Aggregates of two arguments that BigQuery has and the analyser does not know; the result is the
# first argument's type.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions#max_by
# https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions#min_by
UNKNOWN_AGGREGATES = ("max_by", "min_by")


class Refused(Exception):
    """The analyser's own words, and the statement."""


@dataclass(frozen=True)
class Statement:
    """One statement of a script, as SQL that stands by itself.

    A condition and the value of a SET are a SELECT; `sets` names the variable. `within` are the
    conditions of the branches that it stands in, from the outermost.
    """

    sql: str
    sets: str | None = None
    within: tuple[str, ...] = ()
    # After the analysis: the columns that it gives, and the table that it makes.
    output: tuple[tuple[str, Any], ...] = ()
    creates: str | None = None


@dataclass(frozen=True)
class Script:
    variables: dict[str, str]
    statements: tuple[Statement, ...]


class Analyser:
    """Tables are added as they come to be, by the names under which statements ask for them."""

    def __init__(self) -> None:
        _cache_the_module()
        self._language = LanguageOptions.maximum_features()
        self._language.product_mode = ProductMode.PRODUCT_EXTERNAL
        # Else QUALIFY without WHERE is refused.
        self._language.reserved_keywords = ["QUALIFY"]
        # A parameter of the client is of the type that its place wants.
        self._options = AnalyzerOptions(
            language_options=self._language, allow_undeclared_parameters=True
        )
        self._tables: dict[tuple[str, ...], Any] = {}
        self._constants: list[Any] = []

    def add(self, name: str, columns: Iterable[tuple[str, Any]]) -> None:
        """A table `project.dataset.table`, or a temporary `table`; one of that name is replaced.

        A column's type is BigQuery's name of it, or what `output` gave.
        """
        path = tuple(name.replace("`", "").split("."))
        builder = TableBuilder(path[-1])
        for column, type_ in columns:
            builder.add_column(column, KINDS[type_] if isinstance(type_, str) else type_)
        self._tables[path] = builder.build()

    def output(self, sql: str) -> list[tuple[str, Any]]:
        """Names and types of the columns that a statement gives; none of one that writes.

        Raises Refused for what BigQuery would refuse: unknown names, types that do not go together,
        an outer join whose condition compares no field of both sides.
        """
        if join := loose_join(sql):
            raise Refused(f"{WITHOUT_EQUALITY}: {join} in:\n{sql}")
        analyzer = Analyzer(self._options, self._catalog(sql))
        try:
            statement = analyzer.analyze_statement(sql.strip().rstrip(";"))
        except ServerError as error:
            raise Refused(f"{error} in:\n{sql}") from error
        columns = getattr(statement, "output_column_list", None) or []
        return [(column.name, column.column.type) for column in columns]

    def _catalog(self, sql: str) -> SimpleCatalog:
        """The tables whose name stands in the statement: each is sent byte by byte."""
        functions = ZetaSQLBuiltinFunctionOptions(language_options=self._language)
        root = SimpleCatalog(name="bigquery", builtin_function_options=functions)
        root.custom_function.extend(_aggregate(name) for name in UNKNOWN_AGGREGATES)
        root.constant.extend(self._constants)
        for path, table in self._tables.items():
            if not re.search(rf"\b{re.escape(path[-1])}\b", sql):
                continue
            catalog = root
            for part in path[:-1]:
                found = next((one for one in catalog.catalog if one.name == part), None)
                if found is None:
                    found = SimpleCatalog(name=part)
                    catalog.catalog.append(found)
                catalog = found
            catalog.table.append(table)
        return root

    def run(self, text: str) -> list[Statement]:
        """Analyse each statement of a script; the tables that it creates are there for the next."""
        script = read_script(text)
        self._constants = [
            ConstantBuilder(name).set_type(KINDS[type_]).build()
            for name, type_ in script.variables.items()
        ]
        analysed = []
        for statement in script.statements:
            output = self.output(statement.sql)
            if statement.sets:
                declared, ((_, given),) = script.variables[statement.sets], output
                if type_name(given) != declared:
                    raise Refused(
                        f"{statement.sets}, {declared}, is set to {type_name(given)}: "
                        f"{statement.sql}"
                    )
            created = created_name(statement.sql)
            if created:
                self.add(created, output)
            analysed.append(replace(statement, output=tuple(output), creates=created))
        self._constants = []
        return analysed


WITHOUT_EQUALITY = (
    "an OUTER JOIN cannot be used without a condition that is an equality of fields from both sides"
)


def loose_join(sql: str) -> str | None:
    """The first outer join of a statement that compares no field of both sides, by their names.

    BigQuery's planner refuses one: "LEFT OUTER JOIN cannot be used without a condition that is an
    equality of fields from both sides of the join". A field has to name its table to count.
    """
    for join in sqlglot.parse_one(sql, read="bigquery").find_all(exp.Join):
        if not join.side or join.args.get("using") or isinstance(join.this, exp.Unnest):
            continue
        condition = join.args.get("on") or exp.true()
        parts = condition.flatten() if isinstance(condition, exp.And) else [condition]
        if not any(_joins(part.unnest(), join.alias_or_name.lower()) for part in parts):
            return join.sql("bigquery")
    return None


def _joins(part: exp.Expr, joined: str) -> bool:
    """Whether one side of an equality is of the joined table alone, the other of tables before."""
    if not isinstance(part, exp.EQ):
        return False
    left, right = (
        {column.table.lower() for column in side.find_all(exp.Column)}
        for side in (part.left, part.right)
    )
    return any(
        own == {joined} and others and not others & {joined, ""}
        for own, others in ((left, right), (right, left))
    )


def type_name(type_: Any) -> str:
    """BigQuery's name of a type; of one that it does not have, the analyser's."""
    if isinstance(type_, str):
        return type_
    return str(NAMES.get(type_.type_kind, type_.type_kind.name))


def created_name(sql: str) -> str | None:
    """The table or view that a statement creates, without quotes."""
    found = CREATED.match(sql)
    return found["name"].replace("`", "") if found else None


CREATED = re.compile(
    r"\s*(/\*.*?\*/\s*)?CREATE\s+(OR\s+REPLACE\s+)?(TEMP\s+|TEMPORARY\s+)?(TABLE|VIEW)\s+(IF\s+NOT\s+EXISTS\s+)?"
    r"(?P<name>[\w.`-]+)",
    re.IGNORECASE | re.DOTALL,
)
DECLARATION = re.compile(
    r"DECLARE\s+(?P<names>\w+(\s*,\s*\w+)*)\s+(?P<type>\w+)(\s+DEFAULT\s+(?P<value>.*))?$",
    re.DOTALL,
)
BRANCH = re.compile(r"(ELSEIF|IF)\b(?P<condition>.*?)\bTHEN\b\s*", re.DOTALL)
ASSIGNMENT = re.compile(r"SET\s+(?P<name>\w+)\s*=(?P<value>.*)$", re.DOTALL)


def read_script(text: str) -> Script:
    """A script's variables, and its statements in their order, those of all branches."""
    variables: dict[str, str] = {}
    found: list[Statement] = []
    within: list[str] = []
    for part in split(text):
        rest = part
        while True:
            if branch := BRANCH.match(rest):
                condition = branch["condition"].strip()
                if branch[1] == "ELSEIF":
                    within.pop()
                found.append(Statement(f"SELECT ({condition}) AS value", within=tuple(within)))
                within.append(condition)
                rest = rest[branch.end() :]
            elif rest.startswith("ELSE"):
                within.append(f"NOT ({within.pop()})")
                rest = rest.removeprefix("ELSE").strip()
            else:
                break
        if rest == "END IF":
            within.pop()
        elif declaration := DECLARATION.match(rest):
            names = re.split(r"\s*,\s*", declaration["names"])
            variables |= dict.fromkeys(names, declaration["type"])
        elif assignment := ASSIGNMENT.match(rest):
            value = f"SELECT {assignment['value'].strip()} AS value"
            found.append(Statement(value, assignment["name"], tuple(within)))
        elif rest:
            found.append(Statement(rest, within=tuple(within)))
    return Script(variables, tuple(found))


def split(text: str) -> Iterator[str]:
    """The parts between semicolons; those in texts and comments are none."""
    start = 0
    for token in sqlglot.tokenize(text, read="bigquery"):
        if token.token_type is TokenType.SEMICOLON:
            yield text[start : token.start].strip()
            start = token.end + 1
    if rest := text[start:].strip():
        yield rest


def _aggregate(name: str) -> Any:
    def argument(kind: SignatureArgumentKind) -> FunctionArgumentType:
        required = FunctionArgumentTypeOptions(
            cardinality=FunctionEnums.ArgumentCardinality.REQUIRED
        )
        return FunctionArgumentType(kind=kind, num_occurrences=1, options=required)

    value, order = SignatureArgumentKind.ARG_TYPE_ANY_1, SignatureArgumentKind.ARG_TYPE_ANY_2
    signature = FunctionSignature(
        argument=[argument(value), argument(order)], return_type=argument(value)
    )
    builder = FunctionBuilder(name, group="BigQuery", mode=FunctionEnums.Mode.AGGREGATE)
    return builder.add_signature(signature).build()


def _cache_the_module() -> None:
    """The client compiles the module anew for each process; there is no option for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    settings = CACHE / "config.toml"
    settings.write_text(f'[cache]\ndirectory = "{CACHE}"\n')
    config = wasm_client.Config

    def cached() -> Any:
        made = config()
        made.cache = str(settings)
        return made

    if config.__name__ == "Config":
        wasm_client.Config = cached
