"""A browser finds a page and all that it names, whenever the one who makes pages is killed."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dashboards.formats import Formats
from dashboards.publish import make_pages
from dashboards.site import HASHED, KEPT_SECONDS
from sandbox.processes import end_with_parent
from serving.places import Places
from serving.snapshot import Column, publish, write_mart
from tests.serving.test_snapshot import FORK, readers

SCHEMA = pa.schema([("number", pa.int64())])
# The quickest to make.
ONE_PAGE = ("index",)


def version(places: Places, rows: int) -> None:
    """Both snapshots have a mart of so many rows."""
    now = datetime.now(UTC)
    for audience in ("public", "private"):
        root = places.snapshot(audience)
        batch = pa.RecordBatch.from_pydict({"number": range(rows)}, schema=SCHEMA)
        mart = write_mart(
            root,
            "numbers",
            SCHEMA,
            [batch],
            group="g",
            description="One row per number.",
            grain=("number",),
            columns=(Column("number", "INT64"),),
            built_at=now,
            exported_at=now,
        )
        publish(root, [mart])


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path)
    places.make()
    version(places, 1)
    make_pages(places, Formats())
    return places


def said(html: str) -> set[str]:
    """How many rows a start page says that there are: as a figure, and in its table."""
    return {
        *re.findall(r"<dt>Rows in them</dt><dd>([\d,]+)</dd>", html),
        *re.findall(r'<td>numbers</td><td>g</td><td class="n">([\d,]+)</td>', html),
    }


def fault_of(folder: Path) -> str:
    """What is wrong with the start page in a folder; empty when nothing is."""
    page = folder / "index.html"
    html = page.read_text()
    if len(said(html)) != 1 or not html.endswith("</html>"):
        return f"a mixture: {said(html)}"
    for file in (page, *(folder / name for name in HASHED.findall(html))):
        # The web server is another user.
        if not file.stat().st_mode & 0o004:
            return f"{file.name} cannot be read"
        digest = file.stem.rpartition("-")[2]
        if file is not page and hashlib.sha256(file.read_bytes()).hexdigest()[:12] != digest:
            return f"{file.name} has other content"
    return ""


def read_for_ever(root: Path, stop: Any, answers: Any) -> None:
    end_with_parent()
    read, fault = 0, ""
    folder = Places(root).pages("private")
    while not stop.is_set() and not fault:
        try:
            fault = fault_of(folder)
        except OSError as error:
            fault = str(error)
        read += 1
    answers.put((read, fault))


def make_for_ever(places: Places, rows: int) -> None:
    end_with_parent()
    # As the worker's unit has it.
    os.umask(0o077)
    while True:
        rows += 1
        version(places, rows)
        make_pages(places, Formats(), only=ONE_PAGE)


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_no_kill_of_the_maker_breaks_a_page(places: Places, kills: int) -> None:
    rng = random.Random(7)
    with readers(places.root, 4, read_for_ever) as seen:
        for number in range(kills):
            maker = FORK.Process(target=make_for_ever, args=(places, 1_000 * (number + 1)))
            maker.start()
            time.sleep(rng.uniform(0.05, 0.4))
            assert maker.pid is not None
            os.kill(maker.pid, signal.SIGKILL)
            maker.join(timeout=60)
        told = seen()
    assert [fault for _, fault in told] == [""] * 4
    assert all(read > kills for read, _ in told), told
    version(places, 7)
    make_pages(places, Formats())
    for audience in ("public", "private"):
        assert fault_of(places.pages(audience)) == ""
        assert said((places.pages(audience) / "index.html").read_text()) == {"7"}


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for file in folder.iterdir():
        os.utime(file, (then, then))


def test_what_an_open_page_was_made_with_stays_for_a_day(places: Places) -> None:
    folder = places.pages("private")
    page = folder / "operations.html"
    (data,) = {name for name in HASHED.findall(page.read_text()) if name.startswith("operations-")}
    # It is as young as the last page that names it, however old it is.
    age(folder, KEPT_SECONDS + 60)
    make_pages(places, Formats(), only=ONE_PAGE)
    page.write_text("")
    make_pages(places, Formats(), only=ONE_PAGE)
    assert (folder / data).exists()
    age(folder, KEPT_SECONDS + 60)
    make_pages(places, Formats(), only=ONE_PAGE)
    assert not (folder / data).exists()
    assert fault_of(folder) == ""
