"""What the platform does with one source: `python -m testing.sixth_source NAME` prints it as JSON.

tests/test_add_a_source.py runs it in a copy of the checkout to which a source was added. The stack
is its own, and of all sources only this one runs there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from sandbox.parts import DEMO_WORLD, isolated
from sandbox.stack import Stack

PARTS = ("token", "bigquery", "gcs", "sources", "prefect")


def main() -> None:
    source = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        caller = {**isolated(os.environ), "SOURCES": source, "S3_BUCKET": ""}
        stack = Stack(Path(directory), caller, say=lambda line: print(line, file=sys.stderr))
        stack.up(PARTS)
        try:
            # Before Prefect is imported, which reads its settings then. Any batch is an old one.
            os.environ.update({**stack.env(), "ALERT_UNLOADED_HOURS": "0.000001"})
            print(json.dumps(found_of(source)))
        finally:
            stack.down()


def found_of(source: str) -> dict[str, Any]:
    """What each part of the platform found of the source, by the part."""
    from prefect.client.orchestration import get_client

    from alerting.status import open_incidents
    from blocks.platform import load_platform
    from blocks.register import register
    from blocks.sources import load_sources
    from core.batch import Window
    from core.ledger import Cursor
    from deploy.apply import declared, of_running
    from flows.cleanup import cleanup
    from flows.dbt_freshness import dbt_freshness
    from flows.elt import elt
    from flows.watch import watch
    from runs.settings import read_settings
    from serving.places import Places
    from sources.tables import table_of
    from stores.platform import connect

    settings = read_settings()
    found: dict[str, Any] = {"saved": sorted(register(settings))}
    found["deployed"] = [one.name for one in of_running(declared()) if one.source]

    found["run"] = elt(source, return_state=True).name
    stores, table = connect(load_platform()), table_of(source)
    warehouse = stores.warehouse
    (row,) = warehouse.client.query(
        f"SELECT COUNT(*) AS n FROM `{warehouse.raw_dataset}`.{table.name}"
    ).result()
    found["rows"] = row["n"]
    built = warehouse.client.query("SELECT state, nodes_passed FROM raw._builds").result()
    found["builds"] = [dict(one.items()) for one in built]

    # Another batch, which is committed and which nobody loads.
    service = import_module(f"sandbox.sources.{source}").SERVICE
    world = f"{os.environ['SANDBOX_SOURCES_URL']}/{DEMO_WORLD}/{service}"
    httpx.post(f"{world}/control/advance").raise_for_status()
    flow = import_module(f"runs.extract.{source}")
    flow.extract(stores, load_sources()[source], Window(), Cursor())
    found["watch"] = watch(return_state=True).name
    found["incidents"] = [(one["kind"], one["source"]) for one in open_incidents(settings.alerts)]
    found["cleanup"] = cleanup(return_state=True).name
    found["freshness"] = dbt_freshness(return_state=True).name
    with get_client(sync_client=True) as client:
        artifacts = {one.key: str(one.data) for one in client.read_artifacts()}
    found["artifacts"] = {key: artifacts.get(key, "") for key in ("cleanup", "freshness")}
    pages = Places(Path(settings.warehouse.serving_directory))
    found["start"] = (pages.pages("public") / "index.html").read_text()
    found["tests"] = followed(source)
    return found


def followed(source: str) -> list[str]:
    """The tests of the source's flow, done on this stack."""
    from testing.platform import TestPlatform

    def make_platform(kit: str) -> TestPlatform:
        env = {name: value for name, value in os.environ.items() if value}
        platform = TestPlatform("followed", env, kit)
        platform.source.start(platform, 120)
        return platform

    module = import_module(f"tests.flows.test_{source}")
    done = [name for name in vars(module) if name.startswith("test_")]
    for name in done:
        getattr(module, name)(make_platform)
    return done


if __name__ == "__main__":
    main()
