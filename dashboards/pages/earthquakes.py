"""Earthquakes: the last thirty days on maps, stronger ones over the years, and what was revised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import altair as alt

from dashboards import charts
from dashboards.charts import Category, Measure
from dashboards.data import Data, Rows, grouped, renamed, with_month
from dashboards.page import SEARCH, Chart, Column, Control, Figure, Page, Section, Table, left_out

# About 1,000 events a month reach the first worldwide (USGS locates some 10,000); near the
# Philippines all are shown.
LEAST_SHOWN = 4.0
LEAST_OVER_TIME = 6.0
MOST_ROWS = 300
CALENDAR = "Asia/Manila"
CLASSES = ("micro", "minor", "light", "moderate", "strong", "major", "great", "unknown")
DEPTHS = ("to 70 km", "70 to 300 km", "over 300 km", "unknown")
LAND = "land-110m.json"
PHILIPPINES = "philippines-50m.json"
# A box of fixed places, so that the map does not move with the events on it.
PHILIPPINE_BOX: dict[str, Any] = {
    "type": "mercator",
    "fit": {
        "type": "Feature",
        "properties": {},
        "geometry": {
            "type": "MultiPoint",
            "coordinates": [[116, 4], [128, 4], [128, 21.5], [116, 21.5]],
        },
    },
}
IN_THE_BOX = "datum.lon >= 116 && datum.lon <= 128 && datum.lat >= 4 && datum.lat <= 21.5"
# Areas of circles: those of strong events are seen among many weak ones.
MAGNITUDES = alt.Scale(type="pow", exponent=4, domain=[0, 9], range=[3, 1100])
RANGES = (
    Control("least", "Magnitude, at least", "magnitude", "least", (), 0, 9, 0.5, 0),
    Control("deepest", "Depth in km, at most", "depth_km", "most", (), 0, 700, 10, 700),
    Control("days", "Days ago, at most", "age", "most", (), 1, 30, 1, 30),
)
IN_THE_RANGES = (
    "datum.mag >= least && datum.age <= days && (datum.depth == null || datum.depth <= deepest)"
)
TIME = Column("occurred_at", "Time", "time")
EVENT = [
    TIME,
    Column("magnitude", "Magnitude", "number"),
    Column("place", "Place", link="event_url"),
    Column("depth_km", "Depth, km", "number"),
    Column("felt_reports", "Felt by", "count"),
]


def page(data: Data) -> Page:
    recent = data.rows("recent_earthquakes", order="-occurred_at")
    strong = data.rows("strong_earthquakes", order="occurred_at")
    return Page(
        title="Earthquakes",
        lead="What USGS located: the last thirty days on maps, the stronger events over years.",
        figures=figures(data, recent),
        sections=[
            maps(data, recent),
            over_time(data, strong),
            felt(data),
            revised(data),
            deleted(data),
        ],
        credits=["Earthquakes: U.S. Geological Survey. Outlines of land: Natural Earth."],
        outlines=[LAND, PHILIPPINES],
    )


def figures(data: Data, recent: Rows) -> list[Figure]:
    if not recent:
        return []

    def count(flag: str) -> str:
        return data.formats.write(sum(row[flag] for row in recent), "count")

    strongest = max(recent, key=lambda row: row["magnitude"] or -9)
    magnitude = data.formats.write(strongest["magnitude"], "number")
    everything = data.formats.write(len(recent), "count")
    return [
        Figure("Events in 30 days", everything, "worldwide, every magnitude"),
        Figure("Near the Philippines", count("is_near_philippines"), "4 to 21.5 N, 116 to 128 E"),
        Figure("Strongest", magnitude, strongest["place"] or ""),
        Figure("Felt", count("is_felt"), "by anybody"),
        Figure("Significant", count("is_significant"), "by USGS"),
    ]


def maps(data: Data, recent: Rows) -> Section:
    if not recent:
        return Section("maps", "Maps", empty=data.why_empty("recent_earthquakes"))
    shown = [{**row, "age": age_days(data, row)} for row in recent if is_shown(row)]
    rows = shown[:MOST_ROWS]
    told = (
        f"Of {len(recent):,} events the maps show {len(shown):,}: those of magnitude "
        f"{LEAST_SHOWN:g} and more, and all near the Philippines that have a magnitude."
    )
    if len(shown) > len(rows):
        told += f" The table has the newest {len(rows):,} of them."
    filters = [control.field for control in RANGES]
    # A weak event is drawn over a strong one.
    drawn = [point(data, row) for row in sorted(shown, key=lambda row: -row["magnitude"])]
    return Section(
        "maps",
        "The last thirty days",
        controls=RANGES,
        charts=[
            Chart(
                "world",
                "World",
                "Larger circles are stronger events; the colour is the depth.",
                world(events(data)),
                Table(EVENT, rows, filters=filters, left_out=told),
                # As high as the other map beside it.
                aspect=0.59,
                span=4,
            ),
            Chart(
                "philippines",
                "Philippines",
                "The archipelago and the trenches beside it.",
                philippines(events(data, IN_THE_BOX)),
                Table(
                    EVENT,
                    [row for row in rows if row["is_near_philippines"]],
                    filters=filters,
                    empty="There was no event near the Philippines among those of the table.",
                ),
                aspect=1.35,
                span=2,
            ),
        ],
        data={"recent": drawn},
    )


def is_shown(row: dict[str, Any]) -> bool:
    is_placed = row["longitude_degrees"] is not None and row["latitude_degrees"] is not None
    magnitude = row["magnitude"]
    return (
        is_placed
        and magnitude is not None
        and (magnitude >= LEAST_SHOWN or row["is_near_philippines"])
    )


def age_days(data: Data, row: dict[str, Any]) -> float:
    """Whole days and a tenth since the event; 0 for one by a clock that is ahead."""
    age: timedelta = data.now - row["occurred_at"]
    return round(max(age / timedelta(days=1), 0.0), 1)


def point(data: Data, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "lon": round(row["longitude_degrees"], 2),
        "lat": round(row["latitude_degrees"], 2),
        "mag": row["magnitude"],
        "depth": row["depth_km"],
        "depth_class": depth_class(row["depth_km"]),
        "place": row["place"],
        "at": data.formats.time(row["occurred_at"]),
        "age": row["age"],
    }


def depth_class(depth_km: float | None) -> str:
    """Shallow, intermediate or deep by USGS's own limits, 70 and 300 km."""
    if depth_km is None:
        return DEPTHS[3]
    return DEPTHS[0] if depth_km < 70 else DEPTHS[1] if depth_km < 300 else DEPTHS[2]


