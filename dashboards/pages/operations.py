"""Operations: runs, freshness, rows and rejects; for the owner also plans, bytes and incidents."""

from __future__ import annotations

from datetime import timedelta

from dashboards import charts
from dashboards.charts import Measure
from dashboards.data import Data, Rows, grouped, total, with_month
from dashboards.page import Chart, Column, Figure, Page, Section, Table, left_out
from dashboards.pages.start import STATES, by_source, operations_since

DAYS_SHOWN = timedelta(days=90)
RUNS_SHOWN = 200
# BigQuery's free tier of queries, per month: https://cloud.google.com/bigquery/pricing
FREE_BYTES = 2**40
UNKNOWN = "Not known yet: watch/alerts tells it every quarter of an hour."
DAY = Column("date_manila", "Day", "day")
SOURCE = Column("source", "Source")


def page(data: Data) -> Page:
    days = operations_since(data, DAYS_SHOWN)
    runs = data.rows("status_runs", order="-ended_at")
    is_owner = data.audience == "private"
    return Page(
        title="Operations",
        lead="How the platform's runs went, and what they brought.",
        figures=figures(data, runs, days),
        sections=[
            *([incidents(data)] if is_owner else []),
            freshness(data),
            per_day(data, days),
            *([plans(data), bytes_billed(days), rejects(data)] if is_owner else []),
            last_runs(data, runs),
        ],
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
        written = total(of_today, "written_row_count")
        rejected = total(of_today, "rejected_row_count")
        found += [
            Figure("Rows written", write(written, "count"), str(today)),
            Figure("Rows rejected", write(rejected, "count"), str(today)),
        ]
        if data.audience == "private":
            month = [row for row in days if f"{row['date_manila']:%Y-%m}" == f"{today:%Y-%m}"]
            billed = total(month, "billed_bytes")
            share = f"{billed / FREE_BYTES:.1%} of the free 1 TiB"
            found.append(Figure("Billed this month", write(billed, "bytes"), share))
    return found


def incidents(data: Data) -> Section:
    if not data.has("status_incidents"):
        return Section("incidents", "Incidents", empty=UNKNOWN)
    table = Table(
        [
            Column("title", "What is wrong", link="link"),
            Column("cause", "Why", "prose"),
            SOURCE,
            Column("begun_at", "Since", "time"),
        ],
        data.rows("status_incidents", order="-begun_at"),
        empty="All is well.",
    )
    return Section("incidents", "Incidents", tables=[table])


def freshness(data: Data) -> Section:
    if not data.has("status_freshness"):
        return Section("freshness", "Freshness", empty=UNKNOWN)
    rows = [
        {
            **row,
            "look": STATES.get(row["look_state"], row["look_state"]),
            "event": STATES.get(row["event_state"], row["event_state"]),
        }
        for row in data.rows("status_freshness", order="source")
    ]
    table = Table(
        [
            SOURCE,
            Column("last_look_at", "Last look", "time"),
            Column("look", "Looks are", "state"),
            Column("newest_event_at", "Newest data", "time"),
            Column("event", "Data is", "state"),
        ],
        rows,
        empty="No source was looked at yet.",
    )
    return Section("freshness", "Freshness", tables=[table])


def plans(data: Data) -> Section:
    if not data.has("status_budgets"):
        return Section("plans", "Plans", empty=UNKNOWN)
    budgets = data.rows("status_budgets", order="source")
    table = Table(
        [
            SOURCE,
            Column("allowed", "Of the plan", "count"),
            Column("spent", "Spent", "count"),
            Column("left", "Left", "count"),
        ],
        [{**row, "left": row["allowed"] - row["spent"]} for row in budgets],
        empty="No source has a plan.",
    )
    text = "Requests of the current month, which begins at midnight UTC."
    return Section("plans", "Plans", text, tables=[table])


def per_day(data: Data, days: Rows) -> Section:
    if not days:
        return Section("days", "Days", empty=data.why_empty("daily_source_operations"))
    table = Table(
        [
            DAY,
            SOURCE,
            Column("run_count", "Runs", "count"),
            Column("written_row_count", "Written", "count"),
            Column("rejected_row_count", "Rejected", "count"),
            Column("failed_load_count", "Failed loads", "count"),
            Column("request_count", "Requests", "count"),
        ],
        days[::-1],
        left_out="The last 90 days; older ones are in gold.daily_source_operations.",
    )

    def chart(id: str, title: str, text: str, unit: str) -> Chart:
        bars = charts.bars("days", charts.days("day"), Measure(id, unit, unit), by_source(days))
        return Chart(id, title, text, bars, table, span=2)

    is_owner = data.audience == "private"
    rows = [
        {
            "day": row["date_manila"],
            "source": row["source"],
            "written": row["written_row_count"],
            "rejected": row["rejected_row_count"],
            "runs": row["run_count"],
            **({"billed": row["billed_bytes"] / 2**30} if is_owner else {}),
        }
        for row in days
    ]
    return Section(
        "days",
        "Days",
        charts=[
            chart("runs", "Runs", "Extractions, by the ledger.", "runs"),
            chart("written", "Rows written", "Inserted, updated and deleted.", "rows"),
            chart("rejected", "Rows rejected", "Kept with the reason in raw._rejects.", "rows"),
        ],
        data={"days": rows},
    )


def bytes_billed(days: Rows) -> Section:
    """A chart of the rows of `per_day`."""
    if not days:
        return Section("bytes", "Bytes billed", empty="Nothing was billed yet.")
    months = grouped(with_month(days, "date_manila"), ("month", "source"), "billed_bytes")
    billed = Measure("billed", "GiB", "GiB", ".2f")
    chart = Chart(
        "billed",
        "Bytes billed by BigQuery",
        "By day and source, in GiB. 1 TiB a month is free.",
        charts.bars("days", charts.days("day"), billed, by_source(days)),
        Table(
            [Column("month", "Month", "month"), SOURCE, Column("billed_bytes", "Billed", "bytes")],
            months[::-1],
        ),
        aspect=0.25,
    )
    return Section("bytes", "Bytes billed", charts=[chart])


def rejects(data: Data) -> Section:
    rows = data.rows("daily_rejects", order="-date_manila")
    table = Table(
        [
            DAY,
            SOURCE,
            Column("reason", "Reason"),
            Column("is_expected", "Expected"),
            Column("reject_count", "Rows", "count"),
        ],
        rows[:RUNS_SHOWN],
        left_out=left_out(rows, RUNS_SHOWN),
        empty="No row was rejected.",
    )
    return Section("rejects", "Rejects", tables=[table])


def last_runs(data: Data, runs: Rows) -> Section:
    if not data.has("status_runs"):
        return Section("runs", "Last runs", empty=UNKNOWN)
    is_owner = data.audience == "private"
    columns = [
        Column("ended_at", "Ended", "time"),
        Column("deployment", "Deployment", link="link" if is_owner else ""),
        Column("state", "State", "state"),
        Column("seconds", "Seconds", "number"),
    ]
    if is_owner:
        columns.append(Column("message", "What it said", "prose"))
    table = Table(
        columns,
        runs[:RUNS_SHOWN],
        left_out=left_out(runs, RUNS_SHOWN, among=" in seven days"),
        empty="No run ended in the last seven days.",
    )
    return Section("runs", "Last runs", tables=[table])
