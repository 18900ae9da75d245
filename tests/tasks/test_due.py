"""When a build is due: after an applied batch, a change of the code, and once per Manila day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from google.cloud import bigquery
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from core.sql import literal
from core.version import code_version
from runs import due
from runs.build import BuildResult, NodeFailure
from runs.dbt_build import record_build, run_build, window_environment
from runs.due import BuildWindow, Due, declared, due_build, follows_calendar, operations_due
from sources.finance.mapping import TABLE
from stores.bigquery import DBT_INVOCATION, billed_of
from stores.cursor import read_position
from tasks.report import is_on_schedule
from testing.platform import TestPlatform
from testing.recording import listening

MANILA = timedelta(hours=8)


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """A ledger without a line."""
    platform = make_platform(kit="finance", size=0)
    platform.stores.warehouse.ensure_ledger()
    return platform


def now(platform: TestPlatform) -> datetime:
    moment: datetime = platform.query("SELECT CURRENT_TIMESTAMP() AS now")[0]["now"]
    return moment


def apply_batch(
    platform: TestPlatform, source: str = "finance", state: str = "applied", **line: Any
) -> datetime:
    """A batch is applied, by BigQuery's clock."""
    line = {"batch_id": "b", "source": source, "state": state, "applied_at": "now"} | line
    platform.stores.warehouse.insert_line("_loads", line, source)
    sql = f"SELECT MAX(applied_at) AS applied_at FROM {{raw}}._loads WHERE source = '{source}'"
    applied_at: datetime = platform.query(sql)[0]["applied_at"]
    return applied_at


def built(
    platform: TestPlatform, covers: datetime, asked: datetime, source: str = "finance", **line: Any
) -> None:
    """A successful build of this code."""
    defaults = {"source": source, "state": "succeeded", "code_version": code_version()}
    defaults |= {"suite": "whole", "dataset_prefix": platform.stores.warehouse.dataset_prefix}
    times = {"covers_applied_at": covers, "asked_at": asked}
    platform.stores.warehouse.insert_line("_builds", defaults | times | line, source)


def midnight_in_manila(platform: TestPlatform) -> datetime:
    """When the current day began there."""
    local = now(platform) + MANILA
    return local.replace(hour=0, minute=0, second=0, microsecond=0) - MANILA


def test_nothing_is_due_before_anything_is_applied(platform: TestPlatform) -> None:
    assert due_build(platform.stores.warehouse, "finance") is None
    apply_batch(platform, state="no_change")
    apply_batch(platform, source="openweather")
    assert due_build(platform.stores.warehouse, "finance") is None


def test_an_applied_batch_is_due_until_a_build_of_this_code_covers_it(
    platform: TestPlatform,
) -> None:
    applied_at = apply_batch(platform)
    before = now(platform)
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.covers_applied_at == applied_at
    assert before <= wanted.asked_at <= now(platform)
    built(platform, applied_at, before, state="failed")
    built(platform, applied_at, before, code_version="another")
    built(platform, applied_at, before, dataset_prefix="other_")
    built(platform, applied_at, before, source="openweather")
    built(platform, applied_at - timedelta(seconds=1), before)
    assert due_build(platform.stores.warehouse, "finance")
    built(platform, applied_at, before)
    assert due_build(platform.stores.warehouse, "finance") is None


def test_increments_do_not_do_for_other_code_nor_after_an_undo(platform: TestPlatform) -> None:
    applied_at = apply_batch(platform)
    first = due_build(platform.stores.warehouse, "finance")
    built(platform, applied_at, now(platform))
    applied_at = apply_batch(platform)
    second = due_build(platform.stores.warehouse, "finance")
    built(platform, applied_at, now(platform))
    undone_at = apply_batch(platform, state="undone")
    third = due_build(platform.stores.warehouse, "finance")
    assert first and second and third
    assert (first.full_refresh, second.full_refresh, third.full_refresh) == (True, False, True)
    built(platform, undone_at, now(platform))
    assert due_build(platform.stores.warehouse, "finance") is None


