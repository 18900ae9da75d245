"""One measured piece of work in a process of its own; prints what it took as JSON.

`python -m tools.bench.child extract|bare ADDRESS ROWS PAGE_SIZE CONCURRENCY`, in the environment of
a running stack. Imports and the clients' first connections are not measured; `peak_rss_bytes` is of
the whole process.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from core.batch import Manifest, Window
from core.ledger import Cursor
from core.steps import timings
from runs.extract.nyc_fhv import extract
from sources.nyc_fhv.mapping import page_parameters, pages
from sources.nyc_fhv.settings import NycFhv
from testing.platform import TestPlatform
from tools.bench.memory import peak_rss_bytes


def bare(api: NycFhv, rows: int) -> int:
    """Download every page as fast as the client can, and drop it; the bytes on the wire."""
    headers = {"Accept-Encoding": "gzip"}

    def get(offset: int) -> int:
        parameters = page_parameters(offset, api.page_size)
        with client.stream("GET", api.rows_url("csv"), params=parameters) as response:
            response.raise_for_status()
            return sum(len(piece) for piece in response.iter_raw())

    with (
        httpx.Client(timeout=60, headers=headers) as client,
        ThreadPoolExecutor(api.concurrency) as pool,
    ):
        return sum(pool.map(get, pages(rows, api.page_size)))


def main() -> None:
    what, address, rows, page_size, concurrency = sys.argv[1:]
    import os

    platform = TestPlatform("bench", dict(os.environ), "nyc_fhv")
    api = NycFhv.model_validate(
        {"base_url": address, "page_size": int(page_size), "concurrency": int(concurrency)}
    )
    # The clients connect and authenticate.
    list(platform.stores.landing.list("nothing/"))
    cpu = time.process_time()
    started = time.perf_counter()
    size = 0
    with timings() as spent:
        if what == "bare":
            size = bare(api, int(rows))
        else:
            batch = extract(platform.stores, api, Window(), Cursor()).batch
            assert isinstance(batch, Manifest)
            assert batch.rows == int(rows)
            size = batch.size_bytes
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "cpu_seconds": time.process_time() - cpu,
                "peak_rss_bytes": peak_rss_bytes(),
                "size_bytes": size,
                "steps": dict(spent),
            }
        )
    )


if __name__ == "__main__":
    main()
