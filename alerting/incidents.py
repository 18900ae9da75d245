"""Incidents: what is wrong, since when, and who has been told.

Two lookers feed this, the flow `watch` and the timer `deploy.watchdog`. Each look is a list of
findings; `advance` turns it into incidents and into letters: one when an incident begins, one when
it is over. Incidents that begin together are told together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

# Each is a heading in docs/operations.md, which tells what to do.
Kind = Literal[
    "failed",
    "crashed",
    "timed-out",
    "stale-data",
    "rejects",
    "deletions-held",
    "parked-batch",
    "not-started",
    "unscheduled",
    "running-long",
    "request-budget",
    "schema-change",
    "unloaded-batch",
    "bytes-billed",
    "ledger",
    "server",
    "worker",
    "watchdog",
    "disk",
    "spool",
    "backup",
    "certificate",
    "run-logs",
    "pages",
]
Looker = Literal["watch", "watchdog"]
# run: how a flow run ended; the incident is over when a later run of its deployment completes.
# notice: told once, never over. The others last as long as looks at that scope find them. A looker
# as a scope: whether it looks, which the other one sees.
Scope = Literal[
    "run", "notice", "prefect", "ledger", "health", "ledger-age", "watch", "watchdog", "serving"
]

# What a state is called whose cause has its own paragraph; all are of type Failed.
KINDS: dict[str, Kind] = {
    "TimedOut": "timed-out",
    "StaleSource": "stale-data",
    "BatchParked": "parked-batch",
    "TooManyRejects": "rejects",
    "DeletionsHeld": "deletions-held",
}

# A run that fails is rarely alone: so long after the last one, and not longer after the first.
SETTLE = timedelta(seconds=30)
SETTLE_AT_MOST = timedelta(seconds=120)
# A restart takes a server up to half a minute; a cron's runs are made once a minute.
PATIENCE: dict[Kind, timedelta] = {
    "server": timedelta(seconds=45),
    "worker": timedelta(seconds=45),
    "unscheduled": timedelta(minutes=5),
    # After the machine was off, one is made as soon as it has started.
    "backup": timedelta(minutes=30),
}
# A looker that has not looked for so long is missed: the timer looks every minute, the flow's cron
# every quarter of an hour.
MISSED_AFTER: dict[Looker, timedelta] = {
    "watchdog": timedelta(minutes=15),
    "watch": timedelta(minutes=45),
}
# Its looks are not further apart than this, unless the machine was off.
APART: dict[Looker, timedelta] = {
    "watchdog": timedelta(minutes=6),
    "watch": timedelta(minutes=17),
}
DETAILED = 10
NAMED = 100
CAUSE_LINES = 5
LINE_CHARACTERS = 400
# No look takes so long, so what one may not have seen is not older.
OVERLAP = timedelta(minutes=10)
LOCAL = ZoneInfo("Asia/Manila")


class Finding(msgspec.Struct, frozen=True):
    """Something wrong that a look saw. The same `key` is the same incident."""

    key: str
    kind: Kind
    scope: Scope
    title: str
    cause: str
    at: datetime
    source: str = ""
    window: str = ""
    link: str | None = None


class Run(msgspec.Struct, frozen=True):
    """How a flow run ended. `name` is its deployment's, or its flow's when it has none.

    `stale` maps each source that it found to be stale to how late that is.
    """

    id: str
    name: str
    state_type: str
    state_name: str
    message: str
    ended_at: datetime
    source: str = ""
    window: str = ""
    link: str | None = None
    stale: dict[str, str] = {}


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
    """What outlives a look. `over` are incidents whose end is to be told; `looked` maps a looker to
    its last look, `begun` to the first one since the machine was last off, `covered` a scope to the
    last look at it, whoever looked.
    """

    incidents: dict[str, Incident] = {}
    over: list[Incident] = []
    outbox: list[Message] = []
    runs_until: datetime | None = None
    runs_seen: dict[str, datetime] = {}
    fields_until: datetime | None = None
    looked: dict[Looker, datetime] = {}
    begun: dict[Looker, datetime] = {}
    covered: dict[Scope, datetime] = {}


class Inspection(msgspec.Struct):
    """One look. `covered` are the scopes that were looked at whole, `names` what runs may be called
    by now, where it was asked for them, `absent` the sources that do not run here, as the ledger
    names them.
    """

    by: Looker
    at: datetime
    names: set[str] = set()
    runs: list[Run] = []
    findings: list[Finding] = []
    covered: set[Scope] = set()
    fields_until: datetime | None = None
    absent: set[str] = set()


def advance(state: State, look: Inspection, scrub: Callable[[str], str]) -> None:
    """Bring the incidents up to the look. Nothing that `scrub` cuts out is kept.

    Of a scope that another looker has looked at since this look began, it says nothing. Nothing of
    a source that does not run here is an incident, and what was one is over.
    """
    for run in sorted(look.runs, key=lambda run: run.ended_at):
        # A run that is tried again by hand ends again.
        if state.runs_seen.get(run.id) != run.ended_at:
            end_of_run(state, run, scrub)
    end_of_removed(state, look)
    remember(state, look)
    # What is later was written by a clock that has been set right since.
    until = look.at + OVERLAP
    outdated = {one for one in look.covered if look.at < state.covered.get(one, look.at) <= until}
    covered = look.covered - outdated
    findings = [finding for finding in look.findings if finding.scope not in outdated]
    for finding in findings:
        begin(state, finding, scrub)
    standing = {finding.key for finding in findings}
    for key, incident in list(state.incidents.items()):
        is_over = incident.finding.scope in covered and key not in standing
        if is_over or incident.finding.source.replace("-", "_") in look.absent:
            end(state, key, look.at)
    state.begun[look.by] = begun_at(state, look.by, look.at)
    state.looked[look.by] = look.at
    state.covered |= dict.fromkeys(covered, look.at)


def end_of_removed(state: State, look: Inspection) -> None:
    """A deployment that there is no more will not complete: what it began is over."""
    if not look.names:
        return
    for key, incident in list(state.incidents.items()):
        known = any(key.startswith(f"{run_key(name)}:") for name in look.names)
        if incident.finding.scope == "run" and incident.told_at and not known:
            end(state, key, look.at)


def end(state: State, key: str, at: datetime) -> None:
    """What was not told yet was over before it was worth a word."""
    incident = state.incidents.pop(key)
    if incident.told_at:
        state.over.append(ended(incident, at))


def begun_at(state: State, looker: Looker, now: datetime) -> datetime:
    """Since when it has looked again and again; now, when it has just begun again."""
    last = state.looked.get(looker)
    if last is None or not timedelta(0) <= now - last <= APART[looker]:
        return now
    return min(state.begun.get(looker, last), now)


def remember(state: State, look: Inspection) -> None:
    """The ends of runs that are counted by now, as far back as another look may yet read."""
    state.runs_seen |= {run.id: run.ended_at for run in look.runs}
    if state.runs_seen:
        state.runs_until = max(state.runs_seen.values())
        # The latest one may be of a clock that has been set right since.
        oldest = min(state.runs_until, look.at) - 2 * OVERLAP
        state.runs_seen = {id_: at for id_, at in state.runs_seen.items() if at >= oldest}
    state.fields_until = look.fields_until or state.fields_until


def end_of_run(state: State, run: Run, scrub: Callable[[str], str]) -> None:
    """A run that failed begins an incident or counts in it; one that completed ends all of its
    deployment. One that found sources stale did what it had to: it ends all but those of these.
    """
    found = findings_of(run) if run.state_type in ("FAILED", "CRASHED") else []
    for finding in found:
        begin(state, finding, scrub)
    of_sources = any(finding.kind == "stale-data" for finding in found)
    if run.state_type != "COMPLETED" and not of_sources:
        return
    standing = {finding.key for finding in found}
    for key, incident in list(state.incidents.items()):
        if key in standing or not key.startswith(f"{run_key(run.name)}:"):
            continue
        if run.ended_at < incident.last_at:
            continue  # seen late: it ended before the last one that failed
        ended(incident, run.ended_at)
        if incident.told_at:  # else it is told although it has passed
            state.over.append(incident)
            del state.incidents[key]


def ended(incident: Incident, at: datetime) -> Incident:
    incident.ended_at = at
    return incident


def begin(state: State, finding: Finding, scrub: Callable[[str], str]) -> None:
    """The finding's incident stands, with its latest cause."""
    clean = msgspec.structs.replace(
        finding,
        title=scrub(finding.title),
        cause=first_lines(scrub(finding.cause)),
        window=scrub(finding.window),
        source=scrub(finding.source),
    )
    incident = state.incidents.get(finding.key)
    if incident is None:
        state.incidents[finding.key] = Incident(clean, finding.at, finding.at)
        return
    incident.finding = clean
    incident.count += 1
    incident.last_at = max(incident.last_at, finding.at)
    incident.ended_at = None