def test_a_batch_that_began_before_the_last_build_and_was_visible_only_after_it_is_due(
    platform: TestPlatform,
) -> None:
    """On BigQuery `applied_at` is the start of the transaction, which no reader sees before its
    end."""
    at = now(platform)
    covered = apply_batch(platform, applied_at=at - timedelta(seconds=60))
    built(platform, covered, at - timedelta(seconds=10))
    apply_batch(platform, applied_at=at - timedelta(seconds=20))
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.covers_applied_at == at - timedelta(seconds=20)


def touched(first_day: int, last_day: int) -> dict[str, Any]:
    """Columns of a ledger line whose batch touched these days of a March."""
    return {
        "touched_from": datetime(2026, 3, first_day, tzinfo=UTC),
        "touched_to": datetime(2026, 3, last_day, tzinfo=UTC),
    }


def test_a_build_is_told_where_the_rows_of_all_waiting_batches_lie(platform: TestPlatform) -> None:
    hour_ago = now(platform) - timedelta(hours=1)
    covered = apply_batch(platform, applied_at=hour_ago, **touched(1, 2))
    first = due_build(platform.stores.warehouse, "finance")
    assert first and first.full_refresh and first.window is None
    built(platform, covered, hour_ago)
    apply_batch(platform, **touched(20, 21))
    until = apply_batch(platform, **touched(11, 12))
    # What is not of this source, or of no batch, tells nothing.
    apply_batch(platform, source="openweather", **touched(30, 31))
    apply_batch(platform, state="no_change")
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.window == BuildWindow(
        covered, until, datetime(2026, 3, 11, tzinfo=UTC), datetime(2026, 3, 21, tzinfo=UTC)
    )
    # A build that failed has covered nothing: the next one is told the same.
    built(platform, until, now(platform), state="failed")
    again = due_build(platform.stores.warehouse, "finance")
    assert again and again.window == wanted.window
    # One batch that does not tell: the models ask their tables.
    apply_batch(platform)
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.window is None and not wanted.full_refresh


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_a_batch_applied_while_a_build_ran_has_the_models_ask_their_tables(
    platform: TestPlatform, state: str
) -> None:
    """The build may have passed over rows that the batch wrote, where none of the lines tells."""
    start = now(platform) - timedelta(hours=4)
    covered = apply_batch(platform, applied_at=start, **touched(1, 2))
    built(platform, covered, start)
    second = apply_batch(platform, applied_at=start + timedelta(hours=1), **touched(3, 4))
    minutes: dict[str, Any] = {"started_at": start, "ended_at": start + timedelta(minutes=20)}
    built(platform, second, second, state=state, **minutes)
    apply_batch(platform, applied_at=second + timedelta(minutes=19), **touched(5, 6))
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.window is None and not wanted.full_refresh
    third = now(platform) - timedelta(hours=2)
    built(platform, third, third)
    fourth = apply_batch(platform, **touched(7, 8))
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.window
    assert (wanted.window.after, wanted.window.until) == (third, fourth)


