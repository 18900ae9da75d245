"""Money: the owner's ledger by month, type and item. Private."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import altair as alt

from dashboards import charts
from dashboards.charts import Category, Measure
from dashboards.data import Data, Rows, grouped, total, with_month
from dashboards.page import ALL, SEARCH, Chart, Column, Figure, Page, Section, Table, select

MOST_ENTRIES = 1_000
# How a tooltip writes an amount.
EXACT = ",.2f"
MONTH = Column("year_month", "Month", "month")
TYPE, ITEM = Column("type", "Type"), Column("item", "Item")
COST = Column("cost", "Cost", "money")
# Mart, what it is.
MONTHLY = (
    ("monthly_food_expenses", "Food"),
    ("monthly_food_deliveries", "Food deliveries"),
    ("monthly_electricity_expenses", "Electricity"),
)
DAILY = (
    ("daily_drinking_water_expenses", "Drinking water"),
    ("daily_laundry_expenses", "Laundry"),
)
YEARLY = (
    ("yearly_clothes_expenses", "Clothes"),
    ("yearly_massage_expenses", "Massages"),
)


def page(data: Data) -> Page:
    pnl = data.rows("monthly_pnl", order="year_month")
    spending = data.rows("monthly_spending", order="year_month")
    return Page(
        title="Money",
        lead="What came in, what went out and what is left, by the ledger.",
        figures=figures(data, pnl),
        sections=[
            *(months(data, pnl), by_type_and_item(data, spending), household(data)),
            *(subscriptions(data), not_counted(data), entries(data)),
        ],
    )


def figures(data: Data, pnl: Rows) -> list[Figure]:
    if not pnl:
        return []
    money, last = data.formats.money, pnl[-1]
    month = last["year_month"]
    before = pnl[-13:-1]
    average = total(before, "expenses") / len(before) if before else None
    return [
        Figure("Income", money(last["income"]), month),
        Figure("Expenses", money(last["expenses"]), month),
        Figure("Savings", money(last["savings"]), month),
        Figure("Saved since the first entry", money(last["running_savings"])),
        Figure(
            "Expenses of a month",
            money(average),
            f"mean of the {len(before)} months before" if before else "no month before",
        ),
    ]


def months(data: Data, pnl: Rows) -> Section:
    if not pnl:
        return Section("months", "Months", empty=data.why_empty("monthly_pnl"))
    table = Table(
        [
            MONTH,
            Column("income", "Income", "money"),
            Column("expenses", "Expenses", "money"),
            Column("savings", "Savings", "money"),
            Column("running_savings", "Running savings", "money"),
        ],
        pnl[::-1],
    )
    sides = [
        {"month": row["year_month"], "side": side, "amount": row[side]}
        for row in pnl
        for side in ("income", "expenses")
    ]
    return Section(
        "months",
        "Months",
        charts=[
            Chart(
                "sides",
                "Income and expenses",
                "What came in and went out in each month.",
                charts.bars(
                    "sides",
                    charts.months("month", sides),
                    Measure("amount", data.formats.currency, "Amount", EXACT),
                    Category("side", "Side", ["income", "expenses"]),
                    stack=False,
                ),
                table,
            ),
            Chart(
                "running",
                "Running savings",
                "What is left of everything since the first entry, at the end of each month.",
                running_savings(data, pnl),
                table,
            ),
        ],
        data={"sides": sides, "pnl": pnl},
    )


def running_savings(data: Data, pnl: Rows) -> Any:
    month = charts.months("year_month", pnl)
    return (
        charts.of("pnl")
        .mark_area(line=True, opacity=0.25)
        .encode(
            x=month.x,
            y=alt.Y("running_savings:Q", axis=charts.axis(data.formats.currency)),
            tooltip=[month.tip, charts.tip("running_savings", "Running savings", EXACT)],
        )
    )


def by_type_and_item(data: Data, spending: Rows) -> Section:
    if not spending:
        return Section("spending", "Spending", empty=data.why_empty("monthly_spending"))
    listed = list(dict.fromkeys(row["year_month"] for row in spending))[::-1]
    control = select("month", "Month", "year_month", "All months", listed, listed[0])
    table = Table(
        [MONTH, TYPE, ITEM, COST, Column("entry_count", "Entries", "count")],
        sorted(spending, key=lambda row: (row["year_month"], row["cost"]), reverse=True),
        filters=["year_month"],
    )
    cost = Measure("cost", data.formats.currency, "Cost", EXACT)

    def chart(by: str, label: str) -> Chart:
        drawn = (
            charts.ranked("spending", by, label, cost)
            .transform_filter(f"month == '{ALL}' || datum.month == month")
            .transform_aggregate(cost="sum(cost)", groupby=[by])
            .add_params(charts.chosen(control))
        )
        bars = len({row[by] for row in spending})
        text = f"What was spent, by {by}."
        return Chart(f"by-{by}", f"By {by}", text, drawn, table, rows=bars)

    rows = [
        {
            "month": row["year_month"],
            "type": row["type"],
            "item": row["item"] or "no item",
            "cost": row["cost"],
        }
        for row in spending
    ]
    return Section(
        "spending",
        "Spending by type and item",
        "The owner's own share of what was paid.",
        controls=[control],
        charts=[chart("type", "Type"), chart("item", "Item")],
        data={"spending": rows},
    )


def household(data: Data) -> Section:
    by_month = [
        {"month": row["year_month"], "what": title, "cost": row["cost"]}
        for mart, title in MONTHLY
        for row in data.rows(mart, order="year_month")
    ]
    by_day = per_day(data)
    by_year = [
        {"year": str(row["year"]), "what": row.get("item") or title, "cost": row["cost"]}
        for mart, title in YEARLY
        for row in data.rows(mart, order="-year")
    ]
    what, currency = Column("what", "What"), data.formats.currency

    def chart(
        id: str, title: str, text: str, unit: str, rows: Rows, names: list[str], left_out: str = ""
    ) -> Chart:
        drawn = charts.lines(
            id,
            charts.months("month", rows),
            Measure("cost", unit, "Cost", EXACT),
            Category("what", "What", names),
        )
        columns = [Column("month", "Month", "month"), what, COST]
        return Chart(id, title, text, drawn, Table(columns, rows[::-1], left_out=left_out))

    shown = []
    if by_month:
        shown.append(
            chart(
                "household",
                "Food, deliveries, electricity",
                "Deliveries are part of food.",
                currency,
                by_month,
                [title for _, title in MONTHLY],
            )
        )
    if by_day:
        shown.append(
            chart(
                "per-day",
                "Water and laundry per day",
                "A purchase counts for the days since the last one; means by month.",
                f"{currency} a day",
                by_day,
                [title for _, title in DAILY],
                left_out="Days are in the marts, each.",
            )
        )
    return Section(
        "household",
        "Household",
        charts=shown,
        empty="" if shown else "There are no entries for food, electricity, water or laundry yet.",
        tables=[
            Table(
                [Column("year", "Year"), what, COST], by_year, title="Clothes and massages by year"
            )
        ],
        data={"household": by_month, "per-day": by_day},
    )


def per_day(data: Data) -> Rows:
    """The mean of a day's cost in each month: five years of days would be too much to draw."""
    found = []
    for mart, title in DAILY:
        rows = [row for row in data.rows(mart, order="date") if row["daily_cost"] is not None]
        days = [{**row, "days": 1} for row in with_month(rows, "date")]
        for month in grouped(days, ("month",), "daily_cost", "days"):
            mean = Decimal(month["daily_cost"]) / month["days"]
            found.append({"month": month["month"], "what": title, "cost": mean})
    return found


