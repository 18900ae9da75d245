"""Start: what there is, and how fresh it is."""

from __future__ import annotations

from datetime import timedelta

from dashboards import charts
from dashboards.charts import Category, Measure
from dashboards.data import Data, Rows, absent_sources, renamed
from dashboards.formats import NOTHING, ago
from dashboards.page import Card, Chart, Column, Figure, Page, Section, Table
from serving.snapshot import Mart
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
SOURCES = {source: table_of(source) for source in NAMES}
DAYS_SHOWN = timedelta(days=30)
NOT_CONFIGURED = "not configured"
STATES = {"fresh": "fresh", "warn": "getting old", "error": "stale"}
CREDITS = (
    "Earthquakes: U.S. Geological Survey. Weather data provided by OpenWeather (TM), "
    "https://openweathermap.org, under CC BY-SA 4.0 and ODbL. Vehicles: NYC Open Data, Taxi and "
    "Limousine Commission. Outlines of land: Natural Earth.",
)


def page(data: Data) -> Page:
    sources = cards(data)
    marts = [mart for mart in data.snapshot.manifest.marts.values() if mart.group != "status"]
    return Page(
        title="Data platform",
        lead="What is collected here, how fresh it is, and where to look.",
        figures=figures(data, sources, marts),
        sections=[
            Section(
                "sources",
                "Sources",
                "What each source has brought, on a page of its own.",
                cards=sources,
            ),
            activity(data),
            tables(marts),
        ],
        credits=CREDITS,
    )


def cards(data: Data) -> list[Card]:
    """One per source that the reader may know of."""
    write = data.formats.write
    freshness = {row["source"]: row for row in data.rows("status_freshness")}
    absent = absent_sources(data.snapshot)
    found = []
    for source, table in SOURCES.items():
        if data.audience == "public" and not table.is_public:
            continue
        told = freshness.get(source, {})
        newest, looked_at = told.get("newest_event_at"), told.get("last_look_at")
        facts = [("Newest data", write(newest, "time")), ("Last look", write(looked_at, "time"))]
        told_state = NOT_CONFIGURED if source in absent else state(told)
        link = OWN_PAGES.get(source, "operations.html")
        found.append(Card(table.title or source, link, table.about, told_state, facts))
    return found


def state(told: dict[str, str]) -> str:
    """The worse of both clocks, in words; empty when nothing is known."""
    found = {told.get("look_state"), told.get("event_state")} - {None}
    worst = next((one for one in ("error", "warn", "fresh") if one in found), "")
    return STATES.get(worst, "")


def figures(data: Data, sources: list[Card], marts: list[Mart]) -> list[Figure]:
    write = data.formats.write
    running = [one.state for one in sources if one.state != NOT_CONFIGURED]
    fresh = f"{running.count('fresh')} of {len(running)}" if any(running) else NOTHING
    built = max((mart.built_at for mart in marts), default=None)
    age = f"{ago((data.now - built).total_seconds())} ago" if built else NOTHING
    found = [
        Figure("Sources that are fresh", fresh),
        Figure("Tables to look at", write(len(marts), "count")),
        Figure("Rows in them", write(sum(mart.rows for mart in marts), "count")),
        Figure("Last build", age, write(built, "time")),
    ]
    if data.audience == "private" and data.has("status_incidents"):
        found.append(Figure("Incidents going on", str(len(data.rows("status_incidents")))))
    return found


def activity(data: Data) -> Section:
    """What came in lately, by day and source."""
    days = operations_since(data, DAYS_SHOWN)
    if not days:
        return Section("activity", "What came in", empty=data.why_empty("daily_source_operations"))
    chart = Chart(
        "activity",
        "Rows written by day",
        f"Inserted, updated and deleted rows of the last {DAYS_SHOWN.days} days.",
        charts.bars(
            "activity", charts.days("day"), Measure("written", "rows", "Rows"), by_source(days)
        ),
        Table(
            [
                Column("date_manila", "Day", "day"),
                Column("source", "Source"),
                Column("written_row_count", "Rows", "count"),
            ],
            days[::-1],
        ),
        aspect=0.25,
    )
    rows = renamed(days, day="date_manila", source="source", written="written_row_count")
    return Section("activity", "What came in", charts=[chart], data={"activity": rows})


def operations_since(data: Data, span: timedelta) -> Rows:
    """What each source did on each of the last days."""
    first = (data.now - span).date()
    return data.rows("daily_source_operations", order="date_manila", date_manila=first)


def by_source(rows: Rows) -> Category:
    return Category("source", "Source", sorted({row["source"] for row in rows}))


def tables(marts: list[Mart]) -> Section:
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
    table = Table(
        [
            Column("mart", "Mart"),
            Column("group", "Of"),
            Column("rows", "Rows", "count"),
            Column("built_at", "Built", "time"),
            Column("what", "What one row is", "prose"),
        ],
        listed,
        empty="No mart was exported yet: a source's run exports what it built.",
    )
    return Section(
        "tables",
        "Tables",
        "The marts that pages are made of, with what one row of each is.",
        tables=[table],
    )
