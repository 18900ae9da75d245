"""Every condition caused for real, on a real server with a real worker: what arrives, and when.

The watchdog runs every 20 s here, once a minute in production. Run with -s, it prints the table
that stands in docs/operations.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Pending

from core.batch import MANIFEST, new_batch_id
from sandbox.parts import POOL, isolated
from sandbox.processes import marked
from sandbox.stack import NAMES, ROOT, Stack
from tests.lab import Lab
from tests.sinks import Arrived, Sinks, open_sinks

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(3600)]

TICK_SECONDS = 20
# On a machine that does other things as well.
WITHIN_SECONDS = 900
PLANTED = "planted-openweather-secret-7301"
SHAPED = "planted-unknown-token-5522"
FLOWS = f"""
    import os
    import time
    from pathlib import Path

    from prefect import flow

    HERE = Path(__file__).parent


    @flow(flow_run_name="bad, what changed")
    def bad(source: str = "nowhere") -> None:
        if (HERE / "cured").exists():
            return
        raise ValueError(
            "GET https://api.example/v1?appid={PLANTED}&lat=1: HTTP 401\\n"
            "Authorization: Bearer {SHAPED}\\n"
            f"key {PLANTED} is wrong"
        )


    @flow
    def stuck() -> None:
        (HERE / "entered").touch()
        while not (HERE / "go").exists():
            time.sleep(0.1)


    @flow(timeout_seconds=3)
    def slow() -> None:
        while not (HERE / "cured").exists():
            time.sleep(0.1)


    @flow(name="dbt-freshness")
    def freshness() -> None:
        if not (HERE / "cured").exists():
            raise RuntimeError("stale: usgs_earthquake, 30 h old, 12 h allowed")
