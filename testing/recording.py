"""The statements that the platform sends to BigQuery, as it sends them.

Each source is loaded three times on the embedded stack: everything, what changed, and nothing new.
Between the loads dbt makes the models that remember, after them it compiles all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alerting.ledger_conditions import new_fields, over_budget, parked, requests_spent, unloaded
from alerting.read_freshness import read_last_seen
from alerting.report import read_ages, read_counted
from core import ledger
from core.batch import new_batch_id
from core.schema import META, REJECTS, STAGED, Column, Table
from runs.build import PROJECT_DIR, BuildResult, environment
from runs.dbt_build import dbt_environment, record_build, window_environment
from runs.due import BuildWindow, Due, due_build
from stores.ledger import read_known, read_lines, read_states
from testing.googlesql import Analyser, Refused, Statement, created_name, type_name
from testing.platform import KITS, TestPlatform

STORES = ("token", "bigquery", "gcs", "s3", "sources")
# As a platform keeps them, so that loads find batches that were loaded before.
RETENTION_DAYS = 7
RAW, PREFIX = "recorded_raw", "recorded_"
ROWS = 60
# What a build adds to, and all that this is made of; other models are made anew.
REMEMBERING = (
    *("--select", "+earthquake_events", "+weather_hours"),
    *("+earthquake_magnitude_history", "+fhv_license_history"),
)
EVERY_TIME = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
FENCE = (("source", "STRING"), ("batch_id", "STRING"), ("fenced_at", "TIMESTAMP"))
SNAPSHOT_COLUMNS = (
    ("dbt_scd_id", "STRING"),
    ("dbt_updated_at", "TIMESTAMP"),
    ("dbt_valid_from", "TIMESTAMP"),
    ("dbt_valid_to", "TIMESTAMP"),
)


@dataclass(frozen=True)
class Job:
    """A query job of a load: `purpose` is that of `_jobs`."""

    sql: str
    purpose: str


@dataclass
class Recording:
    """What was sent.

    `loads`: source to the jobs of a load of news; `looks`: of one that found none. `lookers`: flow
    that only looks at the ledger to its jobs. `changes`: node to the statements by which a second
    build adds to it. `manifest` is dbt's, all nodes compiled as for a full refresh.
    """

    project: str
    tables: dict[str, Table]
    loads: dict[str, list[Job]] = field(default_factory=dict)
    looks: dict[str, list[Job]] = field(default_factory=dict)
    lookers: dict[str, list[Job]] = field(default_factory=dict)
    changes: dict[str, list[str]] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    widths: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """Seeds, models, snapshots and tests, each after what it is made of."""
        nodes, parents = self.manifest["nodes"], self.manifest["parent_map"]
        done: dict[str, dict[str, Any]] = {}

        def visit(node: str) -> None:
            if node not in done and node in nodes:
                for parent in parents[node]:
                    visit(parent)
                done[node] = nodes[node]

        for node in nodes:
            visit(node)
        return list(done.values())

    def raw(self, table: str) -> str:
        return f"{self.project}.{RAW}.{table}"

    def raw_tables(self) -> dict[str, tuple[Column, ...]]:
        """Full name to the columns that the platform declares."""
        own = {table.name: (*table.columns, *META) for table in self.tables.values()}
        of_ledger = {name: columns for name, (columns, _) in ledger.TABLES.items()}
        return {self.raw(name): columns for name, columns in (own | of_ledger).items()}

    @property
    def staging_tables(self) -> dict[str, tuple[Column, ...]]:
        """The staging tables that the loads name."""
        found: dict[str, tuple[Column, ...]] = {}
        for kit, jobs in self.loads.items():
            for job in jobs:
                for name in re.findall(rf"`{RAW}_staging`\.`(\w+)`", job.sql):
                    rows = (*self.tables[kit].columns, *STAGED)
                    full = f"{self.project}.{RAW}_staging.{name}"
                    found[full] = REJECTS if name.endswith("__rejects") else rows
        return found

    def nodes_of(self, source: str) -> list[dict[str, Any]]:
        """What `@source:...` selects: all below the source, and what that needs."""
        manifest = self.manifest
        tables = [
            name for name, node in manifest["sources"].items() if node["source_name"] == source
        ]
        assert tables, source
        below = reach(tables, manifest["child_map"])
        needed = reach(below, manifest["parent_map"])
        return [node for node in self.nodes if node["unique_id"] in needed]


def reach(starts: Iterable[str], edges: dict[str, list[str]]) -> set[str]:
    """Everything that is reached from these nodes, themselves included."""
    found, waiting = set(starts), list(starts)
    while waiting:
        new = set(edges.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def record(env: dict[str, str], directory: Path) -> Recording:
    """Run everything on the stack of `env`; dbt writes below `directory`."""
    platforms = {
        kit: TestPlatform(f"recorded-{kit}".replace("_", "-"), env, kit, RETENTION_DAYS, RAW)
        for kit in KITS
    }
    found = Recording(
        platforms["finance"].stores.warehouse.project,
        {kit: platform.source.TABLE for kit, platform in platforms.items()},
    )
    for platform in platforms.values():
        platform.source.start(platform, ROWS)
        platform.run()
    dbt = Dbt(platforms["finance"], directory)
    dbt.invoke("build", *REMEMBERING, "--exclude-resource-type", "test", "unit_test")
    built_at = last_applied_at(platforms["finance"])
    for kit, platform in platforms.items():
        note_build(platform, kit, built_at)
    for kit, platform in platforms.items():
        platform.control("advance")
        found.loads[kit] = jobs_of(platform)
        found.looks[kit] = jobs_of(platform)
    # As a build of the platform does it. Constants bound what is read, whatever their values.
    window = BuildWindow(built_at, last_applied_at(platforms["finance"]), *EVERY_TIME)
    found.lookers = lookers_of(platforms["finance"], found.tables)
    found.changes = dbt.invoke(
        *("build", *REMEMBERING, "--exclude-resource-type", "test", "unit_test", "seed"),
        env=window_environment(window),
    )
    dbt.invoke("compile", "--full-refresh")
    found.manifest = json.loads((directory / "manifest.json").read_text())
    for name, columns in found.raw_tables().items():
        found.widths[name] = widths(platforms["finance"], name, columns)
    return found


def last_applied_at(platform: TestPlatform) -> datetime:
    """When the last batch of any source was applied, by BigQuery's clock."""
    moment: datetime = platform.query("SELECT MAX(applied_at) AS moment FROM {raw}._loads")[0][
        "moment"
    ]
    return moment


