"""Slack and e-mail: how a message reaches them, and what happens when it does not."""

from __future__ import annotations

import html
import smtplib
import ssl
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import httpx

from alerting.incidents import Message, State
from core.errors import first_line
from runs.alert_settings import AlertSettings

SEND_SECONDS = 20.0
# One that a channel refuses so long is given up, and the failure of its inspection has said so.
MESSAGE_WAITS = timedelta(days=7)
# The address or the password may be one that cannot even be written.
SENDING_FAILED = (httpx.HTTPError, httpx.InvalidURL, smtplib.SMTPException, OSError, UnicodeError)


class NotTold(Exception):
    """A channel did not take a message; it stays in the outbox."""


def deliver(
    state: State,
    alerts: AlertSettings,
    keep: Callable[[State], None],
    scrub: Callable[[str], str],
) -> list[str]:
    """Send what waits, oldest first; what was sent. Raises NotTold after all was tried.

    A channel that cannot be reached is not tried again in this inspection. One that refuses a
    message gets the next one all the same: the message waits, a week at most.
    """
    sent: list[str] = []
    causes: list[str] = []
    down: set[str] = set()
    send = {"slack": send_slack, "email": send_email}
    latest = max((message.written_at for message in state.outbox), default=None)
    for message in list(state.outbox):
        before = len(message.left)
        for channel in list(message.left):
            if channel in down:
                continue
            if channel in alerts.channels:
                try:
                    send[channel](alerts, message)
                except SENDING_FAILED as error:
                    causes.append(scrub(f"{channel}: {cause_of(error)}"))
                    if not is_refused(error):
                        down.add(channel)
                    elif latest and latest - message.written_at > MESSAGE_WAITS:
                        message.left.remove(channel)
                    continue
                sent.append(f"{channel}: {message.subject}")
            message.left.remove(channel)
        if not message.left:
            state.outbox.remove(message)
        if len(message.left) < before:
            keep(state)
    if causes:
        raise NotTold("; ".join(causes))
    return sent


def is_refused(error: Exception) -> bool:
    """Whether a channel took the connection and did not want this message."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (400, 413, 422)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(500 <= code < 600 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and 500 <= error.smtp_code < 600


def cause_of(error: Exception) -> str:
    """The error without the webhook's address, which is the secret itself."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}: {first_line(error.response.text)}"
    return f"{type(error).__name__}: {first_line(str(error))}"


def send_slack(alerts: AlertSettings, message: Message) -> None:
    if alerts.slack_webhook_url is None:
        raise ValueError("slack is not configured")
    url = alerts.slack_webhook_url.get_secret_value()
    # Slack reads &, < and > as markup.
    text = html.escape(f"{message.subject}\n\n{message.text}", quote=False)
    httpx.post(url, json={"text": text}, timeout=SEND_SECONDS).raise_for_status()


def send_email(alerts: AlertSettings, message: Message) -> None:
    if not alerts.email_host:
        raise ValueError("email is not configured")
    mail = EmailMessage()
    mail["Subject"] = message.subject.replace("\n", " ")
    mail["From"] = alerts.email_from
    mail["To"] = ", ".join(alerts.email_to)
    mail["Date"] = formatdate(message.written_at.timestamp())
    mail["Message-ID"] = make_msgid(domain="pipelines.invalid")
    mail.set_content(message.text)
    context = ssl.create_default_context()
    at = (alerts.email_host, alerts.email_port)
    server: smtplib.SMTP
    if alerts.email_security == "tls":
        server = smtplib.SMTP_SSL(*at, timeout=SEND_SECONDS, context=context)
    else:
        server = smtplib.SMTP(*at, timeout=SEND_SECONDS)
    with server:
        if alerts.email_security == "starttls":
            server.starttls(context=context)
        if alerts.email_user and alerts.email_password:
            server.login(alerts.email_user, alerts.email_password.get_secret_value())
        server.send_message(mail)
