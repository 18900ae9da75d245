"""The way of an alert: an inspection becomes incidents, these messages, and these are sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from alerting.channels import deliver
from alerting.findings import Inspection
from alerting.incidents import Message, advance
from alerting.messages import seconds_to_wait, write_messages
from alerting.secrets import without_shapes
from alerting.state_file import locked_state
from runs.alert_settings import AlertSettings


@dataclass(frozen=True)
class Told:
    """Messages sent now, incidents that are open, and until when to inspect again for those that
    may not be alone.
    """

    sent: list[str]
    open: list[str]
    wait_seconds: float


def notify(alerts: AlertSettings, inspection: Inspection, scrub: Callable[[str], str]) -> Told:
    """The inspection's incidents are kept, and who has to know of them does.

    Messages of earlier ones that a channel did not take go first. A crash between sending and
    keeping sends once more. Raises NotTold when a channel does not take its message, TimeoutError
    when another inspection holds the file for a minute.
    """
    with locked_state(alerts.state_path) as (state, keep):
        advance(state, inspection, scrub)
        write_messages(state, inspection.at, alerts.channels, alerts.docs_url)
        keep(state)
        return Told(
            sent=deliver(state, alerts, keep, scrub),
            open=[incident.finding.title for incident in state.incidents.values()],
            wait_seconds=seconds_to_wait(state, inspection.at) if alerts.channels else 0,
        )


def send_text(alerts: AlertSettings, subject: str, text: str, now: datetime) -> None:
    """Send a message through the outbox. Raises as `notify` does."""
    with locked_state(alerts.state_path) as (state, keep):
        if alerts.channels:
            state.outbox.append(Message(subject, text, now, list(alerts.channels)))
        keep(state)
        deliver(state, alerts, keep, without_shapes)
