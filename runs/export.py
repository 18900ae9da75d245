"""The marts of a build into the snapshots that pages and programs read.

Rows are listed (tabledata.list), which is free. What the public may see and what only the owner may
are two snapshots in two folders; the public one has no private row in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import NotFound

from core.steps import step
from serving.contract import AUDIENCES, Contract, contracts, write, write_from
from serving.places import Places
from serving.snapshot import Written, publish
from stores.bigquery import CALL_TIMEOUT_SECONDS, Warehouse

PAGE_ROWS = 10_000
TRIES = 3


class ExportFailed(Exception):
    """A mart could not be exported; the message says why. The old snapshot is there."""


@dataclass(frozen=True)
class Exported:
    """What an export did. `rows` counts those of the private snapshot, which has every mart."""

    marts: tuple[str, ...]
    rows: int
    not_built: tuple[str, ...]


def export(warehouse: Warehouse, places: Places, manifest: Path, source: str) -> Exported:
    """Both snapshots have the marts that a build of `source` makes, as they are now.

    `manifest` is dbt's. A mart that was not built yet is left out and named. Raises ExportFailed.
    """
    wanted = contracts(json.loads(manifest.read_text()), source)
    found: dict[str, list[Written]] = {audience: [] for audience in AUDIENCES}
    not_built: list[str] = []
    with step("export.read"):
        for contract in wanted:
            try:
                whole = read_mart(warehouse, places.snapshot("private"), contract)
            except NotFound:
                not_built.append(contract.name)
                continue
            found["private"].append(whole)
            if public := contract.seen_by("public"):
                found["public"].append(write_from(places.snapshot("public"), public, whole))
    with step("export.publish"):
        for audience in AUDIENCES:
            shown = [one.name for one in wanted if one.seen_by(audience)]
            publish(
                places.snapshot(audience),
                found[audience],
                not_built=[name for name in not_built if name in shown],
            )
    return Exported(
        marts=tuple(one.mart.name for one in found["private"]),
        rows=sum(one.mart.rows for one in found["private"]),
        not_built=tuple(not_built),
    )


def read_mart(warehouse: Warehouse, root: Path, contract: Contract) -> Written:
    """A file beside the snapshot in `root` with all rows of the table as it was at one moment.

    Its pages are asked for one by one, so a table that was replaced between two of them is read
    again. Raises ExportFailed when it does not keep still, NotFound when there is no such table.
    """
    for _ in range(TRIES):
        before = warehouse.table(contract.relation)
        built_at = before.modified.astimezone(UTC)
        written = write(root, contract, _rows(warehouse, before), built_at)
        after = warehouse.table(contract.relation)
        if after.etag == before.etag and written.mart.rows == int(before.num_rows):
            return written
        written.path.unlink()
    raise ExportFailed(f"{contract.relation} was replaced while it was read, {TRIES} times")


def _rows(warehouse: Warehouse, table: Any) -> Iterator[pa.RecordBatch]:
    rows = warehouse.client.list_rows(
        table, page_size=PAGE_ROWS, retry=warehouse.retry, timeout=CALL_TIMEOUT_SECONDS
    )
    yield from rows.to_arrow_iterable()
