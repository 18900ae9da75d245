"""New York City's open data as a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, HttpUrl, SecretStr

from blocks.asking import Check, ask
from blocks.source import LANDING_S3, LandingName, SourceBlock
from blocks.urls import join

if TYPE_CHECKING:
    from blocks.variables.nyc_fhv import Variables


class NycFhv(SourceBlock):
    """Where Socrata answers for the list of for-hire vehicles. It needs no key."""

    _block_type_name = "NYC for-hire vehicles"
    _block_type_slug = "nyc-fhv"
    _description = "NYC open data's list of for-hire vehicles, read by the flow nyc-fhv."

    landing: LandingName = Field(
        default=LANDING_S3,
        description="Bucket block for new batches; those that wait in another are loaded too.",
    )
    base_url: HttpUrl = Field(
        default=HttpUrl("https://data.cityofnewyork.us"),
        description="Address of the service; a path prefix is kept.",
    )
    app_token: SecretStr | None = Field(
        default=None,
        description="Application token; without one the requests share their address's pool.",
    )
    dataset: str = Field(
        default="8wbx-tsch", pattern=r"^\w{4}-\w{4}$", description="The dataset's id."
    )
    page_size: int = Field(default=10_000, ge=1, description="Rows per request.")
    concurrency: int = Field(default=4, ge=1, le=16, description="Requests under way at once.")

    @classmethod
    def from_settings(cls, settings: Variables, google: object) -> Self:
        return cls(
            base_url=settings.socrata_base_url,
            app_token=settings.socrata_app_token,
            dataset=settings.nyc_fhv_dataset,
            landing=settings.nyc_fhv_landing,
        )

    def checks(self) -> list[tuple[str, Check]]:
        return [
            (
                "a request",
                lambda: ask(self.metadata_url, headers=self.headers, key="SOCRATA_APP_TOKEN"),
            )
        ]

    @property
    def headers(self) -> dict[str, str]:
        return {"X-App-Token": self.app_token.get_secret_value()} if self.app_token else {}

    @property
    def secrets(self) -> list[str]:
        return [self.app_token.get_secret_value()] if self.app_token else []

    def rows_url(self, kind: str) -> str:
        """The address of the rows as csv or json."""
        return join(self.base_url, f"resource/{self.dataset}.{kind}")

    @property
    def metadata_url(self) -> str:
        return join(self.base_url, f"api/views/{self.dataset}.json")


BLOCK = NycFhv
