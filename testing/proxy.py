"""A proxy in front of BigQuery's emulator, the GCS emulator or moto, which lets calls go wrong.

The clients reach it through their own variables (`through`). A call is named by its method, path
and body (`CALLS`), so that a fault can be told where to strike; one that has no name is an
`unknown` one, which the tests refuse.

Where an emulator is kinder than the service, the proxy is not: a job id is taken once, a write with
`ifGenerationMatch=0` finds what an earlier one left, and BigQuery refuses what strict.py says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from testing.strict import (
    MESSAGES,
    REASONS,
    WINDOW_SECONDS,
    Answer,
    Strict,
    error_answer,
    refused,
)

# status: an error answer, nothing is done. denied: the account may not. hang: no answer within the
# client's timeout, nothing is done. drop: the connection breaks before anything is done. lost: all
# is done and the connection breaks. failed: the job is accepted and fails for `reason`, one of
# strict.py. done and failed: the same after it was done.
Kind = Literal["status", "denied", "hang", "drop", "lost", "failed", "done and failed"]
Store = Literal["bigquery", "gcs", "s3"]

VARIABLES: dict[Store, str] = {
    "bigquery": "BIGQUERY_EMULATOR_HOST",
    "gcs": "STORAGE_EMULATOR_HOST",
    "s3": "AWS_ENDPOINT_URL",
}
# Name of a call: method, path with query, text in the body.
CALLS: dict[Store, dict[str, tuple[str, str, str]]] = {
    "bigquery": {
        "get table": ("GET", r"/tables/[^/]+$", ""),
        "get dataset": ("GET", r"/datasets/[^/]+$", ""),
        "update dataset": ("PATCH", r"/datasets/[^/]+$", ""),
        "create dataset": ("POST", r"/datasets$", ""),
        "list dataset": ("GET", r"/datasets/[^/]+/(tables|routines|models)$", ""),
        "create table": ("POST", r"/datasets/[^/]+/tables$", ""),
        "update table": ("PATCH", r"/tables/[^/]+$", ""),
        "delete table": ("DELETE", r"/tables/[^/]+$", ""),
        "upload rows": ("POST|PUT", r"^/upload/", ""),
        "insert load job": ("POST", r"/jobs$", r'"load": ?{'),
        "insert script": ("POST", r"/jobs$", r"BEGIN TRANSACTION"),
        "insert line": ("POST", r"/jobs$", r"INSERT INTO"),
        "create fence": ("POST", r"/jobs$", r"CREATE TABLE IF NOT EXISTS"),
        "insert query job": ("POST", r"/jobs$", ""),
        "poll job": ("GET", r"/jobs/", ""),
        "list jobs": ("GET", r"/jobs$", ""),
        "query results": ("GET", r"/queries/", ""),
        "read rows": ("GET", r"/data", ""),
    },
    "gcs": {
        "get bucket": ("GET", r"/b/[^/?]+(\?[^/]*)?$", ""),
        "get layout": ("GET", r"/b/[^/?]+/storageLayout$", ""),
        "put manifest": ("POST", r"/upload/.*ifGenerationMatch=0", ""),
        "put part": ("POST", r"/upload/", ""),
        "list": ("GET", r"/o\?.*prefix=", ""),
        "get manifest": ("GET", r"manifest\.json", ""),
        "delete": ("DELETE", r"/o/", ""),
    },
    "s3": {
        "put manifest": ("PUT", r"manifest\.json", ""),
        "put part": ("PUT", r"\.parquet", ""),
        "list": ("GET", r"list-type=2", ""),
        "get manifest": ("GET", r"manifest\.json", ""),
        "get part": ("GET|HEAD", r"\.parquet", ""),
        "delete": ("DELETE", "", ""),
    },
}
UNKNOWN = "unknown"
BODY_KEPT = 100_000
STATUS_REASONS = {403: "rateLimitExceeded", 500: "internalError", 503: "backendError"}
S3_CODES = {
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    500: "InternalError",
    503: "SlowDown",
}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "te"}


@dataclass
class Fault:
    """Strikes `times` calls of a name (-1: always) after `skip` of them have passed."""

    kind: Kind
    call: str
    skip: int = 0
    times: int = 1
    status: int = 503
    reason: str = ""


@dataclass(frozen=True)
class Call:
    """One request that arrived, in the order of arrival; `fault` is what struck it.

    `body` is text, of a statement or a resource; empty for what is uploaded.
    """

    call: str
    method: str
    path: str
    fault: Kind | None
    body: str = ""


class Proxy(ThreadingHTTPServer):
    """Forwards to `target` on a port of its own; `plan` and `calls` may be changed at any time."""

    daemon_threads = True

    def __init__(self, store: Store, target: str, buckets: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = store
        self.target = urlsplit(target).netloc
        where = urlsplit(buckets).netloc if buckets else None
        self.strict = Strict(self.target, where, WINDOW_SECONDS)
        self.plan: list[Fault] = []
        self.calls: list[Call] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        # Ids of jobs and names of objects that may not be made again.
        self._made: set[str] = set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def reset(self) -> None:
        with self._lock:
            self.plan, self.calls = [], []
        self.strict.reset()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report a broken handler; a client or a store that has gone is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def struck(self) -> int:
        """How many calls a fault struck."""
        return sum(call.fault is not None for call in self.calls)

    def meet(self, method: str, path: str, body: bytes) -> Fault | None:
        """Note a call and say which fault strikes it."""
        name = name_of(self.store, method, path, body)
        with self._lock:
            found = self._find(name)
            text = "" if "upload" in path else body[:BODY_KEPT].decode(errors="replace")
            self.calls.append(Call(name, method, path, found.kind if found else None, text))
            return found

    def _find(self, name: str) -> Fault | None:
        for fault in self.plan:
            if fault.call != name or fault.times == 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= fault.times > 0
            return fault
        return None

    def refusal(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        """What the service would say where the emulator is too kind."""
        if (identity := made_by(self.store, method, path, body)) is not None:
            with self._lock:
                if identity in self._made:
                    is_job = self.store == "bigquery"
                    text = f"Already Exists: Job {identity}" if is_job else "conditionNotMet"
                    reason = "duplicate" if is_job else "conditionNotMet"
                    return error_answer(409 if is_job else 412, reason, text)
                self._made.add(identity)
        if self.store != "bigquery":
            return None
        return self.strict.refusal(method, path, headers, body)

    def fail(self, body: bytes, reason: str) -> Answer:
        """Accept a job that will be found to have failed."""
        job = json.loads(body)
        with self._lock:
            self._made.add(job["jobReference"]["jobId"])
        return self.strict.fail(job, *MESSAGES.get(reason, (reason,)))


def name_of(store: Store, method: str, path: str, body: bytes) -> str:
    text = body[:BODY_KEPT].decode(errors="replace")
    for name, (methods, pattern, content) in CALLS[store].items():
        url = urlsplit(path)
        where = path if store != "bigquery" else url.path
        if method in methods.split("|") and re.search(pattern, where) and re.search(content, text):
            return name
    return UNKNOWN


def made_by(store: Store, method: str, path: str, body: bytes) -> str | None:
    """What this call makes that may be made once."""
    if method != "POST":
        return None
    if store == "bigquery" and urlsplit(path).path.endswith("/jobs") and "/upload/" not in path:
        return str(json.loads(body)["jobReference"]["jobId"])
    if store == "gcs" and "ifGenerationMatch=0" in path:
        found = re.search(rb'"name": ?"([^"]+)"', body)
        return found[1].decode() if found else None
    return None


def google_error(status: int) -> Answer:
    """An error of this status as Google's services send it."""
    reason = STATUS_REASONS[status]
    return error_answer(status, reason, REASONS[reason][1])


