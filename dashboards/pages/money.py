"""Money: the owner's ledger by month, type and item. Private."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import altair as alt

from dashboards import charts
from dashboards.data import Data, Rows, grouped, total
from dashboards.page import Chart, Choice, Control, Figure, Page, Section, Table, TableColumn

MOST_ENTRIES = 1_000
ALL = "all"


def page(data: Data) -> Page:
    pnl = data.rows("monthly_pnl", order="year_month")
    spending = data.rows("monthly_spending", order="year_month")
    made = household_data(data)
    return Page(
        slug="money",
        title="Money",
        lead="What came in, what went out and what is left, by the ledger.",
        figures=figures(data, pnl),
        sections=[
            savings(data, pnl),
            by_type_and_item(data, spending),
            household(data, made),
            subscriptions(data),
            not_counted(data),
            entries(data),
        ],
        data={
            "sides": [
                {"month": row["year_month"], "side": side, "amount": row[side]}
                for row in pnl
                for side in ("income", "expenses")
            ],
            "pnl": pnl,
            "spending": [
                {
                    "month": row["year_month"],
                    "type": row["type"],
                    "item": row["item"] or "no item",
                    "cost": row["cost"],
                }
                for row in spending
            ],
            **made,
        },
    )


def figures(data: Data, pnl: Rows) -> list[Figure]:
    if not pnl:
        return []
    money, last = data.formats.money, pnl[-1]
    month = last["year_month"]
    before = list(pnl[-13:-1])
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


def savings(data: Data, pnl: Rows) -> Section:
    if not pnl:
        return Section(id="months", title="Months", empty=data.why_empty("monthly_pnl"))
    table = Table(
        columns=[
            TableColumn("year_month", "Month", "month"),
            TableColumn("income", "Income", "money"),
            TableColumn("expenses", "Expenses", "money"),
            TableColumn("savings", "Savings", "money"),
            TableColumn("running_savings", "Running savings", "money"),
        ],
        rows=pnl[::-1],
    )
    months = [row["year_month"] for row in pnl]
    tooltip = [charts.tip("month", "Month"), charts.tip("side", "Side"), _money("amount", "Amount")]
    return Section(
        id="months",
        title="Months",
        charts=[
            Chart(
                "sides",
                "Income and expenses",
                "What came in and went out in each month.",
                charts.bars(
                    "sides",
                    charts.months("month", months),
                    "amount",
                    title=data.formats.currency,
                    color="side",
                    domain=["income", "expenses"],
                    stack=False,
                    tooltip=tooltip,
                ),
                table,
            ),
            Chart(
                "running",
                "Running savings",
                "What is left of everything since the first entry, at the end of each month.",
                charts.finished(
                    charts.base("pnl")
                    .mark_area(line=True, opacity=0.25)
                    .encode(
                        x=charts.months("year_month", months),
                        y=alt.Y("running_savings:Q", axis=charts.axis(data.formats.currency)),
                        tooltip=[
                            charts.tip("year_month", "Month"),
                            _money("running_savings", "Running savings"),
                        ],
                    )
                ),
                table,
            ),
        ],
    )


def by_type_and_item(data: Data, spending: Rows) -> Section:
    if not spending:
        return Section(id="spending", title="Spending", empty=data.why_empty("monthly_spending"))
    months = list(dict.fromkeys(row["year_month"] for row in spending))[::-1]
    control = Control(
        "month",
        "Month",
        "year_month",
        "select",
        [Choice(ALL, "All months"), *(Choice(month, month) for month in months)],
        value=months[0],
    )
    chosen = alt.param(name="month", value=months[0])

    def of_month(chart: Any) -> Any:
        return chart.transform_filter(f"month == '{ALL}' || datum.month == month")

    def most(by: str) -> int:
        return len({row[by] for row in spending})

    def summed(by: str) -> Any:
        return lambda chart: chart.transform_aggregate(cost="sum(cost)", groupby=[by])

    def ranked(by: str, label: str) -> dict[str, Any]:
        return charts.ranked(
            "spending",
            by,
            "cost",
            title=data.formats.currency,
            tooltip=[charts.tip(by, label), _money("cost", "Cost")],
            transform=[of_month, summed(by)],
            params=[chosen],
        )

    table = Table(
        columns=[
            TableColumn("year_month", "Month", "month"),
            TableColumn("type", "Type"),
            TableColumn("item", "Item"),
            TableColumn("cost", "Cost", "money"),
            TableColumn("entry_count", "Entries", "count"),
        ],
        rows=sorted(spending, key=lambda row: (row["year_month"], row["cost"]), reverse=True),
        filters=["year_month"],
    )
    return Section(
        id="spending",
        title="Spending by type and item",
        text="The owner's own share of what was paid.",
        controls=[control],
        charts=[
            Chart(
                "by-type",
                "By type",
                "What was spent, by type.",
                ranked("type", "Type"),
                table,
                rows=most("type"),
            ),
            Chart(
                "by-item",
                "By item",
                "What was spent, by item.",
                ranked("item", "Item"),
                table,
                rows=most("item"),
            ),
        ],
    )


# Mart, its column, what it is.
MONTHLY = (
    ("monthly_food_expenses", "food", "Food"),
    ("monthly_food_deliveries", "deliveries", "Food deliveries"),
    ("monthly_electricity_expenses", "electricity", "Electricity"),
)
DAILY = (
    ("daily_drinking_water_expenses", "water", "Drinking water"),
    ("daily_laundry_expenses", "laundry", "Laundry"),
)
YEARLY = (
    ("yearly_clothes_expenses", "Clothes"),
    ("yearly_massage_expenses", "Massages"),
)


def household_data(data: Data) -> dict[str, Rows]:
    return {
        "household": [
            {"month": row["year_month"], "what": title, "cost": row["cost"]}
            for mart, _, title in MONTHLY
            for row in data.rows(mart, order="year_month")
        ],
        "per-day": per_day(data),
    }


def per_day(data: Data) -> Rows:
    """The mean of a day's cost in each month: five years of days would be too much to draw."""
    found = []
    for mart, _, title in DAILY:
        rows = [row for row in data.rows(mart, order="date") if row["daily_cost"] is not None]
        days = [
            {"month": f"{row['date']:%Y-%m}", "cost": row["daily_cost"], "days": 1} for row in rows
        ]
        for month in grouped(days, ("month",), "cost", "days"):
            mean = Decimal(month["cost"]) / month["days"]
            found.append({"month": month["month"], "what": title, "cost": mean})
    return found