def write_messages(
    state: State, now: datetime, channels: Sequence[str], docs: str
) -> list[Message]:
    """Write what is to be told by now into the outbox, and return it.

    Nothing is told while nobody is there to hear it.
    """
    if not channels:
        return []
    written = []
    if ripe := due(state, now):
        written.append(Message(*alert(ripe, docs), written_at=now, left=list(channels)))
        for incident in ripe:
            incident.told_at = now
            if incident.ended_at:
                state.over.append(incident)
            if incident.ended_at or incident.finding.scope == "notice":
                del state.incidents[incident.finding.key]
    if state.over:
        written.append(Message(*recovery(state.over), written_at=now, left=list(channels)))
        state.over = []
    state.outbox += written
    return written


def due(state: State, now: datetime) -> list[Incident]:
    """The incidents to tell by now: together, unless one is still given time to pass by itself."""
    untold = [one for one in state.incidents.values() if one.told_at is None]
    patient = [one for one in untold if one.finding.kind in PATIENCE]
    ripe = [one for one in patient if seconds_of_patience(one, now) == 0]
    if seconds_to_wait(state, now) == 0:
        ripe += [one for one in untold if one not in patient]
    # What may be the cause of runs that fail comes before them.
    return sorted(ripe, key=lambda one: one.finding.scope == "run")


