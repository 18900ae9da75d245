"""What the stand-in leaves out of the emulator's work changes nothing of what comes out."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlglot
from bqemulator.sql.rules import get_all_rules
from google.cloud.bigquery import SchemaField
from sqlglot import exp
from sqlglot.expressions import core

from sandbox.bigquery import begins_with_control, copied, rules_of
from testing.platform import TestPlatform

SQL = """
select cast(a as numeric) + 1.5 as b, format_date('%Y', c) as d, countif(e) as f
from raw.t where e in unnest([true, null]) group by all
"""


def test_a_rule_that_is_not_asked_about_a_class_applies_to_none_of_it() -> None:
    classes = [one for one in vars(exp).values() if isinstance(one, type)]
    nodes = [one() for one in classes if issubclass(one, exp.Expression)]
    assert len(nodes) > 500
    for node in nodes:
        asked = {type(rule) for rule in rules_of(type(node))}  # type: ignore[arg-type]
        others = [rule for rule in get_all_rules() if type(rule) not in asked]
        assert not [rule.name for rule in others if rule.applies_to(node)]


@pytest.mark.parametrize(
    ("its_class", "name"),
    [
        (exp.CountIf, "COUNTIF_EMPTY_ZERO"),  # compares the name of the class
        (exp.Avg, "AVG_DECIMAL"),  # and its operand
        (exp.Anonymous, "ST_DWITHIN_SPHEROIDAL"),
        (exp.Upper, "UPPER_UNICODE"),
    ],
)
def test_a_rule_is_asked_about_its_class(its_class: type, name: str) -> None:
    assert name in {rule.name for rule in rules_of(its_class)}
    assert not rules_of(exp.Identifier)


def test_a_copy_of_a_tree_shares_the_types_of_its_nodes_and_no_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core, "deepcopy", copied)
    tree: Any = sqlglot.parse_one(SQL, read="bigquery")
    for column in tree.find_all(exp.Column):
        column.type = "int"
    copy = tree.copy()
    assert copy == tree and copy.sql(dialect="bigquery") == tree.sql(dialect="bigquery")
    assert not {id(node) for node in copy.walk()} & {id(node) for node in tree.walk()}
    columns = list(zip(copy.find_all(exp.Column), tree.find_all(exp.Column), strict=True))
    assert columns and all(one.type is other.type for one, other in columns)
    number = exp.DataType.build("int")
    assert number.copy() == number and number.copy() is not number


@pytest.mark.parametrize(
    ("sql", "begins"),
    [
        ("declare x int64; insert into d.t values (1)", True),
        ("begin transaction; insert into d.t values (1); commit transaction", False),
        ("insert into d.t values (1); select 1", False),
        ("insert into d.t values (1)", False),
        ("select 1", False),
    ],
)
def test_a_script_is_no_dml_when_it_begins_with_control(sql: str, begins: bool) -> None:
    assert begins_with_control(sql) is begins


def test_rows_are_those_of_the_table_while_others_query(platform: TestPlatform) -> None:
    """Both are asked on one connection of DuckDB."""
    warehouse = platform.stores.warehouse
    warehouse.ensure_ledger()
    table = f"{warehouse.raw_dataset}.wide"
    platform.query("CREATE TABLE {raw}.wide AS SELECT 1 AS a, 2 AS b, 3 AS c")
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            platform.query("SELECT 7 AS seven")

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(150):
            rows = [tuple(row) for row in warehouse.client.list_rows(table)]
            assert rows == [(1, 2, 3)]
    finally:
        done.set()
        for thread in asking:
            thread.join()


def test_a_column_that_a_patch_adds_is_in_the_table(platform: TestPlatform) -> None:
    warehouse = platform.stores.warehouse
    warehouse.ensure_ledger()
    platform.query("CREATE TABLE {raw}.patched AS SELECT 1 AS a")
    table = warehouse.table(warehouse.raw_id("patched"))
    table.schema = [*table.schema, SchemaField("b", "STRING"), SchemaField("c", "TIMESTAMP")]
    warehouse.client.update_table(table, ["schema"])
    platform.query("INSERT INTO {raw}.patched (a, b) VALUES (2, 'x')")
    rows = platform.query("SELECT a, b, c FROM {raw}.patched ORDER BY a")
    assert rows == [{"a": 1, "b": None, "c": None}, {"a": 2, "b": "x", "c": None}]
