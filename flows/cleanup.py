"""The weekly sweep: what the deployment `cleanup/weekly` runs.

Every source's own run cleans up after itself. This one also reaches sources whose runs fail, and
tells how much is kept: in the buckets, in the raw tables, on this machine's disk. A source without
a block does not run here: what it left in a bucket is removed by the bucket's own rule.

Requires: the platform's blocks and those of the sources (`python -m blocks.register`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.platform import load_platform
from blocks.sources import load_sources
from runs.cleanup import Cleaned, Stock, sweep_staging, take_stock
from runs.cleanup import cleanup as clean_source
from sources.tables import table_of
from stores.platform import connect

# So full a disk stops PostgreSQL before the next sweep.
FULLEST_DISK = 0.85


class DiskNearlyFull(Exception):
    """This machine's disk needs a person."""


@flow(name="cleanup")
def cleanup() -> State:
    """Remove loaded batches past their retention, uncommitted leftovers and old staging tables.

    Raises LandingError when a bucket cannot be listed, DiskNearlyFull; after all else was done.
    """
    platform = connect(load_platform())
    tables = [table_of(source) for source in load_sources()]
    platform.warehouse.ensure_ledger()
    try:
        cleaned = {table.source: clean_source(platform, table) for table in tables}
        tables_swept = sweep_staging(platform)
        stocks = [take_stock(platform, table) for table in tables]
    finally:
        platform.warehouse.flush_jobs("cleanup")
    disk = shutil.disk_usage(Path.home())
    message = describe(cleaned, tables_swept, disk.used / disk.total)
    create_markdown_artifact(markdown(cleaned, stocks, message), key="cleanup", description=message)
    if disk.used / disk.total > FULLEST_DISK:
        raise DiskNearlyFull(f"{message}; free some, or make the disk larger")
    return Completed(message=message)


def describe(cleaned: dict[str, Cleaned], tables_swept: int, share: float) -> str:
    removed = sum(one.removed for one in cleaned.values())
    swept = sum(one.swept for one in cleaned.values())
    return (
        f"{removed:,} loaded batches removed, {swept:,} uncommitted and {tables_swept:,} staging"
        f" tables swept; disk {share:.0%} full"
    )


def markdown(cleaned: dict[str, Cleaned], stocks: list[Stock], message: str) -> str:
    """The run's artifact: sizes in MB of a million bytes."""
    lines = [
        f"{message}.",
        "",
        "| source | removed | swept | batches kept | bucket, MB | raw rows | raw, MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for stock in stocks:
        done = cleaned[stock.source]
        lines.append(
            f"| {stock.source} | {done.removed:,} | {done.swept:,} | {stock.batches:,} |"
            f" {stock.landed_bytes / 1e6:,.1f} | {stock.rows:,} | {stock.raw_bytes / 1e6:,.1f} |"
        )
    return "\n".join(lines)
