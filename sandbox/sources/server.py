"""The HTTP server under every stand-in: worlds, faults, request logs, control. Knows no source.

`/<world>/<source>/...` reaches the world of that name, made on first use and isolated from all
others: `control/<action>` and `truth` belong to the stand-in, every other path is the source's real
API. Plain sockets, because a fault has to be able to break the protocol itself.
"""

import gzip
import json
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from sandbox.sources.faults import PLAN, Fault, Response, distort, next_fault
from sandbox.sources.world import ControlError, Request, World, refused_in_words

JSON_HEADERS = {"Content-Type": "application/json"}
WORLD_PATH = re.compile(r"/(?P<world>[a-z0-9_-]+)/(?P<source>[a-z0-9_-]+)(?P<rest>/.*)")
DRIP_PIECES = 20
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
OpenWorld = Callable[[Path], World[Any, Any]]


@dataclass
class Room:
    """A world with what the server keeps about it."""

    world: World[Any, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    stage_queries: int = 0

    def control(self, method: str, action: str, body: bytes) -> Any:
        """Do one control call and return its JSON answer."""
        if method == "GET":
            if action == "state":
                return {**self.world.state(), "queries": self.stage_queries}
            if action == "requests":
                return self.requests
            raise ControlError(404, f"no control page {action!r}")
        try:
            payload = json.loads(body) if body else {}
        except json.JSONDecodeError as error:
            raise ControlError(400, f"control body is not JSON: {error}") from None
        if action == "faults":
            with refused_in_words():
                self.faults = PLAN.validate_python(payload)
            return {"faults": len(self.faults)}
        if action == "reset-requests":
            self.requests = []
            return {"requests": 0}
        if not isinstance(payload, dict):
            raise ControlError(400, f"control/{action} takes a JSON object")
        answer = self.world.control(action, payload)
        if action in ("world", "advance"):
            self.stage_queries = 0
        return answer

    def call(self, request: Request) -> tuple[Response, Fault | None]:
        """Answer one API call, distorted if a fault strikes, and log it."""
        fault = next_fault(self.faults, request.uri)
        if fault is not None and fault.breaks_body:
            request = replace(request, reaches_client=False)
        response = self.world.answer(request)
        if fault is not None:
            response = distort(response, fault)
        silent = fault is not None and fault.kind in ("drop", "hang")
        self.stage_queries += 1
        self.requests.append(
            {
                "path": request.path,
                "query": request.query,
                "status": None if silent else response.status,
                "fault": fault.kind if fault is not None else None,
                "user_agent": request.headers.get("user-agent"),
            }
        )
        return response, fault


class SourcesServer(ThreadingHTTPServer):
    """Serves the given sources on 127.0.0.1; `port` 0 takes a free one.

    A source opens a world of a file in the directory `state`.
    """

    def __init__(self, port: int, state: Path, sources: Mapping[str, OpenWorld]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = state
        self.sources = sources
        self.stopping = threading.Event()
        self._rooms: dict[tuple[str, str], Room] = {}
        self._rooms_lock = threading.Lock()

    def room(self, world: str, source: str) -> Room:
        """The room of a world, opened on first use. Raises KeyError for an unknown source."""
        open_world = self.sources[source]
        with self._rooms_lock:
            if (world, source) not in self._rooms:
                path = self.state / f"{world}.{source}.json"
                self._rooms[world, source] = Room(open_world(path))
            return self._rooms[world, source]

    def server_close(self) -> None:
        """Close the listening socket and wake requests that a fault keeps waiting."""
        self.stopping.set()
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a broken handler on stderr; a client that hung up is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection: routes a request to its room and writes the answer."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes; with Nagle's algorithm the second waits for an ACK (40 ms).
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a GET."""
        self._route(b"")

    def do_POST(self) -> None:
        """Answer a POST; only control pages take one."""
        self._route(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: every API call is in its world's request log."""

    def _route(self, body: bytes) -> None:
        server = cast(SourcesServer, self.server)
        url = urlsplit(self.path)
        found = WORLD_PATH.fullmatch(url.path)
        if url.path == "/health":
            self._send_json(200, {"status": "ok", "sources": sorted(server.sources)})
            return
        if found is None or found["source"] not in server.sources:
            self._send_json(404, {"error": f"no such page: {url.path}; use /<world>/<source>/..."})
            return
        room, rest = server.room(found["world"], found["source"]), found["rest"]
        try:
            if rest.startswith("/control/") or rest == "/truth":
                with room.lock:
                    if rest == "/truth":
                        answer = room.world.truth()
                    else:
                        answer = room.control(self.command, rest.removeprefix("/control/"), body)
                    content = json.dumps(answer).encode()
                self._send(Response(200, content, JSON_HEADERS), time.time())
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, rest, url.query, headers, body)
            with room.lock:
                response, fault = room.call(request)
                date = room.world.now_ms() / 1000
        except ControlError as error:
            self._send_json(error.status, {"error": str(error)})
        except Exception:
            self._send_json(500, {"error": traceback.format_exc()})
            raise
        else:
            self._send_faulty(response, date, fault)

    def _send_json(self, status: int, answer: Any) -> None:
        self._send(Response(status, json.dumps(answer).encode(), JSON_HEADERS), time.time())

    def _send_faulty(self, response: Response, date: float, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else None
        seconds = fault.seconds if fault is not None else 0.0
        if kind in ("drop", "hang"):
            if kind == "hang":
                cast(SourcesServer, self.server).stopping.wait(seconds)
            self._hang_up()
            return
        content = response.content()
        headers = dict(response.headers)
        if content and "gzip" in self.headers.get("Accept-Encoding", ""):
            # Level 1: a full page is some 16 MB and must not take seconds.
            content = gzip.compress(content, compresslevel=1, mtime=0)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        response = Response(response.status, content, headers)
        if kind == "truncate":
            self._send_head(response, date, len(content))
            self.wfile.write(content[: len(content) // 2])
            self._hang_up()
        elif kind == "wrong_length" and fault is not None:
            self._send_head(response, date, max(len(content) + fault.n, 0))
            self.wfile.write(content)
            self._hang_up()
        elif kind == "drip":
            self._send_head(response, date, len(content))
            size = max(len(content) // DRIP_PIECES, 1)
            for start in range(0, len(content), size):
                self.wfile.write(content[start : start + size])
                cast(SourcesServer, self.server).stopping.wait(seconds / DRIP_PIECES)
        else:
            self._send(response, date)

    def _send(self, response: Response, date: float) -> None:
        content = response.content()
        self._send_head(response, date, len(content))
        if response.status not in BODILESS:
            self.wfile.write(content)

    def _send_head(self, response: Response, date: float, length: int) -> None:
        self.send_response_only(response.status)
        self.send_header("Date", formatdate(date, usegmt=True))
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status not in BODILESS:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
