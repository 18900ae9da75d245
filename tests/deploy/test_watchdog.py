"""The watchdog against a real server: what it tells of runs, of a dead worker and a dead server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State as PrefectState
from prefect.states import AwaitingRetry, Cancelling, Completed, Crashed, Failed, Pending, Running

from alerting.conditions import late_runs, read_names, silence, slow_runs
from alerting.findings import Finding, Inspection
from alerting.incidents import State, advance
from alerting.messages import write_messages
from alerting.state_file import locked_state
from deploy import watchdog
from deploy.watchdog import full_disk, old_backup, old_certificate, waiting_spool
from runs.alert_settings import AlertSettings
from runs.settings import read_settings
from sandbox.parts import POOL, isolated
from sandbox.stack import ROOT, Stack
from testing.certificates import pair
from testing.platform import TestPlatform
from testing.proxy import Fault, Proxies
from testing.sinks import Sinks, open_sinks

SECRET = "planted-secret-of-a-block"


@dataclass
class Watched:
    stack: Stack
    sinks: Sinks
    environ: dict[str, str]

    @property
    def env(self) -> dict[str, str]:
        return {**self.environ, **self.stack.env()}

    def inspect(self, **changed: str) -> str:
        done = command({**self.env, **changed})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def alerts_of(self, title: str) -> list[str]:
        """The subjects of the messages, on both channels, that tell of it."""
        self.sinks.subjects()
        return [
            one.subject
            for one in self.sinks.email
            if title in one.text and "recovered: " not in one.subject
        ]


def command(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "deploy.watchdog"]
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with open_sinks() as sinks:
        environ = {
            **isolated(os.environ),
            **sinks.env,
            "ALERT_NOT_STARTED_MINUTES": "0.01",
            "MEDIASTACK_ACCESS_KEY": SECRET,
            "ALERT_DISK_SHARE": "1",
            "GCP_SERVICE_ACCOUNT_FILE": "/nonexistent/key.json",
        }
        stack = Stack(tmp_path_factory.mktemp("watched") / "state", environ)
        stack.up([])  # says where all would be
        yield Watched(stack, sinks, environ)
        stack.down()


@pytest.mark.slow
def test_a_storm_a_late_run_and_dead_processes_are_each_told_once(watched: Watched) -> None:
    watched.stack.up(["prefect"])
    with SyncPrefectClient(api=watched.stack.env()["PREFECT_API_URL"]) as client:
        flow_id = client.create_flow_from_name("flow")
        ids = [
            client.create_deployment(
                flow_id, name=f"{number:02}", entrypoint="f.py:f", work_pool_name=POOL
            )
            for number in range(50)
        ]
        for number, id_ in enumerate(ids):
            run = client.create_flow_run_from_deployment(id_)
            bad = Crashed if number % 2 else Failed
            end(client, run.id, bad(message=f"key {SECRET}\nAppid: no\n?appid=abc"))
        late = client.create_flow_run_from_deployment(ids[0])
        # There is no worker and no key file here: both are told too, with or after the storm.
        time.sleep(1)
        watched.inspect()
        while time.time() < last_end(client) + 31:
            time.sleep(0.5)
        watched.inspect()
        (storm,) = watched.alerts_of("flow/00 failed")
        assert re.match(r"\[pipelines\] 5[0-9] incidents: ", storm)
        assert watched.alerts_of("flow/49 crashed") == [storm]
        told = watched.sinks.everything()
        assert "key ***" in told
        for secret in (SECRET, "appid=abc"):
            assert secret not in told
        assert "flow/00 has not started" in told
        assert f"/runs/flow-run/{late.id}" in told
        assert "the ledger cannot be read" in told

        for id_ in ids:
            end(client, client.create_flow_run_from_deployment(id_).id, Completed())
        end(client, late.id, Completed())
    watched.inspect()
    (recovered,) = [one for one in watched.sinks.email if "recovered: 51 incidents" in one.subject]
    assert "flow/00 has not started: over" in recovered.text

    watched.stack.down()
    watched.inspect()
    assert len(watched.alerts_of("the worker does not answer")) == 1
    assert watched.alerts_of("the Prefect server does not answer") == []
    time.sleep(46)
    for _ in range(2):
        assert "stands: the Prefect server does not answer" in watched.inspect()
    assert len(watched.alerts_of("the Prefect server does not answer")) == 1


@pytest.mark.slow
def test_a_run_that_is_tried_again_by_hand_is_neither_late_nor_slow(watched: Watched) -> None:
    """It keeps the times of its first attempt."""
    watched.stack.up(["prefect"])
    seconds = 8
    with SyncPrefectClient(api=watched.stack.env()["PREFECT_API_URL"]) as client:
        flow_id = client.create_flow_from_name("again")
        id_ = client.create_deployment(flow_id, name="by-hand", entrypoint="f.py:f")
        run = client.create_flow_run_from_deployment(id_)

        def move(*states: PrefectState[Any]) -> list[str]:
            for state in states:
                client.set_flow_run_state(run.id, state, force=True)
            return found()

        def found() -> list[str]:
            names, now = read_names(client), datetime.now(UTC)
            listed = late_runs(client, names, seconds / 60, now)
            listed += slow_runs(client, names, seconds / 3600, now)
            return [one.title for one in listed if one.title.startswith("again/")]

        assert move(Pending(), Running()) == []
        time.sleep(seconds + 1)
        slow = ["again/by-hand has been running for over 0.00222222 h"]
        assert found() == slow
        # As the page of the run does it.
        assert move(Failed(), AwaitingRetry(scheduled_time=datetime.now(UTC))) == []
        assert move(Pending(), Running()) == []
        time.sleep(seconds + 1)
        assert found() == slow
        assert move(Cancelling()) == slow
        assert move(Failed(), AwaitingRetry(scheduled_time=datetime.now(UTC))) == []
        time.sleep(seconds + 1)
        assert found() == ["again/by-hand has not started"]
        move(Pending(), Running(), Completed())


def test_a_disk_at_the_limit_is_told_once(tmp_path: Path) -> None:
    """What is written and cleaned up does not end and begin it again and again."""
    disk = shutil.disk_usage(tmp_path)
    share = 1 - disk.free / disk.total
    now, state = datetime.now(UTC), State()

    def stands(limit: float) -> bool:
        alerts = AlertSettings(disk_share=limit, state_file=str(tmp_path / "alerts.json"))
        seen = Inspection("watchdog", now, findings=full_disk(alerts, state), covered={"health"})
        advance(state, seen, str)
        return bool(state.incidents)

    assert [stands(share + above) for above in (0.01, -0.01, 0.01, 0.03, 0.01)] == [
        *(False, True, True, False, False)
    ]


def test_a_ledger_that_keeps_one_waiting_is_told(
    platform: TestPlatform, through: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    through["bigquery"].plan = [Fault("hang", "get table", times=-1)]
    monkeypatch.setattr(watchdog, "LEDGER_SECONDS", 1.0)
    began = time.monotonic()
    (found,) = watchdog.age_of_ledger(read_settings(), AlertSettings())
    assert time.monotonic() - began < 60  # of 90 s that a hanging one takes otherwise
    assert (found.key, found.cause) == ("ledger:unreadable", "no answer within 1 s")


@pytest.mark.usefixtures("stack_env")
@pytest.mark.parametrize(
    ("sources", "hours"), [("", 3), ("finance,nyc-fhv", 3), ("nyc-fhv", 13), ("ph-news", 24)]
)
def test_the_ledger_may_be_older_where_no_source_runs_every_hour(
    sources: str, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[timedelta] = []

    def ledger_age(_: object, within: timedelta) -> list[Finding]:
        asked.append(within)
        return []

    monkeypatch.setattr("alerting.ledger_conditions.ledger_age", ledger_age)
    monkeypatch.setenv("SOURCES", sources)
    assert watchdog.ask_age_of_ledger(read_settings(), AlertSettings()) == []
    assert asked == [timedelta(hours=hours)]


def test_while_the_worker_is_dead_a_silent_watch_is_not_over(watched: Watched) -> None:
    now = datetime.now(UTC)
    silent = silence(
        State(
            inspected={"watch": now - timedelta(hours=1), "watchdog": now},
            begun={"watchdog": now - timedelta(hours=1)},
        ),
        "watch",
        now,
    )
    path = watched.stack.directory / "incidents" / "data-pipelines" / "alerts.json"
    with locked_state(path) as (state, keep):
        advance(state, Inspection("watchdog", now, findings=silent, covered={"watch"}), str)
        write_messages(state, now, ["email"], "docs")
        state.outbox.clear()
        keep(state)
    assert "stands: watch has stopped looking" in watched.inspect()
    assert "stands: the disk is nearly full" in watched.inspect(ALERT_DISK_SHARE="0.000001")
    assert "watch has stopped looking: over" not in watched.sinks.everything()
    path.unlink()


def end(client: SyncPrefectClient, run_id: UUID, final: PrefectState[Any]) -> None:
    for state in (Pending(), Running(), final):
        client.set_flow_run_state(run_id, state)


def last_end(client: SyncPrefectClient) -> float:
    """When the last run of the storm ended."""
    return max(run.end_time.timestamp() for run in client.read_flow_runs() if run.end_time)


def test_a_backup_that_is_not_made_is_told(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    stamp = tmp_path / "backup" / "last"

    def is_of(path: Path, age: timedelta) -> None:
        os.utime(path, ((now - age).timestamp(),) * 2)

    assert old_backup(None, now) == []  # a laptop has none
    (missing,) = old_backup(str(stamp), now)
    assert missing.cause == f"{stamp.parent} is not there"
    stamp.parent.mkdir()
    assert old_backup(str(stamp), now) == []
    is_of(stamp.parent, timedelta(hours=27))
    (none,) = old_backup(str(stamp), now)
    assert none.cause.startswith("there was none since 20")
    stamp.touch()
    is_of(stamp, timedelta(hours=25))
    assert old_backup(str(stamp), now) == []
    is_of(stamp, timedelta(hours=27))
    (old,) = old_backup(str(stamp), now)
    assert (old.key, old.scope, old.title) == ("backup", "health", "there is no new backup")
    assert old.cause == f"the last good one is of {now - timedelta(hours=27):%Y-%m-%d %H:%M} UTC"


def test_a_certificate_that_ends_is_told(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert old_certificate(None, now) == []
    assert old_certificate(pair(tmp_path, "good", 15, now)[0], now) == []
    (ends,) = old_certificate(pair(tmp_path, "old", 13, now)[0], now)
    assert (ends.key, ends.scope) == ("certificate", "health")
    assert ends.title == "the certificate ends soon"
    assert ends.cause == f"it is valid until {now + timedelta(days=13):%Y-%m-%d %H:%M} UTC"
    for bad in ("nothing", "text"):
        (tmp_path / "text").write_text("none")
        (unread,) = old_certificate(str(tmp_path / bad), now)
        assert unread.title == "the certificate cannot be read"


def test_a_look_finds_both(watched: Watched, tmp_path: Path) -> None:
    told = watched.inspect(
        BACKUP_STAMP="/nonexistent/last", CERTIFICATE=pair(tmp_path, "old", 1)[0]
    )
    assert "stands: there is no new backup" in told
    assert "stands: the certificate ends soon" in told
    assert len(watched.alerts_of("the certificate ends soon")) == 1
    # Given the time in which one is made after the machine was off.
    assert watched.alerts_of("there is no new backup") == []
    assert "no new backup" not in watched.inspect()


def test_without_a_channel_or_a_server_it_says_so(watched: Watched) -> None:
    for missing, told in {
        "SLACK_WEBHOOK_URL ALERT_EMAIL_HOST": "nobody can be told",
        "PREFECT_API_URL": "PREFECT_API_URL is not set",
        "GCP_PROJECT": "GCP_PROJECT: is not set",
    }.items():
        env = {**watched.env, "PREFECT_PROFILES_PATH": "/nonexistent"}
        for name in missing.split():
            env.pop(name)
        done = command(env)
        assert done.returncode == 1
        assert told in done.stderr


def test_answers_that_wait_on_disk_are_told_when_they_are_old_or_many(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert waiting_spool(tmp_path / "none", (), now) == []

    def keep(number: int, age: timedelta) -> Path:
        manifest = tmp_path / "project.raw" / "openweather" / f"batch-{number}" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.touch()
        os.utime(manifest, times=(0, (now - age).timestamp()))
        return manifest

    first = keep(1, timedelta(hours=1))
    assert waiting_spool(tmp_path, (), now) == []
    (old,) = waiting_spool(tmp_path, (), now + timedelta(minutes=61))
    assert old.title == "answers wait on disk for their bucket"
    assert old.cause.startswith(f"1 batch of openweather in {tmp_path}, the oldest since 20")
    for number in (2, 3):
        keep(number, timedelta(0))
    assert waiting_spool(tmp_path, (), now) == []
    keep(4, timedelta(0))
    (many,) = waiting_spool(tmp_path, (), now)
    assert many.cause.startswith("4 batches of openweather in ")
    assert waiting_spool(tmp_path, {"openweather"}, now) == []
    first.unlink()
    assert waiting_spool(tmp_path, (), now) == []
