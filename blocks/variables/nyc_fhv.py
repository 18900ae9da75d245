"""What `.env` says of New York's open data."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import HttpUrl, SecretStr

from blocks.source import LANDING_GCS, LANDING_S3, LandingName
from blocks.variables import SourceVariables, matching


class Variables(SourceVariables):
    """Names as in `.env.example`, in lower case."""

    lands_in: ClassVar[LandingName] = LANDING_S3

    socrata_base_url: HttpUrl = HttpUrl("https://data.cityofnewyork.us")
    socrata_app_token: SecretStr | None = None
    nyc_fhv_dataset: Annotated[
        str, matching(r"\w{4}-\w{4}", "must be a dataset's id, such as 8wbx-tsch")
    ] = "8wbx-tsch"
    nyc_fhv_landing: LandingName = LANDING_GCS