@pytest.mark.parametrize(
    ("hours_ago", "on_schedule", "build", "batch", "then", "is_due"),
    [
        (1, True, {}, "applied", {}, False),
        (2, True, {}, "applied", {}, True),
        (1, False, {}, "applied", {}, True),
        (1, True, {}, "undone", {}, True),
        (1, True, {"code_version": "another"}, "applied", {}, True),
        (1, True, {"suite": "keys"}, "applied", {}, True),
        (1, True, {}, "applied", {"state": "failed"}, True),
        (1, True, {}, "applied", {"state": "failed", "code_version": "another"}, False),
    ],
    ids=[
        *("too early", "not too early", "a person's run", "an undo", "other code"),
        *("not every test today", "a failed build", "a failed build of other code"),
    ],
)
def test_a_schedule_builds_for_a_new_batch_as_often_as_the_source_says(
    platform: TestPlatform,
    monkeypatch: pytest.MonkeyPatch,
    hours_ago: int,
    on_schedule: bool,
    build: dict[str, Any],
    batch: str,
    then: dict[str, Any],
    is_due: bool,
) -> None:
    """Whatever else makes a build due makes it due at once, and so does a person's run."""
    monkeypatch.setattr(due, "declared", lambda source: {"build_every_hours": 2})
    # A place where it is about noon, so that all of it is of one day.
    hour = due.clock_hour(now(platform))
    monkeypatch.setattr(due, "DAY_OF", f"Etc/GMT{hour.hour - 12:+d}")
    # At the end of an hour, to which the minutes do not matter.
    at = hour - timedelta(hours=hours_ago) + timedelta(minutes=59)
    built(platform, apply_batch(platform, applied_at=at - timedelta(minutes=1)), at, **build)
    apply_batch(platform, state=batch)
    if then:
        built(platform, now(platform), now(platform), **then)
    wanted = due_build(platform.stores.warehouse, "finance", on_schedule=on_schedule)
    assert (wanted is not None) == is_due


@pytest.mark.slow
def test_a_build_that_is_told_where_its_rows_lie_takes_in_all_that_waits(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By what the loader wrote to the ledger: new, revised, moved and deleted events."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    platform = make_platform(size=60)
    platform.run()
    assert platform.build()
    # The build is over; by the ledger's clock that is sure only some minutes later.
    hour = "INTERVAL 1 HOUR"
    platform.query(
        f"UPDATE {{raw}}._builds SET asked_at = TIMESTAMP_SUB(asked_at, {hour}) WHERE TRUE"
    )
    platform.control("advance")
    platform.run()
    wanted = due_build(platform.stores.warehouse, "usgs_earthquake")
    assert wanted and wanted.window and wanted.window.earliest < wanted.window.latest
    assert platform.build()
    columns = "event_id, magnitude, place, is_deleted, occurred_at, inserted_at"
    mart = (
        f"SELECT {columns} FROM {{marts}}silver.earthquake_events "
        "WHERE occurred_at IS NULL OR occurred_at IS NOT NULL"
    )
    events = "{raw}.usgs_earthquake__events"
    raw = f"SELECT id, mag, place, _is_deleted, time, _inserted_at FROM {events}"
    assert platform.query(f"SELECT * FROM ({raw}) EXCEPT DISTINCT SELECT * FROM ({mart})") == []
    counts = platform.query(
        f"SELECT (SELECT COUNT(*) FROM ({mart})) - COUNT(*) AS more FROM ({raw})"
    )
    assert counts == [{"more": 0}]
    (written,) = platform.query(
        f"SELECT COUNT(*) AS n FROM {events} WHERE _inserted_at > {literal(wanted.window.after)}"
    )
    assert 0 < written["n"] < len(platform.rows())


@pytest.mark.parametrize("is_scheduled", [True, False])
def test_a_run_is_on_schedule_when_prefects_scheduler_made_it(is_scheduled: bool) -> None:
    run = FlowRun(flow_id=uuid4(), auto_scheduled=is_scheduled)
    fields: dict[str, Any] = {"flow_run": run}
    with FlowRunContext.model_construct(None, **fields):
        assert is_on_schedule() is is_scheduled
    assert not is_on_schedule()


def test_the_sources_say_how_often_they_are_built() -> None:
    said = {
        name: declared(name).get("build_every_hours") for name in ("usgs_earthquake", "finance")
    }
    assert said == {"usgs_earthquake": 4, "finance": None}
    assert declared("no_such_source") == {}


def test_dbt_gets_a_window_as_literals_and_empty_variables_without_one() -> None:
    at = datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC)
    window = BuildWindow(at, at + timedelta(hours=1), at - timedelta(days=1), at)
    assert window_environment(window) == {
        "DBT_WINDOW_AFTER": "TIMESTAMP '2026-03-01 12:30:00.000005+00:00'",
        "DBT_WINDOW_UNTIL": "TIMESTAMP '2026-03-01 13:30:00.000005+00:00'",
        "DBT_WINDOW_FROM": "TIMESTAMP '2026-02-28 12:30:00.000005+00:00'",
        "DBT_WINDOW_TO": "TIMESTAMP '2026-03-01 12:30:00.000005+00:00'",
    }
    assert set(window_environment(None).values()) == {""}


