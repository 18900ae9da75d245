"""The USGS earthquake API as a block."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Self

from pydantic import Field, HttpUrl

from blocks.asking import Check, ask
from blocks.source import SourceBlock
from blocks.urls import join

if TYPE_CHECKING:
    from blocks.variables.usgs_earthquake import Variables


class UsgsEarthquake(SourceBlock):
    """Where the USGS FDSN event service answers. It needs no key."""

    _block_type_name = "USGS earthquake API"
    _block_type_slug = "usgs-earthquake"
    _description = "The USGS FDSN event service, read by the flow usgs-earthquake."

    base_url: HttpUrl = Field(
        default=HttpUrl("https://earthquake.usgs.gov"),
        description="Address of the service; a path prefix is kept.",
    )
    history_start: date | None = Field(
        default=None,
        description="The very first run reads events from this day on (UTC); empty: 30 days.",
    )

    @classmethod
    def from_settings(cls, settings: Variables, google: object) -> Self:
        return cls(
            base_url=settings.usgs_base_url,
            history_start=settings.usgs_history_start,
            landing=settings.usgs_landing,
        )

    def checks(self) -> list[tuple[str, Check]]:
        since = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
        params = {"format": "geojson", "starttime": since}
        return [("a request", lambda: ask(self.url("count"), params))]

    def url(self, method: str) -> str:
        """The address of a method: query or count."""
        return join(self.base_url, f"fdsnws/event/1/{method}")


BLOCK = UsgsEarthquake
