"""What a run of the USGS earthquakes is configured with."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, ClassVar

from pydantic import AfterValidator, HttpUrl

from sources.settings import SourceSettings, base_url, landing
from stores.asking import Check, ask
from stores.settings import GoogleAccount, LandingName
from stores.variables import variable


def _past(day: date) -> date:
    if day > (datetime.now(UTC) + timedelta(days=1)).date():
        raise ValueError("is in the future")
    return day


class UsgsEarthquake(SourceSettings):
    """Where the USGS FDSN event service answers. It needs no key."""

    title: ClassVar[str] = "USGS earthquake API"
    about: ClassVar[str] = "The USGS FDSN event service, read by the flow usgs-earthquake."

    base_url: HttpUrl = base_url("USGS_BASE_URL", "https://earthquake.usgs.gov")
    landing: LandingName = landing("USGS_LANDING")
    history_start: Annotated[date, AfterValidator(_past)] | None = variable(
        "USGS_HISTORY_START",
        "The very first run reads events from this day on (UTC); empty: 30 days.",
        default=None,
    )

    def checks(self, google: GoogleAccount) -> list[tuple[str, Check]]:
        since = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
        params = {"format": "geojson", "starttime": since}
        return [("a request", lambda: ask(self.url("count"), params))]

    def url(self, method: str) -> str:
        """The address of a method: query or count."""
        return self.address(f"fdsnws/event/1/{method}")


SETTINGS = UsgsEarthquake
