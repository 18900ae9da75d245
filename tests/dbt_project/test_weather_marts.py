"""Two locations across a day boundary in, hand-computed answers out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from runs.build import BuildResult, build
from sources.openweather.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

SELECT = "source:openweather+"
POLLS = {1: datetime(2026, 3, 2, 19, tzinfo=UTC), 2: datetime(2026, 3, 2, 20, tzinfo=UTC)}


def seen(
    location: str, time: str, offset_hours: float, units: str, temp: float, **fields: Any
) -> dict[str, Any]:
    return {
        "location": location,
        "dt": datetime.fromisoformat(f"2026-03-{time}+00:00"),
        "timezone": int(offset_hours * 3600),
        "units": units,
        "main_temp": temp,
        "main_humidity": 80.0,
        "wind_speed": 3.0,
        "weather": '[{"main":"Clouds"},{"main":"Mist"}]',
        **fields,
    }


# Manila's midnight is 16:00 UTC, Delhi's 18:30 UTC, in the middle of an hour of UTC.
FIRST = [
    seen("Manila", "02 14:05:00", 8, "metric", 28.0),
    # 15:00 to 16:00 has two observations; 16:00 to 17:00 comes with the second poll, 17:00 never.
    seen("Manila", "02 15:10:00", 8, "metric", 27.0, rain_1h=1.0, wind_gust=9.0),
    seen("Manila", "02 15:50:00", 8, "standard", 299.15, weather='[{"main":"Rain"}]'),
    seen("Manila", "02 18:20:00", 8, "metric", 25.0, rain_1h=2.5),
    seen("Delhi", "02 17:40:00", 5.5, "imperial", 68.0, wind_speed=10.0),
    seen("Delhi", "02 18:29:59", 5.5, "metric", 21.0),
]
EPOCH, FAR = datetime(1970, 1, 1, tzinfo=UTC), datetime(2106, 2, 7, 6, 28, tzinfo=UTC)
# What OpenWeather sent now and then: a number as text, one that is none, nothing for the time.
FIRST += [
    seen("Baguio", "02 15:20:00", 8, "metric", 18.0, _extra='{"snow_1h":"0.3"}'),
    seen("Baguio", "02 15:00:00", 8, "metric", 18.0, dt=EPOCH),
]
LATE = [
    # No offset, and a gust without a speed; by UTC it would be of the day before.
    seen(
        *("Baguio", "02 16:40:00", 0, "metric", 17.0),
        timezone=None,
        wind_speed=None,
        wind_gust=12.5,
    ),
    seen("Baguio", "02 17:10:00", 8, "metric", 17.0, _extra='{"snow":"some","rain_1h":"1"}'),
    seen("Baguio", "02 15:00:00", 8, "metric", 18.0, dt=FAR),
    seen("Manila", "02 16:30:00", 8, "metric", 26.0, rain_1h=0.5, main_feels_like=30.0),
    seen("Delhi", "02 18:30:00", 5.5, "metric", 19.0),
]


@pytest.fixture(scope="module")
def built(dbt_env: dict[str, str], run_dbt: RunDbt, query: Query, target_path: Path) -> BuildResult:
    raw.create(query, TABLE)
    for poll, rows in ((1, FIRST), (2, LATE)):
        stamp = {"_batch_id": f"b{poll}", "_inserted_at": POLLS[poll]}
        raw.insert(query, TABLE, [{**row, **stamp} for row in rows])
        if poll == 1:
            tests = ("--exclude-resource-types", "test", "unit_test")
            result, _ = run_dbt("build", "--select", "+weather_hours", *tests)
            assert result.success
    return build(SELECT, target_path, dbt_env, query)


def rows(query: Query, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query(sql)]


def test_all_tests_pass_and_what_cannot_be_counted_warns_by_name(built: BuildResult) -> None:
    assert (built.nodes_failed, built.nodes_skipped) == (0, 0)
    (warning,) = built.warnings
    assert (warning.node, warning.failing_rows) == ("every_observation_lies_in_the_calendar", 2)
    assert set(warning.keys) == {"Baguio"}


def test_every_hour_of_the_points_own_clock_has_a_row(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select location, hour_started_at_local, hour_started_at, is_present, observation_count,
            average_temperature_celsius, rain_mm
        from gold.hourly_weather
        where location != 'Baguio' and hour_started_at < '2026-03-02 19:00:00+00'
        order by location, hour_started_at
        """,
    )

    def local(day: int, hour: int) -> datetime:
        return datetime(2026, 3, day, hour)  # noqa: DTZ001

    def utc(hour: int, minute: int = 0) -> datetime:
        return datetime(2026, 3, 2, hour, minute, tzinfo=UTC)

    assert found == [
        ("Delhi", local(2, 23), utc(17, 30), True, 2, 20.5, 0.0),
        ("Delhi", local(3, 0), utc(18, 30), True, 1, 19.0, 0.0),
        ("Manila", local(2, 22), utc(14), True, 1, 28.0, 0.0),
        ("Manila", local(2, 23), utc(15), True, 2, 26.5, 0.5),
        ("Manila", local(3, 0), utc(16), True, 1, 26.0, 0.5),
        ("Manila", local(3, 1), utc(17), False, 0, None, None),
        ("Manila", local(3, 2), utc(18), True, 1, 25.0, 2.5),
    ]


