"""The finance marts on the emulator: a small ledger in, hand-computed answers out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runs.build import BuildFailed, BuildResult, build, describe
from sources.finance.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

DATASETS = {"RAW_DATASET": "raw_finance", "DBT_DATASET_PREFIX": "finance_"}
RAW = "raw_finance.finance__ledger"
INSERTED_AT = datetime(2026, 5, 1, tzinfo=UTC)
# Day, type, item, to, cost, source, deleted. November has no expenses, December, February, March
# and April no income.
LEDGER = {
    "water-first": ("2026-01-30", "EXPENSES", "WATER", "AQUA", "50", "CASH", False),
    "water-same-day": ("2026-02-02", "EXPENSES", "WATER", "AQUA", "60", "CASH", False),
    "water-again": ("2026-02-02", "EXPENSES", " water ", "NENA", "40", "GCASH", False),
    "water-day-after": ("2026-02-03", "EXPENSES", "WATER", "AQUA", "25.50", "CASH", False),
    "water-deleted": ("2026-02-01", "EXPENSES", "WATER", "AQUA", "999", "CASH", True),
    "water-refund": ("2026-02-03", "CASHBACK", "WATER", "AQUA", "0", "CASH", True),
    "laundry": ("2026-01-05", "EXPENSES", "LAUNDRY", "SUDS", "300", "CASH", False),
    "laundry-week": ("2026-01-12", "EXPENSES", "LAUNDRY", "SUDS", "200", "CASH", False),
    "salary": ("2026-01-31", "SALARY", "SALARY", "EMPLOYER", "40000", "BPI", False),
    "interest": ("2025-11-30", "INTEREST", "SAVINGS", "BPI", "12.50", "BPI", False),
    "power": ("2026-01-15", "BILLS", "ELECTRICITY BILL", "MERALCO", "1500", "BPI", False),
    "power-late": ("2026-01-28", "BILLS", "ELECTRICITY BILL", "MERALCO", "20.25", "BPI", False),
    "power-shared": ("2026-03-15", "BILLS", "ELECTRICITY BILL", "MERALCO", "1600", "BPI", False),
    "panda": ("2026-02-10", "EXPENSES", "FOOD", "FOODPANDA", "310", "GCASH", False),
    "grab": ("2026-02-11", "EXPENSES", "FOOD", "Grab", "380", "GCASH", False),
    "jollibee": ("2026-02-11", "EXPENSES", "FOOD", "JOLLIBEE", "99", "CASH", False),
    "grocery": ("2026-02-28", "EXPENSES", "GROCERY", "PUREGOLD", "1000", "BPI", False),
    "ride": ("2026-02-12", "EXPENSES", "TRANSPORTATION", "GRAB", "80", "GCASH", False),
    "netflix": ("2026-02-14", "EXPENSES", "SUBSCRIPTION", "NETFLIX", "549", "BPI", False),
    "shirt": ("2025-12-31", "EXPENSES", "CLOTHES", "UNIQLO", "590", "BPI", False),
    "shoes": ("2026-01-01", "EXPENSES", "CLOTHES", "SHOPEE", "1200", "GCASH", False),
    "shoes-for-others": ("2026-01-02", "GIFT", "CLOTHES", "SHOPEE", "700", "GCASH", False),
    "massage": ("2026-01-20", "EXPENSES", "MASSAGE", "LAY BARE", "450", "CASH", False),
    "chair": ("2026-01-21", "EXPENSES", "MASSAGE CHAIR", "SM", "50", "CASH", False),
    "chair-2": ("2026-02-21", "GIFT", "MASSAGE CHAIR", "SM", "60", "CASH", False),
    "moved": ("2026-04-01", "BET LOSS", "BASKETBALL", "KUYA BOY", "500", "CASH", False),
    "lost": ("2026-04-01", "LOSS", "CASH", "", "-0.125", "CASH", False),
    "no-cost": ("2026-04-02", "EXPENSES", "FOOD", "GRAB", None, "CASH", False),
    "text-cost": ("2026-04-02", "EXPENSES", "FOOD", "GRAB", "1,250.50", "CASH", False),
    "30-february": ("2026-02-30", "EXPENSES", "FOOD", "GRAB", "77", "CASH", False),
    "no-day": ("2026-02-", "MYSTERY", "FOOD", "GRAB", None, "CASH", False),
    "month-13": ("2026-13-01", "SALARY", "SALARY", "EMPLOYER", "77", "BPI", False),
    "year-26": ("26-02-01", "EXPENSES", "WATER", "AQUA", "77", "CASH", False),
    "year-2206": ("2206-02-01", "SALARY", "SALARY", "EMPLOYER", "77", "BPI", False),
}
# Of costs shared with others, the part that is one's own. A third of 1,600 has nine decimals.
# Sheets takes 1/2 for a date unless the column is text, and then has its number.
SOLO_PARTS = {
    "laundry-week": "1/2",
    "power-shared": " 1 / 3 ",
    "grab": "2/4",
    "shoes-for-others": "0/2",
    "jollibee": " ",
    "netflix": "half",
    "massage": "3/2",
    "chair": "1/0",
    "grocery": "46024",
}
# Plain decimals, typed as text.
TEXT_COSTS = {"interest", "power-late", "text-cost"}
# Text in Philippine time, the number that Sheets makes of one, and what is neither.
STAMPS = {
    "power": ("2026-01-15 07:30:00", "46037.3125"),
    "grab": ("46064", ""),
    "panda": ("yesterday", "2026-02-30 10:00:00"),
}


def row(id_: str, cells: tuple[Any, ...]) -> dict[str, Any]:
    day, type_, item, to, cost, account, is_deleted = cells
    created_at, updated_at = STAMPS.get(id_, (None, None))
    parts = [int(part) if part else None for part in day.split("-")]
    is_text = id_ in TEXT_COSTS
    return {
        **dict(zip(("year", "month", "day"), parts, strict=True)),
        "id": id_,
        "type": type_,
        "item": item,
        "to": to,
        "cost": None if is_text or cost is None else Decimal(cost),
        "store": f" {item} mart ",
        "source": account,
        "solo_part": SOLO_PARTS.get(id_),
        "posted_date": "2026-05-01",
        "created_at": created_at,
        "updated_at": updated_at,
        "_batch_id": "b1",
        "_inserted_at": INSERTED_AT,
        "_is_deleted": is_deleted,
        "_extra": json.dumps({"cost": cost}) if is_text else None,
    }


def insert(query: Query, *rows: dict[str, Any]) -> None:
    raw.insert(query, TABLE, rows, "raw_finance")


@pytest.fixture(scope="module")
def env(dbt_env: dict[str, str]) -> dict[str, str]:
    return dbt_env | DATASETS


@pytest.fixture(scope="module")
def ledger(query: Query) -> None:
    raw.create(query, TABLE, "raw_finance")
    insert(query, *(row(id_, cells) for id_, cells in LEDGER.items()))


def rows_of(query: Query, columns: str, mart: str, dataset: str = "gold") -> list[tuple[Any, ...]]:
    """A mart's rows in the order of its first columns."""
    rows = query(f"select {columns} from finance_{dataset}.{mart} order by 1, 2")
    assert rows
    return [tuple(row.values()) for row in rows]