def s3_error(status: int) -> Answer:
    """An error as S3 sends it."""
    code = S3_CODES[status]
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Reduce</Message></Error>"
    return Answer(status, [("Content-Type", "application/xml")], body.encode())


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Any request."""
        proxy = cast(Proxy, self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = proxy.meet(self.command, self.path, body)
        kind = fault.kind if fault else None
        if kind == "drop":
            self._hang_up()
        elif kind == "hang":
            # Until the client has gone: it closes the connection when its timeout is over.
            self.connection.settimeout(30)
            with contextlib.suppress(OSError):
                while not proxy.stopping.is_set() and self.connection.recv(1):
                    pass
            self.close_connection = True
        elif fault and kind == "status":
            is_s3 = proxy.store == "s3"
            self._answer(s3_error(fault.status) if is_s3 else google_error(fault.status))
        elif kind == "denied":
            self._answer(refused("accessDenied"))
        elif fault and kind == "failed":
            self._answer(proxy.fail(body, fault.reason))
        else:
            with proxy.strict.patching if self.command == "PATCH" else contextlib.nullcontext():
                headers = cast(Mapping[str, str], self.headers)
                answer = proxy.refusal(self.command, self.path, headers, body)
                answer = answer or self._forward(body)
            if proxy.store == "bigquery":
                proxy.strict.answered(self.command, self.path, body, answer)
            if fault and kind == "done and failed":
                answer = proxy.fail(body, fault.reason)
            if kind == "lost":
                self._hang_up()
            else:
                self._answer(answer)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `calls` has every request."""

    def _forward(self, body: bytes) -> Answer:
        proxy = cast(Proxy, self.server)
        target = http.client.HTTPConnection(proxy.target, timeout=300)
        try:
            # The client's own Host, so that addresses in answers lead through here as well.
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in HOP_BY_HOP
            }
            target.request(self.command, self.path, body or None, headers)
            response = target.getresponse()
            content = response.read()
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in HOP_BY_HOP or self.command == "HEAD"
            ]
            return Answer(response.status, kept, content)
        finally:
            target.close()

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in (204, 304) and self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Proxies:
    """One proxy in front of each store."""

    env: dict[str, str]
    stores: dict[Store, Proxy] = field(default_factory=dict)

    def __getitem__(self, store: Store) -> Proxy:
        return self.stores[store]

    def reset(self) -> None:
        for proxy in self.stores.values():
            proxy.reset()


@contextmanager
def proxies(env: Mapping[str, str]) -> Iterator[Proxies]:
    """Proxies in front of the stores of `env`, and the `env` that leads through them."""
    stores: dict[Store, Proxy] = {
        store: Proxy(store, env[variable], env[VARIABLES["gcs"]])
        for store, variable in VARIABLES.items()
    }
    through = {VARIABLES[store]: proxy.url for store, proxy in stores.items()}
    try:
        yield Proxies({**env, **through}, stores)
    finally:
        for proxy in stores.values():
            proxy.close()
