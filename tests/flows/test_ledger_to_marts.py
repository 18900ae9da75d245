"""A sheet of 5,000 rows through load and build; every finance mart against plain Python.

The expected figures come from the stand-in's truth alone, in exact fractions.
"""

from __future__ import annotations

import calendar
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from functools import cached_property
from typing import Any

import pytest

from runs.build import PROJECT_DIR
from runs.outcome import report
from testing.platform import TestPlatform

# The ledger's columns, the three that came later, one of the owner's own and one without a name.
HEADER = [
    *("cost", "mood", "solo_part", "id", "store ", "day", None, "type", "receipt", "month"),
    *("to", "updated_at", "year", " item", "source", "posted_date", "created_at"),
]
DIRECTIONS = dict(
    line.split(",")
    for line in (PROJECT_DIR / "seeds/finance/entry_types.csv").read_text().splitlines()[1:]
)
# What the emulator's division of NUMERIC by way of FLOAT64 loses of an amount.
CLOSE = Fraction(1, 10**6)


@dataclass(frozen=True)
class Entry:
    """A row of the truth, read as the docs say."""

    row: dict[str, Any]

    @cached_property
    def day(self) -> date | None:
        parts = [self.row[name] for name in ("year", "month", "day")]
        if None in parts or not (1 <= parts[1] <= 12 and 1 <= parts[0] <= 9999):
            return None
        last = calendar.monthrange(parts[0], parts[1])[1]
        return date(*parts) if 1 <= parts[2] <= last else None

    @cached_property
    def full(self) -> Fraction | None:
        typed = self.row["cost"] or self.row["_extra"].get("cost")
        if isinstance(typed, str) and re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*", typed):
            return Fraction(typed.strip())
        return None

    @cached_property
    def own(self) -> Fraction:
        assert self.full is not None
        share = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", self.row["solo_part"] or "")
        return self.full * Fraction(int(share[1]), int(share[2])) if share else self.full

    def text(self, name: str) -> str:
        return str(self.row[name] or "").strip()

    @property
    def item(self) -> str:
        return self.text("item").upper()

    @property
    def side(self) -> str | None:
        return DIRECTIONS.get(self.text("type").upper())

    @property
    def reason(self) -> str | None:
        if self.day is None:
            return "impossible date"
        if self.side is None:
            return "unknown type"
        return "no amount" if self.full is None else None


@dataclass
class Marts:
    platform: TestPlatform
    entries: list[Entry]

    def rows(self, mart: str) -> list[tuple[Any, ...]]:
        return [
            tuple(row.values())
            for row in self.platform.query(f"SELECT * FROM {{marts}}gold.{mart}")
        ]

    def counted(self, *items: str, side: str = "EXPENSES") -> list[Entry]:
        found = [
            entry
            for entry in self.entries
            if entry.reason is None and entry.side == side and (not items or entry.item in items)
        ]
        assert len(found) > 20, items
        return found


@pytest.fixture(scope="module")
def marts(stack_env: dict[str, str]) -> Marts:
    platform = TestPlatform("ledger-to-marts", stack_env, "finance")
    platform.source.start(platform, 5_000, untidy=True, columns=HEADER)
    report(platform.run())
    platform.assert_equals_truth()
    platform.build()
    return Marts(platform, [Entry(row) for row in platform.look("truth")["loaded"]])


