"""What a look finds in Prefect: how runs ended, and runs that did not begin or do not end."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.utilities.urls import url_for

from alerting.freshness import ARTIFACT, StaleSource, stale_sources
from alerting.incidents import (
    MISSED_AFTER,
    OVERLAP,
    Finding,
    Looker,
    Run,
    State,
    begun_at,
    without_shapes,
)
from alerting.settings import AlertSettings
from core.batch import asked_for
from core.errors import first_line, without_secrets
from tasks.server import every

# The first look ever goes back so far.
FIRST_LOOK = timedelta(hours=1)
ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED]
# How long pages list a run that ended.
SHOWN = timedelta(days=7)
WAITING = [StateType.SCHEDULED, StateType.PENDING]


@dataclass
class Names:
    """Deployments and flows by id."""

    deployments: dict[UUID, str] = field(default_factory=dict)
    flows: dict[UUID, str] = field(default_factory=dict)
    scheduled: dict[UUID, str] = field(default_factory=dict)

    @property
    def all(self) -> set[str]:
        """What runs may be called by."""
        return {*self.deployments.values(), *self.flows.values()}

    def of(self, run: FlowRun) -> str:
        flow = self.flows.get(run.flow_id, "flow")
        return self.deployments.get(run.deployment_id, flow) if run.deployment_id else flow


def read_names(client: SyncPrefectClient) -> Names:
    """`scheduled` are the deployments with a schedule that nobody has paused."""
    flows = {flow.id: flow.name for flow in every(client.read_flows)}
    names = Names(flows=flows)
    for one in every(client.read_deployments):
        names.deployments[one.id] = f"{flows.get(one.flow_id, 'flow')}/{one.name}"
        if not one.paused and any(schedule.active for schedule in one.schedules):
            names.scheduled[one.id] = names.deployments[one.id]
    return names


def ended_runs(client: SyncPrefectClient, state: State, names: Names, now: datetime) -> list[Run]:
    """The runs at the top that ended since the last look, and some before."""
    # A clock may have been set right since.
    since = min(state.runs_until or now - FIRST_LOOK, now) - OVERLAP
    runs = read_runs(client, ENDED, end_time=FlowRunFilterEndTime(after_=since))
    stale = read_stale(client, runs)
    return [
        Run(
            id=str(run.id),
            name=names.of(run),
            state_type=run.state.type.value,
            state_name=run.state.name or run.state.type.value,
            message=run.state.message or "",
            ended_at=plain(run.end_time),
            source=source_of(run),
            window=window_of(run),
            link=link_to(run),
            stale=stale.get(run.id, {}),
        )
        for run in runs
        if run.end_time and run.state
    ]


def read_stale(client: SyncPrefectClient, runs: Iterable[FlowRun]) -> dict[UUID, dict[str, str]]:
    """By run that failed for stale sources: these, and how late each is, by its artifact."""
    asked = [run.id for run in runs if run.state and run.state.name == StaleSource.state_name]
    if not asked:
        return {}
    artifacts = every(
        client.read_artifacts,
        artifact_filter=ArtifactFilter(
            key=ArtifactFilterKey(any_=[ARTIFACT]),
            flow_run_id=ArtifactFilterFlowRunId(any_=asked),
        ),
        sort=ArtifactSort.UPDATED_DESC,
    )
    # Of a run that was tried again, the last one.
    latest = {one.flow_run_id: str(one.data) for one in reversed(artifacts) if one.flow_run_id}
    return {id_: stale_sources(json.loads(rows)) for id_, rows in latest.items()}


def plain(moment: datetime) -> datetime:
    """Prefect's moments are of a class of its own, which is not written to the file."""
    return datetime.fromisoformat(moment.isoformat()).astimezone(UTC)


def source_of(run: FlowRun) -> str:
    return str(run.parameters.get("source") or "")


def window_of(run: FlowRun) -> str:
    """What the run of a source was asked for, and when it was due."""
    start, end = run.parameters.get("start"), run.parameters.get("end")
    asked = asked_for(start, end) if source_of(run) else ""
    due = f"due {run.expected_start_time:%Y-%m-%d %H:%M} UTC" if run.expected_start_time else ""
    return ", ".join(one for one in (asked, due) if one)


def link_to(run: FlowRun) -> str | None:
    return url_for("flow-run", obj_id=run.id)


