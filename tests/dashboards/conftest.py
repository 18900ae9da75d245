"""Five years of marts, and both sites of them."""

from __future__ import annotations

import pytest

from dashboards.formats import Formats
from dashboards.publish import make_pages
from serving.contract import Contract
from serving.places import Places
from testing.history import NOW, every_contract, make_history, parsed_manifest


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
