"""What an inspection finds in Prefect, and whether the other inspector still inspects."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace
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
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.utilities.urls import url_for

from alerting.findings import Finding, Inspection, Inspector, Run
from alerting.freshness import ARTIFACT, StaleSource, stale_sources
from alerting.incidents import OVERLAP, State, begun_at
from core.batch import asked_for
from runs.alert_settings import AlertSettings
from tasks.server import every

# The first inspection ever goes back so far.
FIRST_INSPECTION = timedelta(hours=1)
ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
WAITING = [StateType.SCHEDULED, StateType.PENDING]
# An inspector that has not inspected for so long is missed.
MISSED_AFTER: dict[Inspector, timedelta] = {
    "watchdog": timedelta(minutes=15),
    "watch": timedelta(minutes=45),
}


@dataclass
class Names:
    """Deployments and flows by id; `scheduled` are those with a schedule that nobody has paused."""

    flows: dict[UUID, str]
    deployments: dict[UUID, str]
    scheduled: dict[UUID, str]

    @property
    def all(self) -> set[str]:
        """What runs may be called by."""
        return {*self.deployments.values(), *self.flows.values()}

    def of(self, run: FlowRun) -> str:
        flow = self.flows.get(run.flow_id, "flow")
        return self.deployments.get(run.deployment_id, flow) if run.deployment_id else flow


def read_names(client: SyncPrefectClient) -> Names:
    flows = {flow.id: flow.name for flow in every(client.read_flows)}
    names = Names(flows, {}, {})
    for one in every(client.read_deployments):
        names.deployments[one.id] = f"{flows.get(one.flow_id, 'flow')}/{one.name}"
        if not one.paused and any(schedule.active for schedule in one.schedules):
            names.scheduled[one.id] = names.deployments[one.id]
    return names


def inspect_prefect(
    client: SyncPrefectClient, inspection: Inspection, state: State, alerts: AlertSettings
) -> None:
    """Add how runs ended, which do not begin or do not end, and schedules without a run to come."""
    names, now = read_names(client), inspection.at
    inspection.names = names.all
    inspection.runs = ended_runs(client, state, names, now)
    inspection.findings += [
        *late_runs(client, names, alerts.not_started_minutes, now),
        *slow_runs(client, names, alerts.running_hours, now),
        *unscheduled(client, names),
    ]
    inspection.covered.add("prefect")


def ended_runs(client: SyncPrefectClient, state: State, names: Names, now: datetime) -> list[Run]:
    """The runs at the top that ended since the last inspection, and some before."""
    # A clock may have been set right since.
    since = min(state.runs_until or now - FIRST_INSPECTION, now) - OVERLAP
    runs = read_ended(client, names, since)
    stale = read_stale(client, runs)
    return [replace(run, stale=stale.get(run.id, {})) for run in runs]


def read_ended(client: SyncPrefectClient, names: Names, since: datetime) -> list[Run]:
    """The runs at the top that ended since."""
    return [
        Run(
            id=str(run.id),
            name=names.of(run),
            state_type=run.state.type.value,
            state_name=run.state.name or run.state.type.value,
            message=run.state.message or "",
            ended_at=plain(run.end_time),
            started_at=plain(run.start_time) if run.start_time else None,
            seconds=run.total_run_time.total_seconds(),
            **about(run),
        )
        for run in read_runs(client, ENDED, end_time=FlowRunFilterEndTime(after_=since))
        if run.end_time and run.state
    ]


def read_stale(client: SyncPrefectClient, runs: Iterable[Run]) -> dict[str, dict[str, str]]:
    """By run that failed for stale sources: these, and how late each is, by its artifact."""
    asked = [UUID(run.id) for run in runs if run.state_name == StaleSource.state_name]
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
    latest = {str(one.flow_run_id): str(one.data) for one in reversed(artifacts)}
    return {id_: stale_sources(json.loads(rows)) for id_, rows in latest.items()}


def plain(moment: datetime) -> datetime:
    """Prefect's moments are of a class of its own, which is not written to the file."""
    return datetime.fromisoformat(moment.isoformat()).astimezone(UTC)