def months(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found = defaultdict(list)
    for entry in entries:
        found[f"{entry.day:%Y-%m}"].append(entry)
    return dict(found)


def own(entries: Iterable[Entry]) -> Fraction:
    return sum((entry.own for entry in entries), Fraction())


def full(entries: Iterable[Entry]) -> Fraction:
    return sum((entry.full or Fraction() for entry in entries), Fraction())


def assert_equal(found: list[tuple[Any, ...]], wanted: Iterable[tuple[Any, ...]]) -> None:
    """In any order; figures to a millionth, relative for large ones."""
    found, wanted = sorted(found, key=key), sorted(wanted, key=key)
    assert wanted and [key(row) for row in found] == [key(row) for row in wanted]
    for row, answer in zip(found, wanted, strict=True):
        assert len(row) == len(answer)
        for value, figure in zip(row, answer, strict=True):
            if isinstance(figure, Fraction):
                difference = abs(Fraction(value) - figure)
                assert difference <= CLOSE * max(Fraction(1), abs(figure) / 10**6), (row, answer)
            else:
                assert value == figure, (row, answer)


def key(row: tuple[Any, ...]) -> tuple[str, ...]:
    """What is no figure of a row, in its first two columns."""
    return tuple(str(value) for value in row[:2] if isinstance(value, str | int | date))


def test_the_sheet_has_every_oddity_that_is_to_be_counted_or_not(marts: Marts) -> None:
    reasons = {entry.reason for entry in marts.entries}
    assert reasons == {None, "impossible date", "no amount"}
    assert any(entry.full and entry.full > 10**19 for entry in marts.entries)
    assert any(entry.full and entry.full < 0 for entry in marts.entries)
    assert any("column G" in entry.row["_extra"] for entry in marts.entries)
    assert any("mood" in entry.row["_extra"] for entry in marts.entries)
    assert sum(entry.row["solo_part"] is not None for entry in marts.entries) > 200


def test_what_no_mart_counts_is_listed_with_its_reason(marts: Marts) -> None:
    assert_equal(
        marts.rows("uncounted_entries"),
        (
            (
                entry.row["id"],
                entry.text("type").upper() or None,
                entry.item or None,
                entry.reason,
                entry.full,
                entry.day,
            )
            for entry in marts.entries
            if entry.reason
        ),
    )


def test_months_have_their_income_expenses_and_running_savings(marts: Marts) -> None:
    spent = months(marts.counted())
    got = months(marts.counted(side="INCOME"))
    month = min([*spent, *got])
    (today,) = marts.platform.query("SELECT CURRENT_DATE('Asia/Manila') AS day")
    last = max([*spent, *got, f"{today['day']:%Y-%m}"])
    running = Fraction()
    wanted = []
    while month <= last:
        expenses, income = own(spent.get(month, [])), own(got.get(month, []))
        running += income - expenses
        paid = full(spent.get(month, []))
        wanted.append((month, expenses, income, income - expenses, running, paid))
        year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
        month = f"{year}-{number + 1:02d}"
    assert_equal(marts.rows("monthly_pnl"), wanted)


def test_monthly_marts_have_the_months_in_which_something_was_paid(marts: Marts) -> None:
    assert_equal(
        marts.rows("monthly_electricity_expenses"),
        (
            (month, own(paid), len(paid), full(paid))
            for month, paid in months(marts.counted("ELECTRICITY BILL")).items()
        ),
    )
    assert_equal(
        marts.rows("monthly_food_expenses"),
        (
            (
                month,
                own(paid),
                own(entry for entry in paid if entry.item == "FOOD"),
                own(entry for entry in paid if entry.item == "GROCERY"),
                full(paid),
            )
            for month, paid in months(marts.counted("FOOD", "GROCERY")).items()
        ),
    )
    delivered = [
        entry
        for entry in marts.counted("FOOD")
        if entry.text("to").upper() in ("FOODPANDA", "GRAB")
    ]
    assert_equal(
        marts.rows("monthly_food_deliveries"),
        (
            (
                month,
                own(paid),
                own(entry for entry in paid if entry.text("to").upper() == "FOODPANDA"),
                own(entry for entry in paid if entry.text("to").upper() == "GRAB"),
                len(paid),
                full(paid),
            )
            for month, paid in months(delivered).items()
        ),
    )


def test_yearly_marts_and_subscriptions(marts: Marts) -> None:
    clothes, massages = defaultdict(list), defaultdict(list)
    for entry in marts.counted("CLOTHES"):
        assert entry.day
        clothes[entry.day.year].append(entry)
    for entry in marts.counted("MASSAGE", "MASSAGE CHAIR"):
        assert entry.day
        massages[entry.day.year, entry.item].append(entry)
    assert_equal(
        marts.rows("yearly_clothes_expenses"),
        ((year, own(paid), len(paid), full(paid)) for year, paid in clothes.items()),
    )
    assert_equal(
        marts.rows("yearly_massage_expenses"),
        ((*group, own(paid), len(paid), full(paid)) for group, paid in massages.items()),
    )
    inserted = {id_: row["_inserted_at"] for (id_,), row in marts.platform.rows().items()}
    assert_equal(
        marts.rows("online_subscriptions"),
        (
            (
                entry.row["id"],
                f"{entry.day:%Y-%m}",
                entry.text("to") or None,
                entry.own,
                entry.text("source") or None,
                inserted[entry.row["id"]],
                False,
            )
            for entry in marts.counted("SUBSCRIPTION")
        ),
    )


@pytest.mark.parametrize(
    ("mart", "item"),
    [("daily_drinking_water_expenses", "WATER"), ("daily_laundry_expenses", "LAUNDRY")],
)
def test_each_purchase_is_spread_over_the_days_since_the_one_before(
    marts: Marts, mart: str, item: str
) -> None:
    bought: dict[date, list[Entry]] = defaultdict(list)
    for entry in marts.counted(item):
        assert entry.day
        bought[entry.day].append(entry)
    costs: dict[date, tuple[Fraction, Fraction]] = {}
    before = min(bought) - timedelta(days=1)
    for day, entries in sorted(bought.items()):
        span = (day - before).days
        for place in range(span):
            costs[day - timedelta(days=place)] = own(entries) / span, full(entries) / span
        before = day
    wanted, so_far = [], Fraction()
    for number, (day, (cost, whole)) in enumerate(sorted(costs.items()), start=1):
        so_far += cost
        wanted.append((day, cost, so_far / number, whole))
    rows = sorted(marts.rows(mart))
    assert_equal(rows[: len(wanted)], wanted)
    assert {row[1] for row in rows[len(wanted) :]} <= {None}
