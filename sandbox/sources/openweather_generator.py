"""Makes the stand-in's weather: a pure function of seed, place, observation time and units.

Fields, their types and which of them come and go follow the real payloads in the reference; the
weather itself is invented. Ids and names are those of the places where they are listed here.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Any

INTERVAL_SECONDS = 600
DAY_SECONDS = 86_400
NEAR_DEGREES = 0.05
MPH_PER_METRE_PER_SECOND = 2.236936


@dataclass(frozen=True)
class Place:
    """What the API knows about a point; an unnamed one has id 0, name "" and no country."""

    lat: float
    lon: float
    id: int
    name: str
    country: str | None
    timezone_seconds: int
    cod: int | str = 200


# A point within NEAR_DEGREES of one of these is that place; every other point is invented.
PLACES = (
    Place(14.5995, 120.9842, 1701668, "Manila", "PH", 28_800),
    Place(10.3157, 123.8854, 1717512, "Cebu City", "PH", 28_800),
    Place(7.0731, 125.6128, 1715348, "Davao", "PH", 28_800),
    # The sibling endpoint says success with a string.
    Place(16.4023, 120.596, 1728930, "Baguio", "PH", 28_800, cod="200"),
    # A real name does not save a place from id 0.
    Place(14.3427, 121.0807, 0, "Biñan", "PH", 28_800),
    Place(69.6489, 18.9551, 3133895, "Tromsø", "NO", 3600),
    Place(-23.5475, -46.6361, 3448439, "São Paulo", "BR", -10_800),
    Place(15.5, 128, 0, "", None, 32_400),
)
INVENTED_NAMES = ("Santa Elena", "Doña Remedios", "New Harbor", "Ōtaki", "Saint Joseph", "Valverde")
INVENTED_COUNTRIES = ("PH", "US", "JP", "ID", "MX")

# id, main, description, the same in Spanish, icon
CLEAR = (800, "Clear", "clear sky", "cielo claro", "01")
CLOUDS = (
    (801, "Clouds", "few clouds", "algo de nubes", "02"),
    (803, "Clouds", "broken clouds", "muy nuboso", "04"),
    (804, "Clouds", "overcast clouds", "nubes", "04"),
)
RAIN = (
    (500, "Rain", "light rain", "lluvia ligera", "10"),
    (501, "Rain", "moderate rain", "lluvia moderada", "10"),
    (211, "Thunderstorm", "thunderstorm", "tormenta", "11"),
)
SNOW = (600, "Snow", "light snow", "nevada ligera", "13")
MIST = (701, "Mist", "mist", "niebla", "50")
HAZE = (721, "Haze", "haze", "neblina", "50")


def place_at(seed: int, lat: float, lon: float) -> Place:
    """The listed place that is near, else an invented one; two in five of those are unnamed."""
    for place in PLACES:
        if abs(place.lat - lat) < NEAR_DEGREES and abs(place.lon - lon) < NEAR_DEGREES:
            return place
    rng = Random(f"{seed}/place/{lat!r}/{lon!r}")
    timezone_seconds = round(lon / 15) * 3600
    if rng.random() < 0.4:
        return Place(lat, lon, 0, "", None, timezone_seconds)
    name, country = rng.choice(INVENTED_NAMES), rng.choice(INVENTED_COUNTRIES)
    return Place(lat, lon, rng.randrange(10**6, 10**7), name, country, timezone_seconds)


def observed_at(seed: int, lat: float, lon: float, now_s: int) -> int:
    """`dt` of the newest observation: one every ten minutes, at each point's own second."""
    second = Random(f"{seed}/second/{lat!r}/{lon!r}").randrange(INTERVAL_SECONDS)
    return now_s - (now_s - second) % INTERVAL_SECONDS


