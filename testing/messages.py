"""Messages about incidents as they arrived, read as a person reads them."""

from __future__ import annotations

import html
from dataclasses import dataclass

from testing.sinks import Arrived, Sinks

RECOVERED = "recovered: "
# Has no end, and another batch may bring another one.
NOTICE = "sends other fields"
REPORT = "[pipelines] run report: "


@dataclass(frozen=True)
class Told:
    """One incident in a message, as it arrived on both channels."""

    at: float
    subject: str
    title: str
    facts: dict[str, str]


def both(sinks: Sinks, *, reports: bool = False) -> list[Arrived]:
    """The messages that have arrived on both channels, in the order in which they came: those about
    incidents, or the run reports."""
    of_email = {(one.subject, one.text): one.at for one in sinks.email}
    found = []
    for one in sinks.slack:
        text = html.unescape(one.text)  # as Slack shows it
        if (REPORT in one.subject) == reports and (
            at := of_email.get((html.unescape(one.subject), text))
        ):
            found.append(Arrived(max(at, one.at), one.subject, text))
    return found


def is_recovery(message: Arrived) -> bool:
    return RECOVERED in message.subject


def incidents_in(message: Arrived) -> list[Told]:
    found = []
    for paragraph in message.text.split("\n\n"):
        title, *lines = paragraph.splitlines()
        facts: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            if colon and name in ("since", "source", "window", "cause", "run", "what now"):
                facts[name] = value
            else:  # further lines of the cause
                facts["cause"] += f"\n{line}"
        found.append(Told(message.at, message.subject, title, facts))
    return found


def standing(sinks: Sinks) -> set[str]:
    """What has begun and is not over; each begins once before it ends."""
    found: set[str] = set()
    for message in both(sinks):
        if is_recovery(message):
            for line in message.text.splitlines():
                found.remove(line.split(": over since")[0])
        else:
            titles = {told.title for told in incidents_in(message) if NOTICE not in told.title}
            assert found.isdisjoint(titles), titles
            found |= titles
    return found


def recovered_at(sinks: Sinks, title: str, since: float) -> float | None:
    """When the end of the incident was told."""
    for one in both(sinks):
        lines = one.text.splitlines()
        if (
            one.at > since
            and is_recovery(one)
            and any(line.startswith(f"{title}: over since") for line in lines)
        ):
            return one.at
    return None
