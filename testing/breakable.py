"""A platform whose every part can be broken, and what is told of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
    FlowRun,
    StateType,
)
from prefect.client.schemas.schedules import CronSchedule

from alerting.findings import Inspector, Kind
from alerting.state_file import locked_state
from sandbox.parts import POOL
from sandbox.processes import marked
from sandbox.stack import ROOT, Stack
from testing.messages import Told, both, incidents_in, is_recovery
from testing.page import RUNBOOK
from testing.platform import TestPlatform
from testing.sinks import Sinks

TICK_SECONDS = float(os.environ.get("ALERTS_TICK_SECONDS", "20"))
# On a machine that does other things as well.
WITHIN_SECONDS = 600.0
PLANTED = "planted-openweather-secret-7301"
SHAPED = "planted-unknown-token-5522"
FLOWS = f"""
    import time
    from pathlib import Path

    from prefect import flow

    HERE = Path(__file__).parent


    @flow(flow_run_name="bad, what changed")
    def bad(source: str) -> None:
        if not (HERE / "cured").exists():
            raise ValueError(
                "GET https://api.example/v1?appid={PLANTED}&lat=1: HTTP 401\\n"
                "Authorization: Bearer {SHAPED}\\n"
                f"key {PLANTED} is wrong"
            )


    @flow(timeout_seconds=3)
    def slow() -> None:
        while not (HERE / "cured").exists():
            time.sleep(0.1)


    @flow
    def wait(name: str) -> None:
        while not (HERE / f"go-{{name}}").exists():
            time.sleep(0.1)
"""
# Deployments of `wait`, with one slot each. The last one's runs wait in the pull step: in Pending.
STUCK, LONE, HELD = "stuck", "lone", "held"
ELSEWHERE = "elsewhere"
T = TypeVar("T")


@dataclass
class Platform:
    """The running platform, what arrives from it, and what was measured."""

    stack: Stack
    sinks: Sinks
    directory: Path
    environ: dict[str, str]
    watchdog: list[str] = field(default_factory=list)
    is_on: threading.Event = field(default_factory=threading.Event)
    inspecting: threading.Lock = field(default_factory=threading.Lock)
    measured: list[tuple[str, float, str]] = field(default_factory=list)
    deployments: dict[str, UUID] = field(default_factory=dict)
    ready_at: float = 0

    @property
    def env(self) -> dict[str, str]:
        return {**self.environ, **self.stack.env()}

    @property
    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(api=self.stack.env()["PREFECT_API_URL"])

    @cached_property
    def finance(self) -> TestPlatform:
        """The ledger's source in this platform's own dataset and bucket."""
        return TestPlatform("demo", self.env, "finance", retention_days=7, raw_dataset="raw")

    @property
    def flows(self) -> Path:
        return self.directory / "flows"

    def run(
        self, command: str, *, fails: bool = False, env: Mapping[str, str] | None = None
    ) -> str:
        """A command line of the documentation, as the platform's user runs it; what it printed."""
        words = shlex.split(command)
        start = {"python": [], "prefect": ["-m", "prefect"]}[words[0]]
        done = subprocess.run(
            [sys.executable, *start, *words[1:]],
            cwd=ROOT,
            env={**self.env, "COLUMNS": "200", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.returncode) == fails, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def register(self, **changed: str) -> None:
        """Save the blocks anew with other variables, as a person who edits .env does."""
        self.run("python -m blocks.register", env=changed)

    def control(self, source: str, path: str, body: Any) -> None:
        base = f"{self.env['SANDBOX_SOURCES_URL']}/demo/{source}/control"
        httpx.post(f"{base}/{path}", json=body, timeout=60).raise_for_status()

    # Runs.

    def start(self, name: str) -> FlowRun:
        with self.client as client:
            return client.create_flow_run_from_deployment(self.deployments[name])

    def read(self, run: FlowRun) -> FlowRun:
        with self.client as client:
            return client.read_flow_run(run.id)

    def end_of(self, run: FlowRun) -> FlowRun:
        def look() -> FlowRun | None:
            now = self.read(run)
            return now if now.state and now.state.is_final() else None

        return until(f"{run.name} has ended", look)

    def completes(self, *names: str) -> None:
        """New runs of these deployments complete, so each has got its slot."""
        for name in names:
            (self.flows / f"go-{name}").touch()
        for run in [self.start(name) for name in names]:
            ended = self.end_of(run)
            assert ended.state_type == StateType.COMPLETED, ended.state

    def enters(self, name: str) -> FlowRun:
        """A run that stands still: Running, or Pending where it is held there."""
        (self.flows / f"go-{name}").unlink(missing_ok=True)
        (self.flows / f"entered-{name}").unlink(missing_ok=True)
        run = self.start(name)
        if name == HELD:
            until("it is held", (self.flows / f"entered-{name}").exists)
            assert self.read(run).state_type == StateType.PENDING
        else:
            until("it runs", lambda: self.read(run).state_type == StateType.RUNNING)
        return run

    def is_idle(self, name: str) -> bool:
        """Whether no run of this deployment is at work or waits."""
        states = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]
        deployments = DeploymentFilterId(any_=[self.deployments[name]])
        with self.client as client:
            return not client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=deployments),
                flow_run_filter=FlowRunFilter(
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
                ),
            )

    def slots_taken(self, name: str) -> int:
        with self.client as client:
            limit = client.read_deployment(self.deployments[name]).global_concurrency_limit
        assert limit is not None
        return limit.active_slots

    def process_of(self, run: FlowRun) -> psutil.Process:
        for process in marked(f"worker@{self.stack.directory}"):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id):
                return process
        raise AssertionError(f"{run.name} has no process")

    def pid(self, part: str) -> int:
        pid = next(line.pid for line in self.stack.status() if line.name == part)
        assert pid is not None
        return pid

    # Messages.

    def arrives(
        self,
        condition: str,
        title: str,
        since: float,
        kind: Kind,
        *,
        cause: str,
        run: FlowRun | None = None,
        source: str = "",
        window: str = "",
    ) -> Told:
        """The incident is told on both channels: what of, why, and where to read on."""

        def look() -> Told | None:
            for one in both(self.sinks):
                if one.at > since and not is_recovery(one):
                    for told in incidents_in(one):
                        if told.title == title:
                            return told
            return None

        told = until(f"{condition}: {title}", look)
        self.measured.append((condition, told.at - since, told.subject))
        assert cause in told.facts["cause"]
        assert told.facts.get("source", "") == source
        assert window in told.facts.get("window", "")
        if run is None:
            assert "run" not in told.facts
        else:
            base = self.env["PREFECT_API_URL"].removesuffix("/api")
            assert told.facts["run"] == f"{base}/runs/flow-run/{run.id}"
        assert told.facts["what now"] == f"docs/runbook.md#{kind}"
        assert f"\n## {kind}\n" in RUNBOOK.read_text()
        return told

    def switch_timer_off(self) -> None:
        """The watchdog inspects no more, and its last inspection has ended."""
        self.is_on.clear()
        with self.inspecting:
            pass

    def hurry(self, what: Literal["watch", "watchdog", "ledger-age"], age: timedelta) -> None:
        """So much time passes without an inspection of a scope, or with those of the other only.

        One of the watchdog that has begun, with the environment of before, is waited for.
        """
        with self.inspecting, locked_state(self.incidents) as (state, keep):
            if what == "ledger-age":
                state.covered[what] -= age
            else:
                state.inspected[what] -= age
                other: Inspector = "watch" if what == "watchdog" else "watchdog"
                state.inspected[other] = datetime.now(UTC)
                state.begun[other] -= age
            keep(state)

    @property
    def incidents(self) -> Path:
        return self.stack.directory / "incidents" / "data-pipelines" / "alerts.json"