def pesos(*amounts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(amount) for amount in amounts)


@dataclass(frozen=True)
class FirstBuild:
    """What came of the ledger as it was first typed: with odd entries, and a loss as a win."""

    failure: BuildResult
    uncounted: list[tuple[Any, ...]]
    clothes: list[tuple[Any, ...]]
    income: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def first_build(
    ledger: None, env: dict[str, str], query: Query, target_path: Path
) -> Iterator[FirstBuild]:
    """A type that nobody knows, and none at all; they are gone afterwards."""
    typed = ("2026-04-03", "MYSTERY", "WATER", "AQUA", "7", "CASH", False)
    blank = ("2026-04-03", " ", "WATER", "AQUA", "8", "CASH", False)
    insert(query, row("odd-1", typed), row("odd-2", blank))
    query(f"update {RAW} set type = 'BET WIN' where id = 'moved'")
    with pytest.raises(BuildFailed) as raised:
        build("@source:finance", target_path, env, query)
    yield FirstBuild(
        raised.value.result,
        rows_of(query, "entry_id, type, reason, amount", "uncounted_entries"),
        rows_of(query, "year, cost, purchase_count, full_cost", "yearly_clothes_expenses"),
        rows_of(query, "entry_id, amount", "ledger_income", "silver"),
    )


