"""The pages: what it takes to export marts, to make a page of them, and to open it.

Five years of made-up marts (testing/history.py). They are loaded into the stack's BigQuery
and exported from there, so that an export's memory is that of Google's client too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from google.cloud import bigquery

from dashboards.site import PAGES
from sandbox.stack import Stack
from serving.contract import Contract
from serving.places import Places
from serving.snapshot import Snapshot
from testing.history import every_contract, make_history, parsed_manifest
from testing.platform import TestPlatform
from testing.site import MOST_BYTES, files_of, served
from tools.bench.process import measured

# What the stack needs for this part alone.
STORES = ("token", "bigquery", "gcs", "s3")


def pages(stack: Stack, directory: Path, rounds: int, say: Callable[[str], None]) -> None:
    manifest = parsed_manifest(directory / "dbt", stack.env()["GCP_PROJECT"])
    made = Places(directory / "made")
    known = every_contract(manifest)
    make_history(made, known)
    fill(stack, known, Snapshot.open(made.snapshot("private")))
    serving = directory / "serving"

    say("\n## Pages: a run's export\n")
    told = measured("tools.bench.page_child", "run", manifest, serving)
    say(
        f"{told['marts']} marts of five years, {told['rows']:,} rows, in one process as a run does "
        "it. Peaks are of the process while it does that.\n"
    )
    say("| step | s | peak RSS, MB | above the start, MB |")
    say("|---|---|---|---|")
    before = told["steps"][0]["peak_rss_bytes"]
    for step in told["steps"]:
        peak = step["peak_rss_bytes"]
        say(
            f"| {step['name']} | {step['seconds']:.2f} | {peak / 1e6:.0f} "
            f"| {(peak - before) / 1e6:.0f} |"
        )

    say("\n## Pages: build and weight\n")
    say(
        "The owner's site. The floor of a build is to read the page's marts from Parquet. The "
        "weight is all that a browser with an empty cache gets, gzipped, and its share of the "
        f"{MOST_BYTES // 1000} kB that a page may have.\n"
    )
    say("| page | build, s | Parquet read, s | ratio | requests | kB | of the limit |")
    say("|" + "---|" * 7)
    built = measured("tools.bench.page_child", "each", made.root, rounds)["pages"]
    folder = Places(made.root).pages("private")
    with served(folder) as address, httpx.Client(base_url=address, trust_env=False) as client:
        for slug, title, _ in PAGES:
            seconds, floor = built[slug]["build"], built[slug]["read"]
            sizes = [wire_bytes(client, name) for name in files_of(folder, slug)]
            say(
                f"| {title.lower()} | {seconds:.2f} | {floor:.3f} | {seconds / floor:.0f} "
                f"| {len(sizes)} | {sum(sizes) / 1000:.0f} | {sum(sizes) / MOST_BYTES:.0%} |"
            )


def fill(stack: Stack, known: list[Contract], snapshot: Snapshot) -> None:
    """The stack's BigQuery has every mart of the snapshot where dbt would build it."""
    client = TestPlatform("pages", stack.env()).stores.warehouse.client
    datasets = set()
    for contract in known:
        if contract.name not in snapshot.manifest.marts:
            continue
        dataset = contract.relation.rpartition(".")[0]
        if dataset not in datasets:
            client.create_dataset(dataset, exists_ok=True)
            datasets.add(dataset)
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            schema=[
                bigquery.SchemaField(one.name, one.type.partition("(")[0].upper())
                for one in contract.columns
            ],
            write_disposition="WRITE_TRUNCATE",
        )
        with (snapshot.directory / snapshot.manifest.marts[contract.name].file).open("rb") as file:
            client.load_table_from_file(file, contract.relation, job_config=config).result()


def wire_bytes(client: httpx.Client, name: str) -> int:
    """What the server sends for a file: its compressed content."""
    with client.stream("GET", f"/{name}", headers={"Accept-Encoding": "gzip"}) as response:
        response.raise_for_status()
        return sum(len(piece) for piece in response.iter_raw())