def observe(
    seed: int, lat: float, lon: float, dt: int, units: str = "standard", lang: str = "en"
) -> dict[str, Any]:
    """The body of one observation. Spanish is the only other language in which it is described."""
    place = place_at(seed, lat, lon)
    rng = Random(f"{seed}/{lat!r}/{lon!r}/{dt}")
    local_s = dt + place.timezone_seconds
    hour = local_s % DAY_SECONDS / 3600
    kelvin = 302 - 0.0062 * lat**2 + 4 * math.sin((hour - 9) * math.pi / 12) + rng.uniform(-3, 3)
    if rng.random() < 0.25:
        kelvin = round(kelvin)
    weather, rain, snow = _weather(rng, is_freezing=kelvin < 274)
    pressure = rng.randrange(1002, 1024)
    main: dict[str, Any] = {
        "temp": _temperature(kelvin, units),
        "feels_like": _temperature(kelvin + rng.uniform(-4, 5), units),
        "temp_min": _temperature(kelvin - rng.choice((0, 0.56, 1.17)), units),
        "temp_max": _temperature(kelvin + rng.choice((0, 0.44, 1.62)), units),
        "pressure": pressure,
        "humidity": rng.randrange(35, 101),
    }
    if rng.random() < 0.6:
        main |= {"sea_level": pressure, "grnd_level": pressure - rng.randrange(60)}
    speed = rng.choice((rng.uniform(0, 12), rng.randrange(9)))
    wind = {"speed": _wind(speed, units), "deg": rng.randrange(361)}
    if rng.random() < 0.5:
        wind["gust"] = _wind(speed + rng.uniform(0.5, 8), units)
    body: dict[str, Any] = {
        "coord": {"lon": _number(lon, 4), "lat": _number(lat, 4)},
        "weather": [_condition(entry, hour, lang) for entry in weather],
        "base": "stations",
        "main": main,
    }
    if rng.random() < 0.85:
        body["visibility"] = rng.choice((10_000, 10_000, 10_000, rng.randrange(200, 10_000)))
    body["wind"] = wind
    if rain is not None:
        body["rain"] = {"1h": rain}
    if snow is not None:
        body["snow"] = {"1h": snow}
    body |= {
        "clouds": {"all": rng.choice((0, 20, 40, 75, 100))},
        "dt": dt,
        "sys": _system(rng, place, local_s),
        "timezone": place.timezone_seconds,
        "id": place.id,
        "name": place.name,
        "cod": place.cod,
    }
    return body


def _weather(
    rng: Random, *, is_freezing: bool
) -> tuple[list[tuple[int, str, str, str, str]], float | None, float | None]:
    """The conditions, and the millimetres of rain and of snow in the last hour where it fell."""
    fall = _number(rng.choice((rng.uniform(0.1, 6), rng.randrange(1, 4))))
    draw = rng.random()
    if draw < 0.15:
        return [CLEAR], None, None
    if draw < 0.55:
        return [rng.choice(CLOUDS)], None, None
    if draw < 0.65:
        return [HAZE], None, None
    if is_freezing:
        # Sleet: rain and snow in one body.
        sleet = _number(fall / 2) if draw > 0.85 else None
        return [SNOW, MIST] if draw < 0.75 else [SNOW], sleet, fall
    wet = rng.choice(RAIN)
    if draw < 0.85:
        return [wet], fall, None
    return [wet, MIST, HAZE] if draw > 0.97 else [wet, MIST], fall, None


def _condition(
    entry: tuple[int, str, str, str, str], hour: float, lang: str
) -> dict[str, int | str]:
    code, main, english, spanish, icon = entry
    # `lang` leaves `main` as it is.
    description = spanish if lang in ("es", "sp") else english
    half = "d" if 6 <= hour < 18 else "n"
    return {"id": code, "main": main, "description": description, "icon": icon + half}


def _system(rng: Random, place: Place, local_s: int) -> dict[str, Any]:
    midnight = local_s - local_s % DAY_SECONDS - place.timezone_seconds
    system: dict[str, Any] = {}
    if place.country is not None and rng.random() < 0.8:
        system |= {"type": 2, "id": 2_000_000 + place.id % 90_000}
    if place.country is not None:
        system["country"] = place.country
    shift = midnight // DAY_SECONDS % 30 * 20
    return system | {"sunrise": midnight + 20_700 + shift, "sunset": midnight + 64_800 - shift}


def _temperature(kelvin: float, units: str) -> float:
    hundredths = round(kelvin * 100)
    if units == "metric":
        return _number((hundredths - 27_315) / 100)
    if units == "imperial":
        return _number(hundredths * 9 / 500 - 459.67)
    return _number(hundredths / 100)


def _wind(metres_per_second: float, units: str) -> float:
    speed = round(metres_per_second, 2)
    return _number(speed * MPH_PER_METRE_PER_SECOND if units == "imperial" else speed)


def _number(value: float, digits: int = 2) -> float:
    """Rounded, and an integer where nothing is left behind the point, as the API writes it."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded
