"""The finance ledger in a platform."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from core.request import Request
from runs.extract import run as run_flow
from runs.outcome import Outcome
from sources.finance.mapping import TABLE
from sources.finance.settings import Finance
from testing.platform import TestPlatform

TABLE = TABLE
SHEET_URL = "https://docs.google.com/spreadsheets/d/sandbox-ledger/edit#gid=0"
META = {"_batch_id", "_inserted_at", "_is_deleted"}


def start(platform: TestPlatform, size: int, **settings: Any) -> None:
    platform.control("world", {"seed": 7, "size": size, **settings})


def block(platform: TestPlatform, **settings: Any) -> Finance:
    return Finance.model_validate(
        {
            "base_url": platform.sources_url,
            "sheet_url": SHEET_URL,
            **settings,
        }
    )


def run(platform: TestPlatform, **window: Any) -> Outcome:
    request = Request(allow_deletions=window.get("allow_deletions", False))
    return run_flow(platform.stores, "finance", block(platform), request)


def assert_equals_truth(platform: TestPlatform) -> None:
    """A row that is rejected now may have the values that it had before, one that has lost its id
    is kept, and one that came and went between two reads was never there."""
    truth = platform.look("truth")
    rows = {id_: row for (id_,), row in platform.rows().items()}
    wanted = {row["id"]: expected(row) for row in truth["loaded"]}
    live = {id_: stored(row) for id_, row in rows.items() if not row["_is_deleted"]}
    rejected = {entry["loaded"]["id"] for entry in truth["rejected"]}
    nameless = [expected(entry["loaded"]) for entry in truth["rejected"]]
    assert wanted
    assert wanted.keys() <= live.keys()
    for id_ in live.keys() - wanted.keys() - rejected:
        assert {**live[id_], "id": None} in [{**row, "id": None} for row in nameless]
    for id_, row in wanted.items():
        assert live[id_] == row
    assert rows.keys() - live.keys() <= set(truth["deleted"])


def expected(loaded: dict[str, Any]) -> dict[str, Any]:
    cost = loaded["cost"]
    return {**loaded, "cost": None if cost is None else Decimal(cost)}


def stored(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the raw table without what every raw table has, `_extra` as an object."""
    own = {name: value for name, value in row.items() if name not in META}
    return own | {"_extra": json.loads(row["_extra"] or "{}")}
