"""Comparing two tables: what only one has, what differs, what is the same in another type."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from core.compare import compare, is_same, written


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
    assert not found.is_equal
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
    assert found.is_equal
    assert found.message == "a (2 rows) and b (2): equal"


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