def seconds_to_wait(state: State, now: datetime) -> float:
    """Until runs that failed are told: when no other has joined them for a while."""
    runs = [
        one
        for one in state.incidents.values()
        if one.told_at is None and one.finding.scope == "run"
    ]
    if not runs:
        return 0
    settled = max(one.last_at for one in runs) + SETTLE
    at_most = min(one.opened_at for one in runs) + SETTLE_AT_MOST
    return seconds_until(min(settled, at_most), now, SETTLE_AT_MOST)


def seconds_of_patience(incident: Incident, now: datetime) -> float:
    """Until an incident that may pass by itself is told."""
    patience = PATIENCE[incident.finding.kind]
    return seconds_until(incident.opened_at + patience, now, patience)


def seconds_until(moment: datetime, now: datetime, longest: timedelta) -> float:
    """0 also when it is too far ahead: the clock that it is from has been set right since."""
    wait = moment - now
    return wait.total_seconds() if timedelta(0) < wait <= longest + OVERLAP else 0.0


def run_key(name: str) -> str:
    return f"run:{name}"


def findings_of(run: Run) -> list[Finding]:
    """What a run that ended badly says: one thing, or which sources are stale.

    Another kind of failure of the same deployment is another incident: one may stand for days.
    """
    kind = kind_of(run)
    found = Finding(
        key=f"{run_key(run.name)}:{kind}",
        kind=kind,
        scope="run",
        title=f"{run.name} {'crashed' if run.state_type == 'CRASHED' else state_word(run)}",
        cause=run.message or f"ended {run.state_name} without a message",
        at=run.ended_at,
        source=run.source,
        window=run.window,
        link=run.link,
    )
    if kind != "stale-data" or not run.stale:
        return [found]
    return [
        msgspec.structs.replace(
            found,
            key=f"{found.key}:{source}",
            title=f"{source} is stale",
            cause=cause,
            source=source,
        )
        for source, cause in run.stale.items()
    ]