@pytest.fixture(scope="module")
def built(
    first_build: FirstBuild, env: dict[str, str], query: Query, target_path: Path
) -> BuildResult:
    query(f"delete from {RAW} where id like 'odd-%'")
    query(f"update {RAW} set type = 'BET LOSS' where id = 'moved'")
    return build("@source:finance", target_path, env, query)


def test_all_is_built_and_what_cannot_be_read_warns_by_name(built: BuildResult) -> None:
    assert (built.nodes_failed, built.nodes_skipped, built.nodes_warned) == (0, 0, 3)
    warned = {warning.node: (warning.failing_rows, warning.keys) for warning in built.warnings}
    assert warned.keys() == {
        "stg_finance__ledger_live_without_amount",
        "every_entry_lies_in_the_calendar",
        "every_cell_of_the_ledger_is_read",
    }
    assert warned["stg_finance__ledger_live_without_amount"][0] == 3
    rows, keys = warned["every_entry_lies_in_the_calendar"]
    undated = {
        *(f"impossible date/{id_}" for id_ in ("30-february", "month-13", "no-day")),
        *(f"beyond the calendar/{id_}" for id_ in ("year-26", "year-2206")),
    }
    assert rows == len(undated) and set(keys) < undated
    rows, keys = warned["every_cell_of_the_ledger_is_read"]
    unread = {
        *("created_at/panda", "updated_at/panda"),
        *(f"solo_part/{id_}" for id_ in ("chair", "grocery", "massage", "netflix")),
    }
    assert rows == len(unread) and set(keys) < unread
    assert "every_cell_of_the_ledger_is_read (6 rows: " in describe(built)


# By hand: 50 on its own day; 100 over three days; 25.50 the day after.
WATER = [
    ("2026-01-30", "50", "50"),
    ("2026-01-31", "33.3333", "41.6667"),
    ("2026-02-01", "33.3333", "38.8889"),
    ("2026-02-02", "33.3333", "37.5"),
    ("2026-02-03", "25.5", "35.1"),
]
# 300 on its own day, half of 200 over seven.
LAUNDRY = [
    ("2026-01-05", "300", "300"),
    ("2026-01-06", "14.2857", "157.1429"),
    ("2026-01-07", "14.2857", "109.5238"),
    ("2026-01-08", "14.2857", "85.7143"),
    ("2026-01-09", "14.2857", "71.4286"),
    ("2026-01-10", "14.2857", "61.9048"),
    ("2026-01-11", "14.2857", "55.1020"),
    ("2026-01-12", "14.2857", "50"),
]


@pytest.mark.parametrize(
    ("mart", "answers", "total", "full"),
    [
        ("daily_drinking_water_expenses", WATER, "175.5", "175.5"),
        ("daily_laundry_expenses", LAUNDRY, "400", "500"),
    ],
)
def test_each_purchase_is_spread_to_the_last_centavo(
    built: BuildResult,
    query: Query,
    mart: str,
    answers: list[tuple[str, ...]],
    total: str,
    full: str,
) -> None:
    rows = rows_of(query, "date, daily_cost, average_daily_cost, full_cost", mart)
    paid, still_open = rows[: len(answers)], rows[len(answers) :]
    assert [day.isoformat() for day, *_ in paid] == [day for day, *_ in answers]
    for (_, *costs, _), (_, *expected) in zip(paid, answers, strict=True):
        assert tuple(round(cost, 4) for cost in costs) == pesos(*expected)
    assert sum(cost for _, cost, _, _ in paid) == Decimal(total)
    assert sum(cost for *_, cost in paid) == Decimal(full)
    # And then every day to today, whose cost the next purchase will tell.
    (today,) = query("select current_date('Asia/Manila') as today")[0].values()
    days = [rows[0][0] + timedelta(days=n) for n in range((today - rows[0][0]).days + 1)]
    assert [day for day, *_ in rows] == days
    assert {tuple(costs) for _, *costs in still_open} == {(None, paid[-1][2], None)}


