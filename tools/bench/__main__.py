"""`make bench`: prints tables of ratios, in Markdown, of one run on this machine.

Extract and upload of New York's for-hire vehicles, in a child process, beside the time that a bare
client takes to download the same rendered pages with the same concurrency; what imports and a
run with nothing new take, of every source, beside Prefect alone; where the time of a build goes;
then the pages of five years of marts. `--only pages` prints one part alone.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import psutil
import pyarrow as pa

from core.rows import Chunk, encode
from sandbox.parts import isolated
from sandbox.stack import NAMES, ROOT, Stack
from sources.nyc_fhv.mapping import TYPES, page_parameters, read_page, to_rows
from sources.nyc_fhv.mapping import pages as offsets
from tools.bench.builds import builds
from tools.bench.pages import STORES, pages
from tools.bench.process import measured
from tools.bench.startup import startup

SIZES = (120_000, 1_000_000)
PAGE_SIZE, CONCURRENCY = 10_000, 4
PACED_MEGABIT_PER_SECOND = 100.0
ROUNDS = 3
DATASET = "8wbx-tsch"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=("formats", "extraction", "startup", "builds", "pages"))
    options = parser.parse_args()
    only, rounds = options.only, options.rounds
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        stack = Stack(Path(directory) / "stack", isolated(os.environ))
        stack.up(STORES if only == "pages" else NAMES)
        try:
            os.environ.update(stack.env())
            say(f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}.")
            if only in (None, "formats"):
                formats(stack, rounds)
            if only in (None, "extraction"):
                extraction(stack, Path(directory), options.rows, rounds)
            if only in (None, "startup"):
                startup(stack, rounds, say)
            if only in (None, "builds"):
                builds(stack, Path(directory), rounds, say)
            if only in (None, "pages"):
                pages(stack, Path(directory), rounds, say)
        finally:
            stack.down()


def say(text: str = "") -> None:
    print(text, flush=True)


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = psutil.virtual_memory().total / 2**30
    version = sys.version.split()[0]
    return f"{psutil.cpu_count()} cores ({model}), {memory:.0f} GiB, Python {version}"


# CSV or JSON.


def formats(stack: Stack, rounds: int) -> None:
    say("\n## CSV or JSON\n")
    say(
        f"One page of {PAGE_SIZE:,} rows from bytes to packed Parquet; JSON by msgspec and Arrow.\n"
    )
    say("| form | bytes per row | gzipped | rows per CPU s |")
    say("|---|---|---|---|")
    base = f"{stack.env()['SANDBOX_SOURCES_URL']}/formats/socrata"
    readers: dict[str, Callable[[bytes], Chunk]] = {
        "csv": lambda content: read_page(content, {}, 0),
        "json": read_json_page,
    }
    with httpx.Client(base_url=base, timeout=300) as client:
        client.post("/control/world", json={"seed": 7, "size": PAGE_SIZE}).raise_for_status()
        for form, read in readers.items():
            parameters = page_parameters(0, PAGE_SIZE)
            page = client.get(f"/resource/{DATASET}.{form}", params=parameters).content
            spent = []
            for _ in range(rounds + 1):
                started = time.process_time()
                assert encode(read(page)).row_count == PAGE_SIZE
                spent.append(time.process_time() - started)
            packed = len(gzip.compress(page, compresslevel=6)) / PAGE_SIZE
            rate = PAGE_SIZE / statistics.median(spent[1:])
            say(f"| {form} | {len(page) / PAGE_SIZE:.0f} | {packed:.0f} | {rate:,.0f} |")


def read_json_page(content: bytes) -> Chunk:
    """What reading JSON would take: decoded, then columns of every declared field."""
    rows = msgspec.json.decode(content, type=list[dict[str, str]])
    columns = [pa.array([row.get(name) for row in rows], pa.string()) for name in TYPES]
    table = pa.Table.from_arrays(columns, names=list(TYPES))
    return Chunk(to_rows(table, [], 0))


# Extraction.


def extraction(stack: Stack, directory: Path, sizes: list[int], rounds: int) -> None:
    say("\n## For-hire vehicles: extract and upload\n")
    say(f"Pages of {PAGE_SIZE:,} rows, {CONCURRENCY} at once, median of {rounds} rounds.\n")
    say(
        "| rows | pages | line | bare, s | extract + upload, s | ratio | CPU, s | rows per CPU s "
        "| peak RSS, MB |"
    )
    say("|" + "---|" * 9)
    shares: list[str] = []
    for rows in sizes:
        for form in ("plain", "gzip"):
            rendered = directory / f"{rows}-{form}"
            size = render(stack, rendered, rows, is_packed=form == "gzip")
            for rate in (0.0, PACED_MEGABIT_PER_SECOND):
                with serving(rendered, rate) as address:
                    bare, full = [], []
                    for _ in range(rounds if not rate else 1):
                        work = (address, rows, PAGE_SIZE, CONCURRENCY)
                        bare.append(measured("tools.bench.child", "bare", *work))
                        full.append(measured("tools.bench.child", "extract", *work))
                told = {
                    name: statistics.median(one[name] for one in full)
                    for name in ("seconds", "cpu_seconds", "peak_rss_bytes")
                }
                floor = statistics.median(one["seconds"] for one in bare)
                line = f"{rate:.0f} Mbit/s" if rate else "loopback"
                say(
                    f"| {rows:,} | {form}, {size / 1e6:.0f} MB | {line} | {floor:.2f} "
                    f"| {told['seconds']:.2f} | {told['seconds'] / floor:.2f} "
                    f"| {told['cpu_seconds']:.2f} | {rows / told['cpu_seconds']:,.0f} "
                    f"| {told['peak_rss_bytes'] / 1e6:.0f} |"
                )
                steps = sorted(full[-1]["steps"].items(), key=lambda item: -item[1])
                listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in steps[:5])
                shares.append(f"- {rows:,} rows, {form}, {line}: {listed}")
    say("\nSeconds by step; those of requests and reading are sums over threads:\n")
    for share in shares:
        say(share)


def render(stack: Stack, directory: Path, rows: int, *, is_packed: bool) -> int:
    """Write what the service would answer to files; the bytes of all pages."""
    directory.mkdir()
    base = f"{stack.env()['SANDBOX_SOURCES_URL']}/bench-{rows}/socrata"
    size = 0
    with httpx.Client(base_url=base, timeout=300) as client:
        client.post("/control/world", json={"seed": 7, "size": rows}).raise_for_status()
        for name, path in (
            ("metadata.json", f"/api/views/{DATASET}.json"),
            ("count.json", f"/resource/{DATASET}.json?$select=count(*)"),
        ):
            (directory / name).write_bytes(client.get(path).content)
        for offset in offsets(rows, PAGE_SIZE):
            parameters = page_parameters(offset, PAGE_SIZE)
            page = client.get(f"/resource/{DATASET}.csv", params=parameters).content
            name = f"{offset}.csv"
            if is_packed:
                page, name = gzip.compress(page, compresslevel=6), f"{name}.gz"
            (directory / name).write_bytes(page)
            size += len(page)
    return size


@contextmanager
def serving(directory: Path, megabit_per_second: float) -> Iterator[str]:
    """The address of a server of rendered pages, in a process of its own."""
    command = [sys.executable, "-m", "tools.bench.rendered", "--directory", str(directory)]
    command += ["--megabit-per-second", str(megabit_per_second)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
