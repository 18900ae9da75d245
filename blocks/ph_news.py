"""The mediastack API as a block."""

from __future__ import annotations

from pydantic import Field, HttpUrl, SecretStr

from blocks.source import SourceBlock
from blocks.urls import join


class PhNews(SourceBlock):
    """Where mediastack answers, its key, and how many requests the plan has."""

    _block_type_name = "PH news API"
    _block_type_slug = "ph-news"
    _description = "mediastack's live news of the Philippines, read by the flow ph-news."

    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.mediastack.com"),
        description="Address of the service; a path prefix is kept.",
    )
    access_key: SecretStr = Field(description="Access key of the mediastack account.")
    monthly_requests: int = Field(
        default=100, ge=1, description="Requests of the plan in a calendar month (UTC)."
    )
    page_size: int = Field(
        default=100, ge=1, le=100, description="Articles per request; the service gives 100."
    )

    @property
    def urls(self) -> list[str]:
        """Where the news may be asked for: with TLS first, which the free plan may lack."""
        url = join(self.base_url, "v1/news")
        scheme, rest = url.split("://", 1)
        return [url, f"http://{rest}"] if scheme == "https" else [url]
