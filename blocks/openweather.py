"""The OpenWeather API as a block."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from blocks.asking import Check, ask
from blocks.source import SourceBlock
from blocks.urls import join
from blocks.variables import given

if TYPE_CHECKING:
    from blocks.variables.openweather import Variables

VARIABLE = "OPENWEATHER_LOCATIONS"
FORMAT = "name:lat:lon, several by semicolon"


class Location(BaseModel):
    """A point whose weather is wanted."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = Field(
        description="The point's key in the tables: give another point another name."
    )
    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False, description="Degrees north.")
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False, description="Degrees east.")


class OpenWeather(SourceBlock):
    """Where OpenWeather answers, with which key, and for which points it is asked."""

    _block_type_name = "OpenWeather API"
    _block_type_slug = "openweather"
    _description = "OpenWeather's current weather, read by the flow openweather."

    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.openweathermap.org"),
        description="Address of the service; a path prefix is kept.",
    )
    api_key: SecretStr = Field(description="Key of the account (appid).")
    locations: list[Location] = Field(
        min_length=1, description="Points to ask for, each under a name of its own."
    )
    units: Literal["standard", "metric", "imperial"] = Field(
        default="metric",
        description="Kelvin and m/s, Celsius and m/s, or Fahrenheit and mph; kept with each row.",
    )

    @field_validator("api_key")
    @classmethod
    def _is_given(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().strip():
            raise ValueError("the key is empty")
        return key

    @field_validator("locations")
    @classmethod
    def _names_are_unique(cls, locations: list[Location]) -> list[Location]:
        counted = Counter(location.name for location in locations)
        if repeated := [name for name, number in counted.items() if number > 1]:
            raise ValueError(f"two locations are called {', '.join(repeated)}")
        return locations

    @classmethod
    def from_settings(cls, settings: Variables, google: object) -> Self:
        return cls(
            base_url=settings.openweather_base_url,
            api_key=given(settings.openweather_api_key),
            locations=parse_locations(settings.openweather_locations),
            units=settings.openweather_units,
            landing=settings.openweather_landing,
        )

    def checks(self) -> list[tuple[str, Check]]:
        place = self.locations[0]
        params = {
            "lat": str(place.latitude),
            "lon": str(place.longitude),
            "appid": self.api_key.get_secret_value(),
        }
        return [
            (
                "a request with the key",
                lambda: ask(self.url("weather"), params, key="OPENWEATHER_API_KEY"),
            )
        ]

    def url(self, method: str) -> str:
        """The address of a method: weather."""
        return join(self.base_url, f"data/2.5/{method}")


class InvalidLocations(ValueError):
    """A text that has no locations; `problem` is the message without the variable's name."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{VARIABLE}: {problem}")
        self.problem = problem


def parse_locations(text: str) -> list[Location]:
    """The locations in a text such as `Manila:14.5995:120.9842;Cebu City:10.3157:123.8854`.

    A name may have colons in it. Raises InvalidLocations, which names the variable and the part
    that is wrong.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if not parts:
        raise InvalidLocations(f"no location is given ({FORMAT})")
    locations: dict[str, Location] = {}
    for part in parts:
        fields = part.rsplit(":", 2)
        if len(fields) != 3:
            raise InvalidLocations(f"{part!r} is not name:lat:lon ({FORMAT})")
        given = dict(zip(("name", "latitude", "longitude"), fields, strict=True))
        try:
            location = Location.model_validate(given)
        except ValidationError as error:
            problems = (f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
            raise InvalidLocations(f"{part!r}: {'; '.join(problems)}") from None
        if location.name in locations:
            raise InvalidLocations(f"{part!r}: the name {location.name!r} is given twice")
        locations[location.name] = location
    return list(locations.values())


BLOCK = OpenWeather
