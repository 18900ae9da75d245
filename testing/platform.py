"""A platform under test: one source's world, one raw dataset and one bucket prefix of its own.

All platforms share one embedded stack; nothing of one is seen by another. Runs happen here, or in a
child process forked from a warm server, which can be killed at any step.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Unpack

import httpx
from google.cloud import bigquery

from core import steps
from core.batch import Manifest
from core.ledger import Line
from core.schema import Table
from runs.dbt_build import run_build
from runs.due import due_build
from runs.load import Loaded
from runs.outcome import Outcome
from runs.settings import Settings, platform_settings
from runs.upload import BatchWriter, Facts
from sandbox.processes import end_with_parent
from sources import SOURCES
from sources.settings import settings_of
from stores.platform import Platform, connect
from stores.settings import LANDING_S3, LandingName, PlatformSettings
from testing.mutations import MUTATIONS

Event = tuple[str, steps.Phase]
# Every source has a kit.
KITS = sorted(SOURCES)
# Every source through the bucket that it lands in by itself, and one through the other as well.
RUNS: list[tuple[str, LandingName | None]] = [
    *((kit, None) for kit in KITS),
    ("usgs_earthquake", LANDING_S3),
]
# The stand-ins' controls. Without what the environment says: reading certificates takes longer.
HTTP = httpx.Client(timeout=60, trust_env=False)


def committed(batch: BatchWriter, **facts: Unpack[Facts]) -> Manifest:
    """The manifest of a batch that is committed now."""
    manifest = batch.commit(**facts).batch
    assert isinstance(manifest, Manifest)
    return manifest


def lands_in(source: str) -> LandingName:
    """The bucket that a source's batches go to by themselves."""
    landing: LandingName = settings_of(source).model_fields["landing"].default
    return landing


