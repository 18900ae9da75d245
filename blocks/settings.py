"""The environment and `.env`, typed. Only `python -m blocks.register` and runs by hand read it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    maximum_bytes_billed: int = Field(default=10 * 2**30, ge=10 * 2**20)
    landing_retention_days: float = Field(default=7, ge=0)
    usgs_base_url: HttpUrl = HttpUrl("https://earthquake.usgs.gov")
    usgs_history_start: date | None = None
    openweather_base_url: HttpUrl = HttpUrl("https://api.openweathermap.org")
    openweather_api_key: SecretStr | None = None
    # name:lat:lon, several by semicolon
    openweather_locations: str = ""
    openweather_units: Literal["standard", "metric", "imperial"] = "metric"
    mediastack_base_url: HttpUrl = HttpUrl("https://api.mediastack.com")
    mediastack_access_key: SecretStr | None = None
    mediastack_monthly_requests: int = Field(default=100, ge=1)
    socrata_base_url: HttpUrl = HttpUrl("https://data.cityofnewyork.us")
    socrata_app_token: SecretStr | None = None
    nyc_fhv_dataset: str = "8wbx-tsch"
    google_sheets_base_url: HttpUrl = HttpUrl("https://sheets.googleapis.com")
    finance_sheet_url: str = ""
    finance_worksheet: str = "ledger"