def about(run: FlowRun) -> dict[str, Any]:
    """The source that a run is for, what it was asked for and when it was due, and its page."""
    source = str(run.parameters.get("source") or "")
    asked = asked_for(run.parameters.get("start"), run.parameters.get("end")) if source else ""
    due = f"due {run.expected_start_time:%Y-%m-%d %H:%M} UTC" if run.expected_start_time else ""
    return {
        "source": source,
        "window": ", ".join(one for one in (asked, due) if one),
        "link": url_for("flow-run", obj_id=run.id),
    }


def late_runs(
    client: SyncPrefectClient, names: Names, minutes: float, now: datetime
) -> list[Finding]:
    """One finding per deployment."""
    latest = now - timedelta(minutes=minutes)
    by_name: dict[str, list[FlowRun]] = defaultdict(list)
    due = FlowRunFilterExpectedStartTime(before_=latest)
    for run in read_runs(client, WAITING, expected_start_time=due):
        if due_at(run, now) < latest:
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
                cause=f"{len(runs)} run(s) due more than {minutes:g} minutes "
                f"ago; the first is {first.state_name}",
                **about(first),
            )
        )
    return found


def due_at(run: FlowRun, now: datetime) -> datetime:
    """Since when it could have started. One that is tried again keeps the time of its first try."""
    due = run.expected_start_time or now
    if run.state is None or (run.start_time is None and run.state_type == StateType.SCHEDULED):
        return due
    return max(run.state.timestamp, run.next_scheduled_start_time or due)


def slow_runs(
    client: SyncPrefectClient, names: Names, hours: float, now: datetime
) -> list[Finding]:
    latest = now - timedelta(hours=hours)
    started = FlowRunFilterStartTime(before_=latest)
    return [
        Finding(
            key=f"running-long:{run.id}",
            kind="running-long",
            scope="prefect",
            title=f"{names.of(run)} has been running for over {hours:g} h",
            cause=f"{run.name} is {run.state_name} since {since:%Y-%m-%d %H:%M} UTC",
            **about(run),
        )
        for run in read_runs(client, [StateType.RUNNING, StateType.CANCELLING], start_time=started)
        if (since := running_since(run, now)) <= latest
    ]


def running_since(run: FlowRun, now: datetime) -> datetime:
    """Since when this try of it runs; of one that is being cancelled, since its first."""
    if run.state and run.state_type == StateType.RUNNING:
        return run.state.timestamp
    return run.start_time or now


def unscheduled(client: SyncPrefectClient, names: Names) -> list[Finding]:
    to_come = {run.deployment_id for run in read_runs(client, [StateType.SCHEDULED])}
    return [
        Finding(
            key=f"unscheduled:{name}",
            kind="unscheduled",
            scope="prefect",
            title=f"{name} has a schedule and no run to come",
            cause="the server's scheduler makes no runs",
        )
        for deployment_id, name in sorted(names.scheduled.items(), key=lambda pair: pair[1])
        if deployment_id not in to_come
    ]


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


def silence(state: State, inspector: Inspector, now: datetime) -> list[Finding]:
    """An inspector that has inspected once and does no more, while the other one did.

    Where neither did, the machine was off, and both have to begin again.
    """
    last = state.inspected.get(inspector)
    if last is None:
        return []
    key = f"silent:{inspector}"
    since = begun_at(state, "watch" if inspector == "watchdog" else "watchdog", now)
    if last <= now + OVERLAP:  # else it is by a clock that has been set right since
        since = last if key in state.incidents else max(last, since)
    if now - since <= MISSED_AFTER[inspector]:
        return []
    return [
        Finding(
            key=key,
            kind="watchdog",
            scope=inspector,
            title=f"{inspector} has stopped looking",
            cause=f"its last look was at {last:%Y-%m-%d %H:%M} UTC",
        )
    ]
