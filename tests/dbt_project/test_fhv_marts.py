"""For-hire vehicles: three lists of two days in, hand-computed answers out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from runs.build import BuildResult, build, describe
from sources.nyc_fhv.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

SELECT = "source:nyc_fhv+"
# What must be built with every list, for the history to know it.
HISTORY = ("stg_nyc_fhv__vehicles", "fhv_vehicles", "fhv_license_holdings", "fhv_license_history")
# 19 February, 15:17 in New York; the next evening at 23:30 there, which is the 21st in UTC; noon.
LISTS = {
    "first": "20260219T201715000000_00000001",
    "second": "20260221T043000250000_00000002",
    "third": "20260222T170000000000_00000003",
}
TIMES = {
    "first": datetime(2026, 2, 19, 20, 17, 15, tzinfo=UTC),
    "second": datetime(2026, 2, 21, 4, 30, 0, 250000, tzinfo=UTC),
    "third": datetime(2026, 2, 22, 17, tzinfo=UTC),
}
EXIT = {"base_number": "B03152", "base_name": "EXIT LUXURY INC.", "base_type": "BLACK CAR"}
ZYNC = {"base_number": "B03036", "base_name": "ZYNC INC", "base_type": "LIVERY"}


def line(license_number: str | None, name: str, plate: str, **fields: str | None) -> dict[str, Any]:
    return {
        "active": "YES",
        "vehicle_license_number": license_number,
        "name": name,
        "license_type": "For Hire Vehicle",
        "expiration_date": "2026-06-30T00:00:00.000",
        "dmv_license_plate_number": plate,
        "vehicle_year": "2022",
        "base_telephone_number": "(718) 555-0123",
        "last_date_updated": "2026-02-19T00:00:00.000",
        "last_time_updated": "14:01",
        **fields,
    }


# 1 moves its base, then leaves; 2 comes back after it left; 3 changes holder and plate; 4 joins;
# 5 is listed twice, once under another base and with an earlier end.
FIRST = [
    line("1", "ANA", "T1C", **EXIT, wheelchair_accessible="WAV"),
    line("2", "BO", "T2C", **EXIT, veh="HYB"),
    line("3", "CY", "T3C", **ZYNC, wheelchair_accessible="PILOT"),
    line("5", "ED", "T5C", **EXIT, vehicle_year="2015", veh="WAV"),
    line("5", "ED", "T5C", **ZYNC, expiration_date="2026-01-31T00:00:00.000"),
]
SECOND = [
    line("1", "ANA", "T1C", **ZYNC, wheelchair_accessible="WAV"),
    # Spellings that drift are no change.
    line(
        "3",
        "DI",
        "T9C",
        **{**ZYNC, "base_type": "livery"},
        license_type="FOR HIRE VEHICLE",
        base_telephone_number="(718)555-0123",
        wheelchair_accessible="PILOT",
    ),
    line("4", "GO", "T4C", **{**EXIT, "base_type": "BLACK-CAR"}, veh="BEV"),
    *FIRST[3:],
]
THIRD = [
    line("2", "BO", "T2C", **EXIT, veh="HYB"),
    SECOND[1],
    # A base without a name of its own, a date and a year that are none, and a line without licence.
    line("4", "GO", "T4C", veh="BEV", expiration_date="soon", vehicle_year="new"),
    *FIRST[3:],
    line(None, "NOBODY", "T0C"),
]
TESTS = ("test", "unit_test")


def replace_list(query: Query, name: str, lines: list[dict[str, Any]]) -> None:
    query(f"delete from raw.{TABLE.name} where true")
    stamp = {"_batch_id": LISTS[name], "_inserted_at": TIMES[name]}
    raw.insert(query, TABLE, [{**row, **stamp} for row in lines])


@pytest.fixture(scope="module")
def built(dbt_env: dict[str, str], run_dbt: RunDbt, query: Query, target_path: Path) -> BuildResult:
    """The outcome of the last list's build."""
    raw.create(query, TABLE)
    for name, lines in (("first", FIRST), ("second", SECOND)):
        replace_list(query, name, lines)
        result, _ = run_dbt("build", "--select", *HISTORY, "--exclude-resource-types", *TESTS)
        assert result.success
    replace_list(query, "third", THIRD)
    return build(SELECT, target_path, dbt_env, query)


def rows(query: Query, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query(sql)]


def test_what_is_listed_twice_or_cannot_be_read_is_warned_of(built: BuildResult) -> None:
    # A licence listed twice, a line without one, a line with fields that cannot be read.
    assert "passed, 3 warned: " in describe(built)
    assert {warning.node for warning in built.warnings} == {
        "nyc_fhv__vehicles_license_listed_once",
        "nyc_fhv__vehicles_line_has_a_license",
        "stg_nyc_fhv__vehicles_fields_not_read",
    }


