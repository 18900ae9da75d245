"""Serves pages that were rendered before: what is measured against it is the client, not it.

`python -m tools.bench.rendered --directory D [--megabit-per-second N]` prints its port. D holds the
metadata, the count and, by offset, each page as CSV, as it is and gzipped; with a rate, all answers
together are no faster than that.
"""

from __future__ import annotations

import argparse
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PIECE_BYTES = 64 * 1024


class Line:
    """The one line that all answers share; `bytes_per_second` 0 is no limit."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait_for(self, size: int) -> None:
        """Return when `size` more bytes have fitted through."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
            free_at = self._free_at
        time.sleep(max(0.0, free_at - time.monotonic()))

    @property
    def is_paced(self) -> bool:
        return self._rate > 0


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, directory: Path, line: Line) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.directory, self.line = directory, line


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path.startswith("/api/views/"):
            name, kind = "metadata.json", "application/json"
        elif "$select" in query:
            name, kind = "count.json", "application/json"
        else:
            name, kind = f"{query['$offset'][0]}.csv", "text/csv"
        path = self.server.directory / name
        packed = path.with_name(f"{name}.gz")
        is_packed = packed.exists() and "gzip" in self.headers.get("Accept-Encoding", "")
        path = packed if is_packed else path
        size = path.stat().st_size
        self.send_response_only(200)
        self.send_header("Content-Type", kind)
        if is_packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        with path.open("rb") as file:
            if not self.server.line.is_paced:
                self.wfile.flush()
                self.connection.sendfile(file)
                return
            while piece := file.read(PIECE_BYTES):
                self.server.line.wait_for(len(piece))
                self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--megabit-per-second", type=float, default=0)
    options = parser.parse_args()
    line = Line(options.megabit_per_second * 1e6 / 8)
    with Server(options.directory, line) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
