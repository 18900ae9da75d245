"""Start: what there is, and how fresh it is."""

from __future__ import annotations

from datetime import timedelta

from dashboards import charts
from dashboards.data import Data, Rows, absent_sources
from dashboards.formats import NOTHING, ago
from dashboards.page import Card, Chart, Figure, Page, Section, Table, TableColumn
from sources import SOURCES as NAMES
from sources.tables import table_of

# A source's own page, where it has one; its runs are on that of operations.
OWN_PAGES = {
    "usgs_earthquake": "earthquakes.html",
    "openweather": "weather.html",
    "ph_news": "news.html",
    "nyc_fhv": "vehicles.html",
    "finance": "money.html",
}
# A source, which page it is on, and what it is.
SOURCES = {
    source: (table.title or source, OWN_PAGES.get(source, "operations.html"), table.about)
    for source in NAMES
    for table in [table_of(source)]
}
DAYS_SHOWN = timedelta(days=30)
NOT_CONFIGURED = "not configured"
STATES = {"fresh": "fresh", "warn": "getting old", "error": "stale"}


def page(data: Data) -> Page:
    write = data.formats.write
    freshness = {row["source"]: row for row in data.rows("status_freshness")}
    absent = absent_sources(data.snapshot)
    sources = []
    for source, (title, link, what) in SOURCES.items():
        if data.audience == "public" and not table_of(source).is_public:
            continue
        told = freshness.get(source, {})
        newest, looked = told.get("newest_event_at"), told.get("last_look_at")
        facts = [("Newest data", write(newest, "time")), ("Last look", write(looked, "time"))]
        told_state = NOT_CONFIGURED if source in absent else state(told)
        sources.append(Card(title, link, what, told_state, facts))
    running = [one for one in sources if one.state != NOT_CONFIGURED]
    known = [one for one in running if one.state]
    fresh = sum(one.state == "fresh" for one in known)
    marts = [mart for mart in data.snapshot.manifest.marts.values() if mart.group != "status"]
    rows = sum(mart.rows for mart in marts)
    built = max((mart.built_at for mart in marts), default=None)
    figures = [
        Figure("Sources that are fresh", f"{fresh} of {len(running)}" if known else NOTHING),
        Figure("Tables to look at", write(len(marts), "count")),
        Figure("Rows in them", write(rows, "count")),
        Figure(
            "Last build",
            f"{ago((data.now - built).total_seconds())} ago" if built else NOTHING,
            write(built, "time"),
        ),
    ]
    if data.audience == "private" and data.has("status_incidents"):
        open_ = len(data.rows("status_incidents", "incident"))
        figures.append(Figure("Incidents going on", str(open_)))
    days = data.rows(
        "daily_source_operations", order="date_manila", date_manila=(data.now - DAYS_SHOWN).date()
    )
    listed = [
        {
            "mart": mart.name,
            "group": mart.group,
            "rows": mart.rows,
            "built_at": mart.built_at,
            # The first sentence of a mart says its grain; the footer has all of it.
            "what": f"{mart.description.partition('. ')[0].rstrip('.')}.",
        }
        for mart in sorted(marts, key=lambda mart: (mart.group, mart.name))
    ]
    return Page(
        slug="index",
        title="Data platform",
        lead="What is collected here, how fresh it is, and where to look.",
        figures=figures,
        sections=[
            Section(
                id="sources",
                title="Sources",
                text="What each source has brought, on a page of its own.",
                cards=sources,
            ),
            activity(data, days),
            Section(
                id="tables",
                title="Tables",
                text="The marts that pages are made of, with what one row of each is.",
                tables=[
                    (
                        "",
                        Table(
                            columns=[
                                TableColumn("mart", "Mart"),
                                TableColumn("group", "Of"),
                                TableColumn("rows", "Rows", "count"),
                                TableColumn("built_at", "Built", "time"),
                                TableColumn("what", "What one row is", "prose"),
                            ],
                            rows=listed,
                            empty="No mart was exported yet: a source's run exports what it built.",
                        ),
                    )
                ],
            ),
        ],
        data={
            "activity": [
                {
                    "day": row["date_manila"],
                    "source": row["source"],
                    "written": row["written_row_count"],
                }
                for row in days
            ]
        },
        credits=CREDITS,
    )


def activity(data: Data, days: Rows) -> Section:
    """What came in lately, by day and source."""
    if not days:
        why = data.why_empty("daily_source_operations")
        return Section(id="activity", title="What came in", empty=why)
    return Section(
        id="activity",
        title="What came in",
        charts=[
            Chart(
                "activity",
                "Rows written by day",
                f"Inserted, updated and deleted rows of the last {DAYS_SHOWN.days} days.",
                charts.bars(
                    "activity",
                    charts.days("day"),
                    "written",
                    title="rows",
                    color="source",
                    domain=sorted({row["source"] for row in days}),
                    tooltip=[
                        charts.day_tip("day"),
                        charts.tip("source", "Source"),
                        charts.tip("written", "Rows", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("date_manila", "Day", "day"),
                        TableColumn("source", "Source"),
                        TableColumn("written_row_count", "Rows", "count"),
                    ],
                    days[::-1],
                ),
                aspect=0.25,
            )
        ],
    )


CREDITS = (
    "Earthquakes: U.S. Geological Survey. Weather data provided by OpenWeather (TM), "
    "https://openweathermap.org, under CC BY-SA 4.0 and ODbL. Vehicles: NYC Open Data, Taxi and "
    "Limousine Commission. Outlines of land: Natural Earth.",
)


def state(told: dict[str, str]) -> str:
    """The worse of both clocks, in words; empty when nothing is known."""
    found = {told.get("look_state"), told.get("event_state")} - {None}
    worst = next((one for one in ("error", "warn", "fresh") if one in found), "")
    return STATES.get(worst, "")