def household(data: Data, made: dict[str, Rows]) -> Section:
    shown = []

    def by_month(rows: Rows) -> Any:
        return charts.months("month", (row["month"] for row in rows))

    tooltip = [charts.tip("month", "Month"), charts.tip("what", "What"), _money("cost", "Cost")]
    columns = [
        TableColumn("month", "Month", "month"),
        TableColumn("what", "What"),
        TableColumn("cost", "Cost", "money"),
    ]
    if made["household"]:
        shown.append(
            Chart(
                "household",
                "Food, deliveries, electricity",
                "Deliveries are part of food.",
                charts.lines(
                    "household",
                    by_month(made["household"]),
                    "cost",
                    "what",
                    [title for *_, title in MONTHLY],
                    title=data.formats.currency,
                    tooltip=tooltip,
                ),
                Table(columns, made["household"][::-1]),
            )
        )
    if made["per-day"]:
        shown.append(
            Chart(
                "per-day",
                "Water and laundry per day",
                "A purchase counts for the days since the last one; means by month.",
                charts.lines(
                    "per-day",
                    by_month(made["per-day"]),
                    "cost",
                    "what",
                    [title for *_, title in DAILY],
                    title=f"{data.formats.currency} a day",
                    tooltip=tooltip,
                ),
                Table(columns, made["per-day"][::-1], left_out="Days are in the marts, each."),
            )
        )
    years = [
        {
            "year": str(row["year"]),
            "what": row.get("item") or title,
            "cost": row["cost"],
        }
        for mart, title in YEARLY
        for row in data.rows(mart, order="-year")
    ]
    return Section(
        id="household",
        title="Household",
        charts=shown,
        empty="" if shown else "There are no entries for food, electricity, water or laundry yet.",
        tables=[
            (
                "Clothes and massages by year",
                Table(
                    [
                        TableColumn("year", "Year"),
                        TableColumn("what", "What"),
                        TableColumn("cost", "Cost", "money"),
                    ],
                    years,
                ),
            )
        ],
    )


def subscriptions(data: Data) -> Section:
    rows = data.rows("online_subscriptions", order="-year_month")
    return Section(
        id="subscriptions",
        title="Subscriptions",
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("year_month", "Month", "month"),
                        TableColumn("to", "To"),
                        TableColumn("cost", "Cost", "money"),
                        TableColumn("source", "From"),
                    ],
                    rows,
                    empty="No subscription was paid yet.",
                ),
            )
        ],
    )


def not_counted(data: Data) -> Section:
    rows = data.rows("uncounted_entries", order="reason")
    return Section(
        id="uncounted",
        title="What is not counted, and why",
        text="These entries are in the ledger and in no sum of this page.",
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("reason", "Why"),
                        TableColumn("entry_id", "Entry"),
                        TableColumn("type", "Type"),
                        TableColumn("item", "Item"),
                        TableColumn("amount", "Amount", "money"),
                        TableColumn("entry_date", "Day", "day"),
                    ],
                    rows,
                    empty="Every entry counts.",
                ),
            )
        ],
    )


def entries(data: Data) -> Section:
    rows = data.rows("ledger", order="-entry_date")
    shown = rows[:MOST_ENTRIES]
    older = len(rows) - len(shown)
    return Section(
        id="entries",
        title="Entries",
        controls=[Control("word", "Search", "", "search")] if shown else [],
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("entry_date", "Day", "day"),
                        TableColumn("type", "Type"),
                        TableColumn("item", "Item"),
                        TableColumn("to", "To"),
                        TableColumn("store", "Store"),
                        TableColumn("source", "Account"),
                        TableColumn("cost", "Cost", "money"),
                    ],
                    shown,
                    filters=["entry_id"] if shown else [],
                    left_out=f"The {older:,} older entries are in gold.ledger." if older else "",
                    empty="The ledger has no entries yet.",
                ),
            )
        ],
    )


def _money(field: str, title: str) -> Any:
    return charts.tip(field, title, "quantitative", ",.2f")
