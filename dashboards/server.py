"""A small server of a site for a laptop. On a machine, nginx serves the same folder."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# As in deploy/nginx/data-pipelines.conf, and so is the level of compression: only this site's own
# files, and no inline script or style.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NO_PAGE = b"There is no such page. Pages are made when a source's marts were built and exported.\n"
GZIP_LEVEL = 6
COMPRESSED = (".html", ".json", ".js", ".css", ".svg", ".txt")


class Handler(SimpleHTTPRequestHandler):
    """Files below one folder, compressed, under the policy. No folder is listed."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, "text/plain; charset=utf-8", b"ok")
            return
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path = path / "index.html"
        root = Path(self.directory).resolve()
        if not path.is_file() or not path.resolve().is_relative_to(root):
            self._answer(404, "text/plain; charset=utf-8", NO_PAGE)
            return
        content = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        is_text = path.suffix in COMPRESSED
        headers = {}
        if is_text and "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content, GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        is_page = path.suffix == ".html"
        kept = "no-cache" if is_page else "public, max-age=31536000, immutable"
        headers["Cache-Control"] = kept
        self._answer(200, f"{kind}; charset=utf-8" if is_text else kind, content, headers)

    def _answer(
        self, status: int, kind: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what is looked at is nobody's business."""


def serve(directory: Path, port: int) -> None:
    """Serve until interrupted, on 127.0.0.1; a free port for 0."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=directory)) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
