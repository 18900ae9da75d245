"""`python -m sandbox.demo`: the platform at work on the running stack.

Registers the blocks, deploys, runs the sources side by side through the Prefect API, and prints the
result. The second demo first advances the stand-ins' worlds; later ones find nothing new. While
it runs the crons are paused: they would take what it says that has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from sandbox.demo_runs import RUN_DEADLINE_SECONDS, run_all
from sandbox.processes import end_with_parent
from sandbox.secret_file import write_private
from sandbox.stack import DEFAULT_STATE, ROOT, read_env
from sources import SOURCES

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

# By the names of their flows.
FLOWS = tuple(source.replace("_", "-") for source in SOURCES)
WORLD = "demo"
# What fills the start page and that of operations.
SHOWN_BY = ("elt/operations", "dbt-freshness/hourly", "watch/alerts")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Row:
    """One line of the table at the end. `nodes` are dbt's, None when no build was due."""

    source: str
    state: str
    extracted: int
    written: int
    rejected: int
    nodes: int | None
    seconds: float


def main() -> int:
    """0 when every run ended Completed."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo")
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, metavar="DIR")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="all, when none is named")
    options = parser.parse_args()
    if unknown := set(options.sources) - {*FLOWS}:
        parser.error(f"no such source: {', '.join(sorted(unknown))}")
    state, sources = options.state, options.sources or list(FLOWS)
    env = read_env(state)
    # Before Prefect is imported, which reads its settings then.
    os.environ.update(env)
    # So that what is paused is resumed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with crons_paused(state) as pause_new:
        for source in sources:
            advance(env, source)
        rows = deploy_and_run(state, sources, pause_new)
    if rows is None:
        return 1
    print_table(rows)
    print(
        f"\ndashboards      {env['PAGES_URL']}"
        f"\nPrefect UI      {env['PREFECT_API_URL'].removesuffix('/api')}"
        f"\nBigQuery        {env['BIGQUERY_EMULATOR_HOST']}, project {env['GCP_PROJECT']}: "
        "raw.usgs_earthquake__events, raw._loads, gold.daily_earthquake_activity"
        f"\ncatalog         prefect deployment run data-catalog/hourly: "
        f"{os.path.relpath(env['CATALOG_DIRECTORY'])}/index.html"
        f"\nvariables       {os.path.relpath(state)}/env"
        "\ncrons           run this checkout from now on, as it is when each begins"
        "\nmake demo       again: the sources have changed; once more: nothing new"
        "\nmake down       stops everything"
    )
    return 0 if all(row.state == "Completed" for row in rows) else 1


def deploy_and_run(
    state: Path, sources: list[str], pause_new: Callable[[], None]
) -> list[Row] | None:
    """Save the blocks, deploy, and run each source; None when that could not begin."""
    for told, command in (
        ("registering blocks", [sys.executable, "-m", "blocks.register"]),
        ("deploying", [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]),
    ):
        print(f"{told} ...", flush=True)
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, preexec_fn=end_with_parent
        )
        if done.returncode:
            log = state / "logs" / "demo.log"
            log.write_text(f"{done.stdout}{done.stderr}")
            cause = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
            print(f"{told} failed: {cause[-1] if cause else 'no output'}", file=sys.stderr)
            print(f"all of its output is in {os.path.relpath(log)}", file=sys.stderr)
            return None
    pause_new()
    # What reads the ledger afterwards takes seconds to import: done while the runs are at work.
    warming = threading.Thread(target=warehouse, daemon=True)
    warming.start()
    ended = run_all([f"elt/{source}" for source in sources])
    warming.join()
    rows = [outcome(source, ended[f"elt/{source}"]) for source in sources]
    run_all(SHOWN_BY)
    return rows


@contextmanager
def crons_paused(state: Path) -> Iterator[Callable[[], None]]:
    """No schedule starts a run until this ends; a run that one has started is over.

    What is yielded pauses those that were deployed since. What a person paused stays paused; what
    a killed demo left paused is resumed.
    """
    from prefect.client.orchestration import get_client

    file = state / "paused-crons.json"
    resumable: set[str] = set(json.loads(file.read_text())) if file.exists() else set()

    def pause() -> None:
        with get_client(sync_client=True) as client:
            for deployment in client.read_deployments():
                if not deployment.paused:
                    resumable.add(str(deployment.id))
                    write_private(file, json.dumps(sorted(resumable)))
                    client.pause_deployment(deployment.id)

    try:
        pause()
        wait_for_runs()
        yield pause
    finally:
        with get_client(sync_client=True) as client:
            for deployment in client.read_deployments():
                if str(deployment.id) in resumable:
                    client.resume_deployment(deployment.id)
        file.unlink(missing_ok=True)


def wait_for_runs() -> None:
    """No run is under way. Raises TimeoutError when one goes on for long."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    filters = {
        "state": {"type": {"any_": ["RUNNING", "PENDING"]}},
        "parent_task_run_id": {"is_null_": True},
    }
    under_way = FlowRunFilter.model_validate(filters)
    told = False
    deadline = time.monotonic() + RUN_DEADLINE_SECONDS
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(flow_run_filter=under_way):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{runs[0].name} is still running")
            if not told:
                print(f"waiting for {', '.join(run.name for run in runs)} to end ...", flush=True)
            told = True
            time.sleep(POLL_SECONDS)


