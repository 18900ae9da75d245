"""Runs' logs on a real Prefect server: copied from 60 days of age on, and a run is removed only
when it is in a copy, however long copying fails."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_run_logger, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Completed, Failed, Pending, Running

from alerting.log_lines import Line, unpacked
from alerting.run_logs import logs_behind
from blocks import GCP, WAREHOUSE
from blocks.platform import platform_blocks
from flows.run_logs import LogsNotCopied, run_logs
from runs.alert_settings import AlertSettings
from sandbox.parts import isolated
from sandbox.stack import Stack
from stores.settings import LANDING_GCS, PlatformSettings
from testing.platform import TestPlatform

NOW = datetime.now(UTC)


@flow(name="inner")
def inner() -> None:
    get_run_logger().warning("from within")


@task
def work() -> None:
    get_run_logger().info("at work")


@flow(name="outer")
def outer() -> None:
    get_run_logger().info("it begins: ₱ 1")
    work()
    inner()


@dataclass
class Server:
    """A Prefect server whose runs can be made older than they are."""

    client: SyncPrefectClient
    database: Path

    def run(self, name: str, days: float, messages: list[str], state: State | None = None) -> UUID:
        """A run that ended so many days ago, with a log whose lines are all of one moment."""
        run = self.client.create_flow_run(inner, name=name)
        for each in (Pending(), Running(), state or Completed()):
            self.client.set_flow_run_state(run.id, each, force=True)
        at = (NOW - timedelta(days=days)).isoformat()
        self.client.create_logs(
            {"name": "a", "level": 20, "message": one, "timestamp": at, "flow_run_id": str(run.id)}
            for one in messages
        )
        if state is None or state.is_final():
            self.age(run.id, days)
        return run.id

    def age(self, run_id: UUID, days: float) -> None:
        at = (NOW - timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.%f")
        with sqlite3.connect(self.database, timeout=60) as database:
            changed = database.execute(
                "UPDATE flow_run SET start_time = ?, end_time = ? WHERE id = ?",
                (at, at, str(run_id)),
            )
            assert changed.rowcount == 1

    def runs(self) -> dict[UUID, str]:
        return {run.id: run.name for run in self.client.read_flow_runs(limit=200)}

    def lines(self, run_id: UUID) -> int:
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        return len(self.client.read_logs(of_run, limit=200))

    def clear(self) -> None:
        for run_id in self.runs():
            self.client.delete_flow_run(run_id)


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    stack = Stack(tmp_path_factory.mktemp("logs") / "state", isolated(os.environ))
    try:
        stack.up(["prefect"])
        env = stack.env()
        url = env["PREFECT_API_URL"]
        settings: dict[Any, Any] = {PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: True}
        with temporary_settings(settings), SyncPrefectClient(api=url) as client:
            yield Server(client, Path(env["PREFECT_HOME"]) / "prefect.db")
    finally:
        stack.down()


@pytest.fixture
def server(prefect_server: Server) -> Server:
    prefect_server.clear()
    return prefect_server


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform], server: Server) -> TestPlatform:
    platform = make_platform()
    save(platform.blocks)
    return platform


def save(settings: PlatformSettings) -> None:
    for name in (GCP, LANDING_GCS, WAREHOUSE):
        platform_blocks(settings)[name].save(name, overwrite=True)


def copies(platform: TestPlatform) -> dict[str, list[Line]]:
    landing, prefix = platform.stores.landing, platform.stores.prefix("_logs")
    names = [stored.name for stored in landing.list(prefix)]
    return {name.removeprefix(prefix): list(unpacked(landing.get(name))) for name in names}


def day(days: float) -> str:
    return f"{NOW - timedelta(days=days):%Y-%m-%d}"


def messages_of(lines: list[Line], run_id: UUID) -> Counter[str]:
    return Counter(one.log.message for one in lines if one.log and one.log.run_id == str(run_id))


def test_from_60_days_on_logs_are_copied_and_from_90_days_on_their_runs_are_gone(
    platform: TestPlatform, server: Server
) -> None:
    # More than two pages, and an order by time alone says nothing.
    many = [f"line {number}" for number in range(450)]
    long = server.run("long", 70, many)
    same_day = server.run("failed", 70, ["why"], Failed(message="no money"))
    old = server.run("old", 95, ["old line"])
    silent = server.run("silent", 95, [])
    young = server.run("young", 59, ["young line"])
    running = server.run("running", 200, ["still"], Running())

    message = run_logs(return_state=True).message or ""

    found = copies(platform)
    assert found.keys() == {f"{day(70)}.1.jsonl.gz", f"{day(95)}.1.jsonl.gz"}
    lines = found[f"{day(70)}.1.jsonl.gz"]
    assert messages_of(lines, long) == Counter(many)
    assert messages_of(lines, same_day) == Counter(["why"])
    told = {one.run.name: one.run for one in lines if one.run}
    assert told.keys() == {"long", "failed"}
    assert (told["failed"].state, told["failed"].message) == ("Failed", "no money")
    gone = {one.run.name for one in found[f"{day(95)}.1.jsonl.gz"] if one.run}
    assert gone == {"old", "silent"}
    kept = server.runs().keys()
    assert not kept & {old, silent}
    assert kept >= {long, same_day, young, running}
    assert message.startswith("452 lines of 4 runs copied in 2 objects")
    assert "; 2 runs removed from Prefect, 0 copies expired" in message

    again = run_logs(return_state=True).message or ""
    assert again.startswith("0 lines of 0 runs copied in 0 objects")
    assert copies(platform) == found


def test_the_log_of_a_real_run_is_copied_with_its_tasks_and_those_within(
    platform: TestPlatform, server: Server
) -> None:
    outer()
    ids = {run.flow_id: run for run in server.client.read_flow_runs()}
    assert len(ids) == 2
    for run in ids.values():
        server.age(run.id, 61)
    run_logs()
    (lines,) = copies(platform).values()
    runs = {one.run.flow: one.run for one in lines if one.run}
    assert runs.keys() == {"outer", "inner"}
    assert runs["inner"].parent_task_run_id
    logs = {one.log.message: one.log for one in lines if one.log}
    assert logs["it begins: ₱ 1"].run_id == runs["outer"].id
    assert logs["at work"].task_run_id
    assert (logs["from within"].run_id, logs["from within"].level) == (
        runs["inner"].id,
        logging.WARNING,
    )


def test_runs_stay_while_copying_fails_and_it_is_told(
    platform: TestPlatform, server: Server
) -> None:
    """A month long, and longer than Prefect keeps runs."""
    old, older = server.run("old", 95, ["a"]), server.run("older", 130, ["b"])
    server.run("young", 74, ["c"])
    save(replace(platform.blocks, gcs_bucket="gone"))
    assert run_logs(return_state=True).is_failed()
    assert server.runs().keys() >= {old, older}
    assert (server.lines(old), server.lines(older)) == (1, 1)
    (finding,) = logs_behind(platform.stores, server.client, NOW)
    assert (finding.kind, finding.title) == ("run-logs", "the logs of 2 days are not copied")
    assert f"runs ended on {day(130)}, over 75 days ago" in finding.cause

    save(platform.blocks)
    assert run_logs(return_state=True).is_completed()
    assert not server.runs().keys() & {old, older}
    assert {name[:10] for name in copies(platform)} == {day(95), day(130), day(74)}
    assert logs_behind(platform.stores, server.client, NOW) == []


def test_a_run_whose_copy_cannot_be_read_stays(platform: TestPlatform, server: Server) -> None:
    server.run("first", 88, ["a"])
    run_logs()
    (name,) = copies(platform)
    broken = platform.stores.prefix("_logs") + name
    landing = platform.stores.landing
    content = landing.get(broken)
    (run_id,) = [one for one, called in server.runs().items() if called == "first"]
    # Three weeks later.
    server.age(run_id, 95)
    landing.delete(broken)
    aged = broken.replace(day(88), day(95))
    landing.put(aged, content[: len(content) // 2])
    state = run_logs(return_state=True)
    with pytest.raises(LogsNotCopied, match=f"{day(95)}: EOFError"):
        state.result()
    assert run_id in server.runs()
    landing.put(aged, content)
    run_logs()
    assert run_id not in server.runs()


def test_a_run_that_is_not_in_the_copy_of_its_day_is_copied_before_it_goes(
    platform: TestPlatform, server: Server
) -> None:
    """As after a database was restored, or a clock was wrong."""
    server.run("first", 95, ["a"])
    run_logs()
    late = server.run("late", 95, ["b"])
    run_logs()
    assert late in server.runs()
    assert messages_of(copies(platform)[f"{day(95)}.2.jsonl.gz"], late) == Counter(["b"])
    run_logs()
    assert late not in server.runs()
    assert len(copies(platform)) == 2


def test_copies_have_a_retention_of_their_own(platform: TestPlatform, server: Server) -> None:
    landing, prefix = platform.stores.landing, platform.stores.prefix("_logs")
    for days in (729, 731):
        landing.put(f"{prefix}{day(days)}.1.jsonl.gz", b"")
    # What is not a copy is not ours to remove.
    for other in (f"{prefix}note.txt", f"{platform.stores.prefix('finance')}x"):
        landing.put(other, b"")
    message = run_logs(return_state=True).message or ""
    assert message.endswith("1 copies expired")
    assert {stored.name.removeprefix(prefix) for stored in landing.list(prefix)} == {
        f"{day(729)}.1.jsonl.gz",
        "note.txt",
    }
    assert len(list(landing.list(platform.stores.prefix("finance")))) == 1


def test_the_look_at_the_ledger_sees_logs_that_are_not_copied(
    platform: TestPlatform, server: Server
) -> None:
    from alerting.findings import Inspection
    from flows.watch import inspect_ledger

    server.run("old", 80, ["a"])
    inspection = Inspection(by="watch", at=datetime.now(UTC))
    alerts = AlertSettings(state_file="/nonexistent")
    assert inspect_ledger(server.client, inspection, alerts, platform.blocks, {}) is None
    assert [one.kind for one in inspection.findings if one.kind == "run-logs"] == ["run-logs"]


def test_the_servers_own_vacuum_removes_no_runs() -> None:
    """It goes by their age alone, whatever was copied."""
    env = Path(__file__).resolve().parents[2] / "deploy" / "env" / "server.env"
    (kinds,) = [
        line.partition("=")[2]
        for line in env.read_text().splitlines()
        if line.startswith("PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED=")
    ]
    assert set(kinds.split(",")) == {"events", "orphans"}