@dataclass
class TestPlatform:
    """`name` names the world, the raw dataset and, through it, the prefix in the bucket.

    `kit` is a module of testing/kits, which knows the source.
    """

    # No class of tests.
    __test__ = False

    name: str
    env: dict[str, str]
    kit: str = "usgs_earthquake"
    retention_days: float = 0
    raw_dataset: str = ""
    # Where new batches go if not where the source's do by itself; a load looks in both buckets.
    landing: LandingName | None = None
    # A fault of testing/mutations.py that its children have.
    mutation: str = ""

    @property
    def source(self) -> Any:
        return importlib.import_module(f"testing.kits.{self.kit}")

    @property
    def sources_url(self) -> str:
        service = importlib.import_module(f"sandbox.sources.{self.kit}").SERVICE
        return f"{self.env['SANDBOX_SOURCES_URL']}/{self.name}/{service}"

    @cached_property
    def blocks(self) -> PlatformSettings:
        return platform_settings(self.settings)

    @cached_property
    def settings(self) -> Settings:
        raw_dataset = self.raw_dataset or self.name.replace("-", "_")
        own = {
            "raw_dataset": raw_dataset,
            "dbt_dataset_prefix": f"{raw_dataset}_dbt_",
            "landing_retention_days": self.retention_days,
        }
        given = {name.lower(): value for name, value in self.env.items() if value}
        return Settings.from_variables(given | own)

    @cached_property
    def stores(self) -> Platform:
        return connect(self.blocks, self.landing or lands_in(self.kit))

    def __reduce__(self) -> tuple[Any, ...]:
        """A child makes its own clients."""
        own = (self.name, self.env, self.kit, self.retention_days, self.raw_dataset, self.landing)
        return TestPlatform, (*own, self.mutation)

    def without_s3(self) -> Platform:
        """The stores when S3 does not answer."""
        bucket = self.blocks.s3
        assert bucket is not None
        gone = bucket.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
        return connect(replace(self.blocks, s3=gone), self.landing or lands_in(self.kit))

    # The world.

    def control(self, path: str, body: Any = None) -> Any:
        answer = HTTP.post(f"{self.sources_url}/control/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def look(self, path: str) -> Any:
        answer = HTTP.get(f"{self.sources_url}/{path}")
        answer.raise_for_status()
        return answer.json()

    # Runs.

    def run(self, **window: Any) -> Outcome:
        outcome: Outcome = self.source.run(self, **window)
        return outcome

    def run_in_child(
        self, kill_at: int | Event | None = None, do: Callable[[TestPlatform], object] | None = None
    ) -> list[Event]:
        """Run, or `do`, in another process, killed with SIGKILL at an event or its number from 0.

        Returns the events that the child reached. Raises AssertionError when a child that was not
        to be killed failed.
        """
        events, exit_code = self.child(kill_at, do)
        expected = 0 if kill_at is None else -signal.SIGKILL
        assert exit_code == expected, f"exit code {exit_code} after {events[-3:]}"
        return events

    def child(
        self, kill_at: int | Event | None = None, do: Callable[[TestPlatform], object] | None = None
    ) -> tuple[list[Event], int]:
        """The events that a run, or `do`, in another process reached, and how it ended."""
        context = multiprocessing.get_context("forkserver")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(self, kill_at, sender, do))
        child.start()
        sender.close()
        events: list[Event] = []
        while True:
            try:
                events.append(receiver.recv())
            except EOFError:
                break
        child.join()
        return events, child.exitcode or 0

    def build(self) -> bool:
        """Build the marts if that is due, as the parent flow does; whether it was."""
        due = due_build(self.stores.warehouse, self.source.TABLE.source)
        if due:
            run_build(
                self.stores.warehouse,
                self.blocks.google,
                self.source.TABLE.source,
                due,
            )
        self.stores.warehouse.flush_jobs(self.source.TABLE.source)
        return due is not None

    # What came of it.

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query: {raw} is its raw dataset, {marts} the prefix of those of dbt."""
        warehouse = self.stores.warehouse
        text = sql.replace("{raw}", f"`{warehouse.raw_dataset}`")
        text = text.replace("{marts}", warehouse.dataset_prefix)
        return [dict(row.items()) for row in self.stores.warehouse.client.query(text).result()]

    def rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The raw table by key, none of which stands twice; by number where there is no key."""
        table: Table = self.source.TABLE
        rows = self.query(f"SELECT * FROM {{raw}}.{table.name}")
        if not table.key:
            return {(number,): row for number, row in enumerate(sorted(rows, key=str))}
        by_key = {tuple(row[name] for name in table.key): row for row in rows}
        assert len(by_key) == len(rows)
        return by_key

    def ledger(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM {raw}._loads ORDER BY applied_at, batch_id")

    def objects(self) -> list[str]:
        """What stands in the buckets, GCS first."""
        prefix = self.stores.prefix(self.source.TABLE.source)
        return [stored.name for landing in self.stores.landings for stored in landing.list(prefix)]

    def assert_equals_truth(self) -> None:
        """The raw table is what a perfect copy of the world would be, field for field."""
        self.source.assert_equals_truth(self)

    def assert_settled(self) -> None:
        """Every batch stands in the ledger once, and no committed batch is left in the bucket."""
        final = [line["batch_id"] for line in self.ledger() if line["state"] != "no_change"]
        assert len(final) == len(set(final)), self.ledger()
        assert not [name for name in self.objects() if name.endswith("manifest.json")]

    def only_line(self, outcome: Outcome | Loaded) -> Line:
        assert len(outcome.lines) == 1, outcome
        return outcome.lines[0]


def _child(
    platform: TestPlatform,
    kill_at: int | Event | None,
    sender: Any,
    do: Callable[[TestPlatform], object] | None,
) -> None:
    end_with_parent()
    os.environ.update(platform.env)
    if platform.mutation:
        MUTATIONS[platform.mutation]()
    reached = 0

    def observe(name: str, phase: steps.Phase) -> None:
        nonlocal reached
        sender.send((name, phase))
        if kill_at in (reached, (name, phase)):
            os.kill(os.getpid(), signal.SIGKILL)
        reached += 1

    steps.observers.append(observe)
    (do or TestPlatform.run)(platform)


def run_and_build(platform: TestPlatform) -> None:
    """A run, and the marts if they are due, as the parent flow does it, in a child.

    Each query that dbt sends is a step as well, `build.query`.
    """
    query = bigquery.Client.query

    def observed(client: Any, *args: Any, **kwargs: Any) -> Any:
        # dbt names the argument; nothing else here does.
        if "query" not in kwargs:
            return query(client, *args, **kwargs)
        with steps.step("build.query"):
            return query(client, *args, **kwargs)

    bigquery.Client.query = observed
    platform.run()
    platform.build()
