"""What grows batch by batch is what a full refresh makes, after every one of some random batches.

MART_BATCHES=20 takes twenty of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from runs.build import PROJECT_DIR
from runs.dbt_build import window_environment
from runs.due import BuildWindow
from sources.openweather import mapping as openweather
from sources.usgs_earthquake import mapping as usgs_earthquake
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

# Five builds for each batch.
pytestmark = pytest.mark.slow

EVENTS, OBSERVATIONS = usgs_earthquake.TABLE, openweather.TABLE
BATCHES = int(os.environ.get("MART_BATCHES", "4"))
SEED = int(os.environ.get("MART_SEED", "6"))
RAW, LIVE_RAW = "random_raw", "random_live_raw"
OF_EVENTS = ("--select", "+earthquake_events", "+earthquake_magnitude_history")
OF_OBSERVATIONS = ("--select", "+weather_hours")
GROWING = (*OF_EVENTS, *OF_OBSERVATIONS)
ALL = (
    *("--select", "source:usgs_earthquake+", "source:openweather+"),
    # They follow from a snapshot, which is never made anew.
    *("--exclude", "earthquake_magnitude_history", "earthquake_revisions"),
)
OF_LIVE_EVENTS = (
    "gold.daily_earthquake_activity",
    "gold.monthly_earthquakes_by_region",
    "gold.significant_and_felt_earthquakes",
)
GROWING_TABLES = (
    *("silver.earthquake_events", "silver.earthquake_magnitude_history", "silver.weather_hours"),
)
TABLES = (
    *("silver.earthquake_events", "silver.weather_hours", *OF_LIVE_EVENTS),
    *("gold.deleted_earthquakes", "gold.hourly_weather", "gold.daily_weather"),
)
PLACES = ("5 km N of Chase, Alaska", "8 km W of Cobb, CA", "Carlsberg Ridge", None)
# The batches lie in March; what they tell reaches back over four months.
START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN_SECONDS = 120 * 86_400

Row = dict[str, Any]
Change = Callable[[str], dict[str, Row]]


class World:
    """Raw as the loader leaves it after each batch: one row per event, one per observation."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.events: dict[str, Row] = {}
        self.batches = 0
        self.observations: set[tuple[str, datetime]] = set()
        # What the ledger tells of the last batch: of its events, and of its observations.
        self.windows: tuple[BuildWindow, BuildWindow]

    def batch(self) -> tuple[list[Row], list[Row]]:
        """The events and observations that a batch wrote."""
        self.batches += 1
        stamp = {
            "_batch_id": f"b{self.batches}",
            "_inserted_at": START + timedelta(hours=self.batches),
        }
        changed: dict[str, Row] = {}
        if self.batches % 2:
            for _ in range(self.random.randrange(6, 12)):
                changed |= self.insert()
            kinds: list[Change] = [self.revise, self.move, self.delete, self.rename]
            changes = self.random.choices(kinds, k=6)
        else:
            # Nothing but old events that move into the last day: where they stood is far from it.
            changes = [partial(self.move, seconds=86_400)] * 2
        standing = [id_ for id_ in self.events if id_ not in changed]
        chosen = self.random.sample(standing, min(len(standing), len(changes)))
        for id_, change in zip(chosen, changes, strict=False):
            changed |= change(id_)
        for row in changed.values():
            row |= stamp
        stood = [self.events[id_]["time"] for id_ in changed if id_ in self.events]
        self.events |= changed
        observed = [{**row, **stamp} for row in self.observe()]
        self.windows = (
            self.window([*stood, *(row["time"] for row in changed.values())]),
            self.window(row["dt"] for row in observed),
        )
        return list(changed.values()), observed

    def window(self, times: Iterable[datetime | None]) -> BuildWindow:
        known = [time for time in times if time]
        until = START + timedelta(hours=self.batches)
        return BuildWindow(until - timedelta(hours=1), until, min(known), max(known))

    def moment(self, seconds: int = SPAN_SECONDS) -> datetime:
        """Lately, or long ago: what comes late has old partitions."""
        return START - timedelta(seconds=self.random.randrange(seconds))

    def insert(self) -> dict[str, Row]:
        id_ = f"us{len(self.events)}x{self.random.randrange(10**6)}"
        row: Row = {
            "id": id_,
            "ids": f",{id_},",
            "time": self.moment(),
            "updated": START,
            "mag": self.random.choice((None, round(self.random.uniform(-1, 8.5), 2))),
            "place": self.random.choice(PLACES),
            "type": self.random.choice(("earthquake", "quarry blast")),
            "felt": self.random.choice((None, 0, 3)),
            "sig": self.random.randrange(1200),
            "depth": self.random.choice((10.0, -1.5)),
            "_is_deleted": False,
        }
        # A deletion of an event that was never loaded may have nothing but its id.
        if self.random.random() < 0.1:
            row |= dict.fromkeys(("time", "mag", "place", "type", "depth")) | {"_is_deleted": True}
        return {id_: row}

    def revise(self, id_: str) -> dict[str, Row]:
        magnitude = round(self.random.uniform(-1, 8.5), 2)
        return {id_: {**self.events[id_], "mag": magnitude, "sig": self.random.randrange(1200)}}

    def move(self, id_: str, seconds: int = SPAN_SECONDS) -> dict[str, Row]:
        """To another time, mostly in another month; a deleted event comes back."""
        return {id_: {**self.events[id_], "time": self.moment(seconds), "_is_deleted": False}}

    def delete(self, id_: str) -> dict[str, Row]:
        return {id_: {**self.events[id_], "_is_deleted": True}}

    def rename(self, id_: str) -> dict[str, Row]:
        (heir,) = self.insert().values()
        heir |= {"ids": f",{heir['id']},{id_},"}
        return {heir["id"]: heir} | self.delete(id_)

    def observe(self) -> Iterator[Row]:
        for _ in range(self.random.randrange(3, 8)):
            location, offset = self.random.choice((("Manila", 28_800), ("Delhi", 19_800)))
            hours = self.random.choice((2, 24, 24 * 40))
            time = START + timedelta(hours=self.batches - self.random.random() * hours)
            if (location, time) not in self.observations:
                self.observations.add((location, time))
                yield {
                    "location": location,
                    "dt": time,
                    # Now and then an answer has no offset.
                    "timezone": self.random.choice((offset, offset, None)),
                    "units": self.random.choice(("metric", "standard", "imperial")),
                    "main_temp": round(self.random.uniform(0, 300), 2),
                    "wind_speed": self.random.choice((None, round(self.random.uniform(0, 20), 2))),
                    "wind_gust": self.random.choice((None, 21.5)),
                    "rain_1h": self.random.choice((None, 0.3)),
                    "weather": '[{"main":"Rain"}]',
                }


