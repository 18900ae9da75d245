"""`python -m sandbox.demo`: the platform at work on the running stack.

Registers the blocks, deploys, triggers every deployment through the Prefect API, waits, and prints
what came of it. The second demo first advances the stand-ins' worlds; later ones find nothing new.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from sandbox.stack import DEFAULT_STATE, ROOT, read_env

# Each source and where its stand-in's world is.
SOURCES = {
    "usgs-earthquake": "usgs",
    "openweather": "openweather",
    "ph-news": "mediastack",
    "nyc-fhv": "socrata",
    "finance": "sheets",
}
WORLD = "demo"
RUN_DEADLINE_SECONDS = 600.0
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
    if unknown := set(options.sources) - SOURCES.keys():
        parser.error(f"no such source: {', '.join(sorted(unknown))}")
    state, sources = options.state, options.sources or list(SOURCES)
    env = read_env(state)
    # Before Prefect is imported, which reads its settings then.
    os.environ.update(env)
    for source in sources:
        advance(env, source)
    print("registering blocks and deploying ...", flush=True)
    for command in (
        [sys.executable, "-m", "blocks.register"],
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            print(f"{' '.join(command[1:])} failed:\n{done.stdout}{done.stderr}", file=sys.stderr)
            return 1
    rows = [run_source(source) for source in sources]
    print_table(rows)
    print(
        f"\nPrefect UI      {env['PREFECT_API_URL'].removesuffix('/api')}"
        f"\nBigQuery        {env['BIGQUERY_EMULATOR_HOST']}, project {env['GCP_PROJECT']}: "
        "raw.usgs_earthquake__events, raw._loads, gold.daily_earthquake_activity"
        f"\ncatalog         prefect deployment run data-catalog/hourly: "
        f"{os.path.relpath(env['CATALOG_DIRECTORY'])}/index.html"
        f"\nvariables       {os.path.relpath(state)}/env"
        "\nmake demo       again: the sources have changed; once more: nothing new"
        "\nmake down       stops everything"
    )
    return 0 if all(row.state == "Completed" for row in rows) else 1


def advance(env: dict[str, str], source: str) -> None:
    """Advance a stand-in's world once, after it was read for the first time."""
    base = f"{env['SANDBOX_SOURCES_URL']}/{WORLD}/{SOURCES[source]}/control"
    state = httpx.get(f"{base}/state").raise_for_status().json()
    if state.get("source") != "files" and not state["stages"] and state["queries"]:
        changes = httpx.post(f"{base}/advance").raise_for_status().json()
        told = ", ".join(
            f"{count} {kind.replace('_', ' ')}"
            for kind, count in changes.items()
            if kind not in ("stage", "moment_ms") and isinstance(count, int)
        )
        print(f"the world of {source} has moved on: {told}", flush=True)


def run_source(source: str) -> Row:
    """Run a source's deployment to its end, saying what happens on the way."""
    from prefect.client.orchestration import get_client
    from prefect.deployments import run_deployment

    started_at = datetime.now(UTC)
    print(f"elt/{source}", flush=True)
    run: Any = run_deployment(f"elt/{source}", timeout=0)
    said: set[UUID] = set()
    deadline = time.monotonic() + RUN_DEADLINE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            run = client.read_flow_run(run.id)
            for task in task_runs(client, run.id):
                if task.id not in said and task.state and task.state.is_final():
                    said.add(task.id)
                    print(f"  {task.state.name.lower():<10} {task.name}", flush=True)
            if run.state and run.state.is_final():
                break
            time.sleep(POLL_SECONDS)
    state = run.state.name if run.state else "unknown"
    print(f"  {state}: {run.state.message if run.state else ''}", flush=True)
    return outcome(source, state, started_at, run.total_run_time or timedelta())


def task_runs(client: Any, flow_run_id: UUID) -> list[Any]:
    """The task runs of a flow run and of its subflows, in the order in which they ended."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import TaskRunSort

    found: list[Any] = []
    for wanted in (
        {"parent_flow_run_id": {"any_": [flow_run_id]}},
        {"id": {"any_": [flow_run_id]}},
    ):
        found += client.read_task_runs(
            flow_run_filter=FlowRunFilter.model_validate(wanted), sort=TaskRunSort.END_TIME_DESC
        )[::-1]
    return found


def outcome(source: str, state: str, started_at: datetime, spent: timedelta) -> Row:
    """What the ledger says of a run that began at `started_at`."""
    from blocks.platform import blocks_from
    from blocks.settings import Settings
    from core.sql import literal
    from tasks.platform import connect

    warehouse = connect(blocks_from(Settings())).warehouse
    since = f"source = {literal(source.replace('-', '_'))} AND {{}} >= {literal(started_at)}"
    loads = warehouse.query(
        f"""
        SELECT
            COALESCE(SUM(extracted), 0) AS extracted, COALESCE(SUM(rejected), 0) AS rejected,
            COALESCE(SUM(inserted + updated + deleted + superseded_ids), 0) AS written
        FROM {warehouse.names.raw("_loads")}
        WHERE {since.format("applied_at")} AND state IN ('applied', 'looked')
        """,
        source=source,
        purpose="demo",
    )[0]
    builds = warehouse.query(
        f"SELECT SUM(nodes_passed) AS nodes FROM {warehouse.names.raw('_builds')} "
        f"WHERE {since.format('started_at')}",
        source=source,
        purpose="demo",
    )[0]
    counts = {name: int(loads[name]) for name in ("extracted", "written", "rejected")}
    nodes = None if builds["nodes"] is None else int(builds["nodes"])
    return Row(source, state, **counts, nodes=nodes, seconds=spent.total_seconds())


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