"""
T = TypeVar("T")


@dataclass
class Platform:
    """The running platform, what arrives from it, and what was measured."""

    stack: Stack
    sinks: Sinks
    directory: Path
    environ: dict[str, str]
    watchdog: list[str] = field(default_factory=list)
    measured: list[tuple[str, float, str]] = field(default_factory=list)
    deployments: dict[str, UUID] = field(default_factory=dict)
    looking: threading.Event = field(default_factory=threading.Event)

    @property
    def env(self) -> dict[str, str]:
        return {**self.environ, **self.stack.env()}

    def run(self, *module: str, **changed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=self.env | changed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def register(self, **changed: str) -> None:
        """Save the blocks anew with other variables, as a person who edits .env does."""
        self.run("blocks.register", **changed)

    @property
    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(api=self.stack.env()["PREFECT_API_URL"])

    def start(self, name: str) -> FlowRun:
        with self.client as client:
            return client.create_flow_run_from_deployment(self.deployments[name])

    def finish(self, name: str) -> FlowRun:
        return self.end_of(self.start(name))

    def end_of(self, run: FlowRun) -> FlowRun:
        def look() -> FlowRun | None:
            with self.client as client:
                now = client.read_flow_run(run.id)
            return now if now.state and now.state.is_final() else None

        return until(f"{run.name} has ended", look)

    def process_of(self, run: FlowRun) -> psutil.Process:
        def look() -> psutil.Process | None:
            for process in marked(f"worker@{self.stack.directory}"):
                try:
                    if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id):
                        return process
                except psutil.Error:
                    continue
            return None

        return until("the run's process", look)

    def arrives(
        self, condition: str, title: str, since: float, seconds: float = WITHIN_SECONDS
    ) -> Arrived:
        """The message with this title on both channels, measured against the cause."""

        def look() -> Arrived | None:
            of_slack = [one for one in self.sinks.slack if one.at > since and title in one.text]
            of_email = [one for one in self.sinks.email if one.at > since and title in one.text]
            return of_slack[0] if of_slack and of_email else None

        found = until(f"{condition}: {title}", look)
        self.measured.append((condition, found.at - since, found.subject))
        return found


def until(what: str, look: Callable[[], T | None], seconds: float = WITHIN_SECONDS) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("alerts")
    with open_sinks() as sinks:
        environ = {
            **isolated(os.environ),
            **sinks.env,
            "OPENWEATHER_API_KEY": PLANTED,
            "ALERT_NOT_STARTED_MINUTES": "1",
            "ALERT_UNLOADED_HOURS": "0.005",
        }
        stack = Stack(directory / "state", environ, say=print)
        for parts in (["prefect"], ["bigquery"], NAMES):  # one after another: a busy machine
            stack.up(parts)
        before = dict(os.environ)
        os.environ.update(stack.env())
        platform = Platform(stack, sinks, directory, environ)
        timer = threading.Thread(target=tick, args=(platform,), daemon=True)
        try:
            prepare(platform)
            platform.looking.set()
            timer.start()
            yield platform
        finally:
            platform.looking.clear()
            if timer.ident:
                timer.join(60)
            stack.down()
            os.environ.clear()
            os.environ.update(before)
            for condition, seconds, subject in platform.measured:
                print(f"| {condition} | {seconds:.0f} s | {subject} |")


def tick(platform: Platform) -> None:
    """The systemd timer."""
    while platform.looking.is_set():
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "deploy.watchdog"],
            cwd=ROOT,
            env=platform.env,
            capture_output=True,
            text=True,
            check=False,
        )
        platform.watchdog.append(f"{done.returncode} {done.stdout}{done.stderr}")
        time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - began)))


def prepare(platform: Platform) -> None:
    """Blocks, deployments and automations stand; no schedule disturbs."""
    platform.register()
    platform.run("prefect", "--no-prompt", "deploy", "--all")
    assert platform.run("blocks.automations").count("created") == 2
    assert platform.run("blocks.automations").count("unchanged") == 2
    flows = platform.directory / "flows"
    flows.mkdir()
    (flows / "flows.py").write_text(textwrap.dedent(FLOWS))
    with platform.client as client:
        for deployment in client.read_deployments():
            client.pause_deployment(deployment.id)
            platform.deployments[deployment.name] = deployment.id
            for run in client.read_flow_runs():
                client.delete_flow_run(run.id)
        for name, flow in {
            "bad": "bad",
            "stuck": "stuck",
            "slow": "slow",
            "freshness": "dbt-freshness",
        }.items():
            platform.deployments[name] = client.create_deployment(
                flow_id=client.create_flow_from_name(flow),
                name=name,
                entrypoint=f"flows.py:{name}",
                work_pool_name=POOL,
                parameters={"source": "nowhere"} if name == "bad" else None,
                pull_steps=[
                    {"prefect.deployments.steps.set_working_directory": {"directory": str(flows)}}
                ],
            )


def control(platform: Platform, path: str, body: Any = None) -> None:
    base = f"{platform.env['SANDBOX_SOURCES_URL']}/demo/mediastack/control"
    httpx.post(f"{base}/{path}", json=body, timeout=60).raise_for_status()


def test_runs_that_end_badly(platform: Platform) -> None:
    began = time.time()
    platform.start("bad")
    platform.start("slow")
    platform.start("freshness")
    stuck = platform.start("stuck")
    process = platform.process_of(stuck)
    until("it runs", (platform.directory / "flows" / "entered").exists)
    killed_at = time.time()
    process.send_signal(signal.SIGKILL)

    told = platform.arrives("failed", "bad/bad failed", began)
    assert "source: nowhere" in told.text
    assert "window: what changed" in told.text
    assert "HTTP 401" in told.text
    assert "#failed" in told.text
    told = platform.arrives("crashed: kill -9 of the run", "stuck/stuck crashed", killed_at)
    assert f"/runs/flow-run/{stuck.id}" in told.text
    assert "#crashed" in told.text
    platform.arrives("timed out", "slow/slow timed out", began)
    assert (
        "30 h old" in platform.arrives("stale data", "dbt-freshness/freshness failed", began).text
    )

    cured_at = time.time()
    (platform.directory / "flows" / "cured").touch()
    (platform.directory / "flows" / "go").touch()
    for name in ("bad", "slow", "freshness", "stuck"):
        assert platform.finish(name).state_type == StateType.COMPLETED
    for title in ("bad/bad", "slow/slow", "dbt-freshness/freshness", "stuck/stuck"):
        platform.arrives("recovered", f"{title} ", cured_at)


def test_a_wrong_key_and_bad_rows(platform: Platform) -> None:
    began = time.time()
    platform.register(MEDIASTACK_ACCESS_KEY="wrong-mediastack-key")
    platform.start("ph-news")
    told = platform.arrives("wrong key", "elt/ph-news failed", began)
    assert "source: ph-news" in told.text
    assert "invalid_access_key" in told.text
    platform.register()
    assert platform.finish("ph-news").state_type == StateType.COMPLETED

    began = time.time()
    odd = {"url": "https://a.example/1", "title": "x", "published_at": "yesterday", "mood": "good"}
    control(platform, "plant", {"articles": [odd, *({"title": f"no url {n}"} for n in range(40))]})
    platform.start("ph-news")
    told = platform.arrives("rejects over threshold", "elt/ph-news failed", began)
    assert "rows rejected, more than" in told.text
    assert "#rejects" in told.text
    told = platform.arrives("schema change", "ph_news sends other fields", began)
    assert "new field mood" in told.text


def test_what_the_ledger_tells(platform: Platform) -> None:
    lab = Lab("demo", platform.env, "finance", raw_dataset="raw")
    began = time.time()
    batch_id = new_batch_id(datetime.now(UTC))
    poison = f"{lab.platform.prefix('finance')}{batch_id}/{MANIFEST}"
    lab.platform.landing.put(poison, b"{}")
    time.sleep(20)
    platform.start("alerts")
    told = platform.arrives(
        "committed batch older than a day (18 s)", "finance: 1 committed", began
    )
    assert batch_id in told.text

    began = time.time()
    for _ in range(3):
        assert platform.finish("finance").state_type == StateType.FAILED
    parked_at = time.time()
    told = platform.arrives("parked batch", "finance: 1 parked batch", began)
    platform.measured[-1] = ("parked batch", told.at - parked_at, told.subject)
    assert batch_id in told.text
    assert "#parked-batch" in told.text

    began = time.time()
    spent = lab.query("SELECT SUM(requests) AS n FROM {raw}._requests WHERE state = 'settled'")
    billed = lab.query(
        "SELECT SUM(bytes_billed) AS n FROM "
        "(SELECT bytes_billed FROM {raw}._jobs UNION ALL SELECT bytes_billed FROM {raw}._builds)"
    )
    if not billed[0]["n"]:  # the emulator bills nothing
        lab.query(
            "INSERT INTO {raw}._jobs (job_id, source, bytes_billed, started_at) "
            "VALUES ('j', 'finance', 1, CURRENT_TIMESTAMP())"
        )
    platform.register(MEDIASTACK_MONTHLY_REQUESTS=str(spent[0]["n"]), ALERT_DAILY_BYTES_BILLED="0")
    platform.start("alerts")
    told = platform.arrives("request budget nearly spent", "requests spent", began)
    assert "#request-budget" in told.text
    told = platform.arrives("bytes billed over budget", "more bytes billed than budgeted", began)
    assert "#bytes-billed" in told.text

    cured_at = time.time()
    platform.register()
    lab.query(
        "INSERT INTO {raw}._loads (batch_id, source, table_name, state, applied_at) "
        f"VALUES ('{batch_id}', 'finance', 'finance__ledger', 'superseded', CURRENT_TIMESTAMP())"
    )
    platform.start("alerts")
    platform.arrives("recovered", "finance: 1 parked batch: over", cured_at)
    platform.arrives("recovered", "more bytes billed than budgeted: over", cured_at)


def test_a_ledger_that_stands_still_and_one_that_is_gone(platform: Platform) -> None:
    state = platform.stack.directory / "incidents" / "data-pipelines" / "alerts.json"

    def hurry() -> None:
        """Let the next look ask for the ledger's age, which it does every ten minutes."""
        known = json.loads(state.read_text())
        known["looked"].pop("ledger-age", None)
        state.write_text(json.dumps(known))

    platform.environ["ALERT_LEDGER_HOURS"] = "0.00001"
    began = time.time()
    hurry()
    told = platform.arrives("no line in the ledger", "the ledger stands still", began)
    assert "its last line is of" in told.text
    platform.environ["ALERT_LEDGER_HOURS"] = "3"
    cured_at = time.time()
    hurry()
    platform.arrives("recovered", "the ledger stands still: over", cured_at)