def differences(query: Query, one: str, other: str, tables: Sequence[str]) -> dict[str, Any]:
    """Table to how many rows either side has, and has alone; equal tables are left out."""
    found = {}
    for table in tables:
        a, b = f"{one}{table}", f"{other}{table}"
        (row,) = query(f"""
            select
                (select count(*) from {a}) as rows_here,
                (select count(*) from {b}) as rows_there,
                (select count(*) from (select * from {a} except distinct select * from {b}))
                    as only_here,
                (select count(*) from (select * from {b} except distinct select * from {a}))
                    as only_there
        """)
        if row["only_here"] or row["only_there"] or row["rows_here"] != row["rows_there"]:
            found[table] = row
    return found


class Marts:
    """Builds of the same models, each over a raw dataset and into datasets of its own."""

    def __init__(self, run_dbt: RunDbt, directory: Path) -> None:
        self.run_dbt = run_dbt
        self.directory = directory

    def run(
        self,
        prefix: str,
        dataset: str,
        models: Sequence[str],
        project: Path = PROJECT_DIR,
        window: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Make the models, snapshots included; the names of dbt's events."""
        # What was parsed is kept apart: it depends on the variables.
        target_path = self.directory / f"{project.name}_{prefix}"
        options = ("--target-path", str(target_path), "--project-dir", str(project), *models)
        options += ("--exclude-resource-type", "test", "unit_test")
        variables = {"RAW_DATASET": dataset, "DBT_DATASET_PREFIX": prefix, **(window or {})}
        result, events = self.run_dbt("build", *options, **variables)
        assert result.success, [outcome.message for outcome in result.result or ()]
        return [event.info.name for event in events]


@pytest.fixture(scope="module")
def marts(run_dbt: RunDbt, tmp_path_factory: pytest.TempPathFactory) -> Marts:
    return Marts(run_dbt, tmp_path_factory.mktemp("marts"))


@pytest.fixture(scope="module")
def after_every_batch(marts: Marts, query: Query) -> list[dict[str, Any]]:
    """What differed after each batch; the marts of raw without its deleted rows stand, too."""
    raw.create(query, EVENTS, RAW)
    raw.create(query, OBSERVATIONS, RAW)
    world = World(SEED)
    found = []
    for _ in range(BATCHES):
        events, observations = world.batch()
        ids = ", ".join(f"'{row['id']}'" for row in events)
        query(f"delete from {RAW}.{EVENTS.name} where id in ({ids})")
        raw.insert(query, EVENTS, events, RAW)
        raw.insert(query, OBSERVATIONS, observations, RAW)
        marts.run("grown_", RAW, GROWING)
        marts.run("whole_", RAW, (*GROWING, "--full-refresh"))
        found.append(differences(query, "grown_", "whole_", GROWING_TABLES))
        # As the platform builds: each source by itself, and told where its rows lie and lay.
        for models, window in zip((OF_EVENTS, OF_OBSERVATIONS), world.windows, strict=True):
            names = marts.run("told_", RAW, models, window=window_environment(window))
            # Other values are no reason to parse anew.
            assert world.batches == 1 or "PartialParsingSkipParsing" in names
        found.append(differences(query, "told_", "whole_", GROWING_TABLES))
    # The other models are made from these as a whole each time.
    marts.run("grown_", RAW, ALL)
    marts.run("whole_", RAW, (*ALL, "--full-refresh"))
    query(f"create schema {LIVE_RAW}")
    for table in (EVENTS, OBSERVATIONS):
        query(
            f"create table {LIVE_RAW}.{table.name} as "
            f"select * from {RAW}.{table.name} where not _is_deleted"
        )
    marts.run("live_", LIVE_RAW, ALL)
    return found


def test_increments_give_what_a_full_refresh_gives(
    after_every_batch: list[dict[str, Any]], query: Query
) -> None:
    assert after_every_batch == [{}] * 2 * BATCHES
    assert differences(query, "grown_", "whole_", TABLES) == {}
    for table in TABLES:
        assert query(f"select count(*) as n from grown_{table}")[0]["n"] > 0, table


def test_deleted_events_leave_no_trace_in_the_marts_of_live_ones(
    after_every_batch: object, query: Query
) -> None:
    (deleted,) = query(f"select count(*) as n from {RAW}.{EVENTS.name} where _is_deleted")
    assert deleted["n"] > 0
    assert differences(query, "grown_", "live_", OF_LIVE_EVENTS) == {}


def test_a_dropped_filter_of_deleted_rows_is_noticed(
    after_every_batch: object, marts: Marts, query: Query, tmp_path: Path
) -> None:
    """The planted fault: the one model that leaves deleted events out no longer does."""
    project = tmp_path / "faulty"
    shutil.copytree(PROJECT_DIR, project)
    model = project / "models" / "silver" / "earthquakes" / "live_earthquake_events.sql"
    sql = model.read_text()
    assert sql.count("    where not is_deleted\n") == 1
    model.write_text(sql.replace("    where not is_deleted\n", ""))
    marts.run("grown_", RAW, ALL, project)
    assert differences(query, "grown_", "live_", OF_LIVE_EVENTS).keys() == set(OF_LIVE_EVENTS)
