"""A server that answers as a test says, and keeps what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast


@dataclass(frozen=True)
class Received:
    """One request, as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def __contains__(self, text: str) -> bool:
        """Whether it has `text` anywhere."""
        return text in f"{self.path}\n{self.headers}\n{self.body!r}"


@dataclass
class Reply:
    """Headers that are given replace the server's own."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Answering(ThreadingHTTPServer):
    """Listens on a port of its own; `answer` may be changed at any time."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Received], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.received: list[Received] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Any request."""
        server = cast(Answering, self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        received = Received(self.command, self.path, dict(self.headers), body)
        server.received.append(received)
        reply = server.answer(received)
        self.send_response_only(reply.status)
        headers = {"Date": self.date_time_string(), "Content-Length": str(len(reply.body))}
        for name, value in (headers | dict(reply.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if reply.status not in (204, 304):
            self.wfile.write(reply.body)
        # With a length that is not the body's, the end of the connection is the end of the body.
        if {"Content-Length", "Transfer-Encoding"} & reply.headers.keys():
            self.close_connection = True

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `received` has every request."""


@contextmanager
def answering(answer: Callable[[Received], Reply]) -> Iterator[Answering]:
    """A server until the end of the block."""
    server = Answering(answer)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