def test_every_month_has_its_profit_and_loss_once(built: BuildResult, query: Query) -> None:
    columns = "year_month, expenses, income, savings, running_savings, full_cost"
    rows = rows_of(query, columns, "monthly_pnl")
    third = Decimal("533.333333333")
    answers = [
        ("2025-11", *pesos("0", "12.5", "12.5", "12.5", "0")),
        ("2025-12", *pesos("590", "0", "-590", "-577.5", "590")),
        ("2026-01", *pesos("3670.25", "40000", "36329.75", "35752.25", "4470.25")),
        ("2026-02", *pesos("2413.5", "0", "-2413.5", "33338.75", "2603.5")),
        ("2026-03", third, 0, -third, Decimal("33338.75") - third, Decimal("1600")),
        ("2026-04", *pesos("499.875", "0", "-499.875", "32305.541666667", "499.875")),
    ]
    assert rows[:6] == answers
    today: date = query("select current_date('Asia/Manila') as today")[0]["today"]
    assert [row[0] for row in rows][-1] == f"{today:%Y-%m}"
    assert len(rows) == (today.year - 2025) * 12 + today.month - 10
    assert {row[1:] for row in rows[6:]} == {pesos("0", "0", "0", "32305.541666667", "0")}


ANSWERS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "monthly_electricity_expenses": (
        "year_month, cost, bill_count, full_cost",
        [
            ("2026-01", Decimal("1520.25"), 2, Decimal("1520.25")),
            ("2026-03", Decimal("533.333333333"), 1, Decimal("1600")),
        ],
    ),
    "monthly_food_expenses": (
        "year_month, cost, food_cost, grocery_cost, full_cost",
        [("2026-02", *pesos("1599", "599", "1000", "1789"))],
    ),
    "monthly_food_deliveries": (
        "year_month, cost, foodpanda_cost, grab_cost, delivery_count, full_cost",
        [("2026-02", *pesos("500", "310", "190"), 2, Decimal("690"))],
    ),
    "online_subscriptions": (
        "id, year_month, `to`, cost, source, _inserted_at, _is_deleted",
        [("netflix", "2026-02", "NETFLIX", Decimal("549"), "BPI", INSERTED_AT, False)],
    ),
    "yearly_clothes_expenses": (
        "year, cost, purchase_count, full_cost",
        [
            (2025, Decimal("590"), 1, Decimal("590")),
            (2026, Decimal("1200"), 2, Decimal("1900")),
        ],
    ),
    "yearly_massage_expenses": (
        "year, item, cost, session_count, full_cost",
        [
            (2026, "MASSAGE", Decimal("450"), 1, Decimal("450")),
            (2026, "MASSAGE CHAIR", Decimal("110"), 2, Decimal("110")),
        ],
    ),
    "uncounted_entries": (
        "entry_id, type, item, reason, amount, entry_date",
        [
            ("30-february", "EXPENSES", "FOOD", "impossible date", Decimal("77"), None),
            ("month-13", "SALARY", "SALARY", "impossible date", Decimal("77"), None),
            ("no-cost", "EXPENSES", "FOOD", "no amount", None, date(2026, 4, 2)),
            ("no-day", "MYSTERY", "FOOD", "impossible date", None, None),
            ("text-cost", "EXPENSES", "FOOD", "no amount", None, date(2026, 4, 2)),
            *(
                (id_, type_, item, "beyond the calendar", Decimal("77"), day)
                for id_, type_, item, day in (
                    ("year-2206", "SALARY", "SALARY", date(2206, 2, 1)),
                    ("year-26", "EXPENSES", "WATER", date(26, 2, 1)),
                )
            ),
        ],
    ),
}
UNCOUNTED = {id_ for id_, *_ in ANSWERS["uncounted_entries"][1]}


@pytest.mark.parametrize("mart", ANSWERS)
def test_a_mart_is_as_worked_out_by_hand(built: BuildResult, query: Query, mart: str) -> None:
    columns, answers = ANSWERS[mart]
    assert rows_of(query, columns, mart) == answers
    # The columns that he had come first, in his order, and full_cost comes last.
    (first,) = query(f"select * from finance_gold.{mart} limit 1")
    assert list(first) == [name.strip("`") for name in columns.split(", ")]


def test_stamps_become_utc_and_what_is_no_stamp_is_null(built: BuildResult, query: Query) -> None:
    found = query("""
        select entry_id, created_at, updated_at from finance_staging.stg_finance__ledger
        where entry_id in ('power', 'grab', 'panda') order by entry_id
    """)
    # Eight hours before the Philippine time.
    assert [tuple(stamps.values()) for stamps in found] == [
        ("grab", datetime(2026, 2, 10, 16, tzinfo=UTC), None),
        ("panda", None, None),
        (
            "power",
            datetime(2026, 1, 14, 23, 30, tzinfo=UTC),
            datetime(2026, 1, 14, 23, 30, tzinfo=UTC),
        ),
    ]


