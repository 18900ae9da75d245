"""OpenWeather: how its current weather loads, what an answer becomes, and what is a refusal.

Facts from the provider's documentation, https://openweathermap.org/current: a value that is missing
"just did not happen or was not measured", so absent objects are nulls and never zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from core import values
from core.errors import SourceError
from core.rows import Record
from core.schema import Column, Table
from core.values import as_json, epoch_seconds, integer

SOURCE = "openweather"


def digits(value: object) -> int:
    """A whole number, also as a string of digits: `cod` comes as 200, "200" and "404"."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()):
            raise ValueError("not a string of digits")
        value = int(value)
    return integer(value)


def listing(value: object) -> str:
    """The JSON text of a list, every element in its place."""
    if not isinstance(value, list):
        raise ValueError("not a list")
    return as_json(value)


# Optional are the fields that answers of these years were seen without: no gust, no country at sea.
TABLE = Table(
    source=SOURCE,
    name="openweather__observations",
    title="Weather",
    about="Weather at chosen places, from OpenWeather.",
    is_public=True,
    key=("location", "dt"),
    write="insert",
    partition_by="dt",
    is_replayable=False,
    columns=(
        Column("location", "STRING", "The configured name of the point."),
        Column("dt", "TIMESTAMP", "When the weather was calculated, UTC.", epoch_seconds),
        Column("latitude", "FLOAT64", "Degrees north that were asked for."),
        Column("longitude", "FLOAT64", "Degrees east that were asked for."),
        Column("units", "STRING", "Units asked for: standard, metric or imperial."),
        Column("coord_lon", "FLOAT64", "Degrees east that the service answered for."),
        Column("coord_lat", "FLOAT64", "Degrees north that the service answered for."),
        Column("weather", "STRING", "JSON list of all conditions, the main one first.", listing),
        Column("base", "STRING", "Internal to the service."),
        Column("main_temp", "FLOAT64", "Temperature: K (standard), C (metric) or F (imperial)."),
        Column("main_feels_like", "FLOAT64", "Felt temperature, as main_temp."),
        Column("main_temp_min", "FLOAT64", "Lowest temperature now in the area, as main_temp."),
        Column("main_temp_max", "FLOAT64", "Highest temperature now in the area, as main_temp."),
        Column("main_pressure", "FLOAT64", "Pressure, hPa."),
        Column("main_humidity", "FLOAT64", "Relative humidity, percent."),
        Column("main_sea_level", "FLOAT64", "Pressure at sea level, hPa.", is_optional=True),
        Column("main_grnd_level", "FLOAT64", "Pressure at ground level, hPa.", is_optional=True),
        Column("visibility", "FLOAT64", "Metres, 10000 at most.", is_optional=True),
        Column("wind_speed", "FLOAT64", "m/s (standard, metric) or mph (imperial)."),
        Column("wind_deg", "FLOAT64", "Where the wind comes from, degrees.", is_optional=True),
        Column("wind_gust", "FLOAT64", "Gusts, as wind_speed.", is_optional=True),
        Column("clouds_all", "FLOAT64", "Cloud cover, percent."),
        Column("rain_1h", "FLOAT64", "Rain, mm/h in all units, if reported.", is_optional=True),
        Column("rain_3h", "FLOAT64", "Rain of 3 hours, mm; in older answers.", is_optional=True),
        Column("snow_1h", "FLOAT64", "Snow, mm/h in all units, if reported.", is_optional=True),
        Column("snow_3h", "FLOAT64", "Snow of 3 hours, mm; in older answers.", is_optional=True),
        Column("sys_type", "INT64", "Internal to the service.", is_optional=True),
        Column("sys_id", "INT64", "Internal to the service.", is_optional=True),
        Column("sys_country", "STRING", "ISO 3166, two letters; null over sea.", is_optional=True),
        Column("sys_sunrise", "TIMESTAMP", "Sunrise, UTC.", epoch_seconds),
        Column("sys_sunset", "TIMESTAMP", "Sunset, UTC.", epoch_seconds),
        Column("timezone", "INT64", "Seconds from UTC."),
        Column("id", "INT64", "Id of the city; 0 for a point without one. No key."),
        Column("name", "STRING", "Name of the city; blank for a point without one."),
        Column("cod", "INT64", "200.", digits),
    ),
)