def test_what_follows_the_calendar_is_due_once_per_manila_day(platform: TestPlatform) -> None:
    applied_at = apply_batch(platform)
    midnight = midnight_in_manila(platform)
    built(platform, applied_at, midnight - timedelta(microseconds=1))
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.covers_applied_at == applied_at
    built(platform, applied_at, midnight)
    assert due_build(platform.stores.warehouse, "finance") is None


def test_what_does_not_follow_the_calendar_stays_built(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "follows_calendar", lambda source: False)
    applied_at = apply_batch(platform)
    built(platform, applied_at, now(platform) - timedelta(days=40))
    assert due_build(platform.stores.warehouse, "finance") is None


def test_every_test_runs_in_the_first_build_of_a_day_that_succeeds(platform: TestPlatform) -> None:
    midnight = midnight_in_manila(platform)
    first = apply_batch(platform)
    built(platform, first, midnight - timedelta(seconds=1))
    second = apply_batch(platform)
    built(platform, second, midnight, state="failed")
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.suite == "whole"
    built(platform, second, midnight)
    apply_batch(platform)
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and wanted.suite == "keys"
    assert operations_due(platform.stores.warehouse).suite == "whole"


def test_what_only_the_tests_of_keys_have_seen_meets_the_others_the_next_day(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "follows_calendar", lambda source: False)
    yesterday = midnight_in_manila(platform) - timedelta(hours=1)
    applied_at = apply_batch(platform)
    built(platform, applied_at - timedelta(seconds=1), yesterday)
    built(platform, applied_at, yesterday, suite="keys")
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted and (wanted.covers_applied_at, wanted.suite) == (applied_at, "whole")
    built(platform, applied_at, now(platform))
    assert due_build(platform.stores.warehouse, "finance") is None


def test_the_workers_clock_decides_nothing(platform: TestPlatform) -> None:
    """A build whose own times are of another day counts by the time it was asked for."""
    applied_at = apply_batch(platform)
    wrong = now(platform) + timedelta(days=2)
    built(
        platform,
        applied_at,
        midnight_in_manila(platform) - MANILA,
        started_at=wrong,
        ended_at=wrong,
    )
    wanted = due_build(platform.stores.warehouse, "finance")
    assert wanted
    record_build(platform.stores.warehouse, "finance", wanted, result_of(wrong - timedelta(days=4)))
    assert due_build(platform.stores.warehouse, "finance") is None


def result_of(at: datetime, *failures: NodeFailure) -> BuildResult:
    return BuildResult("build", at, at, 1, len(failures), 0, 0, failures)


def test_a_build_that_failed_today_is_due_again(platform: TestPlatform) -> None:
    wanted = Due(apply_batch(platform), now(platform))
    failure = NodeFailure("monthly_pnl", "error", None, "")
    record_build(platform.stores.warehouse, "finance", wanted, result_of(now(platform), failure))
    assert due_build(platform.stores.warehouse, "finance")


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=1)], ids=["today", "yesterday"])
def test_after_a_build_that_failed_the_same_one_is_due(
    platform: TestPlatform, age: timedelta
) -> None:
    """Also by a ledger that a release filled which continued failed builds."""
    platform.query("ALTER TABLE {raw}._builds ADD COLUMN continues STRING")
    wanted = due_build(platform.stores.warehouse, "finance") if apply_batch(platform) else None
    assert wanted
    failed: dict[str, Any] = {"state": "failed", "build_id": "f1", "continues": "f0"}
    built(platform, wanted.covers_applied_at, now(platform) - age, **failed)
    again = due_build(platform.stores.warehouse, "finance")
    assert again and replace(again, asked_at=wanted.asked_at) == wanted
    record_build(platform.stores.warehouse, "finance", again, result_of(now(platform)))
    assert due_build(platform.stores.warehouse, "finance") is None


