"""The S3 of this machine: moto's, which keeps its objects in memory, with a file beside it.

`python -m sandbox.s3 --port 5000 --data s3.db`. What a request changed is in the file before the
answer is sent, and what is in the file is there when the server starts: so a batch that waits, or
is kept for a replay, outlives `down` and a kill.
"""

from __future__ import annotations

import argparse
import sqlite3
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import FakeKey, s3_backends
from werkzeug.serving import run_simple

# A killed process loses nothing by it, only a machine that loses its power.
TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, region TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT, key TEXT, content BLOB NOT NULL, etag TEXT NOT NULL, modified_at REAL NOT NULL,
    PRIMARY KEY (bucket, key)
);
"""
CHANGING = {"PUT", "POST", "DELETE"}


class Kept:
    """moto's buckets and a file that is equal to them after each `write`."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False)
        self._database.executescript(TABLES)
        self._backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        # What the file holds, as moto has it: a write makes another object under the key.
        self._written: dict[tuple[str, str], FakeKey] = {}
        self._read()

    def _read(self) -> None:
        for name, region in self._database.execute("SELECT name, region FROM buckets"):
            self._backend.create_bucket(name, region)
        for bucket, key, content, etag, modified_at in self._database.execute(
            "SELECT bucket, key, content, etag, modified_at FROM objects"
        ):
            stored = self._backend.put_object(bucket, key, content, etag=etag)
            stored.last_modified = datetime.fromtimestamp(modified_at, UTC).replace(tzinfo=None)
            self._written[bucket, key] = stored

    def write(self) -> None:
        """What moto holds now is in the file."""
        with self._lock, self._database:
            buckets = dict(self._backend.buckets)
            standing = {
                (name, key): stored
                for name, bucket in buckets.items()
                for key, stored in list(bucket.keys.items())
                if isinstance(stored, FakeKey)
            }
            gone = self._written.keys() - standing.keys()
            new = {
                place: stored
                for place, stored in standing.items()
                if self._written.get(place) is not stored
            }
            self._database.execute("DELETE FROM buckets")
            self._database.executemany(
                "INSERT INTO buckets VALUES (?, ?)",
                [(name, bucket.region_name) for name, bucket in buckets.items()],
            )
            self._database.executemany(
                "DELETE FROM objects WHERE bucket = ? AND key = ?", sorted(gone)
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                [
                    (*place, stored.value, stored.etag.strip('"'), modified_at(stored))
                    for place, stored in new.items()
                ],
            )
            self._written = standing


def modified_at(stored: FakeKey) -> float:
    """moto's clock has no zone; it is UTC."""
    return stored.last_modified.replace(tzinfo=UTC).timestamp()


def keeping(
    application: Callable[..., Iterable[bytes]], kept: Kept
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The application, whose answer to a change is sent once the change is in the file."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in CHANGING:
            return application(environ, start_response)
        started: list[tuple[Any, ...]] = []
        body = b"".join(application(environ, lambda *told: started.append(told)))
        kept.write()
        start_response(*started[-1])
        return [body]

    return answer


def main() -> None:
    """Serve until killed. Raises OSError when the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.s3")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    application = DomainDispatcherApplication(create_backend_app)
    run_simple(
        options.host,
        options.port,
        keeping(application, Kept(options.data)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )


if __name__ == "__main__":
    main()
