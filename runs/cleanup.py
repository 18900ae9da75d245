"""Removing what has served: batches that the ledger knows, and leftovers of runs that died."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.api_core.exceptions import NotFound

from core.batch import MANIFEST, batch_of
from core.ownership import is_own_table
from core.schema import Table
from core.steps import step
from core.task import task
from stores.bigquery import CALL_TIMEOUT_SECONDS, STAGING_LIFETIME
from stores.landing import Landing, LandingError, StoredObject
from stores.ledger import read_known
from stores.platform import Platform

logger = logging.getLogger("pipelines.cleanup")

# A prefix without a manifest may be a run at work; when its newest object is older, nobody is.
UNCOMMITTED_LIFETIME = timedelta(days=1)


@dataclass(frozen=True)
class Cleaned:
    """Batches removed after their retention, and uncommitted leftovers swept."""

    removed: int = 0
    swept: int = 0


@task(name="cleanup", run_name="cleanup {table.source}", retries=2, retry_delay_seconds=[5, 30])
def cleanup(platform: Platform, table: Table) -> Cleaned:
    """Remove the prefixes of batches applied longer than the retention ago, manifest first.

    The ledger is asked, and by BigQuery's clock, so a wrong local one removes nothing; but not
    before a batch is older than the retention by a seventh of it, which is once a day for one of a
    week, or a leftover may be one. A bucket that could not be listed is left for another time.
    """
    prefix = platform.prefix(table.source)
    found: dict[tuple[Landing, str], list[StoredObject]] = defaultdict(list)
    with step("cleanup.list"):
        for landing, stored in platform.stored(table.source)[0]:
            if batch_id := batch_of(stored.name, prefix):
                found[landing, batch_id].append(stored)
    retention = timedelta(days=platform.retention_days)
    newest = {key: max(one.created_at for one in objects) for key, objects in found.items()}
    committed = {key for key, objects in found.items() if any(map(is_manifest, objects))}
    now = max([datetime.now(UTC), *newest.values()])
    limits = {True: retention * 8 / 7, False: UNCOMMITTED_LIFETIME}
    if not any(now - at >= limits[key in committed] for key, at in newest.items()):
        return Cleaned()
    with step("cleanup.read_ledger"):
        known = read_known(platform.warehouse, table.source, {batch_id for _, batch_id in found})
    removed = swept = 0
    for key, objects in found.items():
        landing, batch_id = key
        applied_at = known.applied.get(batch_id)
        if applied_at is not None and known.now - applied_at >= retention:
            removed += 1
        elif key not in committed and known.now - newest[key] > UNCOMMITTED_LIFETIME:
            swept += 1
        else:
            continue
        remove(landing, objects)
    if removed or swept:
        logger.info("%s: %d batches removed, %d leftovers swept", table.source, removed, swept)
    return Cleaned(removed, swept)


def is_manifest(stored: StoredObject) -> bool:
    return stored.name.endswith(f"/{MANIFEST}")


def remove(landing: Landing, objects: list[StoredObject]) -> None:
    """Delete a batch's objects, the manifest first: what has none does not exist."""
    for stored in sorted(objects, key=is_manifest, reverse=True):
        with step("cleanup.delete"):
            landing.delete(stored.name)


@task(name="sweep staging", retries=2, retry_delay_seconds=[5, 30])
def sweep_staging(platform: Platform) -> int:
    """Remove the staging tables that should have expired by BigQuery's clock; how many.

    They expire by themselves, unless somebody took the expiry off the table and its dataset. What
    has not our label is left alone.
    """
    warehouse = platform.warehouse
    with step("cleanup.list_staging"):
        listed = [
            item
            for item in warehouse.client.list_tables(
                f"{warehouse.project}.{warehouse.staging_dataset}",
                retry=warehouse.retry,
                timeout=CALL_TIMEOUT_SECONDS,
            )
            if is_own_table(item.labels)
        ]
    if not listed:
        return 0
    asked = warehouse.query(
        "SELECT CURRENT_TIMESTAMP() AS now", source="cleanup", purpose="cleanup"
    )
    old = [item for item in listed if asked[0]["now"] - item.created > STAGING_LIFETIME]
    for item in old:
        with step("cleanup.drop_staging"):
            warehouse.client.delete_table(
                item.reference,
                not_found_ok=True,
                retry=warehouse.retry,
                timeout=CALL_TIMEOUT_SECONDS,
            )
    return len(old)


@dataclass(frozen=True)
class Stock:
    """What a source keeps: batches and bytes in the buckets, rows and bytes in its raw table."""

    source: str
    batches: int
    landed_bytes: int
    rows: int
    raw_bytes: int


@task(name="take stock", run_name="take stock {table.source}", retries=2)
def take_stock(platform: Platform, table: Table) -> Stock:
    """Count a source's stock. Raises LandingError when a bucket cannot be listed."""
    prefix = platform.prefix(table.source)
    with step("cleanup.list"):
        stored, unlisted = platform.stored(table.source)
    if unlisted:
        raise LandingError("; ".join(map(str, unlisted.values())))
    warehouse = platform.warehouse
    try:
        standing = warehouse.table(warehouse.raw_id(table.name))
        counted = warehouse.query(  # reads no bytes
            f"SELECT COUNT(*) AS n FROM {warehouse.names.raw(table.name)}",
            source="cleanup",
            purpose="cleanup",
        )
        rows, raw_bytes = int(counted[0]["n"]), standing.num_bytes or 0
    except NotFound:  # never loaded
        rows = raw_bytes = 0
    return Stock(
        source=table.source,
        batches=len({batch_of(one.name, prefix) for _, one in stored} - {None}),
        landed_bytes=sum(one.size_bytes for _, one in stored),
        rows=rows,
        raw_bytes=raw_bytes,
    )
