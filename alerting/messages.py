"""Messages about incidents: when they are due, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from alerting.findings import Kind
from alerting.incidents import OVERLAP, Incident, Message, State

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
DETAILED = 10
NAMED = 100
LOCAL = ZoneInfo("Asia/Manila")


def write_messages(
    state: State, now: datetime, channels: Sequence[str], docs: str
) -> list[Message]:
    """Write what is to be told by now into the outbox, and return it.

    Nothing is sent while nobody is there to hear it.
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
    is_settled = seconds_to_wait(state, now) == 0
    alone, together = [], []
    for one in state.incidents.values():
        patience = PATIENCE.get(one.finding.kind)
        if one.told_at:
            continue
        if patience is None and is_settled:
            together.append(one)
        elif patience and seconds_until(one.opened_at + patience, now, patience) == 0:
            alone.append(one)
    # What may be the cause of runs that fail comes before them.
    return sorted([*alone, *together], key=lambda one: one.finding.scope == "run")


def seconds_to_wait(state: State, now: datetime) -> float:
    """Until runs that failed are reported: when no other has joined them for a while."""
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


def seconds_until(moment: datetime, now: datetime, longest: timedelta) -> float:
    """0 also when it is too far ahead: the clock that it is from has been set right since."""
    wait = moment - now
    return wait.total_seconds() if timedelta(0) < wait <= longest + OVERLAP else 0.0


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
    return subject("", titles), "\n\n".join(paragraphs)


def recovery(incidents: Sequence[Incident]) -> tuple[str, str]:
    """Subject and text of one message about incidents that are over."""
    lines = []
    for one in incidents[: DETAILED + NAMED]:
        ended_at = one.ended_at or one.last_at
        lasted = int((ended_at - one.opened_at).total_seconds() // 60)
        times = f", seen {one.count} times" if one.finding.scope == "run" and one.count > 1 else ""
        lines.append(f"{one.finding.title}: over since {clock(ended_at)}, {lasted} min{times}")
    if more := len(incidents) - len(lines):
        lines.append(f"And {more} more")
    return subject("recovered: ", [one.finding.title for one in incidents]), "\n".join(lines)


def subject(prefix: str, titles: Sequence[str]) -> str:
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