def advance(env: dict[str, str], source: str) -> None:
    """Advance a stand-in's world once, after it was read for the first time."""
    service = import_module(f"sandbox.sources.{source.replace('-', '_')}").SERVICE
    base = f"{env['SANDBOX_SOURCES_URL']}/{WORLD}/{service}/control"
    state = httpx.get(f"{base}/state").raise_for_status().json()
    if state.get("source") != "files" and not state["stages"] and state["queries"]:
        changes = httpx.post(f"{base}/advance").raise_for_status().json()
        told = ", ".join(
            f"{count} {kind.replace('_', ' ')}"
            for kind, count in changes.items()
            if kind not in ("stage", "moment_ms") and isinstance(count, int)
        )
        print(f"the world of {source} has moved on: {told}", flush=True)


@cache
def warehouse() -> Any:
    """The one that the blocks of this environment describe."""
    from runs.settings import platform_settings, read_settings
    from stores.platform import connect

    return connect(platform_settings(read_settings())).warehouse


def outcome(source: str, run: FlowRun) -> Row:
    """What the ledger says of a run of `elt`."""
    from core.sql import literal

    state = run.state_name or "unknown"
    started_at = run.created or datetime.now(UTC)
    since = f"source = {literal(source.replace('-', '_'))} AND {{}} >= {literal(started_at)}"
    loads = warehouse().query(
        f"""
        SELECT
            COALESCE(SUM(extracted), 0) AS extracted, COALESCE(SUM(rejected), 0) AS rejected,
            COALESCE(SUM(inserted + updated + deleted + superseded_ids), 0) AS written
        FROM {warehouse().names.raw("_loads")}
        WHERE {since.format("applied_at")} AND state IN ('applied', 'no_change')
        """,
        source=source,
        purpose="demo",
    )[0]
    builds = warehouse().query(
        f"SELECT SUM(nodes_passed) AS nodes FROM {warehouse().names.raw('_builds')} "
        f"WHERE {since.format('started_at')}",
        source=source,
        purpose="demo",
    )[0]
    counts = {name: int(loads[name]) for name in ("extracted", "written", "rejected")}
    nodes = None if builds["nodes"] is None else int(builds["nodes"])
    return Row(source, state, **counts, nodes=nodes, seconds=run.total_run_time.total_seconds())


def print_table(rows: list[Row]) -> None:
    print(
        f"\n{'source':<18}{'state':<12}{'extracted':>10}{'written':>9}{'rejected':>10}"
        f"{'dbt passed':>12}{'seconds':>9}"
    )
    for row in rows:
        nodes = "not due" if row.nodes is None else str(row.nodes)
        print(
            f"{row.source:<18}{row.state:<12}{row.extracted:>10,}{row.written:>9,}"
            f"{row.rejected:>10,}{nodes:>12}{row.seconds:>9.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
