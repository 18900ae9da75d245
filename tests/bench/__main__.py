"""`make bench`: prints tables of ratios, in Markdown, of one run on this machine.

Extract and upload of New York's for-hire vehicles, in a child process, beside the time that a bare
client takes to download the same rendered pages with the same concurrency; then what a run with
nothing new takes, of every source, as a function and inside Prefect.
"""

from __future__ import annotations

import argparse
import gzip
import json
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
from typing import Any

import httpx
import msgspec
import psutil
import pyarrow as pa

from core.rows import Page, pack
from sandbox.parts import isolated
from sandbox.stack import ROOT, Stack
from sources.nyc_fhv import TYPES, page_parameters, pages, read_page, to_rows
from tests.lab import KITS, Lab

SIZES = (120_000, 1_000_000)
PAGE_SIZE, CONCURRENCY = 10_000, 4
PACED_MEGABIT_PER_SECOND = 100.0
ROUNDS = 3
DATASET = "8wbx-tsch"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        stack = Stack(Path(directory) / "stack", isolated(os.environ))
        stack.up()
        try:
            os.environ.update(stack.env())
            say(f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}.")
            formats(stack, options.rounds)
            extraction(stack, Path(directory), options.rows, options.rounds)
            quiet_runs(stack, options.rounds)
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
    readers: dict[str, Callable[[bytes], Page]] = {
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
                assert pack(read(page)).row_count == PAGE_SIZE
                spent.append(time.process_time() - started)
            packed = len(gzip.compress(page, compresslevel=6)) / PAGE_SIZE
            rate = PAGE_SIZE / statistics.median(spent[1:])
            say(f"| {form} | {len(page) / PAGE_SIZE:.0f} | {packed:.0f} | {rate:,.0f} |")


def read_json_page(content: bytes) -> Page:
    """What reading JSON would take: decoded, then columns of every declared field."""
    rows = msgspec.json.decode(content, type=list[dict[str, str]])
    columns = [pa.array([row.get(name) for row in rows], pa.string()) for name in TYPES]
    table = pa.Table.from_arrays(columns, names=list(TYPES))
    return Page(to_rows(table, [], 0))


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
                        bare.append(child("bare", address, rows))
                        full.append(child("extract", address, rows))
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
        for offset in pages(rows, PAGE_SIZE):
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
    command = [sys.executable, "-m", "tests.bench.rendered", "--directory", str(directory)]
    command += ["--megabit-per-second", str(megabit_per_second)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def child(what: str, address: str, rows: int) -> dict[str, Any]:
    """What one piece of work took, in a process of its own."""
    arguments = [what, address, str(rows), str(PAGE_SIZE), str(CONCURRENCY)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.child", *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


# Runs with nothing new.


def quiet_runs(stack: Stack, rounds: int) -> None:
    say("\n## A run with nothing new\n")
    say(
        "As a function: recover, decide, look, write the line. In Prefect: the run of "
        "`elt/<source>` on the worker, by the server's account, and the source's flow within it.\n"
    )
    say("| source | function, s | flow, s | elt run, s | scheduled to Completed, s |")
    say("|" + "---|" * 5)
    env = {**isolated(os.environ), **stack.env()}
    for command in (["-m", "blocks.register"], ["-m", "prefect", "--no-prompt", "deploy", "--all"]):
        subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE
        )
    for kit in KITS:
        lab = Lab(f"quiet-{kit.replace('_', '-')}", stack.env(), kit)
        lab.source.start(lab, 120)
        lab.run()
        spent = []
        for _ in range(rounds):
            started = time.perf_counter()
            assert {line.state for line in lab.run().lines} == {"looked"}
            spent.append(time.perf_counter() - started)
        source = kit.replace("_", "-")
        in_prefect(source, env)
        flow, run, waited = in_prefect(source, env)
        alone = statistics.median(spent)
        say(f"| {source} | {alone:.2f} | {flow:.2f} | {run:.2f} | {waited:.1f} |")


def in_prefect(source: str, env: dict[str, str]) -> tuple[float, float, float]:
    """Run a deployment: seconds of the source's flow, of the whole run, and until Completed."""
    api = env["PREFECT_API_URL"]
    started = time.perf_counter()
    deployment = httpx.get(f"{api}/deployments/name/elt/{source}").raise_for_status().json()
    run = httpx.post(
        f"{api}/deployments/{deployment['id']}/create_flow_run",
        json={"state": {"type": "SCHEDULED"}},
        timeout=30,
    ).raise_for_status()
    id_ = run.json()["id"]
    while True:
        told = httpx.get(f"{api}/flow_runs/{id_}").raise_for_status().json()
        if told["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            break
        time.sleep(0.1)
    waited = time.perf_counter() - started
    assert told["state_type"] == "COMPLETED", told["state"]
    below = httpx.post(
        f"{api}/flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [id_]}}}
    ).raise_for_status()
    flow = next(one for one in below.json() if one["name"].startswith(source))
    return flow["total_run_time"], told["total_run_time"], waited


if __name__ == "__main__":
    main()
