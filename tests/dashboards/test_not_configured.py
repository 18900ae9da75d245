"""Pages of a source that is not configured say so, and nothing about it is a warning."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from dashboards.formats import Formats
from dashboards.publish import make_pages
from flows.watch import configured
from runs.serve import STATUS_PAGES
from serving.contract import AUDIENCES, write
from serving.places import Places
from serving.snapshot import publish
from serving.status import SOURCES

WORDS = "This source is not configured here: nothing new is loaded."
HINT = "python -m blocks.register --check"


def told(places: Places, running: set[str], only: tuple[str, ...] = STATUS_PAGES) -> set[str]:
    """The pages of both sites that say it when these sources run."""
    rows = configured(running)
    batch = pa.RecordBatch.from_pylist(rows, schema=SOURCES.schema)
    for audience in AUDIENCES:
        seen = SOURCES.seen_by(audience)
        assert seen
        root = places.snapshot(audience)
        publish(root, [write(root, seen, [batch], datetime.now(UTC))])
    make_pages(places, Formats(), only=only)
    found = set()
    for audience in AUDIENCES:
        for page in places.pages(audience).glob("*.html"):
            text = page.read_text()
            if WORDS in text:
                found.add(f"{audience}/{page.stem}")
                assert "Not built yet" not in text
                assert (HINT in text) == (audience == "private")
    return found


def test_pages_follow_what_is_configured(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.make()
    assert told(places, {"usgs_earthquake", "nyc_fhv", "ph_news"}) == {
        *("private/weather", "private/money", "public/weather")
    }
    start = (places.pages("private") / "index.html").read_text()
    assert start.count("not configured") == 2
    # Only pages of the status are asked for, and those of the source follow all the same.
    assert told(places, {"usgs_earthquake", "nyc_fhv", "openweather", "finance"}) == {
        *("private/news", "public/news")
    }
    everything = {"usgs_earthquake", "nyc_fhv", "openweather", "finance", "ph_news"}
    assert told(places, everything) == set()
