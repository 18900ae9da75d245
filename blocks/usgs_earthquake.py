"""The USGS earthquake API as a block."""

from __future__ import annotations

from datetime import date

from pydantic import Field, HttpUrl

from blocks.source import SourceBlock
from blocks.urls import join


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

    def url(self, method: str) -> str:
        """The address of a method: query or count."""
        return join(self.base_url, f"fdsnws/event/1/{method}")
