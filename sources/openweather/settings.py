"""What a run of OpenWeather is configured with."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)

from sources.settings import SourceSettings, base_url, landing
from stores.asking import Check, ask
from stores.settings import GoogleAccount, LandingName
from stores.variables import variable

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


def _locations(given: object) -> object:
    """What `.env` has as a text."""
    if isinstance(given, str):
        try:
            return parse_locations(given)
        except InvalidLocations as error:
            raise ValueError(error.problem) from None
    return given


class OpenWeather(SourceSettings):
    """Where OpenWeather answers, with which key, and for which points it is asked."""

    title: ClassVar[str] = "OpenWeather API"
    about: ClassVar[str] = "OpenWeather's current weather, read by the flow openweather."

    base_url: HttpUrl = base_url("OPENWEATHER_BASE_URL", "https://api.openweathermap.org")
    landing: LandingName = landing("OPENWEATHER_LANDING")
    api_key: SecretStr = variable("OPENWEATHER_API_KEY", "Key of the account (appid).")
    locations: Annotated[list[Location], BeforeValidator(_locations)] = variable(
        VARIABLE, "Points to ask for, each under a name of its own.", min_length=1
    )
    units: Literal["standard", "metric", "imperial"] = variable(
        "OPENWEATHER_UNITS",
        "Kelvin and m/s, Celsius and m/s, or Fahrenheit and mph; kept with each row.",
        default="metric",
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

    def checks(self, google: GoogleAccount) -> list[tuple[str, Check]]:
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
        return self.address(f"data/2.5/{method}")


SETTINGS = OpenWeather
