"""A month of the platform: how large its tables are taken to be, how often it runs, what it bills.

What is assumed stands here as data; the statements are those of a recording.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from prefect.server.schemas.schedules import CronSchedule

from core import ledger
from flows.watch import LEDGER_EVERY
from runs.build import EVERY_BUILD, ONCE_A_DAY
from runs.due import declared
from testing.googlesql import created_name, read_script, type_name
from testing.recording import FENCE, Analysis, Job, Recording
from tools.cost.pricing import Sized, Warehouse, width_of

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 450 * 2**30
# A month of 30 days that has no change of clock.
START, END, DAYS = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC), 30

# Rows after a year. Earthquakes: USGS locates some 12,000 a month. Observations: three locations.
# Articles: a hundred a day. Vehicles: the list as it is. The ledger: from the runs below.
ROWS = {
    "usgs_earthquake__events": 150_000,
    "openweather__observations": 26_000,
    "ph_news__articles": 36_500,
    "nyc_fhv__vehicles": 120_000,
    "finance__ledger": 5_000,
    "_loads": 32_000,
    "_jobs": 400_000,
    "_builds": 25_000,
    "_requests": 9_000,
    "_rejects": 10_000,
    "_fields": 100,
}
# Rows of a batch; a whole list is as long as its table.
BATCH_ROWS = {"usgs_earthquake": 100, "openweather": 3, "ph_news": 20}
# The share of runs that find something new: New York writes its list about once a day, the ledger
# is edited on a few hours of a day.
NEWS = {
    "usgs_earthquake": 1.0,
    "openweather": 1.0,
    "ph_news": 1.0,
    "nyc_fhv": 0.25,
    "finance": 0.25,
}
# The share of batches for which a branch of the loader's script is taken, by its condition: a few
# events a day get another id, rows are deleted from the sheet on some days. Others count as taken.
BRANCHES = {"n_superseded_ids > 0": 0.2, "n_absent > 0": 0.2}
# The share of batches that bring rejects, and of those that bring a field that was not known: the
# recorded one may, since the weather of the stand-in is that of the hour.
WITH_REJECTS, WITH_NEW_FIELDS = 0.1, 0.01
# Looks a month at the ledger by flows that load nothing: of `watch` those that it does not leave
# out, of the others their crons. The watchdog asks when the table was written to, which is free.
LOOKS = {
    "watch": DAYS * 24 / (LEDGER_EVERY.total_seconds() / 3600),
    "dbt-freshness": DAYS * 24,
    "run-report": DAYS,
}
# Characters of a text where the recorded tables tell none.
CHARACTERS = 20
# Values of a column that stands in a model's grain, after a year; what is not named here has as
# many as the parents' rows. Days, months and hours grow with the history, the others do not.
DATES = {
    **dict.fromkeys(
        (
            *("activity_date", "date", "date_local", "date_manila", "published_date_manila"),
            *("first_seen_date_manila", "list_date_new_york"),
        ),
        365,
    ),
    **dict.fromkeys(("year_month", "activity_month", "expiration_month_new_york"), 12),
    "year": 1,
    "hour_started_at": 8_760,
}
VALUES = {
    "calendar": 2,
    "magnitude_class": 8,
    "region": 200,
    "location": 3,
    "source": 6,
    "category": 7,
    "source_site": 60,
    "published_hour_manila": 25,
    "item": 30,
    "type": 20,
    "purpose": 5,
    "job_type": 2,
    "table_name": 5,
    "reason": 5,
    "is_expected": 2,
    "base_number": 900,
    "base_type": 5,
    "license_type": 3,
    "model_year": 25,
}
# By which names statements bound the column that partitions a table.
RANGES = {
    "usgs_earthquake__events": {"time", "occurred_at"},
    "openweather__observations": {"dt", "observed_at"},
    "ph_news__articles": {"published_at"},
    "earthquake_events": {"occurred_at"},
    "weather_hours": {"hour_started_at"},
    **{name: {column} for name, (_, column) in ledger.TABLES.items()},
}
MONTHS, TOUCHED_MONTHS = 12, 2


@dataclass(frozen=True)
class Line:
    """A group of statements of one source: `each` bytes billed, so many times a month."""

    source: str
    what: str
    statements: int
    each: float
    times: float

    @property
    def monthly(self) -> float:
        return self.each * self.times


class Model:
    """The recorded statements, billed over tables that are `scale` times as large as after a year.

    A batch stays as it is: what grows is what stands already.
    """

    def __init__(self, recording: Recording, analysis: Analysis, scale: float = 1) -> None:
        self.recording, self.analysis = recording, analysis
        self.scale = scale
        self.warehouse = Warehouse()
        self.rows: dict[str, float] = {}
        self._add_raw()
        self._add_models()

    def _sized(self, table: str, types: Mapping[str, str], rows: float) -> Sized:
        known = self.recording.widths.get(table, {})
        texts = {
            name: size for widths in self.recording.widths.values() for name, size in widths.items()
        } | known
        columns = {
            name: width_of(type_, texts.get(name, CHARACTERS)) for name, type_ in types.items()
        }
        ranges = frozenset(RANGES.get(table.rpartition(".")[2], ()))
        months = MONTHS * self.scale if ranges else 1
        return Sized(columns, types, rows, months, ranges, TOUCHED_MONTHS)

    def _add_raw(self) -> None:
        for name, columns in self.recording.raw_tables().items():
            short = name.rpartition(".")[2]
            # A snapshot of a list is no longer for standing longer.
            self.rows[name] = ROWS[short] * self.scale
            types = {column.name: column.type for column in columns}
            self.warehouse.tables[name] = self._sized(name, types, self.rows[name])
        for table in self.recording.tables.values():
            name = self.recording.raw(f"_fence__{table.source}")
            self.warehouse.tables[name] = self._sized(name, dict(FENCE), 1)

    def _add_models(self) -> None:
        for node in self.recording.nodes:
            if node["resource_type"] == "test":
                continue
            name = node["relation_name"].replace("`", "")
            types = dict(self.analysis.columns[node["unique_id"]])
            self.rows[name] = self._rows_of(node)
            if node["config"]["materialized"] == "view":
                self.warehouse.add_view(name, node["compiled_code"])
            else:
                self.warehouse.tables[name] = self._sized(name, types, self.rows[name])

    def _rows_of(self, node: dict[str, Any]) -> float:
        """At most those of the largest parent, and what the grain's columns can tell apart."""
        if node["resource_type"] == "seed":
            return 100
        everything = self.recording.manifest["nodes"] | self.recording.manifest["sources"]
        parents = [
            self.rows[everything[parent]["relation_name"].replace("`", "")]
            for parent in node["depends_on"]["nodes"]
        ]
        if node["resource_type"] == "snapshot":
            return 2 * max(parents)
        grain: list[str] = node["config"]["meta"]["grain"]
        product = 1.0
        for column in grain:
            if column not in DATES and column not in VALUES:
                return max(parents)
            product *= DATES[column] * self.scale if column in DATES else VALUES[column]
        # A calendar has days without rows.
        return product if any(column in DATES for column in grain) else min(product, max(parents))

    def looks(self, flow: str) -> tuple[int, float]:
        """Queries of a flow that looks at the ledger, and the bytes billed for them."""
        billed = [
            sum(self.warehouse.bill(job.sql).values()) for job in self.recording.lookers[flow]
        ]
        return len(billed), sum(billed)

    def jobs(self, source: str, jobs: Iterable[Job]) -> tuple[int, float]:
        """Statements that name a table, and the bytes billed for them, as often as they are run."""
        table = self.recording.tables[source]
        batch = BATCH_ROWS.get(source, self.rows[self.recording.raw(table.name)])
        billed: list[float] = []
        for job in jobs:
            # Its temporary tables are no others'.
            tables = dict(self.warehouse.tables)
            for name, columns in self.recording.staging_tables.items():
                types = {column.name: column.type for column in columns}
                self.warehouse.tables[name.lower()] = self._sized(name, types, batch)
            variables = read_script(job.sql).variables
            for statement in self.analysis.statements[job.sql]:
                if found := self.warehouse.bill(statement.sql, variables):
                    share = math.prod(BRANCHES.get(condition, 1) for condition in statement.within)
                    billed.append(
                        share * sum(cost * share_of_batches(name) for name, cost in found.items())
                    )
                if statement.creates and statement.creates not in self.warehouse.tables:
                    made = {name: type_name(type_) for name, type_ in statement.output}
                    self.warehouse.tables[statement.creates] = self._sized(
                        statement.creates, made, batch
                    )
            self.warehouse.tables = tables
        return len(billed), sum(billed)

    def statements(self, node: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
        """Each statement by which dbt builds or tests a node, and its bytes billed per table."""
        if node["resource_type"] == "seed" or node["config"]["materialized"] == "view":
            return []
        statements = self.recording.changes.get(node["unique_id"])
        if statements is None:
            query = node["compiled_code"]
            # A test's rows are counted, and columns that nobody looks at are not read.
            is_test = node["resource_type"] == "test"
            statements = [f"select count(*) from (\n{query}\n) as failing" if is_test else query]
        tables = dict(self.warehouse.tables)
        found = []
        for sql in statements:
            found.append((sql, self.warehouse.bill(sql)))
            if created := created_name(sql):
                # What is merged next: the rows that changed.
                own = self.warehouse.tables[node["relation_name"].replace("`", "")]
                extra = {"dbt_unique_key": "STRING", "dbt_change_type": "STRING"}
                self.warehouse.tables[created] = self._sized(created, {**own.types, **extra}, 100)
        self.warehouse.tables = tables
        return found

    def node(self, node: dict[str, Any]) -> float:
        """Bytes billed each time that dbt builds or tests a node."""
        return sum(sum(billed.values()) for _, billed in self.statements(node))

    def build(self, source: str, *, whole: bool) -> tuple[int, float]:
        """What a build of the source makes and tests: nodes that cost something, and bytes."""
        costs = [
            self.node(node)
            for node in self.recording.nodes_of(source)
            if whole or not is_daily(node)
        ]
        paid = [cost for cost in costs if cost]
        return len(paid), sum(paid)

    def lines(self) -> Iterator[Line]:
        """The month, source by source."""
        for source, runs in runs_per_month().items():
            if source == "operations":
                builds = float(runs)
            else:
                news = runs * NEWS[source]
                yield Line(
                    source, "load of news", *self.jobs(source, self.recording.loads[source]), news
                )
                yield Line(
                    source,
                    "look without news",
                    *self.jobs(source, self.recording.looks[source]),
                    runs - news,
                )
                # What a schedule starts builds for news, at most as often as the source says.
                every = declared(source).get("build_every_hours", 0)
                builds = max(min(news, DAYS * 24 / every) if every else news, float(DAYS))
            yield Line(
                source, "build, tests of keys", *self.build(source, whole=False), builds - DAYS
            )
            yield Line(source, "build, every test", *self.build(source, whole=True), DAYS)
        for flow, times in LOOKS.items():
            yield Line(flow, "look at the ledger", *self.looks(flow), times)


def share_of_batches(table: str) -> float:
    """How many of a source's batches make a load's statements name this table."""
    if table.endswith("__rejects"):
        return WITH_REJECTS
    return WITH_NEW_FIELDS if table.endswith("._fields") else 1


def is_daily(node: dict[str, Any]) -> bool:
    """Whether the builds in between leave a node out: most tests, and models of once a day."""
    if node["resource_type"] == "test":
        return EVERY_BUILD not in node["tags"]
    return ONCE_A_DAY in node["tags"]


def runs_per_month() -> dict[str, int]:
    """Source to the number of runs of its schedule, by Prefect's own reading of the cron."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    found = {}
    for deployment in deployments:
        if "elt" not in deployment["tags"]:
            continue
        dates = [
            asyncio.run(
                CronSchedule(cron=one["cron"], timezone=one["timezone"]).get_dates(
                    n=1_000, start=START, end=END
                )
            )
            for one in deployment["schedules"]
        ]
        found[deployment["name"].replace("-", "_")] = sum(map(len, dates))
    assert len(found) > 5
    return found