COLUMNS = frozenset(TABLE.column_names)
# What an answer has as objects; the column of a field has the object's name before its own.
NESTED = ("coord", "main", "wind", "clouds", "rain", "snow", "sys")
PLAIN = ("weather", "base", "visibility", "dt", "timezone", "id", "name", "cod")

# The free plan's limit; beyond it the whole account is blocked for a while.
CALLS_PER_MINUTE = 60
# In the body of HTTP 429 once that has happened.
BLOCKED = "Your account is temporary blocked"
# What is refused with these is refused for every location.
OF_THE_ACCOUNT = {401, 429}
# Where the service says how long it wants to be left alone, a poll waits for it once.
WAITS_ONCE_FOR = frozenset({429})


@dataclass(frozen=True)
class Query:
    """The current weather at one configured point."""

    location: str
    latitude: float
    longitude: float
    units: str

    def parameters(self, key: str) -> dict[str, str]:
        """Query parameters; `units` always, because the default is Kelvin."""
        return {
            "lat": _plain(self.latitude),
            "lon": _plain(self.longitude),
            "units": self.units,
            "appid": key,
        }

    def __str__(self) -> str:
        return self.location


def _plain(number: float) -> str:
    """A number without exponent, every digit kept."""
    return format(Decimal(repr(number)), "f")


def spacing_seconds(locations: int) -> float:
    """How long to wait between calls: only when one poll could exceed the limit by itself."""
    return 60 / CALLS_PER_MINUTE if locations > CALLS_PER_MINUTE else 0.0


def classify_response(status: int, body: str) -> Literal["final"] | None:
    """A blocked account is not asked again unless the service says when (WAITS_ONCE_FOR): another
    try within seconds makes it worse.
    """
    return "final" if status == 429 and BLOCKED in body else None


def reply_of(body: object, query: Query) -> tuple[int, str, Mapping[str, object]]:
    """The status, the message and the object that are in the body of an HTTP 200; 200 is a success.

    Its `cod`, number or string, decides where it is usable. Raises SourceError when the body is no
    JSON object.
    """
    if not isinstance(body, dict):
        raise SourceError(SOURCE, query, "the answer is no JSON object")
    try:
        status = digits(body.get("cod", 200))
    except ValueError:
        status = 200
    return status, str(body.get("message", "no message")), body


def to_record(body: Mapping[str, object], query: Query) -> Record:
    """An answer as a row: nested fields under joined names, what was asked beside them.

    Whatever has no column goes to `extra` under its path, such as `main.dew_point`.
    """
    fields: dict[str, object] = {
        "location": query.location,
        "latitude": query.latitude,
        "longitude": query.longitude,
        "units": query.units,
    }
    extra: dict[str, object] = {}
    for name, value in body.items():
        if name in PLAIN:
            fields[name] = value
        elif name in NESTED and isinstance(value, dict):
            for inner, inner_value in value.items():
                if f"{name}_{inner}" in COLUMNS:
                    fields[f"{name}_{inner}"] = inner_value
                else:
                    extra[f"{name}.{inner}"] = inner_value
        elif name not in NESTED or value is not None:
            # A new field may be called like a column of ours; odd values stand under that name.
            extra[f"body.{name}" if name in COLUMNS else name] = value
    return Record(fields, extra, False, body)


def digest(body: Mapping[str, object], query: Query) -> str:
    """Of what was asked and answered, `dt` included."""
    return values.digest([[query.latitude, query.longitude, query.units], body])
