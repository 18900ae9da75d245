"""Incidents: what is wrong, and since when, from one inspection to the next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from alerting.findings import Finding, Inspection, Inspector, Run, Scope, findings_of, run_key

# An inspector's inspections are not further apart than this, unless the machine was off: the timer
# inspects every minute, the flow's cron every quarter of an hour.
APART: dict[Inspector, timedelta] = {
    "watchdog": timedelta(minutes=6),
    "watch": timedelta(minutes=17),
}
# No inspection takes so long, so what one may not have seen is not older.
OVERLAP = timedelta(minutes=10)
CAUSE_LINES = 5
LINE_CHARACTERS = 400


class Incident(msgspec.Struct):
    finding: Finding
    opened_at: datetime
    last_at: datetime
    count: int = 1
    told_at: datetime | None = None
    ended_at: datetime | None = None


class Message(msgspec.Struct):
    """A message and the channels that have not got it yet."""

    subject: str
    text: str
    written_at: datetime
    left: list[str]


class State(msgspec.Struct):
    """What outlives an inspection. `over` are incidents whose end is to be told; `inspected` maps
    an inspector to its last inspection, `begun` to the first one since the machine was last off,
    `covered` a scope to the last inspection of it, by either.
    """

    incidents: dict[str, Incident] = {}
    over: list[Incident] = []
    outbox: list[Message] = []
    runs_until: datetime | None = None
    runs_seen: dict[str, datetime] = {}
    fields_until: datetime | None = None
    # The file has it under another name.
    inspected: dict[Inspector, datetime] = msgspec.field(default_factory=dict, name="looked")
    begun: dict[Inspector, datetime] = {}
    covered: dict[Scope, datetime] = {}


def advance(state: State, inspection: Inspection, scrub: Callable[[str], str]) -> None:
    """Bring the incidents up to the inspection. Nothing that `scrub` cuts out is kept.

    Of a scope that another one has covered since this one began, it says nothing. Nothing of a
    source that does not run here is an incident, and what was one is over.
    """
    now = inspection.at
    for run in sorted(inspection.runs, key=lambda run: run.ended_at):
        # A run that is tried again by a person ends again.
        if state.runs_seen.get(run.id) != run.ended_at:
            end_of_run(state, run, scrub)
    remember(state, inspection)
    # What is later was written by a clock that has been set right since.
    until = now + OVERLAP
    outdated = {one for one in inspection.covered if now < state.covered.get(one, now) <= until}
    covered = inspection.covered - outdated
    findings = [finding for finding in inspection.findings if finding.scope not in outdated]
    for finding in findings:
        begin(state, finding, finding.at or now, scrub)
    found = {finding.key for finding in findings}
    of_deployments = tuple(run_key(name) for name in inspection.names)
    for key, incident in list(state.incidents.items()):
        scope = incident.finding.scope
        is_over = scope in covered and key not in found
        # A deployment that does not exist any more will not complete.
        is_removed = bool(of_deployments) and scope == "run" and not key.startswith(of_deployments)
        is_absent = incident.finding.source.replace("-", "_") in inspection.absent
        if is_over or is_absent or (is_removed and incident.told_at):
            end(state, key, now)
    state.begun[inspection.by] = begun_at(state, inspection.by, now)
    state.inspected[inspection.by] = now
    state.covered |= dict.fromkeys(covered, now)


def end(state: State, key: str, at: datetime) -> None:
    """What was not told yet was over before it was worth a word."""
    incident = state.incidents.pop(key)
    incident.ended_at = at
    if incident.told_at:
        state.over.append(incident)


def begun_at(state: State, inspector: Inspector, now: datetime) -> datetime:
    """Since when it has inspected again and again; now, when it has just begun again."""
    last = state.inspected.get(inspector)
    if last is None or not timedelta(0) <= now - last <= APART[inspector]:
        return now
    return min(state.begun.get(inspector, last), now)


def remember(state: State, inspection: Inspection) -> None:
    """The ends of runs that are counted by now, as far back as another inspection may yet read."""
    state.runs_seen |= {run.id: run.ended_at for run in inspection.runs}
    if state.runs_seen:
        state.runs_until = max(state.runs_seen.values())
        # The latest one may be of a clock that has been set right since.
        oldest = min(state.runs_until, inspection.at) - 2 * OVERLAP
        state.runs_seen = {id_: at for id_, at in state.runs_seen.items() if at >= oldest}
    state.fields_until = inspection.fields_until or state.fields_until


def end_of_run(state: State, run: Run, scrub: Callable[[str], str]) -> None:
    """A run that failed begins an incident or counts in it; one that completed ends all of its
    deployment. One that found sources stale did what it had to: it ends all but those of these.
    """
    found = findings_of(run) if run.state_type in ("FAILED", "CRASHED") else []
    for finding in found:
        begin(state, finding, run.ended_at, scrub)
    of_sources = any(finding.kind == "stale-data" for finding in found)
    if run.state_type != "COMPLETED" and not of_sources:
        return
    kept = {finding.key for finding in found}
    for key, incident in list(state.incidents.items()):
        if key in kept or not key.startswith(run_key(run.name)):
            continue
        if run.ended_at < incident.last_at:
            continue  # seen late: it ended before the last one that failed
        if incident.told_at:
            end(state, key, run.ended_at)
        else:  # it is reported although it has passed
            incident.ended_at = run.ended_at


def begin(state: State, finding: Finding, at: datetime, scrub: Callable[[str], str]) -> None:
    """The finding's incident exists, with its latest cause."""
    clean = msgspec.structs.replace(
        finding,
        title=scrub(finding.title),
        cause=first_lines(scrub(finding.cause)),
        at=at,
        window=scrub(finding.window),
        source=scrub(finding.source),
    )
    incident = state.incidents.get(finding.key)
    if incident is None:
        state.incidents[finding.key] = Incident(clean, at, at)
        return
    incident.finding = clean
    incident.count += 1
    incident.last_at = max(incident.last_at, at)
    incident.ended_at = None


def first_lines(text: str) -> str:
    """The first lines that are not blank, each cut to a readable length."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][:CAUSE_LINES]
    cut = [
        line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 3]}..."
        for line in lines
    ]
    return "\n".join(cut)
