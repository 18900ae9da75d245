"""What `.env` says of USGS."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, HttpUrl

from blocks.source import LANDING_GCS, LandingName
from blocks.variables import SourceVariables


def _past(day: date) -> date:
    if day > (datetime.now(UTC) + timedelta(days=1)).date():
        raise ValueError("is in the future")
    return day


class Variables(SourceVariables):
    """Names as in `.env.example`, in lower case."""

    usgs_base_url: HttpUrl = HttpUrl("https://earthquake.usgs.gov")
    usgs_history_start: Annotated[date, AfterValidator(_past)] | None = None
    usgs_landing: LandingName = LANDING_GCS
