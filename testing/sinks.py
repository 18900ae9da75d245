"""Where alerts arrive in tests: a real HTTP server in Slack's place, a real mail server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

WEBHOOK_SECRET = "T0/B0/sink-webhook-secret"


@dataclass(frozen=True)
class Arrived:
    """A message as it arrived. `at` is Unix time."""

    at: float
    subject: str
    text: str


@dataclass
class Sinks:
    """What arrived, and the variables that send it here.

    `refuse` makes Slack answer 500; both refuse for good what holds `refuse_text`.
    """

    env: dict[str, str] = field(default_factory=dict)
    slack: list[Arrived] = field(default_factory=list)
    email: list[Arrived] = field(default_factory=list)
    refuse: bool = False
    refuse_text: str = ""

    def subjects(self) -> list[str]:
        """Of both channels, which must have got the same."""
        told = [one.subject for one in self.slack]
        assert sorted(told) == sorted(one.subject for one in self.email)
        return told

    def everything(self) -> str:
        return "\n".join(f"{one.subject}\n{one.text}" for one in [*self.slack, *self.email])


@contextmanager
def open_sinks() -> Iterator[Sinks]:
    sinks = Sinks()

    class Slack(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == f"/services/{WEBHOOK_SECRET}"
            if sinks.refuse:
                status, answer = 500, b"no_service"
            elif "text" not in body:  # what `blocks.register --check` sends
                status, answer = 400, b"no_text"
            elif sinks.refuse_text and sinks.refuse_text in body["text"]:
                status, answer = 400, b"invalid_payload"
            else:
                status, answer = 200, b"ok"
                subject, _, text = body["text"].partition("\n\n")
                sinks.slack.append(Arrived(time.time(), subject, text))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None: ...

    class Mail:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            message = message_from_bytes(envelope.content, policy=policy.default)
            body = message.get_body()
            assert body is not None
            # Long lines travel encoded; what a reader sees is what counts.
            text = body.get_content().replace("\r\n", "\n").rstrip("\n")
            if sinks.refuse_text and sinks.refuse_text in text:
                return "554 this looks like spam"
            # One that was folded before its first word begins with the fold's space.
            subject = str(message["Subject"]).lstrip()
            sinks.email.append(Arrived(time.time(), subject, text))
            return "250 OK"

    slack = ThreadingHTTPServer(("127.0.0.1", 0), Slack)
    threading.Thread(target=slack.serve_forever, daemon=True).start()
    with socket.socket() as probe:  # aiosmtpd does not tell which port it was given
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mail = Controller(Mail(), hostname="127.0.0.1", port=port)
    mail.start()
    sinks.env = {
        "SLACK_WEBHOOK_URL": f"http://127.0.0.1:{slack.server_port}/services/{WEBHOOK_SECRET}",
        "ALERT_EMAIL_HOST": "127.0.0.1",
        "ALERT_EMAIL_PORT": str(port),
        "ALERT_EMAIL_SECURITY": "none",
        "ALERT_EMAIL_FROM": "pipelines@example.org",
        "ALERT_EMAIL_TO": "owner@example.org, second@example.org",
    }
    try:
        yield sinks
    finally:
        mail.stop()
        slack.shutdown()
        slack.server_close()