def test_silver_has_store_posting_day_and_share_and_both_amounts(
    built: BuildResult, query: Query
) -> None:
    columns = "entry_id, store, posted_date, solo_part, amount, full_amount"
    entries = rows_of(query, columns, "ledger_entries", "silver")
    shoes = next(entry for entry in entries if entry[0] == "shoes-for-others")
    assert shoes == ("shoes-for-others", "CLOTHES mart", "2026-05-01", "0/2", 0, Decimal("700"))


def test_a_row_moved_from_income_to_expenses_is_counted_once(
    first_build: FirstBuild, built: BuildResult, query: Query
) -> None:
    income = [("interest", Decimal("12.5")), ("salary", Decimal("40000"))]
    assert first_build.income == sorted([*income, ("moved", Decimal("500"))])
    assert rows_of(query, "entry_id, amount", "ledger_income", "silver") == income
    expenses = rows_of(query, "entry_id, amount", "ledger_expenses", "silver")
    assert expenses.count(("moved", Decimal("500"))) == 1
    deleted = {id_ for id_, cells in LEDGER.items() if cells[-1]}
    assert len(deleted) == 2
    assert {id_ for id_, _ in expenses} == set(LEDGER) - deleted - {
        "interest",
        "salary",
        *UNCOUNTED,
    }
    columns = "type, item, year_month, amount, entry_count"
    months = rows_of(query, columns, "monthly_expenses", "silver")
    assert ("BET LOSS", "BASKETBALL", "2026-04", Decimal("500"), 1) in months
    assert ("EXPENSES", "WATER", "2026-02", Decimal("125.5"), 3) in months


def test_an_unknown_type_fails_by_its_name_is_shown_and_stops_no_mart(
    first_build: FirstBuild,
) -> None:
    told = describe(first_build.failure)
    assert "1 failed, 3 warned" in told and "skipped" not in told
    (types,) = (f for f in first_build.failure.failures if f.node.startswith("every_type"))
    assert sorted(types.keys) == ["MYSTERY", "null"]
    odd = [entry for entry in first_build.uncounted if entry[0].startswith("odd")]
    assert odd == [
        ("odd-1", "MYSTERY", "unknown type", Decimal("7")),
        ("odd-2", None, "unknown type", Decimal("8")),
    ]
    assert len(first_build.uncounted) == len(UNCOUNTED) + len(odd)
    assert first_build.clothes == ANSWERS["yearly_clothes_expenses"][1]


def test_the_unit_tests_pass(
    built: BuildResult, env: dict[str, str], run_dbt: RunDbt, target_path: Path
) -> None:
    selected = "test_type:unit,source:finance+"
    target = str(target_path.with_name("units"))
    result, _ = run_dbt("test", "--select", selected, "--target-path", target, **env)
    assert [str(outcome.status) for outcome in result.result.results] == ["pass"] * 4


@pytest.mark.slow
def test_a_ledger_in_which_nothing_is_left_leaves_empty_marts(
    built: BuildResult, env: dict[str, str], query: Query, target_path: Path
) -> None:
    query(f"update {RAW} set _is_deleted = true where true")
    result = build("@source:finance", target_path, env, query)
    assert (result.nodes_failed, result.nodes_warned) == (0, 0)
    marts = ["monthly_pnl", "daily_laundry_expenses", *ANSWERS]
    counts = [query(f"select count(*) as n from finance_gold.{mart}")[0]["n"] for mart in marts]
    assert counts == [0] * 9


def test_a_mart_that_is_empty_over_a_filled_ledger_fails_with_both_counts(
    built: BuildResult, env: dict[str, str], query: Query, target_path: Path
) -> None:
    """Marts of rare items may be empty; that of all of them may not."""
    query(f"update {RAW} set _is_deleted = (id not in ('30-february', 'year-26')) where true")
    with pytest.raises(BuildFailed) as raised:
        build("@source:finance", target_path, env, query)
    (failure,) = raised.value.result.failures
    assert failure.node == "monthly_pnl"
    assert "monthly_pnl has 0 rows, and stg_finance__ledger has 2 live ones" in failure.message
