"""What a run works with: the warehouse and the landing buckets, as its blocks configure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.platform import PlatformBlocks
from core.batch import source_prefix
from tasks.landing import GcsLanding, Landing
from tasks.warehouse import Warehouse


@dataclass(frozen=True)
class Platform:
    """`landing` is where new batches go; a load looks in all of `landings`.

    A dry platform asks sources and writes nothing.
    """

    warehouse: Warehouse
    landing: Landing
    landings: Sequence[Landing]
    retention_days: float
    is_dry: bool = False

    def prefix(self, source: str) -> str:
        return source_prefix(self.warehouse.project, self.warehouse.raw_dataset, source)


def connect(blocks: PlatformBlocks) -> Platform:
    """Clients for the blocks; nothing is sent yet."""
    settings = blocks.warehouse
    client = blocks.gcp.get_bigquery_client(project=settings.project, location=settings.location)
    landing = GcsLanding(blocks.gcs.get_bucket())
    warehouse = Warehouse(
        client,
        settings.project,
        settings.location,
        settings.raw_dataset,
        settings.maximum_bytes_billed,
    )
    return Platform(warehouse, landing, [landing], settings.landing_retention_days)
