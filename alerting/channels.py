"""What is known of incidents, kept in a file of this machine, and the letters about them sent."""

from __future__ import annotations

import logging
import os
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from pydantic import BaseModel, SecretStr

from alerting.incidents import (
    Inspection,
    Message,
    State,
    advance,
    decode_state,
    encode_state,
    seconds_to_wait,
    without_shapes,
    write_messages,
)
from alerting.settings import AlertSettings
from core.errors import first_line, without_secrets
from stores.federation import is_federation
from stores.state import locked_file

logger = logging.getLogger("pipelines.alerts")

SEND_SECONDS = 20.0
LOCK_SECONDS = 60.0
# One that a channel refuses so long is given up, and the failure of its look has said so.
LETTER_WAITS = timedelta(days=7)
# The address or the password may be one that cannot even be written.
SENDING_FAILED = (httpx.HTTPError, httpx.InvalidURL, smtplib.SMTPException, OSError, UnicodeError)
# Bytes of the file grow by so many, so that it has room for incidents to come.
ROOM = 64 * 1024
# Shorter than this, a value is a word and not a secret.
SECRET_CHARACTERS = 6
# What is secret in a service account's key file, which is hidden whole; its other values are names
# and addresses.
SECRET_NAME = re.compile(r"(?i)key|secret|passw|token$")


class NotTold(Exception):
    """A channel did not take a letter; it stays in the outbox."""


@dataclass(frozen=True)
class Told:
    """What a look came to: letters sent now, incidents that stand, and until when to look again
    for those that may not be alone."""

    sent: list[str]
    standing: list[str]
    wait_seconds: float


def notify(alerts: AlertSettings, look: Inspection, secrets: list[str]) -> Told:
    """The look's incidents are kept, and who has to know of them does.

    The letters of earlier looks that a channel did not take go first. A crash between sending and
    keeping sends once more. Raises NotTold when a channel does not take its letter, TimeoutError
    when another look holds the file for a minute.
    """
    secrets = longest_first(set(secrets))
    with locked_state(alerts.state_path) as (state, keep):
        advance(state, look, lambda text: without_shapes(without_secrets(text, secrets)))
        write_messages(state, look.at, alerts.channels, alerts.docs_url)
        keep(state)
        failures = deliver(state, alerts, keep)
        wait_seconds = seconds_to_wait(state, look.at) if alerts.channels else 0
        standing = [incident.finding.title for incident in state.incidents.values()]
    if failures.causes:
        raise NotTold("; ".join(without_secrets(cause, secrets) for cause in failures.causes))
    return Told(failures.sent, standing, wait_seconds)


def incidents(alerts: AlertSettings) -> list[dict[str, Any]]:
    """Rows of serving/status.py's INCIDENTS: what is going on, as it was told."""
    return [
        {
            "incident": key,
            "kind": one.finding.kind,
            "title": one.finding.title,
            "cause": one.finding.cause,
            "source": one.finding.source,
            "begun_at": one.opened_at,
            "link": one.finding.link,
        }
        for key, one in read_state(alerts.state_path).incidents.items()
    ]


def send_text(alerts: AlertSettings, subject: str, text: str, now: datetime) -> None:
    """Send a message through the outbox. Raises as `notify` does."""
    with locked_state(alerts.state_path) as (state, keep):
        if alerts.channels:
            state.outbox.append(Message(subject, text, now, list(alerts.channels)))
        keep(state)
        delivery = deliver(state, alerts, keep)
    if delivery.causes:
        raise NotTold("; ".join(delivery.causes))


@dataclass
class Delivery:
    sent: list[str]
    causes: list[str]


def deliver(state: State, alerts: AlertSettings, keep: Callable[[State], None]) -> Delivery:
    """Send what waits, oldest first.

    A channel that cannot be reached is not tried again in this look. One that refuses a letter gets
    the next one all the same: the letter waits, a week at most.
    """
    done = Delivery([], [])
    down: set[str] = set()
    send = {"slack": send_slack, "email": send_email}
    latest = max((letter.written_at for letter in state.outbox), default=None)
    for letter in list(state.outbox):
        before = len(letter.left)
        for channel in list(letter.left):
            if channel in down:
                continue
            if channel in alerts.channels:
                try:
                    send[channel](alerts, letter)
                except SENDING_FAILED as error:
                    done.causes.append(f"{channel}: {cause_of(error)}")
                    if not is_refused(error):
                        down.add(channel)
                    elif latest and latest - letter.written_at > LETTER_WAITS:
                        letter.left.remove(channel)
                    continue
                done.sent.append(f"{channel}: {letter.subject}")
            letter.left.remove(channel)
        if not letter.left:
            state.outbox.remove(letter)
        if len(letter.left) < before:
            keep(state)
    return done


def is_refused(error: Exception) -> bool:
    """Whether a channel took the connection and did not want this letter."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (400, 413, 422)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(500 <= code < 600 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and 500 <= error.smtp_code < 600


def cause_of(error: Exception) -> str:
    """The error without the webhook's address, which is the secret itself."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}: {first_line(error.response.text)}"
    return f"{type(error).__name__}: {without_shapes(first_line(str(error)))}"


