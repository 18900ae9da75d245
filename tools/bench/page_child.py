"""Export or pages in a process of its own; prints what it took as JSON.

`python -m tools.bench.page_child run MANIFEST SERVING` exports the marts of every source from the
stack that the environment names and makes both sites, as a run does. `python -m
tools.bench.page_child each SERVING ROUNDS` makes the owner's pages one by one.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from runs.export import export
from runs.serve import Serving
from serving.places import Places
from serving.snapshot import Snapshot
from testing.history import NOW, SOURCES
from testing.platform import TestPlatform
from tools.bench.memory import forget_peak, peak_rss_bytes


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "run":
        told = run(Path(arguments[0]), Places(Path(arguments[1])))
    else:
        told = each(Places(Path(arguments[0])), int(arguments[1]))
    print(json.dumps(told))


def run(manifest: Path, places: Places) -> dict[str, Any]:
    warehouse = TestPlatform("pages", dict(os.environ)).stores.warehouse
    # The client connects and authenticates.
    list(warehouse.client.list_datasets())
    places.make()
    steps: list[dict[str, Any]] = []

    def note(name: str, started: float) -> None:
        seconds = time.perf_counter() - started
        steps.append({"name": name, "seconds": seconds, "peak_rss_bytes": peak_rss_bytes()})
        forget_peak()

    note("a run before its export", time.perf_counter())
    started = time.perf_counter()
    exported = [export(warehouse, places, manifest, source) for source in SOURCES]
    note("export of every mart", started)
    serving = Serving(places, "Asia/Manila", "PHP")
    started = time.perf_counter()
    serving.make_pages()
    note("both sites, Altair's import too", started)
    marts = {name for one in exported for name in one.marts}
    rows = Snapshot.open(places.snapshot("private")).manifest.marts
    return {"marts": len(marts), "rows": sum(rows[one].rows for one in marts), "steps": steps}


def each(places: Places, rounds: int) -> dict[str, Any]:
    """Seconds of every page, and of reading the marts that it is made of, by median."""
    from dashboards.data import Data
    from dashboards.formats import Formats
    from dashboards.site import PAGES, build

    snapshot = Snapshot.open(places.snapshot("private"))
    directory, formats = places.pages("private"), Formats()
    build(snapshot, directory, "private", formats, NOW)
    pages = {}
    for slug, _, make in PAGES:
        data = Data(snapshot, "private", formats, NOW)
        make(data)
        files = [snapshot.manifest.marts[one].file for one in data.used if data.has(one)]
        read, built = [], []
        for _ in range(rounds):
            started = time.perf_counter()
            for file in files:
                pq.read_table(snapshot.directory / file)
            read.append(time.perf_counter() - started)
            started = time.perf_counter()
            build(snapshot, directory, "private", formats, NOW, only=[slug])
            built.append(time.perf_counter() - started)
        pages[slug] = {"build": statistics.median(built), "read": statistics.median(read)}
    return {"pages": pages}


if __name__ == "__main__":
    main()
