"""USGS in a platform."""

from __future__ import annotations

from typing import Any

from core.request import Request
from core.rows import to_chunk
from runs.extract import run as run_flow
from runs.outcome import Outcome
from sources.usgs_earthquake.mapping import TABLE, to_record
from sources.usgs_earthquake.settings import UsgsEarthquake
from testing.platform import TestPlatform

TABLE = TABLE


def start(platform: TestPlatform, size: int, **settings: Any) -> None:
    platform.control("world", {"seed": 7, "size": size, **settings})


def run(platform: TestPlatform, **window: Any) -> Outcome:
    """A run that reads all history first; `history_start` narrows that."""
    api = UsgsEarthquake.model_validate(
        {
            "base_url": platform.sources_url,
            "history_start": window.get("history_start", "1900-01-01"),
        }
    )
    return run_flow(
        platform.stores, "usgs_earthquake", api, Request(window.get("start"), window.get("end"))
    )


def assert_equals_truth(platform: TestPlatform) -> None:
    """An event that came and was renamed or deleted between two reads was never there."""
    truth = platform.look("truth")
    rows = platform.rows()
    live = {key: row for key, row in rows.items() if not row["_is_deleted"]}
    records = [to_record(feature, "live") for feature in truth["live"]]
    expected = {(row["id"],): row for row in to_chunk(records, TABLE, 0).rows.to_pylist()}
    assert expected
    assert live.keys() == expected.keys()
    for key, row in expected.items():
        got = {name: live[key][name] for name in TABLE.column_names}
        assert got == {name: row[name] for name in TABLE.column_names}
    assert rows.keys() - live.keys() <= {(id_,) for id_ in truth["deleted"]}
