"""What `.env` says of mediastack."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, HttpUrl, SecretStr

from blocks.ph_news import Countries, Languages
from blocks.source import LANDING_GCS, LandingName
from blocks.variables import SourceVariables


class Variables(SourceVariables):
    """Names as in `.env.example`, in lower case."""

    needs: ClassVar[tuple[str, ...]] = ("mediastack_access_key",)

    mediastack_base_url: HttpUrl = HttpUrl("https://api.mediastack.com")
    mediastack_access_key: SecretStr | None = None
    mediastack_monthly_requests: int = Field(default=100, ge=1)
    # by comma; - excludes one; no language is all
    mediastack_countries: Countries = "ph"
    mediastack_languages: Languages = ""
    mediastack_landing: LandingName = LANDING_GCS
