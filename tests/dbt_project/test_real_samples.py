"""Real payloads of four sources through their own mapping into raw: every model and test passes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.rows import Record, to_chunk
from core.schema import Table
from runs.build import BuildResult, build
from sources.nyc_fhv import mapping as nyc_fhv
from sources.openweather import mapping as openweather
from sources.ph_news import mapping as ph_news
from sources.usgs_earthquake import mapping as usgs_earthquake
from testing import raw
from testing.raw import Query

pytestmark = pytest.mark.slow
RAW, PREFIX = "real_raw", "real_"
READ_AT = datetime(2026, 2, 19, 21, tzinfo=UTC)
STAMP = {"_batch_id": "20260219T210000000000_00000001", "_inserted_at": READ_AT}
# tests/flows/test_real_payloads.py takes all events of the week.
EVERY = 10


def load(query: Query, table: Table, records: Iterable[Record]) -> int:
    chunk = to_chunk(records, table, 1)
    assert not chunk.rejects
    rows = [{**row, **STAMP} for row in chunk.rows.drop_columns("_row").to_pylist()]
    raw.create(query, table, RAW)
    raw.insert(query, table, rows, RAW)
    return len(rows)


def only(directory: Path, pattern: str) -> str:
    (path,) = directory.glob(pattern)
    return path.read_text()


def vehicles(samples: Path) -> list[dict[str, Any]]:
    (exchange,) = yaml.safe_load(only(samples / "soda", "*.yml"))["http_interactions"]
    return list(json.loads(exchange["response"]["body"]["string"]))


@pytest.fixture(scope="module")
def loaded(samples: Path, query: Query) -> dict[str, int]:
    """Source to the number of rows in its raw table."""
    week = json.loads(only(samples / "usgs", "*.geojson"))["features"][::EVERY]
    listed = json.loads(only(samples / "mediastack", "*.json"))["data"]
    weather = [
        openweather.to_record(
            json.loads(path.read_text()), openweather.Query(path.stem, 0.0, 0.0, units)
        )
        for units, name in (("metric", "saint_joseph*.json"), ("standard", "manhattan*.json"))
        for path in (samples / "openweather").glob(name)
    ]
    return {
        "usgs_earthquake": load(
            query, usgs_earthquake.TABLE, (usgs_earthquake.to_record(f, "live") for f in week)
        ),
        "openweather": load(query, openweather.TABLE, weather),
        "ph_news": load(
            query, ph_news.TABLE, (ph_news.to_record(article, READ_AT) for article in listed)
        ),
        "nyc_fhv": load(
            query,
            nyc_fhv.TABLE,
            (Record(vehicle, {}, False, vehicle) for vehicle in vehicles(samples)),
        ),
    }


@pytest.fixture(scope="module")
def built(
    loaded: dict[str, int], dbt_env: dict[str, str], query: Query, target_path: Path
) -> BuildResult:
    variables = {"RAW_DATASET": RAW, "DBT_DATASET_PREFIX": PREFIX}
    return build([f"source:{name}+" for name in loaded], target_path, dbt_env | variables, query)


def test_every_model_is_made_and_no_test_fails_or_warns(built: BuildResult) -> None:
    assert (built.nodes_failed, built.nodes_warned, built.nodes_skipped) == (0, 0, 0)
    assert built.nodes_passed > 100


def test_every_row_of_the_samples_is_in_the_marts(
    built: object, loaded: dict[str, int], query: Query
) -> None:
    def total(expression: str, mart: str) -> int:
        (row,) = query(f"select {expression} as n from {PREFIX}gold.{mart}")
        return int(row["n"])

    assert loaded == {"usgs_earthquake": 216, "openweather": 2, "ph_news": 25, "nyc_fhv": 2}
    assert total("sum(event_count)", "monthly_earthquakes_by_region") == 216
    assert total("sum(observation_count)", "daily_weather") == 2
    assert total("sum(article_count)", "daily_news_by_source_and_category") == 25
    assert total("sum(vehicle_count)", "fhv_accessible_share") == 2