def note_build(platform: TestPlatform, source: str, covers: datetime) -> None:
    """A whole build of the source that succeeded is in the ledger."""
    result = BuildResult("recorded", covers, covers, 1, 0, 0, 0)
    record_build(platform.stores.warehouse, source, Due(covers, covers), result)


class Listening:
    """Google's client, and the queries that went through it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.jobs: list[Job] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, sql: str, job_config: Any, **options: Any) -> Any:
        self.jobs.append(Job(sql, job_config.labels["purpose"]))
        return self._client.query(sql, job_config=job_config, **options)


@contextmanager
def listening(platform: TestPlatform) -> Iterator[list[Job]]:
    """Every query that is sent meanwhile."""
    warehouse = platform.stores.warehouse
    client = warehouse.client = Listening(warehouse.client)
    try:
        yield client.jobs
    finally:
        warehouse.client = client._client


def jobs_of(platform: TestPlatform) -> list[Job]:
    """Run the source once and ask for its due build, as the parent flow does."""
    with listening(platform) as jobs:
        outcome = platform.run()
        due_build(platform.stores.warehouse, platform.source.TABLE.source, changes=outcome.changes)
        platform.stores.warehouse.flush_jobs(platform.source.TABLE.source)
    return jobs


def lookers_of(platform: TestPlatform, tables: dict[str, Table]) -> dict[str, list[Job]]:
    """What each flow that loads nothing asks the ledger, and a run that finds something amiss."""
    stores, now = platform.stores, datetime.now(UTC)
    warehouse = stores.warehouse

    def watch() -> None:
        requests_spent(warehouse)
        unloaded(stores, tables.values(), timedelta(days=1))
        parked(warehouse)
        over_budget(warehouse, 2**35)
        new_fields(warehouse, None)

    def recovery() -> None:
        read_last_seen(warehouse, is_recent=False)
        for source, table in tables.items():
            ids = [new_batch_id(now)]
            read_known(warehouse, source, ids)
            read_lines(warehouse, source, ids)
            read_states(warehouse, table, *ids)

    def report() -> None:
        read_counted(warehouse)
        read_ages(warehouse)

    looks: dict[str, Callable[[], object]] = {
        "watch": watch,
        # What stand-ins tell is old, of real sources recent lines tell enough.
        "dbt-freshness": lambda: read_last_seen(warehouse, is_recent=True),
        "run-report": report,
        "recovery": recovery,
    }
    found = {}
    for flow, look in looks.items():
        with listening(platform) as found[flow]:
            look()
    return found


def widths(platform: TestPlatform, table: str, columns: Iterable[Column]) -> dict[str, float]:
    """Text column to the characters of its average value; an empty table tells none."""
    texts = [column.name for column in columns if column.type == "STRING"]
    lengths = ", ".join(f"AVG(LENGTH(`{name}`)) AS `{name}`" for name in texts)
    (row,) = platform.query(f"SELECT {lengths} FROM `{table.replace('.', '`.`')}`")
    return {name: float(value) for name, value in row.items() if value is not None}


class Dbt:
    """dbt's own command line over the recorded raw dataset."""

    def __init__(self, platform: TestPlatform, directory: Path) -> None:
        self.platform, self.directory = platform, directory

    def invoke(
        self, command: str, *options: str, env: Mapping[str, str] | None = None
    ) -> dict[str, list[str]]:
        """Node to the statements that were sent for it."""
        from dbt.cli.main import dbtRunner

        sent: dict[str, list[str]] = {}

        def listen(event: Any) -> None:
            if event.info.name == "SQLQuery" and event.data.node_info.unique_id:
                sent.setdefault(event.data.node_info.unique_id, []).append(event.data.sql)

        common = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
        common += ["--target-path", str(self.directory), "--log-path", str(self.directory / "logs")]
        with (
            dbt_environment(self.platform.stores.warehouse, self.platform.blocks.google) as profile,
            environment(profile | {"DBT_DATASET_PREFIX": PREFIX} | dict(env or {})),
        ):
            result = dbtRunner(callbacks=[listen]).invoke([command, *common, "--quiet", *options])
        assert result.success, result.exception or [
            (outcome.node.name, outcome.message)
            for outcome in result.result
            if outcome.status not in ("success", "no-op")
        ]
        return sent


