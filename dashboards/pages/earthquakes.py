"""Earthquakes: the last thirty days on maps, stronger ones over the years, and what was revised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import altair as alt

from dashboards import charts
from dashboards.data import Data, Rows
from dashboards.page import Chart, Control, Figure, Page, Section, Table, TableColumn

# About 1,000 events a month reach the first worldwide (USGS locates some 10,000); near the
# Philippines all are shown.
LEAST_SHOWN = 4.0
LEAST_OVER_TIME = 6.0
MOST_ROWS = 300
EVENT = [
    TableColumn("occurred_at", "Time", "time"),
    TableColumn("magnitude", "Magnitude", "number"),
    TableColumn("place", "Place", link="event_url"),
    TableColumn("depth_km", "Depth, km", "number"),
    TableColumn("felt_reports", "Felt by", "count"),
]


def page(data: Data) -> Page:
    recent = data.rows("recent_earthquakes", order="-occurred_at")
    strong = data.rows("strong_earthquakes", order="occurred_at")
    shown = [row for row in recent if is_shown(row)]
    return Page(
        slug="earthquakes",
        title="Earthquakes",
        lead="What USGS located: the last thirty days on maps, the stronger events over years.",
        figures=figures(data, recent),
        sections=[
            maps(data, recent, shown),
            over_time(data, strong),
            *lists(data),
        ],
        data={
            # A weak event is drawn over a strong one.
            "recent": [
                point(data, row) for row in sorted(shown, key=lambda row: -row["magnitude"])
            ],
            "strong": [
                {
                    "at": data.formats.clock(row["occurred_at"]),
                    "mag": row["magnitude"],
                    "place": row["place"],
                }
                for row in strong
                if row["magnitude"] >= LEAST_OVER_TIME
            ],
            "daily": per_day(data),
        },
        credits=["Earthquakes: U.S. Geological Survey. Outlines of land: Natural Earth."],
        outlines=[charts.LAND, charts.PHILIPPINES],
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
        "depth_class": charts.depth_class(row["depth_km"]),
        "place": row["place"],
        "at": data.formats.time(row["occurred_at"]),
        "age": age_days(data, row),
    }


def figures(data: Data, recent: Rows) -> list[Figure]:
    if not recent:
        return []
    strongest = max(recent, key=lambda row: row["magnitude"] or -9)
    count = data.formats.write
    near = [row for row in recent if row["is_near_philippines"]]
    return [
        Figure("Events in 30 days", count(len(recent), "count"), "worldwide, every magnitude"),
        Figure("Near the Philippines", count(len(near), "count"), "4 to 21.5 N, 116 to 128 E"),
        Figure("Strongest", count(strongest["magnitude"], "number"), strongest["place"] or ""),
        Figure("Felt", count(sum(row["is_felt"] for row in recent), "count"), "by anybody"),
        Figure(
            "Significant", count(sum(row["is_significant"] for row in recent), "count"), "by USGS"
        ),
    ]


def maps(data: Data, recent: Rows, shown: Rows) -> Section:
    if not recent:
        return Section(id="maps", title="Maps", empty=data.why_empty("recent_earthquakes"))
    ranges = [
        Control("least", "Magnitude, at least", "magnitude", "least", (), 0, 9, 0.5, "0"),
        Control("deepest", "Depth in km, at most", "depth_km", "most", (), 0, 700, 10, "700"),
        Control("days", "Days ago, at most", "age", "most", (), 1, 30, 1, "30"),
    ]
    params = [
        alt.param(name="least", value=0),
        alt.param(name="deepest", value=700),
        alt.param(name="days", value=30),
    ]

    def chosen(chart: Any) -> Any:
        return chart.transform_filter(
            "datum.mag >= least && datum.age <= days && (datum.depth == null || "
            "datum.depth <= deepest)"
        )

    tooltip = [
        charts.tip("mag", "Magnitude", "quantitative", ".1f"),
        charts.tip("place", "Place"),
        charts.tip("depth", "Depth, km", "quantitative", ".1f"),
        charts.tip("at", f"Time ({data.formats.time_zone})"),
    ]
    rows = [{**row, "age": age_days(data, row)} for row in shown[:MOST_ROWS]]
    left_out = (
        f"Of {len(recent):,} events the maps show {len(shown):,}: those of magnitude "
        f"{LEAST_SHOWN:g} and more, and all near the Philippines that have a magnitude."
    )
    if len(shown) > len(rows):
        left_out += f" The table has the newest {len(rows):,} of them."
    table = Table(EVENT, rows, filters=["magnitude", "depth_km", "age"], left_out=left_out)
    return Section(
        id="maps",
        title="The last thirty days",
        controls=ranges,
        charts=[
            Chart(
                "world",
                "World",
                "Larger circles are stronger events; the colour is the depth.",
                charts.points_on_map(
                    "recent",
                    outline=charts.LAND,
                    projection={"type": "equalEarth", "rotate": [-150, 0, 0]},
                    tooltip=tooltip,
                    transform=[chosen],
                    params=params,
                ),
                table,
                # As high as the other map beside it.
                aspect=0.59,
                span=4,
            ),
            Chart(
                "philippines",
                "Philippines",
                "The archipelago and the trenches beside it.",
                charts.points_on_map(
                    "recent",
                    outline=charts.PHILIPPINES,
                    projection=PHILIPPINE_BOX,
                    tooltip=tooltip,
                    transform=[
                        lambda chart: chart.transform_filter(
                            "datum.lon >= 116 && datum.lon <= 128 && datum.lat >= 4 && "
                            "datum.lat <= 21.5"
                        ),
                        chosen,
                    ],
                    params=params,
                ),
                Table(
                    EVENT,
                    [row for row in rows if row["is_near_philippines"]],
                    filters=["magnitude", "depth_km", "age"],
                    empty="There was no event near the Philippines among those of the table.",
                ),
                aspect=1.35,
                span=2,
            ),
        ],
    )


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


def over_time(data: Data, strong: Rows) -> Section:
    if not strong:
        why = data.why_empty("strong_earthquakes")
        return Section(id="over-time", title="Over time", empty=why)
    shown = [row for row in strong if row["magnitude"] >= LEAST_OVER_TIME]
    newest = shown[::-1][:MOST_ROWS]
    left_out = (
        f"{len(shown):,} of {len(strong):,} events of the mart: those of magnitude "
        f"{LEAST_OVER_TIME:g} and more."
    )
    if len(shown) > len(newest):
        left_out += f" The table has the newest {len(newest):,}."
    days = per_day(data)
    return Section(
        id="over-time",
        title="Over time",
        charts=[
            Chart(
                "magnitudes",
                "Magnitude over time",
                f"Events of magnitude {LEAST_OVER_TIME:g} and more, since the first load.",
                charts.finished(
                    charts.base("strong")
                    .mark_circle(opacity=0.5, size=28)
                    .encode(
                        x=charts.time("at"),
                        y=alt.Y(
                            "mag:Q",
                            axis=charts.axis("magnitude"),
                            scale=alt.Scale(domainMin=LEAST_OVER_TIME, nice=True),
                        ),
                        tooltip=[
                            charts.tip("mag", "Magnitude", "quantitative", ".1f"),
                            charts.tip("place", "Place"),
                            charts.time_tip("at", f"Time ({data.formats.time_zone})"),
                        ],
                    )
                ),
                Table(EVENT, newest, left_out=left_out),
            ),
            Chart(
                "daily",
                "Events per month",
                "Live events by magnitude, in months of the Philippine calendar.",
                charts.bars(
                    "daily",
                    charts.months("month", (row["month"] for row in days)),
                    "events",
                    title="events",
                    color="class",
                    domain=CLASSES,
                    stack=True,
                    tooltip=[
                        charts.tip("month", "Month"),
                        charts.tip("class", "Magnitude"),
                        charts.tip("events", "Events", "quantitative", ","),
                    ],
                ),
                Table(
                    [
                        TableColumn("month", "Month", "month"),
                        TableColumn("class", "Magnitude"),
                        TableColumn("events", "Events", "count"),
                    ],
                    days[::-1],
                ),
            ),
        ],
    )


CLASSES = ("micro", "minor", "light", "moderate", "strong", "major", "great", "unknown")


def per_day(data: Data) -> Rows:
    """Counts of `daily_earthquake_activity` by month and class: days of years are too many."""
    found: dict[tuple[str, str], int] = {}
    for row in data.rows("daily_earthquake_activity", order="activity_date"):
        if row["calendar"] == CALENDAR:
            key = (f"{row['activity_date']:%Y-%m}", row["magnitude_class"])
            found[key] = found.get(key, 0) + row["event_count"]
    return [{"month": key[0], "class": key[1], "events": count} for key, count in found.items()]


CALENDAR = "Asia/Manila"


def lists(data: Data) -> list[Section]:
    felt = data.rows("significant_and_felt_earthquakes", order="-occurred_at")
    revised = data.rows("earthquake_revisions", order="-latest_magnitude_at")
    deleted = data.rows("deleted_earthquakes", order="-marked_at")

    def newest(rows: Rows) -> str:
        return f"The newest {MOST_ROWS:,} of {len(rows):,}." if len(rows) > MOST_ROWS else ""

    return [
        Section(
            id="felt",
            title="Significant and felt",
            controls=[Control("word", "Search", "", "search")] if felt else [],
            tables=[
                (
                    "",
                    Table(
                        [
                            *EVENT,
                            TableColumn("significance", "Significance", "count"),
                            TableColumn("pager_alert", "Alert"),
                        ],
                        felt[:MOST_ROWS],
                        filters=["event_id"] if felt else [],
                        left_out=newest(felt),
                        empty="No event was significant or felt.",
                    ),
                )
            ],
        ),
        Section(
            id="revised",
            title="Revised",
            text="What was first said of an event, and what is said now.",
            tables=[
                (
                    "",
                    Table(
                        [
                            TableColumn("occurred_at", "Time", "time"),
                            TableColumn("place", "Place"),
                            TableColumn("first_magnitude", "First", "number"),
                            TableColumn("latest_magnitude", "Now", "number"),
                            TableColumn("magnitude_change", "Change", "number"),
                            TableColumn("revision_count", "Revisions", "count"),
                        ],
                        revised[:MOST_ROWS],
                        left_out=newest(revised),
                        empty="No magnitude was revised since the first load.",
                    ),
                )
            ],
        ),
        Section(
            id="deleted",
            title="Deleted",
            text="Events that USGS withdrew, or that got another id.",
            tables=[
                (
                    "",
                    Table(
                        [
                            TableColumn("occurred_at", "Time", "time"),
                            TableColumn("magnitude", "Magnitude", "number"),
                            TableColumn("place", "Place"),
                            TableColumn("deletion_kind", "What happened"),
                            TableColumn("replaced_by_event_id", "Now known as"),
                        ],
                        deleted[:MOST_ROWS],
                        left_out=newest(deleted),
                        empty="No event was deleted.",
                    ),
                )
            ],
        ),
    ]
