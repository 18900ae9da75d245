"""What `prefect.yaml` says of the sources that run here, and nothing else, is deployed.

    python -m deploy.apply

The work pool exists (deploy/pool.py), `prefect deploy` has run, and what is no longer wanted is
gone: the pool is this project's own, so a deployment in it that the file does not name is one that
was removed from it, and so is a schedule whose slug it does not name. Prefect leaves both. The
deployment of a source without a block (blocks/sources.py) is not wanted either. Before any block is
saved, all are. A schedule that somebody paused stays paused. Repeating it changes nothing.

Deployments point to PIPELINES_HOME, or to this checkout where it is not set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.importtools import load_script_as_module

from blocks import WAREHOUSE
from blocks.platform import Warehouse, load_if_saved
from blocks.sources import load_sources
from core.names import flow_of, source_of
from deploy.pool import PoolError, create
from deploy.reap import in_pool
from tasks.server import every, server_url

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "prefect.yaml"


@dataclass(frozen=True)
class Declared:
    """A deployment of prefect.yaml by its full name, and the slugs of its schedules.

    `source` is the one that it loads, as its flow is named.
    """

    name: str
    pool: str
    slugs: frozenset[str]
    source: str = ""


def declared(file: Path = FILE) -> list[Declared]:
    """Every deployment of the file. Imports the flows, which have their names in their code.

    Raises ScriptError or MissingFlowError for one that cannot be imported, which `prefect deploy`
    by itself would deploy all the same, read from its text: each of its runs would fail.
    """
    found = []
    for one in yaml.safe_load(file.read_text())["deployments"]:
        path, _, function = one["entrypoint"].rpartition(":")
        entrypoint = f"{file.parent / path}:{function}"
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        slugs = frozenset(schedule["slug"] for schedule in one.get("schedules", []))
        if source := one.get("parameters", {}).get("source", ""):
            # Which a run imports only when it begins.
            extract = file.parent / "runs" / "extract" / f"{source_of(source)}.py"
            load_script_as_module(str(extract))
        found.append(
            Declared(f"{flow.name}/{one['name']}", one["work_pool"]["name"], slugs, source)
        )
    return found


def of_running(listed: list[Declared]) -> list[Declared]:
    """Those of the sources that run here, and of none; all, before blocks are saved.

    Blocks that cannot be read, as after a restore with another key, are as good as none.
    """
    try:
        if load_if_saved(Warehouse, WAREHOUSE) is None:
            return listed
        running = {flow_of(source) for source in load_sources()}
    except ValueError:
        return listed
    return [one for one in listed if not one.source or one.source in running]


def prune(client: SyncPrefectClient, wanted: list[Declared]) -> list[str]:
    """Remove from the pools of `wanted` what it does not name; a line for each."""
    removed = []
    by_name = {one.name: one for one in wanted}
    flows: dict[Any, str] = {}
    in_pools = in_pool(*{one.pool for one in wanted})
    for standing in every(client.read_deployments, work_pool_filter=in_pools):
        if standing.flow_id not in flows:
            flows[standing.flow_id] = client.read_flow(standing.flow_id).name
        name = f"{flows[standing.flow_id]}/{standing.name}"
        if name not in by_name:
            client.delete_deployment(standing.id)
            removed.append(f"deployment {name}")
            continue
        for schedule in standing.schedules:
            if schedule.slug not in by_name[name].slugs:
                client.delete_deployment_schedule(standing.id, schedule.id)
                removed.append(f"schedule {schedule.slug or schedule.id} of {name}")
    return removed


def deploy(wanted: list[Declared], environ: Mapping[str, str]) -> None:
    """Run `prefect deploy` for these. Raises CalledProcessError with what it said."""
    environment = {"PIPELINES_HOME": str(ROOT), **environ}
    # Prefect takes the second half alone, and then all that have it.
    names = sorted({one.name.partition("/")[2] for one in wanted})
    chosen = [each for name in names for each in ("--name", name)]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *chosen]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)


def main() -> int:
    """Print what is deployed, what is not, and what was removed. 1 when it could not be done."""
    if not (api := server_url()):
        return 1
    try:
        every_one = declared()
        wanted = of_running(every_one)
        for pool in sorted({one.pool for one in wanted}):
            print(f"work pool {pool!r} is of type {create(pool, os.environ)}")
        deploy(wanted, os.environ)
        with get_client(sync_client=True) as client:
            removed = prune(client, wanted)
    except (PoolError, ScriptError, MissingFlowError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"prefect deploy failed:\n{error.stdout}{error.stderr}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"{api}: {error}", file=sys.stderr)
        return 1
    for one in wanted:
        print(f"deployed {one.name}")
    for one in every_one:
        if one not in wanted:
            print(f"not configured {one.name}")
    for line in removed:
        print(f"removed {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
