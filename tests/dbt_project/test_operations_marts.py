"""The operations marts on the emulator: a few lines of the ledger in, hand-computed answers out."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from core.ledger import TABLES
from core.sql import literal
from runs.build import BuildFailed, BuildResult, build, describe
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

DATASETS = {"RAW_DATASET": "raw_operations", "DBT_DATASET_PREFIX": "operations_"}
RAW = "raw_operations"
# Noon UTC is 20:00 in Manila; 16:00 UTC begins the Manila day after.
LOAD = {"table_name": "usgs__events", "mode": "incremental", "inserted": 0, "updated": 0}
LOAD |= {"deleted": 0, "superseded_ids": 0, "absent": 0, "rejected": 0, "rejected_unexpected": 0}
LINES: dict[str, list[dict[str, Any]]] = {
    "_loads": [
        LOAD
        | {
            "batch_id": "b1",
            "source": "usgs",
            "state": "applied",
            "extracted": 12,
            "inserted": 7,
            "updated": 2,
            "superseded_ids": 1,
            "rejected": 2,
            "rejected_unexpected": 1,
            "requests": 3,
            "size_bytes": 1000,
            "watermark": "2026-03-01 10:00:00+00",
            "extract_started_at": "2026-03-01 11:59:00+00",
            "extract_ended_at": "2026-03-01 11:59:30.500+00",
            "applied_at": "2026-03-01 12:00:00+00",
        },
        {
            "batch_id": "b2",
            "source": "usgs",
            "state": "failed",
            "extracted": 5,
            "message": "quota",
            "applied_at": "2026-03-01 13:00:00+00",
        },
        LOAD
        | {
            "batch_id": "b2",
            "source": "usgs",
            "state": "applied",
            "extracted": 5,
            "inserted": 5,
            "requests": 1,
            "size_bytes": 200,
            "watermark": "2026-03-01 15:00:00+00",
            "extract_started_at": "2026-03-01 12:59:00+00",
            "extract_ended_at": "2026-03-01 12:59:10+00",
            "applied_at": "2026-03-01 16:00:00+00",
        },
        LOAD
        | {
            "batch_id": "l1",
            "source": "usgs",
            "state": "no_change",
            "requests": 1,
            "watermark": "2026-03-01 17:00:00+00",
            "applied_at": "2026-03-01 17:00:00+00",
        },
        LOAD
        | {
            "batch_id": "b1",
            "source": "usgs",
            "state": "undone",
            "applied_at": "2026-03-01 17:30:00+00",
        },
    ],
    "_rejects": [
        {"batch_id": "b1", "row_number": 3, "reason": "no id", "is_expected": True}
        | {"source": "usgs", "table_name": "usgs__events", "payload": "private"}
        | {"rejected_at": "2026-03-01 12:00:00+00"},
        {"batch_id": "b1", "row_number": 9, "reason": "no time", "is_expected": False}
        | {"source": "usgs", "table_name": "usgs__events", "payload": "private"}
        | {"rejected_at": "2026-03-01 12:00:00+00"},
    ],
    "_jobs": [
        {"job_id": "j1", "source": "usgs", "purpose": "stage", "job_type": "load"}
        | {"state": "succeeded", "started_at": "2026-03-01 12:00:00+00"}
        | {"ended_at": "2026-03-01 12:00:02.500+00"},
        {"job_id": "j2", "source": "usgs", "purpose": "apply", "job_type": "query"}
        | {"state": "failed", "bytes_processed": 5, "bytes_billed": 10, "slot_ms": 1500}
        | {"started_at": "2026-03-01 12:00:03+00", "ended_at": "2026-03-01 12:00:04+00"},
        {"job_id": "j3", "source": "usgs", "purpose": "apply", "job_type": "query"}
        | {"state": "succeeded", "bytes_processed": 7, "bytes_billed": 20, "slot_ms": 500}
        | {"started_at": "2026-03-01 12:00:05+00", "ended_at": "2026-03-01 12:00:08+00"},
    ],
    "_builds": [
        {"build_id": "d1", "source": "usgs", "state": "failed", "bytes_billed": 100}
        | {"asked_at": "2026-03-01 12:00:59+00"}
        | {"started_at": "2026-03-01 12:01:00+00", "ended_at": "2026-03-01 12:01:20+00"},
        {"build_id": "d2", "source": "operations", "state": "succeeded", "bytes_billed": 1}
        # By the worker's clock it is 1970; the day is that of BigQuery's.
        | {"asked_at": "2026-03-01 18:00:00+00"}
        | {"started_at": "1970-01-01 00:00:00+00", "ended_at": "1970-01-01 00:00:30+00"},
    ],
    "_requests": [
        {"reservation_id": "r1", "source": "usgs", "state": "reserved", "requests": 4}
        | {"recorded_at": "2026-03-01 12:00:00+00"},
    ],
    "_fields": [
        {"source": "usgs", "table_name": "usgs__events", "field": "mood", "change": "new"}
        | {"batch_id": "b2", "announced_at": "2026-03-01 16:00:00+00"},
    ],
}


@pytest.fixture(scope="module")
def env(dbt_env: dict[str, str]) -> dict[str, str]:
    return dbt_env | DATASETS


@pytest.fixture(scope="module")
def built(env: dict[str, str], query: Query, target_path: Path) -> tuple[BuildResult, BuildResult]:
    """A build of an empty ledger, and one of these lines."""
    query(f"create schema {RAW}")
    for name, (columns, _) in TABLES.items():
        declared = ", ".join(f"{column.name} {column.type}" for column in columns)
        query(f"create table {RAW}.{name} ({declared})")
    empty = build("@source:operations", target_path, env, query)
    for name, lines in LINES.items():
        for line in lines:
            insert(query, name, line)
    return empty, build("@source:operations", target_path, env, query)


def insert(query: Query, name: str, line: dict[str, Any]) -> None:
    types = {column.name: column.type for column in TABLES[name][0]}
    values = ", ".join(f"cast({literal(line[column])} as {types[column]})" for column in line)
    query(f"insert into {RAW}.{name} ({', '.join(line)}) select {values}")


def test_a_ledger_with_and_without_lines_is_built(
    built: tuple[BuildResult, BuildResult],
) -> None:
    empty, full = built
    assert (empty.nodes_failed, empty.nodes_warned, empty.nodes_skipped) == (0, 0, 0)
    assert describe(empty) == describe(full)


# Everything of two Manila days, by hand.
MARCH_1: dict[str, Any] = {
    "run_count": 2,
    "applied_batch_count": 1,
    "quiet_look_count": 0,
    "failed_load_count": 1,
    "unapplied_batch_count": 0,
    "undone_batch_count": 0,
    "extracted_row_count": 12,
    "written_row_count": 10,
    "inserted_row_count": 7,
    "updated_row_count": 2,
    "deleted_row_count": 1,
    "rejected_row_count": 2,
    "unexpected_reject_count": 1,
    "field_change_count": 0,
    "request_count": 3,
    "plan_request_count": 4,
    "landed_bytes": 1000,
    "job_count": 3,
    "failed_job_count": 1,
    "build_count": 1,
    "failed_build_count": 1,
    "billed_bytes": 130,
    "load_billed_bytes": 30,
    "build_billed_bytes": 100,
    "extract_seconds": 30.5,
    "longest_load_seconds": 29.5,
    "build_seconds": 20.0,
    "data_age_hours": 6.0,
    "look_age_hours": 4.0,
}
MARCH_2 = dict.fromkeys(MARCH_1, 0) | {
    "run_count": 2,
    "applied_batch_count": 1,
    "quiet_look_count": 1,
    "undone_batch_count": 1,
    "extracted_row_count": 5,
    "written_row_count": 5,
    "inserted_row_count": 5,
    "field_change_count": 1,
    "request_count": 2,
    "landed_bytes": 200,
    "extract_seconds": 10.0,
    "longest_load_seconds": 10850.0,
    "data_age_hours": 23.0,
    "look_age_hours": 23.0,
}
QUIET = dict.fromkeys(MARCH_1, 0) | {
    "longest_load_seconds": None,
    "data_age_hours": 47.0,
    "look_age_hours": 47.0,
}


@pytest.mark.parametrize(
    ("day", "answer"),
    [(date(2026, 3, 1), MARCH_1), (date(2026, 3, 2), MARCH_2), (date(2026, 3, 3), QUIET)],
    ids=["applied, failed", "applied after midnight, looked", "nothing"],
)
def test_a_day_of_a_source_is_as_worked_out_by_hand(
    built: object, query: Query, day: date, answer: dict[str, Any]
) -> None:
    (row,) = query(
        "select * from operations_gold.daily_source_operations "
        f"where source = 'usgs' and date_manila = date '{day}'"
    )
    assert row == {"source": "usgs", "date_manila": day} | answer


def test_every_source_has_every_day_to_today(built: object, query: Query) -> None:
    rows = query("""
        select
            source, min(date_manila) as first_date,
            max(date_manila) = current_date('Asia/Manila') as is_up_to_date,
            count(*) = date_diff(current_date('Asia/Manila'), min(date_manila), day) + 1 as is_whole
        from operations_gold.daily_source_operations group by source order by source
    """)
    assert [tuple(row.values()) for row in rows] == [
        ("operations", date(2026, 3, 2), True, True),
        ("usgs", date(2026, 3, 1), True, True),
    ]


def test_rejects_are_counted_by_reason_without_what_stood_in_them(
    built: object, query: Query
) -> None:
    rows = query("select * from operations_gold.daily_rejects order by reason")
    common = {"source": "usgs", "date_manila": date(2026, 3, 1), "table_name": "usgs__events"}
    counts = {"reject_count": 1, "batch_count": 1}
    assert rows == [
        common | {"reason": "no id", "is_expected": True} | counts,
        common | {"reason": "no time", "is_expected": False} | counts,
    ]
    told = query("select column_name from operations_staging.INFORMATION_SCHEMA.COLUMNS")
    assert told and not [row for row in told if "payload" in row["column_name"]]


def test_jobs_are_added_up_by_purpose(built: object, query: Query) -> None:
    rows = query("""
        select purpose, job_type, job_count, failed_job_count, processed_bytes, billed_bytes,
            slot_seconds, job_seconds, longest_job_seconds
        from operations_gold.daily_bigquery_jobs order by purpose
    """)
    assert [tuple(row.values()) for row in rows] == [
        ("apply", "query", 2, 1, 12, 30, 2.0, 4.0, 3.0),
        ("stage", "load", 1, 0, 0, 0, 0.0, 2.5, 2.5),
    ]


@pytest.mark.slow
def test_a_reject_that_the_ledger_does_not_count_fails_the_build(
    built: object, env: dict[str, str], query: Query, target_path: Path
) -> None:
    insert(query, "_rejects", LINES["_rejects"][0] | {"batch_id": "b9"})
    try:
        with pytest.raises(BuildFailed, match="daily_source_operations_count_every_reject"):
            build("@source:operations", target_path, env, query)
    finally:
        query(f"delete from {RAW}._rejects where batch_id = 'b9'")


def test_the_unit_test_passes(
    built: object, env: dict[str, str], run_dbt: RunDbt, target_path: Path
) -> None:
    selected = "test_type:unit,source:operations+"
    target = str(target_path.with_name("units"))
    result, _ = run_dbt("test", "--select", selected, "--target-path", target, **env)
    assert [str(outcome.status) for outcome in result.result.results] == ["pass"]
