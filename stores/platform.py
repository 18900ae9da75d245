"""What a run works with: the warehouse and the landing buckets, as its settings say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.batch import source_prefix
from stores.bigquery import Warehouse
from stores.google import bigquery_client, storage_client
from stores.landing import GcsLanding, Landing, LandingError, StoredObject
from stores.settings import (
    LANDING_GCS,
    LANDING_S3,
    GoogleAccount,
    LandingName,
    PlatformSettings,
)

# The account that is attached to this machine.
MACHINE = GoogleAccount()


@dataclass(frozen=True)
class Platform:
    """`landing` is where new batches go; a load looks in all of `landings`.

    A dry platform asks sources and writes nothing.
    """

    warehouse: Warehouse
    landing: Landing
    landings: Sequence[Landing]
    retention_days: float
    log_retention_days: float
    # Where batches wait that no bucket took (stores/spool.py).
    spool: Path
    # Who reads what is kept at Google.
    google: GoogleAccount = MACHINE
    is_dry: bool = False

    def prefix(self, source: str) -> str:
        return source_prefix(self.warehouse.project, self.warehouse.raw_dataset, source)

    def stored(
        self, source: str
    ) -> tuple[list[tuple[Landing, StoredObject]], dict[str, LandingError]]:
        """A source's objects in all buckets, and by address why a bucket could not be listed.

        A source does not stand still for a bucket that it puts nothing into; for its own it does:
        raises LandingError.
        """
        found: list[tuple[Landing, StoredObject]] = []
        unlisted: dict[str, LandingError] = {}
        for landing in self.landings:
            try:
                found += [(landing, stored) for stored in landing.list(self.prefix(source))]
            except LandingError as error:
                if landing is self.landing:
                    raise
                unlisted[landing.address] = error
        return found, unlisted


def connect(settings: PlatformSettings, landing: LandingName = LANDING_GCS) -> Platform:
    """Clients as the settings say; nothing is sent yet. New batches go to `landing`.

    Raises ValueError when there is no such bucket.
    """
    own = settings.warehouse
    client = bigquery_client(settings.google, own.project, own.location)
    storage = storage_client(settings.google, own.project)
    landings: dict[str, Landing] = {LANDING_GCS: GcsLanding(storage.bucket(settings.gcs_bucket))}
    if settings.s3:
        # A second and 16 MB that others do not pay.
        from stores.landing_s3 import S3Landing

        landings[LANDING_S3] = S3Landing(settings.s3)
    if landing not in landings:
        raise ValueError(
            f"new batches are to go to {landing}, which is not configured: set S3_BUCKET and run "
            "python -m blocks.register, or name another bucket"
        )
    warehouse = Warehouse(
        client,
        own.project,
        own.location,
        own.raw_dataset,
        own.dataset_prefix,
        own.maximum_bytes_billed,
    )
    return Platform(
        warehouse,
        landings[landing],
        list(landings.values()),
        own.landing_retention_days,
        own.log_retention_days,
        own.spool_path,
        settings.google,
    )
