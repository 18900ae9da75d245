"""Operations: runs, freshness, rows and rejects; for the owner also plans, bytes and incidents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dashboards import charts
from dashboards.data import Data, Rows, grouped
from dashboards.page import Chart, Figure, Page, Section, Table, TableColumn
from dashboards.pages.start import STATES

DAYS_SHOWN = timedelta(days=90)
RUNS_SHOWN = 200
# BigQuery's free tier of queries, per month: https://cloud.google.com/bigquery/pricing
FREE_BYTES = 2**40


def page(data: Data) -> Page:
    days = data.rows(
        "daily_source_operations", order="date_manila", date_manila=(data.now - DAYS_SHOWN).date()
    )
    runs = data.rows("status_runs", order="-ended_at")
    is_owner = data.audience == "private"
    return Page(
        slug="operations",
        title="Operations",
        lead="How the platform's runs went, and what they brought.",
        figures=figures(data, runs, days),
        sections=[
            *([incidents(data)] if is_owner else []),
            freshness(data),
            per_day(data, days),
            *([plans(data), bytes_billed(data, days), rejects(data)] if is_owner else []),
            last_runs(data, runs),
        ],
        data={
            "days": [
                {
                    "day": row["date_manila"],
                    "source": row["source"],
                    "written": row["written_row_count"],
                    "rejected": row["rejected_row_count"],
                    "runs": row["run_count"],
                    **({"billed": row["billed_bytes"] / 2**30} if is_owner else {}),
                }
                for row in days
            ],
        },
    )


def figures(data: Data, runs: Rows, days: Rows) -> list[Figure]:
    write = data.formats.write
    since = data.now - timedelta(days=1)
    recent = [row for row in runs if row["ended_at"] >= since]
    bad = [row for row in recent if row["state"] != "Completed"]
    found = []
    if runs:
        found += [
            Figure("Runs in 24 hours", write(len(recent), "count")),
            Figure("Ended badly", write(len(bad), "count"), "of these"),
        ]
    if days:
        today = max(row["date_manila"] for row in days)
        of_today = [row for row in days if row["date_manila"] == today]
        written = sum(row["written_row_count"] for row in of_today)
        rejected = sum(row["rejected_row_count"] for row in of_today)
        found += [
            Figure("Rows written", write(written, "count"), str(today)),
            Figure("Rows rejected", write(rejected, "count"), str(today)),
        ]
        if data.audience == "private":
            month = [row for row in days if f"{row['date_manila']:%Y-%m}" == f"{today:%Y-%m}"]
            billed = sum(row["billed_bytes"] for row in month)
            found.append(
                Figure(
                    "Billed this month",
                    write(billed, "bytes"),
                    f"{billed / FREE_BYTES:.1%} of the free 1 TiB",
                )
            )
    return found


def incidents(data: Data) -> Section:
    if not data.has("status_incidents"):
        return _unknown("incidents", "Incidents")
    return Section(
        id="incidents",
        title="Incidents",
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("title", "What is wrong", link="link"),
                        TableColumn("cause", "Why", "prose"),
                        TableColumn("source", "Source"),
                        TableColumn("begun_at", "Since", "time"),
                    ],
                    data.rows("status_incidents", order="-begun_at"),
                    empty="All is well.",
                ),
            )
        ],
    )


def freshness(data: Data) -> Section:
    if not data.has("status_freshness"):
        return _unknown("freshness", "Freshness")
    rows = [
        {
            **row,
            "look": STATES.get(row["look_state"], row["look_state"]),
            "event": STATES.get(row["event_state"], row["event_state"]),
        }
        for row in data.rows("status_freshness", order="source")
    ]
    return Section(
        id="freshness",
        title="Freshness",
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("source", "Source"),
                        TableColumn("last_look_at", "Last look", "time"),
                        TableColumn("look", "Looks are", "state"),
                        TableColumn("newest_event_at", "Newest data", "time"),
                        TableColumn("event", "Data is", "state"),
                    ],
                    rows,
                    empty="No source was looked at yet.",
                ),
            )
        ],
    )


def plans(data: Data) -> Section:
    if not data.has("status_budgets"):
        return _unknown("plans", "Plans")
    rows = [
        {**row, "left": row["allowed"] - row["spent"]}
        for row in data.rows("status_budgets", order="source")
    ]
    return Section(
        id="plans",
        title="Plans",
        text="Requests of the current month, which begins at midnight UTC.",
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("source", "Source"),
                        TableColumn("allowed", "Of the plan", "count"),
                        TableColumn("spent", "Spent", "count"),
                        TableColumn("left", "Left", "count"),
                    ],
                    rows,
                    empty="No source has a plan.",
                ),
            )
        ],
    )


def per_day(data: Data, days: Rows) -> Section:
    if not days:
        return Section(id="days", title="Days", empty=data.why_empty("daily_source_operations"))
    sources = sorted({row["source"] for row in days})
    table = Table(
        [
            TableColumn("date_manila", "Day", "day"),
            TableColumn("source", "Source"),
            TableColumn("run_count", "Runs", "count"),
            TableColumn("written_row_count", "Written", "count"),
            TableColumn("rejected_row_count", "Rejected", "count"),
            TableColumn("failed_load_count", "Failed loads", "count"),
            TableColumn("request_count", "Requests", "count"),
        ],
        days[::-1],
        left_out="The last 90 days; older ones are in gold.daily_source_operations.",
    )

    def bars(field: str, title: str) -> dict[str, Any]:
        return charts.bars(
            "days",
            charts.days("day"),
            field,
            title=title,
            color="source",
            domain=sources,
            tooltip=[
                charts.day_tip("day"),
                charts.tip("source", "Source"),
                charts.tip(field, title, "quantitative", ","),
            ],
        )

    return Section(
        id="days",
        title="Days",
        charts=[
            Chart(
                "runs", "Runs", "Extractions, by the ledger.", bars("runs", "runs"), table, span=2
            ),
            Chart(
                "written",
                "Rows written",
                "Inserted, updated and deleted.",
                bars("written", "rows"),
                table,
                span=2,
            ),
            Chart(
                "rejected",
                "Rows rejected",
                "Kept with the reason in raw._rejects.",
                bars("rejected", "rows"),
                table,
                span=2,
            ),
        ],
    )


def bytes_billed(data: Data, days: Rows) -> Section:
    if not days:
        return Section(id="bytes", title="Bytes billed", empty="Nothing was billed yet.")
    months = [{**row, "month": f"{row['date_manila']:%Y-%m}"} for row in days]
    return Section(
        id="bytes",
        title="Bytes billed",
        charts=[
            Chart(
                "billed",
                "Bytes billed by BigQuery",
                "By day and source, in GiB. 1 TiB a month is free.",
                charts.bars(
                    "days",
                    charts.days("day"),
                    "billed",
                    title="GiB",
                    color="source",
                    domain=sorted({row["source"] for row in days}),
                    tooltip=[
                        charts.day_tip("day"),
                        charts.tip("source", "Source"),
                        charts.tip("billed", "GiB", "quantitative", ".2f"),
                    ],
                ),
                Table(
                    [
                        TableColumn("month", "Month", "month"),
                        TableColumn("source", "Source"),
                        TableColumn("billed_bytes", "Billed", "bytes"),
                    ],
                    grouped(months, ("month", "source"), "billed_bytes")[::-1],
                ),
                aspect=0.25,
            )
        ],
    )


def rejects(data: Data) -> Section:
    rows = data.rows("daily_rejects", order="-date_manila")
    return Section(
        id="rejects",
        title="Rejects",
        tables=[
            (
                "",
                Table(
                    [
                        TableColumn("date_manila", "Day", "day"),
                        TableColumn("source", "Source"),
                        TableColumn("reason", "Reason"),
                        TableColumn("is_expected", "Expected"),
                        TableColumn("reject_count", "Rows", "count"),
                    ],
                    rows[:RUNS_SHOWN],
                    left_out=f"The newest {RUNS_SHOWN:,} of {len(rows):,}."
                    if len(rows) > RUNS_SHOWN
                    else "",
                    empty="No row was rejected.",
                ),
            )
        ],
    )


def last_runs(data: Data, runs: Rows) -> Section:
    if not data.has("status_runs"):
        return _unknown("runs", "Last runs")
    is_owner = data.audience == "private"
    columns = [
        TableColumn("ended_at", "Ended", "time"),
        TableColumn("deployment", "Deployment", link="link" if is_owner else ""),
        TableColumn("state", "State", "state"),
        TableColumn("seconds", "Seconds", "number"),
    ]
    if is_owner:
        columns.append(TableColumn("message", "What it said", "prose"))
    return Section(
        id="runs",
        title="Last runs",
        tables=[
            (
                "",
                Table(
                    columns,
                    runs[:RUNS_SHOWN],
                    left_out=f"The newest {RUNS_SHOWN:,} of {len(runs):,} in seven days."
                    if len(runs) > RUNS_SHOWN
                    else "",
                    empty="No run ended in the last seven days.",
                ),
            )
        ],
    )


def _unknown(id: str, title: str) -> Section:
    return Section(
        id=id, title=title, empty="Not known yet: watch/alerts tells it every quarter of an hour."
    )
