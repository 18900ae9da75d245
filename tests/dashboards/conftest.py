"""Five years of marts, both sites of them, and a server of each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from dashboards.formats import Formats
from dashboards.publish import make_pages
from dashboards.server import Handler
from serving.contract import Contract
from serving.places import Places
from tests.dashboards.history import NOW, every_contract, make_history, parsed_manifest


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Contract]:
    """Every mart, as dbt's manifest has it."""
    return every_contract(parsed_manifest(tmp_path_factory.mktemp("parsed")))


@pytest.fixture(scope="session")
def history(known: list[Contract], tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Both sites of five years of data."""
    places = Places(tmp_path_factory.mktemp("serving"))
    make_history(places, known)
    assert set(make_pages(places, Formats(), NOW)) == {"public", "private"}
    return places


@pytest.fixture(scope="session")
def small(known: list[Contract], tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Both sites of a part of that, for what asks about each element of a page."""
    places = Places(tmp_path_factory.mktemp("small"))
    make_history(places, known, every=40)
    make_pages(places, Formats(), NOW)
    return places


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
