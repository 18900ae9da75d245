"""What a run of New York's for-hire vehicles is configured with."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, HttpUrl, SecretStr

from sources.settings import SourceSettings, base_url, landing
from stores.asking import Check, ask
from stores.settings import LANDING_S3, GoogleAccount, LandingName
from stores.variables import matching, variable


class NycFhv(SourceSettings):
    """Where Socrata answers for the list of for-hire vehicles. It needs no key."""

    title: ClassVar[str] = "NYC for-hire vehicles"
    about: ClassVar[str] = "NYC open data's list of for-hire vehicles, read by the flow nyc-fhv."

    base_url: HttpUrl = base_url("SOCRATA_BASE_URL", "https://data.cityofnewyork.us")
    landing: LandingName = landing("NYC_FHV_LANDING", LANDING_S3)
    app_token: SecretStr | None = variable(
        "SOCRATA_APP_TOKEN",
        "Application token; without one the requests share their address's pool.",
        default=None,
    )
    dataset: Annotated[
        str, matching(r"\w{4}-\w{4}", "must be a dataset's id, such as 8wbx-tsch")
    ] = variable("NYC_FHV_DATASET", "The dataset's id.", default="8wbx-tsch")
    page_size: int = Field(default=10_000, ge=1, description="Rows per request.")
    concurrency: int = Field(default=4, ge=1, le=16, description="Requests under way at once.")

    def checks(self, google: GoogleAccount) -> list[tuple[str, Check]]:
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
        return self.address(f"resource/{self.dataset}.{kind}")

    @property
    def metadata_url(self) -> str:
        return self.address(f"api/views/{self.dataset}.json")


SETTINGS = NycFhv