def send_slack(alerts: AlertSettings, letter: Message) -> None:
    if alerts.slack_webhook_url is None:
        raise ValueError("slack is not configured")
    text = f"{letter.subject}\n\n{letter.text}"
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    httpx.post(
        alerts.slack_webhook_url.get_secret_value(), json={"text": text}, timeout=SEND_SECONDS
    ).raise_for_status()


def send_email(alerts: AlertSettings, letter: Message) -> None:
    if not alerts.email_host:
        raise ValueError("email is not configured")
    message = EmailMessage()
    message["Subject"] = letter.subject.replace("\n", " ")
    message["From"] = alerts.email_from
    message["To"] = ", ".join(alerts.email_to)
    message["Date"] = formatdate(letter.written_at.timestamp())
    message["Message-ID"] = make_msgid(domain="pipelines.invalid")
    message.set_content(letter.text)
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if alerts.email_security == "tls":
        server = smtplib.SMTP_SSL(
            alerts.email_host, alerts.email_port, timeout=SEND_SECONDS, context=context
        )
    else:
        server = smtplib.SMTP(alerts.email_host, alerts.email_port, timeout=SEND_SECONDS)
    with server:
        if alerts.email_security == "starttls":
            server.starttls(context=context)
        if alerts.email_user and alerts.email_password:
            server.login(alerts.email_user, alerts.email_password.get_secret_value())
        server.send_message(message)


@contextmanager
def locked_state(path: Path) -> Iterator[tuple[State, Callable[[State], None]]]:
    """The state, and how to keep it, while no other look has it. Mode 0600, replaced as a whole.

    The state of before stays, as the room that the next one is written into: a full disk, of which
    there is something to tell, has none to give.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = TimeoutError(f"{path}: another look has held it for a minute")
    with locked_file(path.with_suffix(".lock"), LOCK_SECONDS, held):
        yield _state_in(path), _keeper(path)


def read_state(path: Path) -> State:
    """The state as it was last kept. Raises TimeoutError as `locked_state` does."""
    with locked_state(path) as (state, _):
        return state


def _state_in(path: Path) -> State:
    """One that cannot be read is put aside: looks go on without."""
    try:
        return decode_state(path.read_bytes() if path.exists() else b"")
    except msgspec.MsgspecError as error:
        aside = path.with_suffix(".unreadable")
        logger.error("%s: %s; kept as %s", path, error, aside.name)
        path.replace(aside)
        return State()


def _keeper(path: Path) -> Callable[[State], None]:
    new, old = path.with_suffix(".new"), path.with_suffix(".old")

    def keep(state: State) -> None:
        content = encode_state(state)
        content += b"\n" * (-len(content) % ROOM)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        old.unlink(missing_ok=True)
        if path.exists():
            os.link(path, old)
        new.replace(path)
        if old.exists():
            old.replace(new)

    return keep


def saved_secrets(client: SyncPrefectClient) -> list[str]:
    """Every secret of every saved block: what a message must not hold."""
    found: set[str] = set()
    offset, page = 0, 200
    while True:
        hidden = client.read_block_documents(limit=page, offset=offset, include_secrets=False)
        clear = client.read_block_documents(limit=page, offset=offset, include_secrets=True)
        concealed = {document.id: document.data for document in hidden}
        for document in clear:
            found |= differing(document.data, concealed.get(document.id))
        if len(clear) < page:
            return longest_first(found)
        offset += page


def differing(clear: Any, hidden: Any) -> set[str]:
    """The texts that stand in `clear` and are obfuscated in `hidden`."""
    if isinstance(clear, dict):
        # Of a key or a federation's file, all is hidden and little is secret.
        if clear.get("type") == "service_account" or is_federation(clear):
            hidden = {name: value for name, value in clear.items() if not SECRET_NAME.search(name)}
        inner = hidden if isinstance(hidden, dict) else {}
        return {text for name, value in clear.items() for text in differing(value, inner.get(name))}
    if isinstance(clear, list):
        inner_list = hidden if isinstance(hidden, list) else []
        in_order = zip(clear, [*inner_list, *[None] * len(clear)], strict=False)
        return {text for one, two in in_order for text in differing(one, two)}
    if isinstance(clear, str) and clear != hidden:
        return pieces(clear)
    return set()


def secrets_of(model: BaseModel) -> list[str]:
    """Every secret of a model, such as the settings or a block."""
    found: set[str] = set()
    for _, value in model:
        if isinstance(value, SecretStr):
            found |= pieces(value.get_secret_value())
        elif isinstance(value, BaseModel | Block):
            found |= set(secrets_of(value))
    return longest_first(found)


def pieces(secret: str) -> set[str]:
    """A secret and, of one of several lines such as a private key, its lines."""
    lines = [line.strip() for line in secret.splitlines()]
    return {one for one in (secret, *lines) if len(one) >= SECRET_CHARACTERS and "-----" not in one}


def longest_first(secrets: set[str]) -> list[str]:
    """So that one that begins another does not leave its tail."""
    return sorted(secrets, key=lambda secret: (-len(secret), secret))
