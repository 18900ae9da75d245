"""What the clients of the stores are configured with: plain values, whoever fills them in.

`runs/settings.py` reads them from the environment, `blocks/platform.py` from saved blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from stores.state import spool_path

LandingName = Literal["landing-gcs", "landing-s3"]
LANDING_GCS: LandingName = "landing-gcs"
LANDING_S3: LandingName = "landing-s3"


class GoogleAccount(BaseModel):
    """Who asks Google. `info` is the content of a service account's key or of a federation's file
    as JSON; None for the account that is attached to the machine."""

    model_config = ConfigDict(frozen=True)

    info: SecretStr | None = None


class S3Settings(BaseModel):
    """A bucket on S3. Without keys and role: by what the machine has by itself.

    `options` are further arguments of boto3's client.
    """

    model_config = ConfigDict(frozen=True)

    bucket: str
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class WarehouseSettings(BaseModel):
    """Where raw data goes in BigQuery, and how long landed batches are kept."""

    project: str = Field(description="Google Cloud project.")
    location: str = Field(default="US", description="Location of datasets and jobs.")
    raw_dataset: str = Field(default="raw", description="Dataset of the raw tables and ledger.")
    dataset_prefix: str = Field(
        default="", description="Before the names of the datasets that dbt builds."
    )
    maximum_bytes_billed: int = Field(
        default=10 * 2**30, description="A query that would bill more bytes fails instead."
    )
    landing_retention_days: float = Field(
        default=7, description="Days for which a loaded batch can be replayed from its bucket."
    )
    log_retention_days: float = Field(
        default=730, description="Days for which the copies of runs' logs are kept in the bucket."
    )
    catalog_directory: str = Field(
        default="",
        description="Folder that a web server serves the data catalog from; empty: bucket only.",
    )
    spool_directory: str = Field(
        default="",
        description="Folder for answers that no bucket took and no source gives again, until the "
        "next run commits them; empty: by XDG.",
    )
    serving_directory: str = Field(
        default="",
        description="Folder of the marts' snapshots and of the pages; empty: none are made.",
    )
    home_timezone: str = Field(default="Asia/Manila", description="How pages write times.")
    home_currency: str = Field(default="PHP", description="How pages write money.")

    @property
    def spool_path(self) -> Path:
        return spool_path(self.spool_directory)


@dataclass(frozen=True)
class PlatformSettings:
    """What every source shares. `s3` is None where there is no bucket on S3."""

    google: GoogleAccount
    gcs_bucket: str
    s3: S3Settings | None
    warehouse: WarehouseSettings
