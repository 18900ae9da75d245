"""After an update: everything that has to run runs.

    python -m deploy.verify vm [--seconds 60]

A worker polls the pool, the pool is not paused, and the scheduler has planned the next run of every
active schedule: there are versions of Prefect's dependencies with which it silently does not.
"""

from __future__ import annotations

import argparse
import sys
import time

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound

from deploy.reap import in_pool, in_state
from tasks.server import every, server_url

POLL_SECONDS = 1.0


def faults(client: SyncPrefectClient, pool: str) -> list[str]:
    """What is not as it should be, a line each."""
    found = []
    if client.read_work_pool(pool).is_paused:
        found.append(f"work pool {pool!r} is paused")
    workers = client.read_workers_for_work_pool(pool)
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        found.append(f"no worker polls pool {pool!r}")
    scheduled = FlowRunFilter(state=in_state(StateType.SCHEDULED))
    runs = every(client.read_flow_runs, flow_run_filter=scheduled, work_pool_filter=in_pool(pool))
    planned = {run.deployment_id for run in runs}
    deployments = every(client.read_deployments, work_pool_filter=in_pool(pool))
    if not deployments:
        found.append(f"pool {pool!r} has no deployment")
    for deployment in deployments:
        is_active = any(schedule.active for schedule in deployment.schedules)
        if is_active and not deployment.paused and deployment.id not in planned:
            found.append(f"deployment {deployment.name}: no run is planned")
    return found


def main() -> int:
    """1, and the faults that are left, when some are after the time given."""
    parser = argparse.ArgumentParser(prog="python -m deploy.verify", description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    if not (api := server_url()):
        return 1
    deadline = time.monotonic() + options.seconds
    found = ["the server was not asked"]
    with get_client(sync_client=True) as client:
        while True:
            try:
                found = faults(client, options.pool)
            except ObjectNotFound:
                found = [f"there is no work pool {options.pool!r}"]
            except httpx.HTTPError as error:
                found = [f"{api}: {error}"]
            if not found or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"pool {options.pool!r} has a worker, and every active schedule a planned run")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