def test_a_worker_that_dies_alone(platform: Platform) -> None:
    """SIGTERM of the worker only: it kills its run and tells nobody."""
    (platform.directory / "flows" / "go").unlink()
    (platform.directory / "flows" / "entered").unlink()
    run = platform.start("stuck")
    until("it runs", (platform.directory / "flows" / "entered").exists)
    began = time.time()
    os.kill(worker_pid(platform), signal.SIGTERM)
    late = platform.start("bad")
    platform.arrives("worker stopped", "the worker does not answer", began)
    told = platform.arrives("late, never started (1 min)", "bad/bad has not started", began)
    assert f"/runs/flow-run/{late.id}" in told.text
    with platform.client as client:
        assert client.read_flow_run(run.id).state_type == StateType.RUNNING

    back_at = time.time()
    platform.stack.up()
    assert platform.end_of(run).state_type == StateType.CRASHED
    platform.arrives("crashed: worker restarted, run reaped", "stuck/stuck crashed", back_at)
    platform.arrives("recovered", "the worker does not answer: over", back_at)
    platform.arrives("recovered", "bad/bad has not started: over", back_at)


def test_a_server_that_dies(platform: Platform) -> None:
    began = time.time()
    server = next(line.pid for line in platform.stack.status() if line.name == "prefect")
    assert server is not None
    os.kill(server, signal.SIGKILL)
    platform.arrives("server stopped", "the Prefect server does not answer", began)
    back_at = time.time()
    platform.stack.up()
    platform.arrives("recovered", "the Prefect server does not answer: over", back_at)