def test_what_a_run_knows_of_its_batches_is_not_asked_for_again(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(size=12, retention_days=7)
    platform.run()
    before = now(platform) - timedelta(minutes=10)
    built(platform, platform.ledger()[-1]["applied_at"], before, source="usgs_earthquake")
    platform.control("advance")
    outcome = platform.run()
    with listening(platform) as jobs:
        told = due_build(platform.stores.warehouse, "usgs_earthquake", changes=outcome.changes)
    assert ["_loads" in job.sql for job in jobs] == [False]
    asked = due_build(platform.stores.warehouse, "usgs_earthquake")
    assert (
        told and asked and told.window and told.window.until == platform.ledger()[-1]["applied_at"]
    )
    assert replace(told, asked_at=asked.asked_at) == asked
    # A run that another one has overtaken knows less, and what it does not know is asked for.
    assert outcome.changes
    old = replace(outcome.changes, since=now(platform))
    with listening(platform) as jobs:
        assert due_build(platform.stores.warehouse, "usgs_earthquake", changes=old) is not None
    assert ["_loads" in job.sql for job in jobs] == [False, True]


def test_a_batch_of_another_run_in_between_is_not_missed(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="finance", retention_days=7)
    platform.run()
    known = read_position(platform.stores.warehouse, TABLE, ()).changes
    assert known and [change.state for change in known.listed] == ["applied"]
    apply_batch(platform)
    platform.control("advance")
    outcome = platform.run()
    assert outcome.changes and len(outcome.changes.listed) == 3
    (line,) = outcome.lines
    assert line.previous_at == platform.ledger()[-2]["applied_at"]
    assert known.and_this(line) is None


def test_the_sources_say_whether_they_follow_the_calendar() -> None:
    assert follows_calendar("finance")
    assert not follows_calendar("nyc_fhv")
    assert not follows_calendar("no_such_source")


def test_the_operations_marts_are_built_from_a_ledger_of_runs(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    platform.control("set", {"rows": [list(TABLE.column_names)]})
    platform.run()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = operations_due(platform.stores.warehouse)
    assert abs(wanted.asked_at - datetime.now(UTC)) < timedelta(minutes=5)
    # What each job is billed; the emulator bills nothing.
    monkeypatch.setattr(bigquery.QueryJob, "total_bytes_billed", 10)
    result = run_build(platform.stores.warehouse, platform.blocks.google, "operations", wanted)
    rows = platform.query("SELECT * FROM {marts}gold.daily_source_operations ORDER BY source")
    assert [(row["source"], row["run_count"], row["build_count"]) for row in rows] == [
        ("finance", 1, 0)
    ]
    (line,) = platform.query("SELECT source, state, asked_at, bytes_billed FROM {raw}._builds")
    billed = line.pop("bytes_billed")
    assert line == {"source": "operations", "state": "succeeded", "asked_at": wanted.asked_at}
    # A table under a contract has a second job, which asks for its columns.
    assert billed % 10 == 0 and billed > 10 * result.nodes_passed


def test_what_dbt_billed_is_that_of_its_own_queries() -> None:
    def job(invocation_id: str | None, billed: str | None) -> bigquery.QueryJob:
        labels = {DBT_INVOCATION: invocation_id} if invocation_id else {}
        resource = {
            "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
            "configuration": {"query": {}, "labels": labels},
            "statistics": {"query": {"totalBytesBilled": billed} if billed else {}},
        }
        return bigquery.QueryJob.from_api_repr(resource, SimpleNamespace(project="p"))

    mine = [job("this", "10485760"), job("this", "20971520"), job("this", None)]
    jobs = [*mine, job("another", "5"), job(None, "7")]
    assert billed_of(jobs, {DBT_INVOCATION: "this"}) == 30 * 2**20