def test_units_are_metric_whatever_was_asked_for(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select location, lowest_temperature_celsius, highest_temperature_celsius,
            average_wind_speed_m_per_s, highest_wind_speed_m_per_s, last_main_condition
        from gold.hourly_weather
        where
            hour_started_at_local = datetime '2026-03-02 23:00:00'
            and location != 'Baguio'
        order by location
        """,
    )
    # 68 F are 20 C, 10 mph are 4.4704 m/s; 299.15 K are 26 C.
    (delhi, manila) = found
    assert delhi == ("Delhi", 20.0, 21.0, 3.735, pytest.approx(4.4704), "Clouds")
    assert manila == ("Manila", pytest.approx(26.0), 27.0, 3.0, 9.0, "Rain")


def test_days_are_local_and_tell_their_coverage(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select location, date_local, observation_count, expected_hour_count, present_hour_count,
            round(coverage_share, 6), average_temperature_celsius, lowest_temperature_celsius,
            highest_temperature_celsius, rain_mm, rainy_hour_count, utc_offset_seconds
        from gold.daily_weather
        where location != 'Baguio' and date_local <= '2026-03-03'
        order by location, date_local
        """,
    )
    march_2, march_3 = date(2026, 3, 2), date(2026, 3, 3)
    assert found == [
        ("Delhi", march_2, 2, 1, 1, 1.0, 20.5, 20.0, 21.0, 0.0, 0, 19_800),
        ("Delhi", march_3, 1, 24, 1, 0.041667, 19.0, 19.0, 19.0, 0.0, 0, 19_800),
        ("Manila", march_2, 3, 2, 2, 1.0, 27.25, pytest.approx(26.0), 28.0, 0.5, 1, 28_800),
        ("Manila", march_3, 2, 24, 2, 0.083333, 25.5, 25.0, 26.0, 3.0, 2, 28_800),
    ]


def test_hours_run_to_now_but_no_longer_than_a_week_after_the_last(
    built: object, query: Query
) -> None:
    """The observations are of long ago, so the week is over."""
    found = rows(
        query,
        """
        select location, min(hour_started_at) as first, count(*) as n,
            countif(is_present) as present_count
        from gold.hourly_weather group by location order by location
        """,
    )
    first = datetime(2026, 3, 2, 14, tzinfo=UTC)
    assert found == [
        ("Baguio", first.replace(hour=15), 3 + 168, 3),
        ("Delhi", first.replace(hour=17, minute=30), 2 + 168, 2),
        ("Manila", first, 5 + 168, 4),
    ]


def test_odd_answers_are_in_the_right_hour_with_what_they_say(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select hour_started_at_local, utc_offset_seconds, average_wind_speed_m_per_s,
            highest_wind_speed_m_per_s, rain_mm, snow_mm
        from gold.hourly_weather where location = 'Baguio' and is_present
        order by hour_started_at
        """,
    )
    hours = [datetime(2026, 3, *hour) for hour in ((2, 23), (3, 0), (3, 1))]  # noqa: DTZ001
    assert found == [
        (hours[0], 28_800, 3.0, 3.0, 0.0, 0.3),
        (hours[1], 28_800, None, 12.5, 0.0, 0.0),
        # What was said of the snow is not known, which is not none.
        (hours[2], 28_800, 3.0, 3.0, 1.0, None),
    ]


def test_what_lies_beyond_the_calendar_is_listed_and_makes_no_hours(
    built: object, query: Query
) -> None:
    found = rows(
        query,
        """
        select location, reason, observation_count, first_observed_at
        from gold.uncounted_weather_hours order by hour_started_at
        """,
    )
    assert found == [
        ("Baguio", "beyond the calendar", 1, EPOCH),
        ("Baguio", "beyond the calendar", 1, FAR),
    ]


def test_the_unit_tests_pass(built: object, run_dbt: RunDbt) -> None:
    result, _ = run_dbt("test", "--select", f"{SELECT},test_type:unit")
    assert [str(outcome.status) for outcome in result.result.results] == ["pass"] * 2