def subscriptions(data: Data) -> Section:
    table = Table(
        [MONTH, Column("to", "To"), COST, Column("source", "From")],
        data.rows("online_subscriptions", order="-year_month"),
        empty="No subscription was paid yet.",
    )
    return Section("subscriptions", "Subscriptions", tables=[table])


def not_counted(data: Data) -> Section:
    table = Table(
        [
            Column("reason", "Why"),
            Column("entry_id", "Entry"),
            TYPE,
            ITEM,
            Column("amount", "Amount", "money"),
            Column("entry_date", "Day", "day"),
        ],
        data.rows("uncounted_entries", order="reason"),
        empty="Every entry counts.",
    )
    return Section(
        "uncounted",
        "What is not counted, and why",
        "These entries are in the ledger and in no sum of this page.",
        tables=[table],
    )


def entries(data: Data) -> Section:
    rows = data.rows("ledger", order="-entry_date")
    shown = rows[:MOST_ENTRIES]
    older = len(rows) - len(shown)
    table = Table(
        [
            Column("entry_date", "Day", "day"),
            TYPE,
            ITEM,
            Column("to", "To"),
            Column("store", "Store"),
            Column("source", "Account"),
            COST,
        ],
        shown,
        filters=["entry_id"],
        left_out=f"The {older:,} older entries are in gold.ledger." if older else "",
        empty="The ledger has no entries yet.",
    )
    return Section("entries", "Entries", controls=[SEARCH] if shown else [], tables=[table])
