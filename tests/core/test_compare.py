"""Comparing two tables: what only one has, what differs, what is the same in another type."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from migration.compare import compare, is_same, written
from migration.plan import Expected


def test_every_sort_of_difference_is_listed() -> None:
    old = [
        {"day": date(2026, 1, 1), "city": "Manila", "rain": 1.0},
        {"day": date(2026, 1, 2), "city": "Manila", "rain": 2.5},
        {"day": date(2026, 1, 3), "city": "Manila", "rain": 3.0},
        {"day": date(2026, 1, 4), "city": "Manila", "rain": 4.0},
        {"day": date(2026, 1, 4), "city": "Manila", "rain": 5.0},
    ]
    new = [
        {"day": date(2026, 1, 1), "city": "Manila", "rain": Decimal("1.000")},
        {"day": date(2026, 1, 2), "city": "Manila", "rain": 2.75},
        {"day": date(2026, 1, 4), "city": "Manila", "rain": 4.0},
        {"day": date(2026, 1, 5), "city": "a|b", "rain": None},
    ]
    found = compare("old.rain", old, "gold.rain", new, ["day", "city"], 0.1)
    assert not found.is_as_expected
    assert (found.old_rows, found.new_rows, found.compared) == (5, 4, 2)
    assert [(one.key, one.column, one.old, one.new) for one in found.differences] == [
        (("2026-01-02", "Manila"), "rain", "2.5", "2.75")
    ]
    assert found.only_old == [("2026-01-03", "Manila")]
    assert found.only_new == [("2026-01-05", "a|b")]
    assert found.repeated_old == [("2026-01-04", "Manila")]
    assert found.message == (
        "old.rain (5 rows) and gold.rain (4): 1 only old, 1 only new, 1 with other values, "
        "1 keys that stand twice"
    )
    assert "| 2026-01-02 / Manila | rain | 2.5 | 2.75 |" in found.markdown
    assert "- 2026-01-05 / a\\|b" in found.markdown


def test_equal_tables_are_equal() -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "value": None}, {"id": 2, "value": "x"}]
    found = compare("a", rows, "b", reversed(rows), ["id"])
    assert found.is_as_expected
    assert found.message == "a (2 rows) and b (2): equal"


def rule(**given: Any) -> Expected:
    return Expected(**{"reason": "by rule", **given})


def test_only_what_a_rule_gives_is_expected() -> None:
    rules = [
        rule(column="cost", equals="half", tolerance=0.006),
        rule(only="old", where="early", reason="begins earlier"),
        rule(only="new", where="empty"),
    ]
    old = [
        {"day": "1", "cost": 9.0, "_expected_1": True},
        {"day": "2", "cost": 9.0, "_expected_1": None},
        {"day": "3", "cost": 2.67, "_expected_1": True},
        {"day": "4", "cost": 2.68, "_expected_1": True},
        {"day": "5", "cost": 5.0, "_expected_1": True},
    ]
    new = [
        {"day": "3", "cost": 5.33, "_expected_0": Decimal("2.665"), "_expected_2": True},
        {"day": "4", "cost": 5.33, "_expected_0": Decimal("2.665"), "_expected_2": True},
        {"day": "5", "cost": 5, "_expected_0": 1, "_expected_2": False},
        {"day": "6", "cost": 0, "_expected_0": 0, "_expected_2": True},
        {"day": "7", "cost": 1, "_expected_0": 0, "_expected_2": False},
    ]
    found = compare("old", old, "new", new, ["day"], rules=rules)
    assert [one.key for one in found.differences] == [("4",)]
    assert (found.only_old, found.only_new) == ([("2",)], [("7",)])
    assert [(one.key, one.column, one.reason) for one in found.expected] == [
        (("1",), "", "begins earlier"),
        (("3",), "cost", "by rule"),
        (("6",), "", "by rule"),
    ]
    assert not found.is_as_expected
    assert found.message.endswith("1 with other values, 3 expected differences")
    assert "Expected (2): by rule" in found.markdown

    found = compare("old", old[2:3], "new", new[:1], ["day"], rules=rules)
    assert found.is_as_expected
    assert found.message == "old (1 rows) and new (1): 1 expected differences"


@pytest.mark.parametrize(
    "given",
    [
        {"reason": " ", "only": "old", "where": "day < 3"},
        {},
        {"column": "cost"},
        {"only": "old"},
        {"column": "cost", "equals": "1", "only": "old", "where": "day < 3"},
        {"only": "new", "where": "TRUE"},
        {"only": "new", "where": "day < 3", "tolerance": 5},
    ],
)
def test_what_is_no_rule_is_refused(given: dict[str, Any]) -> None:
    assert rule(**given).fault
    assert not rule(column="cost", equals="2 * cost").fault
    assert not rule(only="old", where="day < 3").fault


MANILA = timezone(timedelta(hours=8))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (1, 1.0, True),
        (1, Decimal("1.05"), False),
        (True, 1, False),
        (None, 0, False),
        (None, None, True),
        ("1", 1, True),
        (datetime(2026, 1, 1, 8, tzinfo=MANILA), datetime(2026, 1, 1, tzinfo=UTC), True),
        (date(2026, 1, 1), "2026-01-01", True),
        ("a", "b", False),
    ],
)
def test_values_are_compared_whatever_their_types(old: object, new: object, same: bool) -> None:
    assert is_same(old, new, 0.01) == same


def test_a_number_within_the_tolerance_is_the_same() -> None:
    assert is_same(0.1, Decimal("0.11"), 0.01)
    assert not is_same(0.1, Decimal("0.12"), 0.01)
    assert written(Decimal("1.500")) == "1.5"
