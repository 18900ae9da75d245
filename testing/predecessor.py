"""A stand-in of the older system's datasets: its tables by its DDL, its marts by its own rules.

What is known of it is in references/predecessor.md. Nothing here reads our models.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

# The first day of its rules, whatever was paid first.
FIRST_DAY = date(2022, 1, 1)
LEDGER_DDL = (
    "id STRING NOT NULL, year INT64 NOT NULL, month INT64 NOT NULL, day INT64 NOT NULL, "
    "item STRING, type STRING NOT NULL, cost FLOAT64, `to` STRING, store STRING, source STRING, "
    "created_at STRING NOT NULL, updated_at STRING NOT NULL, "
    "_inserted_at TIMESTAMP NOT NULL, _is_deleted BOOL NOT NULL"
)
ARTICLES_DDL = (
    "author STRING, title STRING, description STRING, url STRING, source STRING, image STRING, "
    "category STRING, published_at TIMESTAMP, _inserted_at TIMESTAMP"
)
EXPENSES = {
    *("EXPENSES", "GIFT", "BILLS", "FAMILY SUPPORT", "SALARY DEDUCTION", "DONATION", "TAX"),
    *("CASH IN", "LOSS", "CONVERSION LOSS", "BET LOSS"),
}
INCOME = {
    *("SALARY", "BONUS", "INTEREST", "CASHBACK", "CASH OUT", "ALLOWANCE", "SELL", "BET WIN"),
}
LOADED_AT = datetime(2026, 1, 5, tzinfo=UTC)
HEADER = (
    *("id", "year", "month", "day", "item", "type", "cost", "to", "store", "source"),
    *("created_at", "updated_at"),
)


@dataclass(frozen=True)
class Entry:
    """One entry of the ledger; `to` is `party`, which no field may be called otherwise."""

    id: str
    day: date
    item: str | None
    type: str
    cost: float | None
    party: str | None
    store: str | None
    source: str | None
    stamp: str

    @property
    def year_month(self) -> str:
        return f"{self.day:%Y-%m}"

    @property
    def cells(self) -> list[Any]:
        """The row of the sheet."""
        cells = [self.id, self.day.year, self.day.month, self.day.day, self.item, self.type]
        cells += [self.cost, self.party, self.store, self.source, self.stamp, self.stamp]
        return ["" if cell is None else cell for cell in cells]


def entries(seed: int = 3) -> list[Entry]:
    """Three years with months without an entry, and costs as formulas leave them."""
    chance = random.Random(seed)
    made: list[Entry] = []

    def add(day: date, item: str | None, type_: str, cost: float | None, party: str = "") -> None:
        stamp = f"{day:%Y-%m-%d} {chance.randrange(24):02}:30:00"
        account = chance.choice(["CASH", "BANK", None])
        row = Entry(f"e{len(made):04}", day, item, type_, cost, party or None, None, account, stamp)
        made.append(row)

    def some(first: float, last: float) -> float:
        cost = round(chance.uniform(first, last), 2)
        return chance.choice([cost, cost, cost, cost / 3, cost * 1.12])

    for year in (2022, 2023, 2024):
        for month in range(1, 13):
            # The ledger begins in March 2022; some months later nothing was written down.
            if date(year, month, 1) < date(2022, 3, 1) or (year, month) in ((2023, 2), (2023, 3)):
                continue
            on = [date(year, month, number) for number in range(1, 29)]
            add(chance.choice(on), None, "SALARY", some(20_000, 30_000), "EMPLOYER")
            add(chance.choice(on), "ELECTRICITY BILL", "BILLS", some(900, 2000), "GRID")
            add(chance.choice(on), "SUBSCRIPTION", "EXPENSES", some(100, 600), "STREAM")
            for _ in range(chance.randrange(1, 4)):
                add(chance.choice(on), "WATER", "EXPENSES", some(30, 60), "STATION")
                add(chance.choice(on), "LAUNDRY", "EXPENSES", some(150, 250), "SHOP")
                add(chance.choice(on), "GROCERY", "EXPENSES", some(300, 900), "MARKET")
            for party in ("FOODPANDA", "GRAB", "CANTEEN"):
                add(chance.choice(on), "FOOD", "EXPENSES", some(100, 500), party)
            if month % 3 == 0:
                add(chance.choice(on), "CLOTHES", "GIFT", some(500, 2500))
                add(chance.choice(on), "MASSAGE", "EXPENSES", some(400, 900))
                add(chance.choice(on), "MASSAGE CHAIR", "EXPENSES", some(50, 120))
                add(chance.choice(on), "FOOD", "EXPENSES", None)
    # Two purchases of one day, and one of the last day.
    add(date(2024, 12, 30), "WATER", "EXPENSES", 45.5)
    add(date(2024, 12, 30), "WATER", "EXPENSES", 45.0)
    return made


def marts(listed: Iterable[Entry]) -> dict[str, tuple[str, list[tuple[Any, ...]]]]:
    """The nine marts: columns and rows."""
    listed = list(listed)
    spent = [entry for entry in listed if entry.type in EXPENSES]
    year_month: Callable[[Entry], Any] = lambda entry: entry.year_month  # noqa: E731
    monthly = "year_month STRING, cost FLOAT64"
    daily = "date DATE, daily_cost FLOAT64, average_daily_cost FLOAT64"
    deliveries = [one for one in spent if one.item == "FOOD" and one.party in ("FOODPANDA", "GRAB")]
    return {
        "daily_drinking_water_expenses": (daily, spread(spent, "WATER")),
        "daily_laundry_expenses": (daily, spread(spent, "LAUNDRY")),
        "monthly_electricity_expenses": (
            monthly,
            summed([one for one in spent if one.item == "ELECTRICITY BILL"], year_month),
        ),
        "monthly_food_deliveries": (monthly, summed(deliveries, year_month)),
        "monthly_food_expenses": (
            monthly,
            summed([one for one in spent if one.item in ("FOOD", "GROCERY")], year_month),
        ),
        "monthly_pnl": (
            "year_month STRING, expenses FLOAT64, income FLOAT64, savings FLOAT64, "
            "running_savings FLOAT64",
            pnl(listed),
        ),
        "online_subscriptions": (
            "id STRING, year_month STRING, `to` STRING, cost FLOAT64, source STRING, "
            "_inserted_at TIMESTAMP, _is_deleted BOOL",
            [
                (one.id, one.year_month, one.party, one.cost, one.source, LOADED_AT, False)
                for one in spent
                if one.item == "SUBSCRIPTION"
            ],
        ),
        "yearly_clothes_expenses": (
            "year INT64, cost FLOAT64",
            summed([one for one in spent if one.item == "CLOTHES"], lambda one: one.day.year),
        ),
        "yearly_massage_expenses": (
            "year INT64, item STRING, cost FLOAT64",
            summed(
                [one for one in spent if one.item in ("MASSAGE", "MASSAGE CHAIR")],
                lambda one: (one.day.year, one.item),
            ),
        ),
    }


def summed(listed: Iterable[Entry], key: Callable[[Entry], Any]) -> list[tuple[Any, ...]]:
    """Money by key, where there is any entry."""
    money: dict[Any, float] = defaultdict(float)
    for entry in listed:
        money[key(entry)] += entry.cost or 0
    return [(*(name if isinstance(name, tuple) else (name,)), cost) for name, cost in money.items()]


def pnl(listed: Iterable[Entry]) -> list[tuple[Any, ...]]:
    """One row per month with entries."""
    sides: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for entry in listed:
        if entry.cost is not None:
            sides[entry.year_month][entry.type in INCOME] += entry.cost
    rows, running = [], 0.0
    for month, (expenses, income) in sorted(sides.items()):
        running += income - expenses
        rows.append((month, expenses, income, income - expenses, running))
    return rows


def spread(listed: Iterable[Entry], item: str) -> list[tuple[Any, ...]]:
    """A purchase is spread over the days since the one before, the first one back to FIRST_DAY; the
    average is the money of the purchases so far by all days since then, rounded."""
    money: dict[date, float] = defaultdict(float)
    for entry in listed:
        if entry.item == item:
            money[entry.day] += entry.cost or 0
    rows, so_far, begins = [], 0.0, FIRST_DAY
    for bought_on in sorted(money):
        days = (bought_on - begins).days + 1
        for number in range(days):
            on = begins + timedelta(days=number)
            if on == bought_on:
                so_far += money[bought_on]
            average = round(so_far / ((on - FIRST_DAY).days + 1), 2)
            rows.append((on, money[bought_on] / days, average if so_far else None))
        begins = bought_on + timedelta(days=1)
    return rows


def raw_rows(listed: Iterable[Entry], deleted: Iterable[str] = ()) -> list[tuple[Any, ...]]:
    """Rows of its raw table; it marks as deleted only what `deleted` names."""
    marked = set(deleted)
    return [
        (
            *(one.id, one.day.year, one.day.month, one.day.day, one.item, one.type, one.cost),
            *(one.party, one.store, one.source, one.stamp, one.stamp),
            *(LOADED_AT, one.id in marked),
        )
        for one in listed
    ]


def values(rows: Iterable[tuple[Any, ...]]) -> str:
    """Rows as the values of an INSERT."""
    return ",\n".join(f"({', '.join(map(literal, row))})" for row in rows)


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S}+00'"
    if isinstance(value, date):
        return f"DATE '{value}'"
    return f"'{value}'" if isinstance(value, str) else repr(value)
