"""Before a worker starts, the runs that a dead one left behind are ended.

    python -m deploy.reap vm [--force]

The pool has one worker, so when that starts, whatever the pool has as Pending, Running or
Cancelling is executed by nobody. Prefect would leave it there for ever, and its deployment's
concurrency slot taken.

Whether a worker is alive cannot be known from the server: one that was killed a moment ago is still
ONLINE. So the reaper refuses while a worker of the pool counts as ONLINE, which the server ends
three missed heartbeats (90 s) after its death; `--force` is for a caller that knows the old worker
and its flow runs to be gone, as systemd does in ExecStartPre and `sandbox up` does by process id.

Runs of a pool whose type is not `process` live elsewhere and outlive their worker: none is touched.
"""

import argparse
import sys
from functools import partial

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from tasks.server import every, server_url

MESSAGE = "worker restarted; nobody executes this run"


class LiveWorkerError(RuntimeError):
    """The pool may still have a worker that executes runs."""


class LiveRunsError(RuntimeError):
    """The pool's runs are not processes of its worker."""


def in_pool(*names: str) -> WorkPoolFilter:
    return WorkPoolFilter(name=WorkPoolFilterName(any_=[*names]))


def in_state(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=[*types]))


def unfinished_runs(client: SyncPrefectClient, pool: str) -> list[FlowRun]:
    """The pool's runs that claim to be executed, subflows before the runs that called them.

    A subflow's run has no pool; it belongs to that of the run at the top. It comes first, and is
    found from below, so that a reaper killed half-way finds on its next run what it left.
    """
    unfinished = in_state(StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
    runs = FlowRunFilter(state=unfinished)
    subflows_of_all = FlowRunFilter(
        state=unfinished, parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=False)
    )
    read = partial(every, client.read_flow_runs, sort=FlowRunSort.ID_DESC)
    top_down = read(flow_run_filter=runs, work_pool_filter=in_pool(pool))
    called = read(flow_run_filter=subflows_of_all)
    callers = {run.id: _callers(client, run) for run in called if run.work_pool_name is None}
    subflows = [
        run for run in called if callers.get(run.id) and callers[run.id][-1].work_pool_name == pool
    ]
    return [*sorted(subflows, key=lambda run: -len(callers[run.id])), *top_down]


def reap(client: SyncPrefectClient, pool: str, *, force: bool) -> tuple[list[FlowRun], list[str]]:
    """The pool has no unfinished run any more, save what the server refuses to end.

    Pending and Running become Crashed; Cancelling becomes Cancelled, the only state that Prefect
    lets it reach. Returns the runs as they are now, and a line of reasons per refusal.
    Raises LiveWorkerError and LiveRunsError (nothing was touched), ObjectNotFound (no such pool).
    """
    kind = client.read_work_pool(pool).type
    if kind != "process":
        raise LiveRunsError(f"pool {pool!r} is of type {kind}: its runs outlive a worker")
    workers = client.read_workers_for_work_pool(pool)
    runs = unfinished_runs(client, pool)
    online = [worker for worker in workers if worker.status == WorkerStatus.ONLINE]
    if runs and online and not force:
        beats = ", ".join(
            f"{worker.name} (last heartbeat {worker.last_heartbeat_time})" for worker in online
        )
        raise LiveWorkerError(
            f"{len(runs)} unfinished run(s) in pool {pool!r}, but its worker may be alive: {beats}."
            " Stop it and wait until it is OFFLINE, or pass --force if it is known to be dead."
        )
    ended: list[FlowRun] = []
    refused: list[str] = []
    for run in runs:
        end: State[None] = (
            Cancelled(message=MESSAGE)
            if run.state_type == StateType.CANCELLING
            else Crashed(message=MESSAGE)
        )
        answer = client.set_flow_run_state(run.id, end)
        now = client.read_flow_run(run.id)
        if now.state is not None and now.state.is_final():
            ended.append(now)
        else:
            refused.append(f"{run.name} ({run.id}): {answer.status.value}: {answer.details}")
    return ended, refused


def _callers(client: SyncPrefectClient, run: FlowRun) -> list[FlowRun]:
    """The runs above a subflow's run, the top one last; one that was deleted ends the list."""
    callers: list[FlowRun] = []
    try:
        while run.parent_task_run_id is not None:
            flow_run_id = client.read_task_run(run.parent_task_run_id).flow_run_id
            if flow_run_id is None:
                break
            run = client.read_flow_run(flow_run_id)
            callers.append(run)
    except ObjectNotFound:
        return callers
    return callers


def main() -> int:
    """Print what was reaped. 1 when refused, or when the server, the pool or an end was missing."""
    parser = argparse.ArgumentParser(prog="python -m deploy.reap", description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("--force", action="store_true", help="the old worker is known to be dead")
    options = parser.parse_args()
    if not (api := server_url()):
        return 1
    try:
        with get_client(sync_client=True) as client:
            ended, refused = reap(client, options.pool, force=options.force)
    except LiveRunsError as error:
        print(f"nothing to reap: {error}")
        return 0
    except LiveWorkerError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except ObjectNotFound:
        print(f"there is no work pool {options.pool!r}", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
        print(f"{api}: {error}", file=sys.stderr)
        return 1
    for run in ended:
        print(f"reaped {run.name} ({run.id}): {run.state_name}")
    for line in refused:
        print(f"not reaped: {line}", file=sys.stderr)
    if not ended and not refused:
        print(f"pool {options.pool!r} has no dead runs")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
