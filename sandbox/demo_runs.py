"""Runs of deployments side by side, each with a line that says how far it is.

On a terminal the lines are live; elsewhere a line is printed when a run has ended, and one now and
then of all that are at work. VERBOSE=1 prints every step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

# A run that hangs; on a slow machine one may take many minutes.
RUN_DEADLINE_SECONDS = 3600.0
# Two requests each time: the server has the same two cores as the runs.
POLL_SECONDS = 1.0
# Where no line is live.
QUIET_SECONDS = 20.0


@dataclass
class Watched:
    """A run, the last of its steps that ended, and how many have."""

    run: FlowRun
    step: str = "waits for the worker"
    steps: set[UUID] = field(default_factory=set)
    # Of itself and of the flows that it ran in turn.
    ids: set[UUID] = field(default_factory=set)


def run_all(deployments: Sequence[str]) -> dict[str, FlowRun]:
    """Run deployments to their ends; their runs by their names.

    Raises TimeoutError when one goes on for RUN_DEADLINE_SECONDS.
    """
    from prefect.client.orchestration import get_client
    from prefect.deployments import run_deployment

    console = Console(highlight=False, soft_wrap=True)
    verbose = os.environ.get("VERBOSE", "") not in ("", "0")
    watched: dict[str, Watched] = {}
    for name in deployments:
        run: Any = run_deployment(name, timeout=0)
        watched[name] = Watched(run, ids={run.id})
    names = {one.run.id: name for name, one in watched.items()}
    began = said_at = time.monotonic()
    live = Live(console=console, auto_refresh=False, transient=True)
    with get_client(sync_client=True) as client, live if console.is_terminal else nullcontext():
        while under_way := [name for name, one in watched.items() if not is_over(one.run)]:
            if time.monotonic() > began + RUN_DEADLINE_SECONDS:
                raise TimeoutError(f"{', '.join(under_way)}: still running")
            time.sleep(POLL_SECONDS)
            for name, task in read_steps(client, watched, under_way):
                if verbose:
                    console.print(f"  {name}: {task.name}, {task.state_name}", markup=False)
            for run in read_runs(client, [watched[name].run.id for name in under_way]):
                name = names[run.id]
                watched[name].run = run
                if is_over(run):
                    tell_end(console, name, run)
            if console.is_terminal:
                live.update(table_of(watched), refresh=True)
            elif time.monotonic() > said_at + QUIET_SECONDS:
                said_at = time.monotonic()
                tell_progress(console, watched, said_at - began)
    return {name: one.run for name, one in watched.items()}


def is_over(run: FlowRun) -> bool:
    return bool(run.state and run.state.is_final())


def read_runs(client: SyncPrefectClient, ids: Sequence[UUID]) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter

    wanted = FlowRunFilter.model_validate({"id": {"any_": [*ids]}})
    return client.read_flow_runs(flow_run_filter=wanted)


def read_steps(
    client: SyncPrefectClient, watched: dict[str, Watched], under_way: Sequence[str]
) -> list[tuple[str, TaskRun]]:
    """The steps of these runs that have ended since the last call, in that order."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import TaskRunSort

    of = {id_: name for name in under_way for id_ in watched[name].ids}
    wanted = FlowRunFilter.model_validate({"id": {"any_": [*of]}})
    found = client.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.END_TIME_DESC)
    ended = []
    for task in reversed(found):
        name = of[task.flow_run_id] if task.flow_run_id else ""
        if not name or not task.state:
            continue
        one = watched[name]
        if child := task.state.state_details.child_flow_run_id:
            # A flow that this one ran: its own steps are what is of interest.
            one.ids.add(child)
        elif task.state.is_final() and task.id not in one.steps:
            one.steps.add(task.id)
            one.step = task.name
            ended.append((name, task))
    return ended


def tell_end(console: Console, name: str, run: FlowRun) -> None:
    seconds = run.total_run_time.total_seconds()
    message = run.state.message if run.state else ""
    console.print(f"{name}  {run.state_name} in {seconds:.0f} s: {message}", markup=False)
    if not (run.state and run.state.is_completed()):
        from prefect.settings import get_current_settings

        api = get_current_settings().api.url or ""
        console.print(f"  its log: {api.removesuffix('/api')}/runs/flow-run/{run.id}", markup=False)


def tell_progress(console: Console, watched: dict[str, Watched], seconds: float) -> None:
    working = [
        f"{name} {len(one.steps)} steps"
        for name, one in watched.items()
        if one.run.state and one.run.state.is_running()
    ]
    waiting = sum(not is_over(one.run) for one in watched.values()) - len(working)
    more = f"; {waiting} wait" if waiting else ""
    console.print(f"  after {seconds:.0f} s: {', '.join(working)}{more}", markup=False)


def table_of(watched: dict[str, Watched]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, one in watched.items():
        if not is_over(one.run):
            seconds = one.run.estimated_run_time.total_seconds()
            table.add_row(name, f"{seconds:.0f} s", f"{len(one.steps)} steps", escape(one.step))
    return table