def catalog(recording: Recording) -> Analyser:
    """An analyser that knows the raw and staging tables and the fences, and nothing of dbt yet."""
    analyser = Analyser()
    for name, columns in (recording.raw_tables() | recording.staging_tables).items():
        analyser.add(name, [(column.name, column.type) for column in columns])
    for table in recording.tables.values():
        analyser.add(
            recording.raw(f"_fence__{table.source}"),
            FENCE,
        )
    return analyser


@dataclass
class Analysis:
    """What Google's analyser says of a recording.

    `columns`: node to what it gives. `statements`: SQL of a job or of a change to its statements.
    `refused`: its words on what BigQuery would not take.
    """

    columns: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    statements: dict[str, list[Statement]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def analyse(recording: Recording) -> Analysis:
    """All nodes as for a full refresh, what a second build adds, and all jobs."""
    found = Analysis()
    analyser = catalog(recording)
    for node in recording.nodes:
        try:
            columns = output_of(analyser, node)
        except Refused as refused:
            found.refused.append(f"{node['name']}: {refused}")
            continue
        found.columns[node["unique_id"]] = [(name, type_name(type_)) for name, type_ in columns]
        if node["resource_type"] != "test":
            analyser.add(node["relation_name"], columns)
    changes = [(node, sql) for node, sent in recording.changes.items() for sql in sent]
    for changed, sql in changes:
        try:
            output = analyser.output(sql)
        except Refused as refused:
            found.refused.append(f"{changed}: {refused}")
            continue
        creates = created_name(sql)
        if creates and "__dbt_tmp" in creates:
            analyser.add(creates, output)
        found.statements[sql] = [Statement(sql, output=tuple(output), creates=creates)]
    for source in recording.loads:
        for job in (*recording.loads[source], *recording.looks[source]):
            try:
                found.statements[job.sql] = catalog(recording).run(job.sql)
            except Refused as refused:
                found.refused.append(f"{job.purpose} of {source}: {refused}")
    for flow, jobs in recording.lookers.items():
        for job in jobs:
            try:
                catalog(recording).output(job.sql)
            except Refused as refused:
                found.refused.append(f"{flow}: {refused}")
    return found


def output_of(analyser: Analyser, node: dict[str, Any]) -> list[tuple[str, Any]]:
    if node["resource_type"] == "seed":
        return [(name, type_.upper()) for name, type_ in node["config"]["column_types"].items()]
    columns = analyser.output(node["compiled_code"])
    return [*columns, *SNAPSHOT_COLUMNS] if node["resource_type"] == "snapshot" else columns
