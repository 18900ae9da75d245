"""A week of earthquakes with a revision, a deletion and a new id in, hand-computed answers out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from runs.build import BuildResult, build
from sources.usgs_earthquake.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

SELECT = "source:usgs_earthquake+"
# A world of its own: the raw table of test_daily_earthquake_activity stands beside it.
RAW, PREFIX = "week_raw", "week_"
FIRST, SECOND = datetime(2026, 3, 4, 6, tzinfo=UTC), datetime(2026, 3, 8, 6, tzinfo=UTC)
STAMP = {
    FIRST: {"_batch_id": "20260304T060000000000_00000001", "_inserted_at": FIRST},
    SECOND: {"_batch_id": "20260308T060000000000_00000002", "_inserted_at": SECOND},
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}+00:00")


def event(id_: str, time: str, mag: float | None, place: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "time": at(time),
        "mag": mag,
        "magType": "ml",
        "place": place,
        "type": "earthquake",
        "status": "automatic",
        "ids": f",{id_},",
        "sig": 100,
        "tsunami": 0,
        "updated": at(time),
        **fields,
    }


IN_2286 = datetime(2286, 11, 20, 17, 46, tzinfo=UTC)
IN_986 = datetime(986, 3, 1, tzinfo=UTC)
IN_1886 = datetime(1886, 9, 1, 2, 51, tzinfo=UTC)
# The revision moves us2 back over midnight into February; us3 is deleted; ak4 becomes us4.
EVENTS = [
    event("us1", "02-28 10:00:00", 6.1, "3 km S of Cebu, Philippines", sig=650, felt=12),
    event("us2", "03-01 00:00:30", 3.8, "10 km N of Delta, B.C., MX", felt=2),
    event("us3", "03-02 12:00:00", 4.4, "Carlsberg Ridge"),
    event("ak4", "03-03 08:00:00", 2.5, "Chase, Alaska", felt=0),
    event("us5", "03-03 20:00:00", None, "Mina, Nevada", type="quarry blast"),
]
LATER = [
    event(
        *("us2", "02-28 23:59:50", 4.25, "10 km N of Delta, B.C., MX"),
        felt=3,
        magType="mww",
        status="reviewed",
        updated=at("03-07 00:00:00"),
    ),
    event(
        *("us3", "03-02 12:00:00", 4.4, "Carlsberg Ridge"),
        _is_deleted=True,
        status="deleted",
        updated=at("03-05 00:00:00"),
    ),
    event("ak4", "03-03 08:00:00", 2.5, "Chase, Alaska", felt=0, _is_deleted=True),
    event(
        *("us4", "03-03 08:00:00", 2.5, "Chase, Alaska"),
        ids=",us4,ak4,",
        updated=at("03-06 00:00:00"),
    ),
    event("us6", "03-06 01:00:00", 5.0, "7 km E of Salcha, Alaska", sig=601),
    # A time that cannot be: the one of a mistake, the other of a year 986 that was meant as 1986.
    event("us7", "03-06 01:00:00", 7.0, "Mina, Nevada", sig=900, felt=9) | {"time": IN_2286},
    event("us8", "03-06 01:00:00", 7.0, "Mina, Nevada", sig=900, felt=9) | {"time": IN_986},
    # One of long ago that is none.
    event("us9", "03-06 01:00:00", 7.3, "Charleston, South Carolina") | {"time": IN_1886},
]


def load(query: Query, rows: list[dict[str, Any]], inserted_at: datetime) -> None:
    """As the loader leaves it: one row per id, its last version."""
    ids = ", ".join(f"'{row['id']}'" for row in rows)
    query(f"delete from {RAW}.{TABLE.name} where id in ({ids})")
    raw.insert(query, TABLE, [{**row, **STAMP[inserted_at]} for row in rows], RAW)


@pytest.fixture(scope="module")
def built(dbt_env: dict[str, str], run_dbt: RunDbt, query: Query, target_path: Path) -> BuildResult:
    raw.create(query, TABLE, RAW)
    variables = {"RAW_DATASET": RAW, "DBT_DATASET_PREFIX": PREFIX}
    load(query, EVENTS, FIRST)
    history = ("--select", "+earthquake_magnitude_history")
    result, _ = run_dbt(
        "build", *history, "--exclude-resource-types", "test", "unit_test", **variables
    )
    assert result.success
    load(query, LATER, SECOND)
    return build(SELECT, target_path, dbt_env | variables, query)


def rows(query: Query, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query(sql)]


def test_all_tests_pass_and_what_cannot_be_counted_warns_by_name(built: BuildResult) -> None:
    assert (built.nodes_failed, built.nodes_skipped) == (0, 0)
    (warning,) = built.warnings
    assert (warning.node, warning.failing_rows) == ("every_live_earthquake_lies_in_the_calendar", 2)
    assert sorted(warning.keys) == ["us7", "us8"]


def test_what_lies_beyond_the_calendar_is_listed_and_in_no_other_mart(
    built: object, query: Query
) -> None:
    listed = f"select event_id, reason, occurred_at from {PREFIX}gold.uncounted_earthquakes"
    assert rows(query, f"{listed} order by event_id") == [
        ("us7", "beyond the calendar", IN_2286),
        ("us8", "beyond the calendar", IN_986),
    ]
    for mart, day in (
        ("daily_earthquake_activity", "activity_date"),
        ("monthly_earthquakes_by_region", "activity_month"),
        ("significant_and_felt_earthquakes", "activity_date_manila"),
    ):
        found = rows(query, f"select distinct extract(year from {day}) from {PREFIX}gold.{mart}")
        assert {year for (year,) in found} <= {1886, 2026}, mart
        assert (1886,) in found or mart.startswith("significant"), mart


def test_a_revised_event_stands_once_though_it_moved_to_another_month(
    built: object, query: Query
) -> None:
    found = rows(
        query,
        f"""
        select event_id, occurred_at, magnitude, is_deleted
        from {PREFIX}silver.earthquake_events order by event_id
        """,
    )
    assert found == [
        ("ak4", at("03-03 08:00:00"), 2.5, True),
        ("us1", at("02-28 10:00:00"), 6.1, False),
        ("us2", at("02-28 23:59:50"), 4.25, False),
        ("us3", at("03-02 12:00:00"), 4.4, True),
        ("us4", at("03-03 08:00:00"), 2.5, False),
        ("us5", at("03-03 20:00:00"), None, False),
        ("us6", at("03-06 01:00:00"), 5.0, False),
        ("us7", IN_2286, 7.0, False),
        ("us8", IN_986, 7.0, False),
        ("us9", IN_1886, 7.3, False),
    ]


def test_daily_activity_has_live_events_only(built: object, query: Query) -> None:
    found = rows(
        query,
        f"""
        select activity_date, magnitude_class, event_count, felt_event_count,
            significant_event_count
        from {PREFIX}gold.daily_earthquake_activity
        where calendar = 'UTC' order by activity_date, magnitude_class
        """,
    )
    assert found == [
        (date(1886, 9, 1), "major", 1, 0, 0),
        (date(2026, 2, 28), "light", 1, 1, 0),
        (date(2026, 2, 28), "strong", 1, 1, 1),
        (date(2026, 3, 3), "minor", 1, 0, 0),
        (date(2026, 3, 3), "unknown", 1, 0, 0),
        (date(2026, 3, 6), "moderate", 1, 0, 1),
    ]


def test_significant_and_felt_events(built: object, query: Query) -> None:
    found = rows(
        query,
        f"""
        select event_id, is_significant, is_felt, magnitude_class, activity_date_manila
        from {PREFIX}gold.significant_and_felt_earthquakes order by event_id
        """,
    )
    # us2 happened at 07:59:50 on 1 March in Manila.
    assert found == [
        ("us1", True, True, "strong", date(2026, 2, 28)),
        ("us2", False, True, "light", date(2026, 3, 1)),
        ("us6", True, False, "moderate", date(2026, 3, 6)),
    ]


def test_events_by_region_and_month(built: object, query: Query) -> None:
    found = rows(
        query,
        f"""
        select region, activity_month, event_count, earthquake_count, other_event_count,
            felt_event_count, significant_event_count, max_magnitude
        from {PREFIX}gold.monthly_earthquakes_by_region order by region, activity_month
        """,
    )
    assert found == [
        ("Alaska", date(2026, 3, 1), 2, 2, 0, 0, 1, 5.0),
        ("Mexico", date(2026, 2, 1), 1, 1, 0, 1, 0, 4.25),
        ("Nevada", date(2026, 3, 1), 1, 0, 1, 0, 0, None),
        ("Philippines", date(2026, 2, 1), 1, 1, 0, 1, 1, 6.1),
        ("South Carolina", date(1886, 9, 1), 1, 1, 0, 0, 0, 7.3),
    ]


def test_a_revision_has_its_first_and_its_latest_magnitude(built: object, query: Query) -> None:
    found = rows(
        query,
        f"""
        select event_id, first_magnitude, latest_magnitude, magnitude_change, revision_count,
            first_magnitude_type, latest_magnitude_type, first_magnitude_class,
            latest_magnitude_class, first_magnitude_at, latest_magnitude_at
        from {PREFIX}gold.earthquake_revisions
        """,
    )
    times = (at("03-01 00:00:30"), at("03-07 00:00:00"))
    assert found == [("us2", 3.8, 4.25, 0.45, 1, "ml", "mww", "minor", "light", *times)]


def test_deleted_events_are_listed_apart_with_their_new_id(built: object, query: Query) -> None:
    found = rows(
        query,
        f"""
        select event_id, deletion_kind, replaced_by_event_id, magnitude, marked_at
        from {PREFIX}gold.deleted_earthquakes order by event_id
        """,
    )
    assert found == [
        ("ak4", "renamed", "us4", 2.5, SECOND),
        ("us3", "deleted", None, 4.4, SECOND),
    ]