def until(what: str, look: Callable[[], T | None], seconds: float = WITHIN_SECONDS) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


def tick(platform: Platform) -> None:
    """The systemd timer, as long as the machine is on."""
    while True:
        platform.is_on.wait()
        began = time.monotonic()
        with platform.inspecting:
            if platform.is_on.is_set():
                done = subprocess.run(
                    [sys.executable, "-m", "deploy.watchdog"],
                    cwd=ROOT,
                    env=platform.env,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                platform.watchdog.append(f"{done.returncode} {done.stdout}{done.stderr}")
        # Switched on again, it inspects at once.
        while platform.is_on.is_set() and time.monotonic() - began < TICK_SECONDS:
            time.sleep(0.2)


def prepare(platform: Platform) -> None:
    """Blocks, deployments and automations stand; no schedule disturbs."""
    platform.register()
    platform.control("openweather", "settings", {"keys": [PLANTED]})
    platform.run("prefect --no-prompt deploy --all")
    assert platform.run("python -m blocks.automations").count("created") == 2
    assert platform.run("python -m blocks.automations").count("unchanged") == 2
    platform.finance.stores.warehouse.ensure_ledger()
    platform.flows.mkdir()
    (platform.flows / "flows.py").write_text(textwrap.dedent(FLOWS))
    with platform.client as client:
        for deployment in client.read_deployments():
            client.pause_deployment(deployment.id)
            flow = client.read_flow(deployment.flow_id).name
            name = flow if deployment.name in ("hourly", "daily", "weekly") else deployment.name
            platform.deployments[name] = deployment.id
        for run in client.read_flow_runs():
            client.delete_flow_run(run.id)
        client.create_work_pool(WorkPoolCreate(name=ELSEWHERE, type="process"))
    deploy(platform, "bad", "bad", {"source": "nowhere"})
    deploy(platform, "slow", "slow")
    deploy(platform, "wait", STUCK)
    deploy(platform, "wait", LONE, pool=ELSEWHERE)
    deploy(platform, "wait", HELD)
    # So far away that the server makes no run of it yet.
    far = datetime.now(UTC) + timedelta(days=200)
    with platform.client as client:
        client.create_deployment(
            client.create_flow_from_name("wait"),
            "unscheduled",
            work_pool_name=POOL,
            schedules=[
                DeploymentScheduleCreate(
                    schedule=CronSchedule(cron=f"0 0 {far.day} {far.month} *"), active=True
                )
            ],
        )


def deploy(
    platform: Platform,
    flow: str,
    name: str,
    parameters: dict[str, Any] | None = None,
    pool: str = POOL,
) -> None:
    """A deployment with one slot."""
    steps: list[dict[str, object]] = [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(platform.flows)}}
    ]
    if name == HELD:
        held = f"touch entered-{name}; until [ -e go-{name} ]; do sleep .1; done"
        script = {"script": f"bash -c '{held}'", "directory": str(platform.flows)}
        steps.append({"prefect.deployments.steps.run_shell_script": script})
    with platform.client as client:
        platform.deployments[name] = client.create_deployment(
            flow_id=client.create_flow_from_name(flow),
            name=name,
            entrypoint=f"flows.py:{flow}",
            work_pool_name=pool,
            parameters=parameters or ({"name": name} if flow == "wait" else {}),
            pull_steps=steps,
            concurrency_limit=1,
            concurrency_options=ConcurrencyOptions(
                collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
            ),
        )
