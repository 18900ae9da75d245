"""What `.env` says of OpenWeather."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, HttpUrl, SecretStr

from blocks.openweather import InvalidLocations, parse_locations
from blocks.source import LANDING_GCS, LandingName
from blocks.variables import SourceVariables


def _locations(text: str) -> str:
    if text.strip():
        try:
            parse_locations(text)
        except InvalidLocations as error:
            raise ValueError(error.problem) from None
    return text


class Variables(SourceVariables):
    """Names as in `.env.example`, in lower case."""

    needs: ClassVar[tuple[str, ...]] = ("openweather_api_key", "openweather_locations")

    openweather_base_url: HttpUrl = HttpUrl("https://api.openweathermap.org")
    openweather_api_key: SecretStr | None = None
    # name:lat:lon, several by semicolon
    openweather_locations: Annotated[str, AfterValidator(_locations)] = ""
    openweather_units: Literal["standard", "metric", "imperial"] = "metric"
    openweather_landing: LandingName = LANDING_GCS
