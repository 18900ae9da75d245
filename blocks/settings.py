"""The environment and `.env`, typed. Only `python -m blocks.register` and runs by hand read it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from blocks.source import LANDING_GCS, LANDING_S3, LandingName

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Names as in `.env.example`; the environment wins over `.env`. Raises ValidationError."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    gcp_project: str = Field(min_length=1)
    # Empty on a machine with an attached service account.
    gcp_service_account_file: Path | None = None
    bigquery_location: str = "US"
    raw_dataset: str = "raw"
    gcs_bucket: str = Field(min_length=3)
    # A second bucket, on S3. Without keys, the machine's role is used.
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str | None = None
    aws_endpoint_url: HttpUrl | None = None
    s3_bucket: str | None = Field(default=None, min_length=3)
    maximum_bytes_billed: int = Field(default=10 * 2**30, ge=10 * 2**20)
    landing_retention_days: float = Field(default=7, ge=0)
    # Served by a web server; empty: the catalog is in the bucket only.
    catalog_directory: str = ""
    usgs_base_url: HttpUrl = HttpUrl("https://earthquake.usgs.gov")
    usgs_history_start: date | None = None
    usgs_landing: LandingName = LANDING_GCS
    openweather_base_url: HttpUrl = HttpUrl("https://api.openweathermap.org")
    openweather_api_key: SecretStr | None = None
    # name:lat:lon, several by semicolon
    openweather_locations: str = ""
    openweather_units: Literal["standard", "metric", "imperial"] = "metric"
    openweather_landing: LandingName = LANDING_GCS
    mediastack_base_url: HttpUrl = HttpUrl("https://api.mediastack.com")
    mediastack_access_key: SecretStr | None = None
    mediastack_monthly_requests: int = Field(default=100, ge=1)
    mediastack_landing: LandingName = LANDING_GCS
    socrata_base_url: HttpUrl = HttpUrl("https://data.cityofnewyork.us")
    socrata_app_token: SecretStr | None = None
    nyc_fhv_dataset: str = "8wbx-tsch"
    # Where there is no S3 bucket, the source is not configured until this names the other one.
    nyc_fhv_landing: LandingName = LANDING_S3
    google_sheets_base_url: HttpUrl = HttpUrl("https://sheets.googleapis.com")
    finance_sheet_url: str = ""
    finance_worksheet: str = "ledger"
    finance_landing: LandingName = LANDING_GCS

    @model_validator(mode="after")
    def _s3_is_whole(self) -> Self:
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together")
        named = ", ".join(
            name.upper()
            for name, value in self
            if name.endswith("_landing") and value == LANDING_S3 and name in self.model_fields_set
        )
        if named and not self.s3_bucket:
            raise ValueError(f"{named}: {LANDING_S3} needs S3_BUCKET")
        return self
