"""A real week of USGS events (2,155 of January 2024) through the whole load, field for field."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from runs.dbt_build import run_build
from runs.due import due_build
from sandbox.parts import isolated
from sandbox.stack import Stack
from sources.usgs_earthquake.mapping import TABLE
from testing.platform import TestPlatform

SECONDS = 1000.0


@pytest.fixture(scope="module")
def week(
    samples: Path, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestPlatform]:
    """A platform whose USGS serves the real files; the other parts are the session's."""
    environ = {**isolated(os.environ), "SANDBOX_USGS_FILES": str(samples / "usgs")}
    stack = Stack(tmp_path_factory.mktemp("files"), environ)
    stack.up(["sources"])
    yield TestPlatform(
        "real-week", {**stack_env, "SANDBOX_SOURCES_URL": stack.env()["SANDBOX_SOURCES_URL"]}
    )
    stack.down()


def test_the_raw_table_holds_exactly_the_file(week: TestPlatform, samples: Path) -> None:
    (path,) = (samples / "usgs").glob("*.geojson")
    features = json.loads(path.read_text())["features"]
    assert len(features) == 2155
    assert week.run().total("inserted") == 2155
    rows = week.rows()
    assert len(rows) == 2155
    for feature in features:
        row = rows[(feature["id"],)]
        for name, value in feature["properties"].items():
            if name in ("time", "updated"):
                assert row[name] == datetime.fromtimestamp(value / SECONDS, UTC)
            else:
                assert row[name] == value, (feature["id"], name)
        point = [row["longitude"], row["latitude"], row["depth"]]
        assert point == feature["geometry"]["coordinates"]
        assert row["_extra"] is None
        assert row["_is_deleted"] is False
    # Nothing of the file has no column.
    assert set(features[0]["properties"]) <= set(TABLE.column_names)
    assert week.run().lines[0].state == "no_change"


def test_the_mart_reconciles_with_the_file(
    week: TestPlatform, samples: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    due = due_build(week.stores.warehouse, TABLE.source)
    assert due
    run_build(week.stores.warehouse, week.blocks.google, TABLE.source, due)
    assert due_build(week.stores.warehouse, TABLE.source) is None
    (path,) = (samples / "usgs").glob("*.geojson")
    expected: Counter[tuple[str, date]] = Counter()
    for feature in json.loads(path.read_text())["features"]:
        at = datetime.fromtimestamp(feature["properties"]["time"] / SECONDS, UTC)
        for calendar, hours in (("UTC", 0), ("Asia/Manila", 8)):
            expected[calendar, (at + timedelta(hours=hours)).date()] += 1
    rows = week.query(
        "SELECT calendar, activity_date, SUM(event_count) AS n "
        "FROM {marts}gold.daily_earthquake_activity GROUP BY 1, 2"
    )
    assert {(row["calendar"], row["activity_date"]): int(row["n"]) for row in rows} == expected
    by_class = week.query(
        "SELECT magnitude_class, SUM(event_count) AS n FROM "
        "{marts}gold.daily_earthquake_activity WHERE calendar = 'UTC' GROUP BY 1"
    )
    assert sum(int(row["n"]) for row in by_class) == 2155
    assert len(by_class) > 3
