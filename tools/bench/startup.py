"""Runs that find nothing new: what their start takes beside Prefect's own.

The floors are a process that imports Prefect alone, and an empty flow that the same worker runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.names import flow_of
from sandbox.demo import crons_paused
from sandbox.parts import POOL, isolated
from sandbox.stack import ROOT, Stack
from testing.platform import KITS, TestPlatform
from tools.bench.memory import peak_rss_bytes
from tools.bench.process import measured

FLOOR = "from prefect import flow"
EMPTY = "tools/bench/empty.py:empty"
VEHICLES = 120_000
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
Say = Callable[[str], None]


def startup(stack: Stack, rounds: int, say: Say) -> None:
    imports(rounds, say)
    unchanged(stack, rounds, say)


def imports(rounds: int, say: Say) -> None:
    say("\n## Imports\n")
    say("Each in a process of its own; the floor is what every flow imports.\n")
    say("| import | CPU, s | ratio | peak RSS, MB |")
    say("|---|---|---|---|")
    floor = 0.0
    sources = [f"import flows.elt, runs.extract.{kit}" for kit in KITS]
    for statement in (FLOOR, "import flows.elt", *sources):
        told = [measured("tools.bench.memory", statement) for _ in range(rounds + 1)][1:]
        spent = statistics.median(one["cpu_seconds"] for one in told)
        peak = statistics.median(one["peak_rss_bytes"] for one in told)
        floor = floor or spent
        say(f"| `{statement}` | {spent:.2f} | {spent / floor:.2f} | {peak / 1e6:.0f} |")


def unchanged(stack: Stack, rounds: int, say: Say) -> None:
    say("\n## A run with nothing new\n")
    say(
        "As a function: recover, decide, ask, write the line. In Prefect: the source's flow, the "
        "run of `elt/<source>` around it, and from its order to Completed, on a worker that asks "
        "for work every 2 s. The ratio is to an empty flow on the same worker. Peaks are of the "
        "run's process; that of the first run, which loads, builds its marts and makes the pages, "
        "too. New York lists 120,000 vehicles.\n"
    )
    say(
        "| source | function, s | flow, s | run, s | order to Completed, s | ratio | peak RSS, MB "
        "| of the first run, MB |"
    )
    say("|" + "---|" * 8)
    env = {**isolated(os.environ), **stack.env()}
    for command in (
        ["-m", "blocks.register"],
        ["-m", "prefect", "--no-prompt", "deploy", "--all"],
        ["-m", "prefect", "--no-prompt", "deploy", EMPTY, "-n", "empty", "--pool", POOL],
    ):
        subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE
        )
    api = {PREFECT_API_URL: env["PREFECT_API_URL"]}
    with temporary_settings(api), crons_paused(stack.directory):
        runs_of(stack, env, rounds, say)


def runs_of(stack: Stack, env: dict[str, str], rounds: int, say: Say) -> None:
    floor = middle([in_prefect("empty/empty", env) for _ in range(rounds + 1)][1:])
    say(f"| an empty flow | | | {floor.run:.2f} | {floor.waited:.1f} | 1 | {floor.megabytes} | |")
    vehicles = f"{env['SOCRATA_BASE_URL']}/control/world"
    httpx.post(vehicles, json={"seed": 7, "size": VEHICLES}).raise_for_status()
    for kit in KITS:
        platform = TestPlatform(f"unchanged-{kit.replace('_', '-')}", stack.env(), kit)
        platform.source.start(platform, 120)
        platform.run()
        spent = []
        for _ in range(rounds):
            started = time.perf_counter()
            assert {line.state for line in platform.run().lines} == {"no_change"}
            spent.append(time.perf_counter() - started)
        name = flow_of(kit)
        first = in_prefect(f"elt/{name}", env)
        ran = middle([in_prefect(f"elt/{name}", env) for _ in range(rounds)])
        say(
            f"| {name} | {statistics.median(spent):.2f} | {ran.flow:.2f} | {ran.run:.2f} "
            f"| {ran.waited:.1f} | {ran.waited / floor.waited:.2f} | {ran.megabytes} "
            f"| {first.megabytes} |"
        )


@dataclass(frozen=True)
class Ran:
    """Seconds of the source's flow, of the whole run, and from its order to its end."""

    flow: float
    run: float
    waited: float
    peak_rss_bytes: int

    @property
    def megabytes(self) -> str:
        return f"{self.peak_rss_bytes / 1e6:.0f}"


def middle(runs: list[Ran]) -> Ran:
    """The run of median length."""
    return sorted(runs, key=lambda run: run.waited)[len(runs) // 2]


def in_prefect(deployment: str, env: dict[str, str]) -> Ran:
    """Order a run of a deployment and wait for it. Asserts that it was Completed."""
    with httpx.Client(base_url=f"{env['PREFECT_API_URL']}/", timeout=30) as api:
        started = time.perf_counter()
        known = api.get(f"deployments/name/{deployment}").raise_for_status().json()
        order = f"deployments/{known['id']}/create_flow_run"
        # On SQLite the server is at times too busy to write.
        while (
            ordered := api.post(order, json={"state": {"type": "SCHEDULED"}})
        ).status_code == 503:
            time.sleep(0.5)
        id_ = ordered.raise_for_status().json()["id"]
        with peak_of_run(id_) as peak:
            while True:
                told: dict[str, Any] = api.get(f"flow_runs/{id_}").raise_for_status().json()
                if told["state_type"] in ENDED:
                    break
                time.sleep(0.05)
        waited = time.perf_counter() - started
        assert told["state_type"] == "COMPLETED", told["state"]
        print(
            deployment, told["state"]["message"], told["total_run_time"], peak.seen, file=sys.stderr
        )
        below = api.post(
            "flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [id_]}}}
        ).raise_for_status()
        inner = [one["total_run_time"] for one in below.json()]
    return Ran(sum(inner), told["total_run_time"], waited, peak.seen)


@dataclass
class Peak:
    seen: int = 0


@contextmanager
def peak_of_run(id_: str) -> Iterator[Peak]:
    """The peak of the process of a flow run, asked for every 50 ms while it lives."""
    peak, is_over = Peak(), threading.Event()

    def watch() -> None:
        process: psutil.Process | None = None
        while not is_over.wait(0.05):
            process = process or process_of(id_)
            if process is not None:
                with suppress(OSError):
                    peak.seen = max(peak.seen, peak_rss_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def process_of(id_: str) -> psutil.Process | None:
    """The process that Prefect's worker started for a flow run."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == id_:
                return process
    return None
