"""Weather: hours and days at each place, gaps as gaps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import altair as alt

from dashboards import charts
from dashboards.charts import Category, Measure
from dashboards.data import Data, Rows, grouped, renamed, with_month
from dashboards.formats import MINUS, NOTHING
from dashboards.page import ALL, Chart, Column, Control, Figure, Page, Section, Table, select

HOURS_SHOWN = timedelta(days=7)
DAYS_SHOWN = timedelta(days=366)
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
    return Page(
        title="Weather",
        lead="Hours and days at each place, in the place's own time. Hours that were not observed "
        "are gaps.",
        figures=figures(hours),
        sections=[of_hours(data, hours, places), of_days(data, days, places)],
        credits=[CREDIT],
    )


def figures(hours: Rows) -> list[Figure]:
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
    return select("place_chosen", "Place", "location", "All places", places)


def of_place(chart: Any, places: list[str]) -> Any:
    """The chart of the rows of the place that is chosen."""
    is_chosen = f"place_chosen == '{ALL}' || datum.place == place_chosen"
    return chart.transform_filter(is_chosen).add_params(charts.chosen(chooser(places)))


def line(data: str, x: charts.Along, y: Measure, places: list[str], from_zero: bool = False) -> Any:
    place = Category("place", "Place", places)
    chart = charts.lines(data, x, y, place, from_zero).encode(tooltip=[place.tip, x.tip, y.tip])
    return of_place(chart, places)


def of_hours(data: Data, hours: Rows, places: list[str]) -> Section:
    if not hours:
        return Section("hours", "Hours", empty=data.why_empty("hourly_weather"))
    table = Table(
        [
            Column("location", "Place"),
            Column("hour_started_at_local", "Hour there", "time"),
            Column("average_temperature_celsius", "°C", "number"),
            Column("average_felt_temperature_celsius", "Felt, °C", "number"),
            Column("average_humidity_percent", "Humidity, %", "number"),
            Column("rain_mm", "Rain, mm", "number"),
            Column("highest_wind_speed_m_per_s", "Wind, m/s", "number"),
            Column("last_main_condition", "Sky"),
        ],
        hours[::-1],
        filters=["location"],
        left_out="The last seven days; older hours are in gold.hourly_weather.",
    )

    def chart(id: str, title: str, text: str, unit: str, from_zero: bool = False) -> Chart:
        there, measure = charts.moments("at", "Hour there"), Measure(id, unit, unit, ".1f")
        return Chart(id, title, text, line("hours", there, measure, places, from_zero), table)

    return Section(
        "hours",
        "The last seven days by hour",
        controls=[chooser(places)],
        charts=[
            chart("temperature", "Temperature", "Mean of each hour, in degrees Celsius.", "°C"),
            chart("rain", "Rain", "Of each hour, in millimetres.", "mm", from_zero=True),
            chart("humidity", "Humidity", "Mean of each hour, relative.", "%"),
            chart(
                "wind",
                "Wind",
                "The highest speed of each hour, in metres per second.",
                "m/s",
                from_zero=True,
            ),
        ],
        data={"hours": [of_hour(row) for row in hours]},
    )


def of_hour(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "place": row["location"],
        "at": f"{row['hour_started_at_local']:%Y-%m-%dT%H:%M}Z",
        "temperature": row["average_temperature_celsius"],
        "rain": row["rain_mm"],
        "wind": row["highest_wind_speed_m_per_s"],
        "humidity": row["average_humidity_percent"],
    }


def of_days(data: Data, days: Rows, places: list[str]) -> Section:
    if not days:
        return Section("days", "Days", empty=data.why_empty("daily_weather"))
    table = Table(
        [
            Column("location", "Place"),
            Column("date_local", "Day there", "day"),
            Column("lowest_temperature_celsius", "Lowest, °C", "number"),
            Column("highest_temperature_celsius", "Highest, °C", "number"),
            Column("rain_mm", "Rain, mm", "number"),
            Column("present_hour_count", "Hours observed", "count"),
            Column("coverage_share", "Coverage", "share"),
        ],
        days[::-1],
        filters=["location"],
        left_out="The last year; older days are in gold.daily_weather.",
    )
    shown = renamed(
        days,
        place="location",
        date="date_local",
        highest="highest_temperature_celsius",
        coverage="coverage_share",
    )
    by_month = renamed(
        with_month(days, "date_local"), month="month", place="location", rain="rain_mm"
    )
    # A day without an observation has no rain to add.
    rain = grouped(by_month, ("month", "place"), "rain")
    highest = Measure("highest", "°C", "°C", ".1f")
    return Section(
        "days",
        "The last year by day",
        "Read a day's sums beside its coverage: the share of its hours that were observed.",
        controls=[chooser(places)],
        charts=[
            Chart(
                "highest",
                "Highest temperature",
                "Of each day, in degrees Celsius.",
                line("days", charts.dates("date"), highest, places),
                table,
            ),
            Chart(
                "monthly-rain",
                "Rain by month",
                "Sum of the hours that were observed, in millimetres.",
                rain_by_month(places),
                Table(
                    [
                        Column("place", "Place"),
                        Column("month", "Month", "month"),
                        Column("rain", "Rain, mm", "number"),
                    ],
                    rain[::-1],
                    filters=["place"],
                ),
            ),
            Chart(
                "coverage",
                "Coverage",
                "The share of each day's hours that were observed.",
                coverage(places),
                table,
                rows=len(places),
                span=6,
            ),
        ],
        data={"days": shown, "rain": rain},
    )


def rain_by_month(places: list[str]) -> Any:
    month, rain = charts.level("month", "Month"), Measure("rain", "mm", "mm", ".1f")
    place = Category("place", "Place", places)
    chart = charts.bars("rain", month, rain, place, stack=False)
    return of_place(chart.encode(tooltip=[place.tip, month.tip, rain.tip]), places)


def coverage(places: list[str]) -> Any:
    """A cell for each day of each place."""
    day = charts.days("date")
    share = alt.Color(
        "coverage:Q",
        scale=alt.Scale(domain=[0, 1]),
        legend=alt.Legend(title=None, format="%", orient="top"),
    )
    cells = (
        charts.of("days")
        .mark_rect()
        .encode(
            x=day.x,
            y=alt.Y("place:N", axis=charts.axis()),
            color=share,
            tooltip=[
                charts.tip("place", "Place"),
                day.tip,
                charts.tip("coverage", "Coverage", ".0%"),
            ],
        )
    )
    return of_place(cells, places)
