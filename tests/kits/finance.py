"""The finance ledger in a lab."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from blocks.finance import Finance
from blocks.source import LANDING_GCS
from flows.finance import run as run_flow
from sources.finance import TABLE
from tasks.report import Outcome
from tests.lab import Lab

PATH = "sheets"
TABLE = TABLE
# The bucket that it lands in by itself.
LANDING = LANDING_GCS
SHEET_URL = "https://docs.google.com/spreadsheets/d/sandbox-ledger/edit#gid=0"


def start(lab: Lab, size: int, **settings: Any) -> None:
    lab.control("world", {"seed": 7, "size": size, **settings})


def block(lab: Lab, **settings: Any) -> Finance:
    return Finance.model_validate(
        {
            "base_url": lab.sources_url,
            "sheet_url": SHEET_URL,
            "worksheet": "ledger",
            "gcp_credentials": lab.blocks.gcp,
            **settings,
        }
    )


def run(lab: Lab, **window: Any) -> Outcome:
    return run_flow(lab.platform, block(lab), window.get("allow_deletions", False))


def text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    return str(cell).removesuffix(".0") if isinstance(cell, float) else str(cell)


def expected(entry: dict[str, Any]) -> dict[str, Any]:
    """A row of the truth as the raw table should hold it, worked out without the flow's code."""
    row: dict[str, Any] = {}
    extra = {name: cell for name, cell in entry.items() if name not in TABLE.column_names}
    for column in TABLE.columns:
        cell = entry.get(column.name)
        is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
        if cell is None:
            row[column.name] = None
        elif column.type == "STRING":
            row[column.name] = text(cell)
        elif is_number:
            row[column.name] = Decimal(str(cell)) if column.type == "NUMERIC" else float(cell)
        else:
            row[column.name], extra[column.name] = None, cell
    return {**row, "_extra": {name: cell for name, cell in extra.items() if cell is not None}}


def assert_equals_truth(lab: Lab) -> None:
    """A row that is rejected now may stand with the values that it had before, and one that came
    and went between two reads was never there."""
    truth = lab.look("truth")
    rows = {id_: row for (id_,), row in lab.rows().items()}
    wanted = {text(entry["id"]): expected(entry) for entry in truth["rows"]}
    live = {id_: row for id_, row in rows.items() if not row["_is_deleted"]}
    rejected = {text(entry["id"]) for entry in truth["rejected"]}
    assert wanted
    assert wanted.keys() <= live.keys()
    assert live.keys() - wanted.keys() <= rejected
    for id_, row in wanted.items():
        got = {name: live[id_][name] for name in TABLE.column_names}
        assert got | {"_extra": json.loads(live[id_]["_extra"] or "{}")} == row
    assert rows.keys() - live.keys() <= set(truth["deleted"])