def waiting_runs(
    client: SyncPrefectClient, names: Names, alerts: AlertSettings, now: datetime
) -> list[Finding]:
    """Runs that are late, runs that take too long, and schedules without a run to come."""
    late = timedelta(minutes=alerts.not_started_minutes)
    by_name: dict[str, list[FlowRun]] = defaultdict(list)
    for run in read_runs(
        client, WAITING, expected_start_time=FlowRunFilterExpectedStartTime(before_=now - late)
    ):
        if due_at(run, now) < now - late:
            by_name[names.of(run)].append(run)
    found = []
    for name, runs in sorted(by_name.items()):
        first = min(runs, key=lambda run: run.expected_start_time or now)
        found.append(
            Finding(
                key=f"not-started:{name}",
                kind="not-started",
                scope="prefect",
                title=f"{name} has not started",
                cause=f"{len(runs)} run(s) due more than {alerts.not_started_minutes:g} minutes "
                f"ago; the first is {first.state_name}",
                at=now,
                source=source_of(first),
                window=window_of(first),
                link=link_to(first),
            )
        )
    slow = FlowRunFilterStartTime(before_=now - timedelta(hours=alerts.running_hours))
    for run in read_runs(client, [StateType.RUNNING, StateType.CANCELLING], start_time=slow):
        since = running_since(run, now)
        if since > now - timedelta(hours=alerts.running_hours):
            continue
        found.append(
            Finding(
                key=f"running-long:{run.id}",
                kind="running-long",
                scope="prefect",
                title=f"{names.of(run)} has been running for over {alerts.running_hours:g} h",
                cause=f"{run.name} is {run.state_name} since {since:%Y-%m-%d %H:%M} UTC",
                at=now,
                source=source_of(run),
                window=window_of(run),
                link=link_to(run),
            )
        )
    to_come = {run.deployment_id for run in read_runs(client, [StateType.SCHEDULED])}
    for deployment_id, name in sorted(names.scheduled.items(), key=lambda pair: pair[1]):
        if deployment_id not in to_come:
            found.append(
                Finding(
                    key=f"unscheduled:{name}",
                    kind="unscheduled",
                    scope="prefect",
                    title=f"{name} has a schedule and no run to come",
                    cause="the server's scheduler makes no runs",
                    at=now,
                )
            )
    return found


def due_at(run: FlowRun, now: datetime) -> datetime:
    """Since when it could have started. One that is tried again keeps the time of its first try."""
    due = run.expected_start_time or now
    if run.state is None or (run.start_time is None and run.state_type == StateType.SCHEDULED):
        return due
    return max(run.state.timestamp, run.next_scheduled_start_time or due)


def running_since(run: FlowRun, now: datetime) -> datetime:
    """Since when this try of it runs; of one that is being cancelled, since its first."""
    if run.state and run.state_type == StateType.RUNNING:
        return run.state.timestamp
    return run.start_time or now


def read_runs(client: SyncPrefectClient, types: list[StateType], **filters: Any) -> list[FlowRun]:
    """All runs at the top in these states."""
    return every(
        client.read_flow_runs,
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)),
            parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True),
            **filters,
        ),
        sort=FlowRunSort.ID_DESC,
    )


def silence(state: State, looker: Looker, now: datetime) -> list[Finding]:
    """A looker that has looked once and does no more, while the other one did look.

    Where neither did, the machine was off, and both have to begin again.
    """
    last = state.looked.get(looker)
    if last is None:
        return []
    other: Looker = "watch" if looker == "watchdog" else "watchdog"
    key = f"silent:{looker}"
    begun = begun_at(state, other, now)
    was_ahead = last > now + OVERLAP  # by a clock that has been set right since
    stands_since = last if key in state.incidents else max(last, begun)
    since = begun if was_ahead else stands_since
    if now - since <= MISSED_AFTER[looker]:
        return []
    return [
        Finding(
            key=key,
            kind="watchdog",
            scope=looker,
            title=f"{looker} has stopped looking",
            cause=f"its last look was at {last:%Y-%m-%d %H:%M} UTC",
            at=now,
        )
    ]


def state_shown(state: PrefectState[Any]) -> str:
    """Completed, Failed, Crashed, Cancelled or TimedOut."""
    return "TimedOut" if state.name == "TimedOut" else state.type.value.title()


def last_runs(
    client: SyncPrefectClient, secrets: Sequence[str], since: timedelta = SHOWN
) -> list[dict[str, Any]]:
    """Rows of serving/status.py's RUNS: the runs at the top that ended since, secrets cut out."""
    names, now = read_names(client), datetime.now(UTC)
    longest_first = sorted(set(secrets), key=len, reverse=True)
    return [
        {
            "run_id": str(run.id),
            "deployment": names.of(run),
            "source": source_of(run).replace("-", "_"),
            "state": state_shown(run.state),
            "started_at": plain(run.start_time) if run.start_time else None,
            "ended_at": plain(run.end_time),
            "seconds": (run.total_run_time or timedelta()).total_seconds(),
            "message": without_shapes(
                without_secrets(first_line(run.state.message or "", 400), longest_first)
            ),
            "link": link_to(run),
        }
        for run in read_runs(
            client,
            [*ENDED, StateType.CANCELLED],
            end_time=FlowRunFilterEndTime(after_=now - since),
        )
        if run.end_time and run.state
    ]