def test_a_run_that_dies_with_its_worker_and_is_not_restarted(platform: Platform) -> None:
    """Only its heartbeat tells. One that was still Pending has none: the reaper ends it."""
    (platform.directory / "flows" / "go").touch()
    platform.finish("stuck")
    (platform.directory / "flows" / "go").unlink()
    (platform.directory / "flows" / "entered").unlink()
    platform.start("stuck")
    until("it runs", (platform.directory / "flows" / "entered").exists)
    with platform.client as client:
        pending = client.create_flow_run_from_deployment(platform.deployments["slow"])
        submitting: State[None] = Pending(name="Submitting")
        client.set_flow_run_state(pending.id, submitting)
    began = time.time()
    for process in marked(f"worker@{platform.stack.directory}"):
        process.kill()
    platform.arrives("pending, nobody executes it (1 min)", "slow/slow has not started", began)
    told = platform.arrives(
        "crashed: worker and run killed, none restarted", "stuck/stuck crashed", began
    )
    assert "no heartbeat for 10 minutes" in told.text
    back_at = time.time()
    platform.stack.up()
    assert platform.end_of(pending).state_type == StateType.CRASHED
    platform.arrives("crashed: pending run reaped", "slow/slow crashed", back_at)


def test_no_secret_has_arrived_and_nothing_was_told_twice(platform: Platform) -> None:
    state = platform.stack.directory / "incidents" / "data-pipelines"
    kept = "".join(path.read_text() for path in state.iterdir())
    assert "bad/bad failed" in platform.sinks.everything()
    for secret in (PLANTED, SHAPED, "wrong-mediastack-key"):
        assert secret not in platform.sinks.everything()
        assert secret not in kept
    assert len(platform.sinks.subjects()) == len({one.text for one in platform.sinks.slack})
    assert platform.watchdog
    assert {one[0] for one in platform.watchdog} == {"0"}, platform.watchdog


def worker_pid(platform: Platform) -> int:
    pid = next(line.pid for line in platform.stack.status() if line.name == "worker")
    assert pid is not None
    return pid
