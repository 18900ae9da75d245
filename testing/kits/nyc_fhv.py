"""New York's for-hire vehicles in a platform."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from core.request import Request
from core.schema import Table
from runs.course import run_source
from runs.extract.nyc_fhv import extract
from runs.outcome import Outcome
from sources.nyc_fhv.mapping import TABLE as DECLARED
from sources.nyc_fhv.settings import NycFhv
from testing.platform import TestPlatform

# A test's list is short.
TABLE = replace(DECLARED, min_rows=1)
TOKEN = "sandbox-socrata-token"


def start(platform: TestPlatform, size: int, **settings: Any) -> None:
    platform.control("world", {"seed": 7, "size": size, **settings})


def block(platform: TestPlatform, **settings: Any) -> NycFhv:
    """The block of a platform's world, with pages so small that there are several."""
    return NycFhv.model_validate(
        {"base_url": platform.sources_url, "app_token": TOKEN, "page_size": 25, **settings}
    )


def run(
    platform: TestPlatform, allow_deletions: bool = False, table: Table = TABLE, **settings: Any
) -> Outcome:
    """A run; `settings` are of the block."""
    stores, api = platform.stores, block(platform, **settings)
    request = Request(allow_deletions=allow_deletions)
    return run_source(
        stores,
        table,
        request.mode,
        None,
        lambda window, cursor: extract(stores, api, window, cursor, request, table),
    )


def assert_equals_truth(platform: TestPlatform) -> None:
    """Every row of the list is there as often as it is listed, each value as it was sent."""
    truth = platform.look("truth")
    wanted = Counter(tuple(row.get(name) for name in TABLE.column_names) for row in truth["rows"])
    assert wanted.total() == truth["count"] > 0
    rows = platform.query(f"SELECT * FROM {{raw}}.{TABLE.name}")
    assert Counter(tuple(row[name] for name in TABLE.column_names) for row in rows) == wanted
    assert {(row["_is_deleted"], row["_extra"]) for row in rows} == {(False, None)}
    assert len({row["_batch_id"] for row in rows}) == 1