def state_word(run: Run) -> str:
    return "timed out" if run.state_name == "TimedOut" else "failed"


def kind_of(run: Run) -> Kind:
    """Which paragraph helps: by the state's type and name."""
    return "crashed" if run.state_type == "CRASHED" else KINDS.get(run.state_name, "failed")


def alert(incidents: Sequence[Incident], docs: str) -> tuple[str, str]:
    """Subject and text of one message about incidents that have begun."""
    titles = [incident.finding.title for incident in incidents]
    paragraphs = [paragraph(incident, docs) for incident in incidents[:DETAILED]]
    if rest := titles[DETAILED : DETAILED + NAMED]:
        more = len(titles) - DETAILED
        unnamed = more - len(rest)
        paragraphs.append(
            f"And {more} more: {'; '.join(rest)}{f'; and {unnamed} others' if unnamed else ''}"
        )
    return heading("", titles), "\n\n".join(paragraphs)


def recovery(incidents: Sequence[Incident]) -> tuple[str, str]:
    """Subject and text of one message about incidents that are over."""
    titles = [incident.finding.title for incident in incidents]
    lines = []
    for one in incidents[: DETAILED + NAMED]:
        ended_at = one.ended_at or one.last_at
        lasted = int((ended_at - one.opened_at).total_seconds() // 60)
        times = f", seen {one.count} times" if one.finding.scope == "run" and one.count > 1 else ""
        lines.append(f"{one.finding.title}: over since {clock(ended_at)}, {lasted} min{times}")
    if more := len(incidents) - len(lines):
        lines.append(f"And {more} more")
    return heading("recovered: ", titles), "\n".join(lines)


def heading(prefix: str, titles: Sequence[str]) -> str:
    count = f"{len(titles)} incidents: " if len(titles) > 1 else ""
    more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
    return f"[pipelines] {prefix}{count}{', '.join(titles[:3])}{more}"


def paragraph(incident: Incident, docs: str) -> str:
    found = incident.finding
    times = f", {incident.count} times" if found.scope == "run" and incident.count > 1 else ""
    facts = [
        found.title,
        f"since: {clock(incident.opened_at)}{times}",
        f"source: {found.source}" if found.source else "",
        f"window: {found.window}" if found.window else "",
        f"cause: {found.cause}",
        f"run: {found.link}" if found.link else "",
        f"what now: {docs}#{found.kind}",
    ]
    return "\n".join(fact for fact in facts if fact)


def clock(moment: datetime) -> str:
    return f"{moment.astimezone(LOCAL):%Y-%m-%d %H:%M} Manila ({moment.astimezone(UTC):%H:%M} UTC)"


def first_lines(text: str) -> str:
    """The first lines that are not blank, each cut to a readable length."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][:CAUSE_LINES]
    cut = [
        line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 3]}..."
        for line in lines
    ]
    return "\n".join(cut)


# What looks like a secret, wherever it came from: a source's error may echo one that is not ours.
SECRET_SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.S),
    re.compile(r"(?<=://)[^\s/@]+:[^\s/@]+(?=@)"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"https://hooks\.slack\.com/\S+"),
    re.compile(
        r"(?i)(?<=[?&\s\"'{,(])(?:api_?key|access_?key|app_?id|appid|token|secret|password|passwd"
        r"|signature|x-amz-[a-z-]+|authorization)[\"']?\s*[=:]\s*[\"']?[^\s&\"',;)}]+"
    ),
)


def without_shapes(text: str) -> str:
    """`text` without what looks like a key, a password, a token or an address that holds one."""
    text = f" {text}"
    for shape in SECRET_SHAPES:
        text = shape.sub("***", text)
    return text[1:]


def decode_state(content: bytes) -> State:
    return msgspec.json.decode(content, type=State) if content else State()


def encode_state(state: State) -> bytes:
    return msgspec.json.format(msgspec.json.encode(state), indent=1)