def events(data: Data, *where: str) -> Any:
    """Circles: size by magnitude, colour by depth class. What comes last lies on top."""
    chart = (
        charts.of("recent")
        .mark_circle(clip=True, opacity=0.65, stroke=None)
        .encode(
            longitude=alt.Longitude("lon", type="quantitative"),
            latitude=alt.Latitude("lat", type="quantitative"),
            size=alt.Size("mag", type="quantitative", scale=MAGNITUDES, legend=None),
            color=Category("depth_class", "Depth", DEPTHS).color,
            tooltip=[
                charts.tip("mag", "Magnitude", ".1f"),
                charts.tip("place", "Place"),
                charts.tip("depth", "Depth, km", ".1f"),
                charts.tip("at", f"Time ({data.formats.time_zone})"),
            ],
        )
    )
    for condition in (*where, IN_THE_RANGES):
        chart = chart.transform_filter(condition)
    return chart.add_params(*map(charts.chosen, RANGES))


def land(outline: str, **format: str) -> Any:
    """It is no data: a screen reader skips it."""
    outlines = alt.Chart(alt.UrlData(outline, format=format))
    return outlines.mark_geoshape(aria=False, style="land", clip=True)


def world(circles: Any) -> Any:
    sea = alt.Chart(alt.sphere()).mark_geoshape(aria=False, style="sea")
    layers = alt.layer(sea, land(LAND, type="topojson", feature="land"), circles)
    return layers.project(type="equalEarth", rotate=[-150, 0, 0])


def philippines(circles: Any) -> Any:
    return alt.layer(land(PHILIPPINES, type="json"), circles).project(**PHILIPPINE_BOX)


