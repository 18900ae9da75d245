"""The finance marts on the emulator: a small ledger in, hand-computed answers out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sources.finance import TABLE
from tasks.build import BuildFailed, BuildResult, build, describe
from tests.dbt_project.conftest import Query, RunDbt

DATASETS = {"RAW_DATASET": "raw_finance", "DBT_DATASET_PREFIX": "finance_"}
RAW = "raw_finance.finance__ledger"
META = ("_batch_id STRING", "_inserted_at TIMESTAMP", "_is_deleted BOOL", "_extra STRING")
# Day, type, item, to, amount, source, deleted. November has no expenses, December, February and
# April no income, March neither.
LEDGER = {
    "water-first": ("2026-01-30", "EXPENSES", "WATER", "AQUA", "50", "CASH", False),
    "water-same-day": ("2026-02-02", "EXPENSES", "WATER", "AQUA", "60", "CASH", False),
    "water-again": ("2026-02-02", "EXPENSES", " water ", "NENA", "40", "GCASH", False),
    "water-day-after": ("2026-02-03", "EXPENSES", "WATER", "AQUA", "25.50", "CASH", False),
    "water-deleted": ("2026-02-01", "EXPENSES", "WATER", "AQUA", "999", "CASH", True),
    "water-refund": ("2026-02-03", "CASHBACK", "WATER", "AQUA", "0", "CASH", True),
    "laundry": ("2026-01-05", "EXPENSES", "LAUNDRY", "SUDS", "300", "CASH", False),
    "laundry-week": ("2026-01-12", "EXPENSES", "LAUNDRY", "SUDS", "100", "CASH", False),
    "salary": ("2026-01-31", "SALARY", "SALARY", "EMPLOYER", "40000", "BPI", False),
    "interest": ("2025-11-30", "INTEREST", "SAVINGS", "BPI", "12.50", "BPI", False),
    "power": ("2026-01-15", "BILLS", "ELECTRICITY BILL", "MERALCO", "1500", "BPI", False),
    "power-late": ("2026-01-28", "BILLS", "ELECTRICITY BILL", "MERALCO", "20.25", "BPI", False),
    "panda": ("2026-02-10", "EXPENSES", "FOOD", "FOODPANDA", "310", "GCASH", False),
    "grab": ("2026-02-11", "EXPENSES", "FOOD", "Grab", "190", "GCASH", False),
    "jollibee": ("2026-02-11", "EXPENSES", "FOOD", "JOLLIBEE", "99", "CASH", False),
    "grocery": ("2026-02-28", "EXPENSES", "GROCERY", "PUREGOLD", "1000", "BPI", False),
    "ride": ("2026-02-12", "EXPENSES", "TRANSPORTATION", "GRAB", "80", "GCASH", False),
    "netflix": ("2026-02-14", "EXPENSES", "SUBSCRIPTION", "NETFLIX", "549", "BPI", False),
    "shirt": ("2025-12-31", "EXPENSES", "CLOTHES", "UNIQLO", "590", "BPI", False),
    "shoes": ("2026-01-01", "EXPENSES", "CLOTHES", "SHOPEE", "1200", "GCASH", False),
    "massage": ("2026-01-20", "EXPENSES", "MASSAGE", "LAY BARE", "450", "CASH", False),
    "chair": ("2026-01-21", "EXPENSES", "MASSAGE CHAIR", "SM", "50", "CASH", False),
    "chair-2": ("2026-02-21", "GIFT", "MASSAGE CHAIR", "SM", "60", "CASH", False),
    "moved": ("2026-04-01", "BET LOSS", "BASKETBALL", "KUYA BOY", "500", "CASH", False),
    "no-amount": ("2026-04-02", "EXPENSES", "FOOD", "GRAB", None, "CASH", False),
}


def serial(day: str) -> int:
    return (date.fromisoformat(day) - date(1899, 12, 30)).days


def row(id_: str, cells: tuple[Any, ...], currency: str = "PHP") -> str:
    day, type_, item, to, amount, account, is_deleted = cells
    texts = ", ".join(f"'{text}'" for text in (id_, type_, item, to, account, currency))
    return (
        f"({texts}, {serial(day)}, cast({amount or 'null'} as numeric), {is_deleted}, 'b1', "
        "timestamp '2026-05-01 00:00:00+00')"
    )


def insert(query: Query, *rows: str) -> None:
    query(
        f"insert into {RAW} (id, type, item, `to`, source, currency, date, amount, _is_deleted, "
        f"_batch_id, _inserted_at) values {', '.join(rows)}"
    )


@pytest.fixture(scope="module")
def env(dbt_env: dict[str, str]) -> dict[str, str]:
    return dbt_env | DATASETS


@pytest.fixture(scope="module")
def raw(query: Query) -> None:
    columns = [f"`{column.name}` {column.type}" for column in TABLE.columns]
    query("create schema raw_finance")
    query(f"create table {RAW} ({', '.join((*columns, *META))}) cluster by id")
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
    raw: None, env: dict[str, str], query: Query, target_path: Path
) -> Iterator[FirstBuild]:
    """A type that nobody knows, none at all, and dollars; they are gone afterwards."""
    typed = ("2026-04-03", "MYSTERY", "WATER", "AQUA", "7", "CASH", False)
    blank = ("2026-04-03", " ", "WATER", "AQUA", "8", "CASH", False)
    dollars = ("2026-04-03", "EXPENSES", "WATER", "AQUA", "9", "CASH", False)
    insert(query, row("odd-1", typed), row("odd-2", blank), row("odd-3", dollars, "USD"))
    query(f"update {RAW} set type = 'BET WIN' where id = 'moved'")
    with pytest.raises(BuildFailed) as raised:
        build("@source:finance", target_path, env, query)
    yield FirstBuild(
        raised.value.result,
        rows_of(query, "entry_id, type, reason, currency, amount", "uncounted_entries"),
        rows_of(query, "year, cost, purchase_count", "yearly_clothes_expenses"),
        rows_of(query, "entry_id, amount", "ledger_income", "silver"),
    )


@pytest.fixture(scope="module")
def built(
    first_build: FirstBuild, env: dict[str, str], query: Query, target_path: Path
) -> BuildResult:
    query(f"delete from {RAW} where id like 'odd-%'")
    query(f"update {RAW} set type = 'BET LOSS' where id = 'moved'")
    return build("@source:finance", target_path, env, query)


def test_all_is_built_and_only_an_amount_that_cannot_be_read_warns(built: BuildResult) -> None:
    assert (built.nodes_failed, built.nodes_skipped, built.nodes_warned) == (0, 0, 1)


# By hand: 50 on its own day; 100 over three days; 25.50 the day after.
WATER = [
    ("2026-01-30", "50", "50"),
    ("2026-01-31", "33.3333", "41.6667"),
    ("2026-02-01", "33.3333", "38.8889"),
    ("2026-02-02", "33.3333", "37.5"),
    ("2026-02-03", "25.5", "35.1"),
]
# 300 on its own day, 100 over seven.
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
    ("mart", "answers", "total"),
    [("daily_drinking_water_expenses", WATER, "175.5"), ("daily_laundry_expenses", LAUNDRY, "400")],
)
def test_each_purchase_is_spread_to_the_last_centavo(
    built: BuildResult, query: Query, mart: str, answers: list[tuple[str, ...]], total: str
) -> None:
    rows = rows_of(query, "date, daily_cost, average_daily_cost", mart)
    paid, still_open = rows[: len(answers)], rows[len(answers) :]
    assert [day.isoformat() for day, *_ in paid] == [day for day, *_ in answers]
    # BigQuery has nine decimals here, the emulator three; the sum is exact in both.
    for (_, *costs), (_, *expected) in zip(paid, answers, strict=True):
        assert all(
            abs(a - b) < Decimal("0.002") for a, b in zip(costs, pesos(*expected), strict=True)
        )
    assert sum(cost for _, cost, _ in paid) == Decimal(total)
    # And then every day to today, whose cost the next purchase will tell.
    (today,) = query("select current_date('Asia/Manila') as today")[0].values()
    days = [rows[0][0] + timedelta(days=n) for n in range((today - rows[0][0]).days + 1)]
    assert [day for day, *_ in rows] == days
    assert {tuple(costs) for _, *costs in still_open} == {(None, paid[-1][2])}


def test_every_month_has_its_profit_and_loss_once(built: BuildResult, query: Query) -> None:
    columns = "year_month, expenses, income, savings, running_savings"
    rows = rows_of(query, columns, "monthly_pnl")
    answers = [
        ("2025-11", *pesos("0", "12.5", "12.5", "12.5")),
        ("2025-12", *pesos("590", "0", "-590", "-577.5")),
        ("2026-01", *pesos("3670.25", "40000", "36329.75", "35752.25")),
        ("2026-02", *pesos("2413.5", "0", "-2413.5", "33338.75")),
        ("2026-03", *pesos("0", "0", "0", "33338.75")),
        ("2026-04", *pesos("500", "0", "-500", "32838.75")),
    ]
    assert rows[:6] == answers
    today: date = query("select current_date('Asia/Manila') as today")[0]["today"]
    assert [row[0] for row in rows][-1] == f"{today:%Y-%m}"
    assert len(rows) == (today.year - 2025) * 12 + today.month - 10
    assert {row[1:] for row in rows[6:]} == {pesos("0", "0", "0", "32838.75")}


ANSWERS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "monthly_electricity_expenses": (
        "year_month, cost, bill_count",
        [("2026-01", Decimal("1520.25"), 2)],
    ),
    "monthly_food_expenses": (
        "year_month, cost, food_cost, grocery_cost",
        [("2026-02", *pesos("1599", "599", "1000"))],
    ),
    "monthly_food_deliveries": (
        "year_month, cost, foodpanda_cost, grab_cost, delivery_count",
        [("2026-02", *pesos("500", "310", "190"), 2)],
    ),
    "online_subscriptions": (
        "id, year_month, `to`, cost, source",
        [("netflix", "2026-02", "NETFLIX", Decimal("549"), "BPI")],
    ),
    "yearly_clothes_expenses": (
        "year, cost, purchase_count",
        [(2025, Decimal("590"), 1), (2026, Decimal("1200"), 1)],
    ),
    "yearly_massage_expenses": (
        "year, item, cost, session_count",
        [
            (2026, "MASSAGE", Decimal("450"), 1),
            (2026, "MASSAGE CHAIR", Decimal("110"), 2),
        ],
    ),
    "uncounted_entries": (
        "entry_id, type, item, currency, reason, amount, entry_date",
        [("no-amount", "EXPENSES", "FOOD", "PHP", "no amount", None, date(2026, 4, 2))],
    ),
}


@pytest.mark.parametrize("mart", ANSWERS)
def test_a_mart_is_as_worked_out_by_hand(built: BuildResult, query: Query, mart: str) -> None:
    columns, answers = ANSWERS[mart]
    assert rows_of(query, columns, mart) == answers


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
        "no-amount",
    }
    columns = "type, item, year_month, amount, entry_count"
    months = rows_of(query, columns, "monthly_expenses", "silver")
    assert ("BET LOSS", "BASKETBALL", "2026-04", Decimal("500"), 1) in months
    assert ("EXPENSES", "WATER", "2026-02", Decimal("125.5"), 3) in months


def test_an_unknown_type_fails_by_its_name_is_shown_and_stops_no_mart(
    first_build: FirstBuild,
) -> None:
    told = describe(first_build.failure)
    assert "2 failed, 1 warned" in told and "skipped" not in told
    (types,) = (f for f in first_build.failure.failures if f.node.startswith("every_type"))
    assert sorted(types.keys) == ["MYSTERY", "null"]
    assert "every_amount_of_the_ledger_is_in_pesos (1 row: USD)" in told
    assert first_build.uncounted == [
        ("no-amount", "EXPENSES", "no amount", "PHP", None),
        ("odd-1", "MYSTERY", "unknown type", "PHP", Decimal("7")),
        ("odd-2", None, "unknown type", "PHP", Decimal("8")),
        ("odd-3", "EXPENSES", "foreign currency", "USD", Decimal("9")),
    ]
    assert first_build.clothes == ANSWERS["yearly_clothes_expenses"][1]


def test_the_unit_tests_pass(
    built: BuildResult, env: dict[str, str], run_dbt: RunDbt, target_path: Path
) -> None:
    selected = "test_type:unit,source:finance+"
    target = str(target_path.with_name("units"))
    result, _ = run_dbt("test", "--select", selected, "--target-path", target, **env)
    assert [str(outcome.status) for outcome in result.result.results] == ["pass"] * 4


def test_a_ledger_in_which_nothing_is_left_leaves_empty_marts(
    built: BuildResult, env: dict[str, str], query: Query, target_path: Path
) -> None:
    query(f"update {RAW} set _is_deleted = true where true")
    result = build("@source:finance", target_path, env, query)
    assert (result.nodes_failed, result.nodes_warned) == (0, 0)
    marts = ["monthly_pnl", "daily_laundry_expenses", *ANSWERS]
    counts = [query(f"select count(*) as n from finance_gold.{mart}")[0]["n"] for mart in marts]
    assert counts == [0] * 9
