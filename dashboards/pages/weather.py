"""Weather: hours and days at each place, gaps as gaps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import altair as alt

from dashboards import charts
from dashboards.data import Data, Rows, grouped
from dashboards.formats import MINUS, NOTHING
from dashboards.page import Chart, Choice, Control, Figure, Page, Section, Table, TableColumn

HOURS_SHOWN = timedelta(days=7)
DAYS_SHOWN = timedelta(days=366)
ALL = "all"
CREDIT = (
    "Weather data provided by OpenWeather (TM), https://openweathermap.org, under CC BY-SA 4.0 and "
    "ODbL."
)


def page(data: Data) -> Page:
    hours = data.rows(
        "hourly_weather", order="hour_started_at", hour_started_at=data.now - HOURS_SHOWN
    )
    days = data.rows("daily_weather", order="date_local", date_local=(data.now - DAYS_SHOWN).date())
    places = sorted({row["location"] for row in (*days, *hours)})
    rain = rain_by_month(days)
    return Page(
        slug="weather",
        title="Weather",
        lead="Hours and days at each place, in the place's own time. Hours that were not observed "
        "are gaps.",
        figures=figures(data, hours),
        sections=[of_hours(data, hours, places), of_days(data, days, rain, places)],
        data={
            "hours": [hour(row) for row in hours],
            "days": [day(row) for row in days],
            "rain": rain,
        },
        credits=[CREDIT],
    )


def hour(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "place": row["location"],
        "at": f"{row['hour_started_at_local']:%Y-%m-%dT%H:%M}Z",
        "temperature": row["average_temperature_celsius"],
        "rain": row["rain_mm"],
        "wind": row["highest_wind_speed_m_per_s"],
        "humidity": row["average_humidity_percent"],
    }


def day(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "place": row["location"],
        "date": row["date_local"],
        "highest": row["highest_temperature_celsius"],
        "coverage": row["coverage_share"],
    }


def rain_by_month(days: Rows) -> Rows:
    """Sums of each place; a day without an observation has none."""
    rows = [
        {"month": f"{row['date_local']:%Y-%m}", "place": row["location"], "rain": row["rain_mm"]}
        for row in days
    ]
    return grouped(rows, ("month", "place"), "rain")


def figures(data: Data, hours: Rows) -> list[Figure]:
    """The newest observed hour of each place."""
    newest = {row["location"]: row for row in hours if row["is_present"]}
    return [
        Figure(
            place,
            f"{row['average_temperature_celsius']:.1f} °C".replace("-", MINUS)
            if row["average_temperature_celsius"] is not None
            else NOTHING,
            f"{row['hour_started_at_local']:%Y-%m-%d %H:%M} there"
            + (f", {row['last_main_condition']}" if row["last_main_condition"] else ""),
        )
        for place, row in sorted(newest.items())
    ]


def chooser(places: list[str]) -> Control:
    choices = [Choice(ALL, "All places"), *(Choice(place, place) for place in places)]
    return Control("place_chosen", "Place", "location", "select", choices, value=ALL)


def _of_place(chart: Any) -> Any:
    return chart.transform_filter(f"place_chosen == '{ALL}' || datum.place == place_chosen")


def _params() -> list[Any]:
    return [charts.param("place_chosen", ALL)]


def _line(
    data: str, x: str, y: str, title: str, places: list[str], when: Any, from_zero: bool = False
) -> dict[str, Any]:
    return charts.lines(
        data,
        charts.time(x),
        y,
        "place",
        places,
        title=title,
        from_zero=from_zero,
        tooltip=[charts.tip("place", "Place"), when, charts.tip(y, title, "quantitative", ".1f")],
        transform=[_of_place],
        params=_params(),
    )


def of_hours(data: Data, hours: Rows, places: list[str]) -> Section:
    if not hours:
        return Section(id="hours", title="Hours", empty=data.why_empty("hourly_weather"))
    table = Table(
        [
            TableColumn("location", "Place"),
            TableColumn("hour_started_at_local", "Hour there", "time"),
            TableColumn("average_temperature_celsius", "°C", "number"),
            TableColumn("average_felt_temperature_celsius", "Felt, °C", "number"),
            TableColumn("average_humidity_percent", "Humidity, %", "number"),
            TableColumn("rain_mm", "Rain, mm", "number"),
            TableColumn("highest_wind_speed_m_per_s", "Wind, m/s", "number"),
            TableColumn("last_main_condition", "Sky"),
        ],
        hours[::-1],
        filters=["location"],
        left_out="The last seven days; older hours are in gold.hourly_weather.",
    )
    there = charts.time_tip("at", "Hour there")
    return Section(
        id="hours",
        title="The last seven days by hour",
        controls=[chooser(places)],
        charts=[
            Chart(
                "temperature",
                "Temperature",
                "Mean of each hour, in degrees Celsius.",
                _line("hours", "at", "temperature", "°C", places, there),
                table,
            ),
            Chart(
                "rain",
                "Rain",
                "Of each hour, in millimetres.",
                _line("hours", "at", "rain", "mm", places, there, from_zero=True),
                table,
            ),
            Chart(
                "humidity",
                "Humidity",
                "Mean of each hour, relative.",
                _line("hours", "at", "humidity", "%", places, there),
                table,
            ),
            Chart(
                "wind",
                "Wind",
                "The highest speed of each hour, in metres per second.",
                _line("hours", "at", "wind", "m/s", places, there, from_zero=True),
                table,
            ),
        ],
    )


def of_days(data: Data, days: Rows, rain: Rows, places: list[str]) -> Section:
    if not days:
        return Section(id="days", title="Days", empty=data.why_empty("daily_weather"))
    table = Table(
        [
            TableColumn("location", "Place"),
            TableColumn("date_local", "Day there", "day"),
            TableColumn("lowest_temperature_celsius", "Lowest, °C", "number"),
            TableColumn("highest_temperature_celsius", "Highest, °C", "number"),
            TableColumn("rain_mm", "Rain, mm", "number"),
            TableColumn("present_hour_count", "Hours observed", "count"),
            TableColumn("coverage_share", "Coverage", "share"),
        ],
        days[::-1],
        filters=["location"],
        left_out="The last year; older days are in gold.daily_weather.",
    )
    return Section(
        id="days",
        title="The last year by day",
        text="Read a day's sums beside its coverage: the share of its hours that were observed.",
        controls=[chooser(places)],
        charts=[
            Chart(
                "highest",
                "Highest temperature",
                "Of each day, in degrees Celsius.",
                _line("days", "date", "highest", "°C", places, charts.day_tip("date")),
                table,
            ),
            Chart(
                "monthly-rain",
                "Rain by month",
                "Sum of the hours that were observed, in millimetres.",
                charts.bars(
                    "rain",
                    charts.level("month"),
                    "rain",
                    title="mm",
                    color="place",
                    domain=places,
                    stack=False,
                    tooltip=[
                        charts.tip("place", "Place"),
                        charts.tip("month", "Month"),
                        charts.tip("rain", "mm", "quantitative", ".1f"),
                    ],
                    transform=[_of_place],
                    params=_params(),
                ),
                Table(
                    [
                        TableColumn("place", "Place"),
                        TableColumn("month", "Month", "month"),
                        TableColumn("rain", "Rain, mm", "number"),
                    ],
                    rain[::-1],
                    filters=["place"],
                ),
            ),
            Chart(
                "coverage",
                "Coverage",
                "The share of each day's hours that were observed.",
                charts.finished(
                    _of_place(
                        charts.base("days")
                        .mark_rect()
                        .encode(
                            x=charts.days("date"),
                            y=alt.Y("place:N", axis=charts.axis()),
                            color=alt.Color(
                                "coverage:Q",
                                scale=alt.Scale(domain=[0, 1]),
                                legend=alt.Legend(title=None, format="%", orient="top"),
                            ),
                            tooltip=[
                                charts.tip("place", "Place"),
                                charts.day_tip("date"),
                                charts.tip("coverage", "Coverage", "quantitative", ".0%"),
                            ],
                        )
                    ).add_params(*_params())
                ),
                table,
                rows=len(places),
                span=6,
            ),
        ],
    )