def test_of_a_licence_that_is_listed_twice_the_line_that_ends_last_stands(
    built: object, query: Query
) -> None:
    found = rows(
        query,
        """
        select vehicle_license_number, base_number, line_count, expiration_date_new_york,
            model_year, is_accessible
        from silver.fhv_vehicles order by vehicle_license_number
        """,
    )
    assert found == [
        ("2", "B03152", 1, date(2026, 6, 30), 2022, False),
        ("3", "B03036", 1, date(2026, 6, 30), 2022, False),
        ("4", None, 1, None, None, False),
        ("5", "B03152", 2, date(2026, 6, 30), 2015, True),
    ]


def test_the_history_says_who_held_which_licence_when_by_the_lists_own_times(
    built: object, query: Query
) -> None:
    found = rows(
        query,
        """
        select vehicle_license_number, holder_name, base_number, plate_number, dbt_valid_from,
            dbt_valid_to
        from silver.fhv_license_history order by vehicle_license_number, dbt_valid_from
        """,
    )
    first, second, third = TIMES.values()
    assert found == [
        ("1", "ANA", "B03152", "T1C", first, second),
        ("1", "ANA", "B03036", "T1C", second, third),
        ("2", "BO", "B03152", "T2C", first, second),
        ("2", "BO", "B03152", "T2C", third, None),
        ("3", "CY", "B03036", "T3C", first, second),
        ("3", "DI", "B03036", "T9C", second, None),
        ("4", "GO", "B03152", "T4C", second, third),
        ("4", "GO", None, "T4C", third, None),
        ("5", "ED", "B03152", "T5C", first, None),
    ]


def test_joiners_and_leavers_add_up_to_the_list_on_every_new_york_day(
    built: object, query: Query
) -> None:
    found = rows(query, "select * from gold.daily_fhv_joiners_and_leavers order by 1")
    # Day; before, first listed, joined, left, after; changes of holder, base and plate.
    assert found == [
        (date(2026, 2, 19), 0, 4, 0, 0, 4, 0, 0, 0),
        (date(2026, 2, 20), 4, 0, 1, 1, 4, 1, 1, 1),
        (date(2026, 2, 21), 4, 0, 0, 0, 4, 0, 0, 0),
        (date(2026, 2, 22), 4, 0, 1, 1, 4, 0, 1, 0),
    ]


def test_vehicles_by_base_and_type(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select base_number, base_type, base_name, vehicle_count, accessible_vehicle_count,
            electrified_vehicle_count, oldest_model_year, newest_model_year,
            next_expiration_date_new_york
        from gold.fhv_vehicles_by_base_and_type order by base_number nulls last
        """,
    )
    june_30 = date(2026, 6, 30)
    assert found == [
        ("B03036", "LIVERY", "ZYNC INC", 1, 0, 0, 2022, 2022, june_30),
        ("B03152", "BLACK CAR", "EXIT LUXURY INC.", 2, 1, 1, 2015, 2022, june_30),
        (None, None, None, 1, 0, 1, None, None, None),
    ]


def test_model_years_accessible_share_and_expirations(built: object, query: Query) -> None:
    assert rows(query, "select * from gold.fhv_vehicles_by_model_year order by 1 nulls last") == [
        (2015, 1, 1, 0, 0.25),
        (2022, 2, 0, 1, 0.5),
        (None, 1, 0, 1, 0.25),
    ]
    # Base type, vehicles, accessible, PILOT, others, share.
    assert rows(query, "select * from gold.fhv_accessible_share order by 1 nulls last") == [
        ("BLACK CAR", 2, 1, 0, 1, 0.5),
        ("LIVERY", 1, 0, 1, 0, 0.0),
        (None, 1, 0, 0, 1, 0.0),
    ]
    # Month, licences, of them expired, bases, accessible.
    sql = "select * from gold.monthly_fhv_license_expirations order by 1 nulls last"
    assert rows(query, sql) == [(date(2026, 6, 1), 3, 0, 2, 1), (None, 1, 0, 0, 0)]


def test_the_leaderboard_ranks_bases_by_vehicles(built: object, query: Query) -> None:
    sql = """
        select size_rank, base_number, vehicle_count, round(fleet_share, 6), accessible_share,
            average_model_year
        from gold.fhv_base_leaderboard order by size_rank
    """
    assert rows(query, sql) == [
        (1, "B03152", 2, 0.666667, 0.5, 2018.5),
        (2, "B03036", 1, 0.333333, 0.0, 2022.0),
    ]


def test_the_unit_tests_pass(built: object, run_dbt: RunDbt) -> None:
    result, _ = run_dbt("test", "--select", f"{SELECT},test_type:unit")
    assert [str(outcome.status) for outcome in result.result.results] == ["pass", "pass"]