def over_time(data: Data, strong: Rows) -> Section:
    months = per_month(data)
    if not strong:
        return Section("over-time", "Over time", empty=data.why_empty("strong_earthquakes"))
    shown = [row for row in strong if row["magnitude"] >= LEAST_OVER_TIME]
    newest = shown[::-1][:MOST_ROWS]
    told = (
        f"{len(shown):,} of {len(strong):,} events of the mart: those of magnitude "
        f"{LEAST_OVER_TIME:g} and more."
    )
    if len(shown) > len(newest):
        told += f" The table has the newest {len(newest):,}."
    drawn = [
        {
            "at": data.formats.clock(row["occurred_at"]),
            "mag": row["magnitude"],
            "place": row["place"],
        }
        for row in shown
    ]
    return Section(
        "over-time",
        "Over time",
        charts=[
            Chart(
                "magnitudes",
                "Magnitude over time",
                f"Events of magnitude {LEAST_OVER_TIME:g} and more, since the first load.",
                magnitudes(data),
                Table(EVENT, newest, left_out=told),
            ),
            Chart(
                "daily",
                "Events per month",
                "Live events by magnitude, in months of the Philippine calendar.",
                charts.bars(
                    "daily",
                    charts.months("month", months),
                    Measure("events", "events", "Events"),
                    Category("class", "Magnitude", CLASSES),
                ),
                Table(
                    [
                        Column("month", "Month", "month"),
                        Column("class", "Magnitude"),
                        Column("events", "Events", "count"),
                    ],
                    months[::-1],
                ),
            ),
        ],
        data={"strong": drawn, "daily": months},
    )


def per_month(data: Data) -> Rows:
    """Counts of `daily_earthquake_activity` by month and class: days of years are too many."""
    days = data.rows("daily_earthquake_activity", order="activity_date")
    of_calendar = [row for row in days if row["calendar"] == CALENDAR]
    named = renamed(
        with_month(of_calendar, "activity_date"),
        month="month",
        **{"class": "magnitude_class"},
        events="event_count",
    )
    return grouped(named, ("month", "class"), "events")


def magnitudes(data: Data) -> Any:
    at = charts.moments("at", f"Time ({data.formats.time_zone})")
    scale = alt.Scale(domainMin=LEAST_OVER_TIME, nice=True)
    return (
        charts.of("strong")
        .mark_circle(opacity=0.5, size=28)
        .encode(
            x=at.x,
            y=alt.Y("mag:Q", axis=charts.axis("magnitude"), scale=scale),
            tooltip=[
                charts.tip("mag", "Magnitude", ".1f"),
                charts.tip("place", "Place"),
                at.tip,
            ],
        )
    )


def felt(data: Data) -> Section:
    rows = data.rows("significant_and_felt_earthquakes", order="-occurred_at")
    table = Table(
        [
            *EVENT,
            Column("significance", "Significance", "count"),
            Column("pager_alert", "Alert"),
        ],
        rows[:MOST_ROWS],
        filters=["event_id"],
        left_out=left_out(rows, MOST_ROWS),
        empty="No event was significant or felt.",
    )
    controls = [SEARCH] if rows else []
    return Section("felt", "Significant and felt", controls=controls, tables=[table])


def revised(data: Data) -> Section:
    rows = data.rows("earthquake_revisions", order="-latest_magnitude_at")
    table = Table(
        [
            TIME,
            Column("place", "Place"),
            Column("first_magnitude", "First", "number"),
            Column("latest_magnitude", "Now", "number"),
            Column("magnitude_change", "Change", "number"),
            Column("revision_count", "Revisions", "count"),
        ],
        rows[:MOST_ROWS],
        left_out=left_out(rows, MOST_ROWS),
        empty="No magnitude was revised since the first load.",
    )
    text = "What was first said of an event, and what is said now."
    return Section("revised", "Revised", text, tables=[table])


def deleted(data: Data) -> Section:
    rows = data.rows("deleted_earthquakes", order="-marked_at")
    table = Table(
        [
            TIME,
            Column("magnitude", "Magnitude", "number"),
            Column("place", "Place"),
            Column("deletion_kind", "What happened"),
            Column("replaced_by_event_id", "Now known as"),
        ],
        rows[:MOST_ROWS],
        left_out=left_out(rows, MOST_ROWS),
        empty="No event was deleted.",
    )
    text = "Events that USGS withdrew, or that got another id."
    return Section("deleted", "Deleted", text, tables=[table])
