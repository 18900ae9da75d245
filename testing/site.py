"""A site of the dashboards as a browser gets it, and what a page of it may weigh."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

from dashboards.server import Handler

# What a page may weigh, compressed, with everything that it asks for.
MOST_BYTES = 500_000


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address at which the small server has this site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def files_of(folder: Path, slug: str) -> list[str]:
    """Everything that a browser asks for to show a page, the page first."""
    named = re.compile(r'(?:href|src|data-page)="([\w.-]+)"|"([\w-]+-[0-9a-f]{12}\.json)"')
    html = (folder / f"{slug}.html").read_text()
    wanted = {one for pair in named.findall(html) for one in pair if one}
    files = {name for name in wanted if not name.endswith((".html", ".txt"))}
    for name in list(files):
        if name.endswith(".json"):
            text = (folder / name).read_text()
            files |= {one for pair in named.findall(text) for one in pair if one}
    return [f"{slug}.html", *sorted(files)]
