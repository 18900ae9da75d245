"""The environment and `.env`, typed. Only `python -m blocks.register` and runs by hand read it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, HttpUrl, SecretStr, ValidationError, model_validator
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
    # Alerts: a Slack webhook, a mail server, both, or nobody is told.
    slack_webhook_url: SecretStr | None = None
    alert_email_host: str | None = None
    alert_email_port: int = Field(default=587, ge=1, le=65535)
    alert_email_security: Literal["starttls", "tls", "none"] = "starttls"
    alert_email_user: str | None = None
    alert_email_password: SecretStr | None = None
    alert_email_from: str | None = None
    # several by comma
    alert_email_to: str = ""
    alert_docs_url: str = "docs/operations.md"
    alert_not_started_minutes: float = Field(default=15, gt=0)
    alert_running_hours: float = Field(default=6, gt=0)
    alert_unloaded_hours: float = Field(default=24, gt=0)
    alert_ledger_hours: float = Field(default=3, gt=0)
    alert_request_share: float = Field(default=0.9, gt=0, le=1)
    alert_daily_bytes_billed: int = Field(default=32 * 2**30, ge=0)
    alert_disk_share: float = Field(default=0.9, gt=0, le=1)
    alert_state_file: Path | None = None
    # Where the worker on this machine answers (prefect worker start --with-healthcheck).
    worker_health_url: HttpUrl = HttpUrl("http://127.0.0.1:8080/health")

    @model_validator(mode="after")
    def _email_is_whole(self) -> Self:
        if self.alert_email_host and not (self.alert_email_from and self.alert_email_to):
            raise ValueError("ALERT_EMAIL_HOST needs ALERT_EMAIL_FROM and ALERT_EMAIL_TO")
        if (self.alert_email_user is None) != (self.alert_email_password is None):
            raise ValueError("ALERT_EMAIL_USER and ALERT_EMAIL_PASSWORD go together")
        return self

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


def explain(error: ValidationError) -> str:
    """Which variables are missing or wrong, one per line, without their values."""
    lines = [
        ": ".join(filter(None, ["_".join(map(str, problem["loc"])).upper(), problem["msg"]]))
        for problem in error.errors()
    ]
    return "\n".join([*lines, "Set these in the environment or in .env (see .env.example)."])
