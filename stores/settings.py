"""What the clients of the stores are configured with, whoever fills it in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from stores.state import spool_path
from stores.variables import Variables, matching, variable

LandingName = Literal["landing-gcs", "landing-s3"]
LANDING_GCS: LandingName = "landing-gcs"
LANDING_S3: LandingName = "landing-s3"

Bucket = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
        "must be a bucket's name alone, such as my-landing: no gs:// or s3://, no folder",
    ),
]
DATASET = "may have letters, digits and underscores only"


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be a time zone of the IANA database, such as Asia/Manila")
    return name


class GoogleAccount(BaseModel):
    """Who asks Google. `info` is the content of a service account's key or of a federation's file
    as JSON; None for the account that is attached to the machine."""

    model_config = ConfigDict(frozen=True)

    info: SecretStr | None = None

    @property
    def content(self) -> dict[str, Any]:
        """What the file says; empty for the machine's account."""
        content: dict[str, Any] = json.loads(self.info.get_secret_value()) if self.info else {}
        return content


class S3Settings(Variables):
    """A bucket on S3. Without keys and role: by what the machine has by itself.

    `options` are further arguments of boto3's client.
    """

    model_config = ConfigDict(frozen=True)

    bucket: Bucket = variable("S3_BUCKET")
    region: Annotated[
        str | None, matching(r"[a-z0-9-]+", "must be a region, such as ap-southeast-1")
    ] = variable("AWS_REGION", default=None)
    endpoint_url: HttpUrl | None = variable("AWS_ENDPOINT_URL", default=None)
    access_key_id: str | None = variable("AWS_ACCESS_KEY_ID", default=None)
    secret_access_key: SecretStr | None = variable("AWS_SECRET_ACCESS_KEY", default=None)
    role_arn: Annotated[
        str | None,
        matching(
            r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+",
            "must be a role's name, such as arn:aws:iam::123456789012:role/data-pipelines",
        ),
    ] = variable("AWS_ROLE_ARN", default=None)
    session_token: str | None = None
    profile: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class WarehouseSettings(Variables):
    """Where raw data goes in BigQuery, and how long landed batches are kept."""

    project: Annotated[
        str, matching(r"[a-z][a-z0-9.:-]*", "must be a project's id, such as my-project-123")
    ] = variable("GCP_PROJECT", "Google Cloud project.")
    location: Annotated[
        str, matching(r"[A-Za-z0-9-]+", "must be a location, such as US or asia-southeast1")
    ] = variable("BIGQUERY_LOCATION", "Location of datasets and jobs.", default="US")
    raw_dataset: Annotated[str, matching(r"[A-Za-z0-9_]{1,1000}", DATASET)] = variable(
        "RAW_DATASET", "Dataset of the raw tables and ledger.", default="raw"
    )
    dataset_prefix: Annotated[str, matching(r"[A-Za-z0-9_]{0,1000}", DATASET)] = variable(
        "DBT_DATASET_PREFIX", "Before the names of the datasets that dbt builds.", default=""
    )
    maximum_bytes_billed: int = variable(
        "MAXIMUM_BYTES_BILLED",
        "A query that would bill more bytes fails instead.",
        default=10 * 2**30,
        ge=10 * 2**20,
    )
    landing_retention_days: float = variable(
        "LANDING_RETENTION_DAYS",
        "Days for which a loaded batch can be replayed from its bucket.",
        default=7,
        ge=0,
        le=36_500,
    )
    # Not before their runs are removed from Prefect: alerting/run_logs.py.
    log_retention_days: float = variable(
        "LOG_RETENTION_DAYS",
        "Days for which the copies of runs' logs are kept in the bucket.",
        default=730,
        ge=91,
        le=36_500,
    )
    catalog_directory: str = variable(
        "CATALOG_DIRECTORY",
        "Folder that a web server serves the data catalog from; empty: bucket only.",
        default="",
    )
    spool_directory: str = variable(
        "SPOOL_DIRECTORY",
        "Folder for answers that no bucket took and no source gives again, until the next run "
        "commits them; empty: by XDG.",
        default="",
    )
    serving_directory: str = variable(
        "SERVING_DIRECTORY",
        "Folder of the marts' snapshots and of the pages; empty: none are made.",
        default="",
    )
    home_timezone: Annotated[str, AfterValidator(_time_zone)] = variable(
        "HOME_TIMEZONE", "How pages write times.", default="Asia/Manila"
    )
    home_currency: Annotated[
        str, matching(r"[A-Z]{3}", "must be a currency's code of ISO 4217, such as PHP")
    ] = variable("HOME_CURRENCY", "How pages write money.", default="PHP")

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
