"""The OpenWeather stand-in: `/data/2.5/weather` with its refusals, control and truth.

Facts come from the provider's documentation and from replies that others published: `cod` is a
number in key and quota errors and a string in request errors. The API cannot be asked again for
what it once said, so the truth is what was served, and it is stored with the recipe. Patches
planted into bodies are for one test and are forgotten on restart.
"""

import json
from collections import defaultdict
from typing import Any

from pydantic import Field

from sandbox.sources.faults import Response
from sandbox.sources.openweather_generator import INTERVAL_SECONDS, observe, observed_at
from sandbox.sources.world import Calls, Recipe, Refusal, Request, World

# The service in the addresses of its worlds.
SERVICE = "openweather"
PATH = "/data/2.5/weather"
DEFAULT_KEY = "sandbox-openweather-key"
HEADERS = {"Content-Type": "application/json; charset=utf-8"}
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
UNITS = ("standard", "metric", "imperial")
# Offered by the real service, refused here so that nobody takes silence for support.
NOT_OFFERED = ("q", "id", "zip", "mode")
INVALID_KEY = "Invalid API key. Please see https://openweathermap.org/faq#error401 for more info."
TOO_MANY_CALLS = (
    "Your account is temporary blocked due to exceeding of requests limitation of your "
    "subscription type. Please choose the proper subscription https://openweathermap.org/price"
)


class OpenWeatherRecipe(Recipe):
    """What a world is a function of, its service's settings, and every body it ever served."""

    keys: list[str] = Field(default=[DEFAULT_KEY])
    calls_per_minute: int | None = None
    served: list[dict[str, Any]] = Field(default_factory=list)


class OpenWeatherWorld(World[OpenWeatherRecipe, set[str]]):
    """The weather of any point; its content are the keys of what was served."""

    recipe_type = OpenWeatherRecipe

    def start(self) -> set[str]:
        return {_served_key(entry) for entry in self.recipe.served}

    def forget(self) -> None:
        self.patches: dict[tuple[float, float], dict[str, Any]] = {}
        self.calls: dict[str, Calls] = defaultdict(Calls)

    def answer(self, request: Request) -> Response:
        """The current weather at a point, or the real service's refusal."""
        try:
            if request.path != PATH or request.method != "GET":
                raise _refusal(404, "404", "Internal error")
            params = request.params
            self._admit(params.get("appid", ""))
            lat, lon = _point(params)
            units = _units(params)
        except Refusal as refusal:
            return refusal.response
        body = self._observe(lat, lon, units, params.get("lang", "en"))
        if request.reaches_client:
            self._remember(lat, lon, units, body)
        return Response(200, _encode(body), HEADERS)

    def truth(self) -> dict[str, Any]:
        """Every body that reached a client, once for each point, units and `dt`, oldest first."""
        return {"served": self.recipe.served}

    def state(self) -> dict[str, Any]:
        """The recipe, with the number of bodies served instead of the bodies."""
        served, planted = len(self.recipe.served), len(self.patches)
        return {**super().state(), "served": served, "planted": planted}

    def do_advance(self) -> dict[str, Any]:
        """One hour passes; for each point served before, how many observations came since."""
        last_dt: dict[tuple[float, float], int] = {}
        for entry in self.recipe.served:
            if not entry["planted"]:
                point = (entry["lat"], entry["lon"])
                last_dt[point] = max(entry["body"]["dt"], last_dt.get(point, 0))
        self.recipe.clock.move(HOUR_MS)
        now_s = self.now_ms() // 1000
        new = {
            f"{lat},{lon}": (observed_at(self.recipe.seed, lat, lon, now_s) - dt)
            // INTERVAL_SECONDS
            for (lat, lon), dt in last_dt.items()
        }
        return {**self.advance(), "locations": len(new), "new": new}

    def do_plant(self, lat: float, lon: float, patch: dict[str, Any] | None) -> dict[str, Any]:
        """Merge a patch into each body of a point; null ends that."""
        self.patches.pop((lat, lon), None)
        if patch is not None:
            self.patches[lat, lon] = patch
        return {"planted": len(self.patches)}

    def _admit(self, key: str) -> None:
        """Count a call of an accepted key against its limit. Raises Refusal."""
        if key not in self.recipe.keys:
            raise _refusal(401, 401, INVALID_KEY)
        if not self.calls[key].admit(self.now_ms(), MINUTE_MS, self.recipe.calls_per_minute):
            raise _refusal(429, 429, TOO_MANY_CALLS)

    def _observe(self, lat: float, lon: float, units: str, lang: str) -> dict[str, Any]:
        seed = self.recipe.seed
        dt = observed_at(seed, lat, lon, self.now_ms() // 1000)
        body = observe(seed, lat, lon, dt, units, lang)
        return _merge(body, self.patches.get((lat, lon), {}))

    def _remember(self, lat: float, lon: float, units: str, body: dict[str, Any]) -> None:
        entry = {
            "lat": lat,
            "lon": lon,
            "units": units,
            "planted": (lat, lon) in self.patches,
            "body": body,
        }
        if (key := _served_key(entry)) not in self.content:
            self.content.add(key)
            self.recipe.served.append(entry)
            self.store()


def _refusal(status: int, cod: int | str, message: str) -> Refusal:
    return Refusal(Response(status, _encode({"cod": cod, "message": message}), HEADERS))


def _point(params: dict[str, str]) -> tuple[float, float]:
    for name in NOT_OFFERED:
        if name in params:
            raise _refusal(400, "400", f"{name} is not offered by this stand-in")
    if "lat" not in params or "lon" not in params:
        raise _refusal(400, "400", "Nothing to geocode")
    return (
        _degrees(params["lat"], 90, "wrong latitude"),
        _degrees(params["lon"], 180, "wrong longitude"),
    )


def _degrees(text: str, limit: int, message: str) -> float:
    try:
        degrees = float(text)
    except ValueError:
        raise _refusal(400, "400", message) from None
    if not abs(degrees) <= limit:
        raise _refusal(400, "400", message)
    return degrees


def _units(params: dict[str, str]) -> str:
    units = params.get("units", "standard")
    if units not in UNITS:
        # What the real service makes of it is not known; Kelvin by mistake must not pass here.
        raise _refusal(400, "400", f"units {units} is not offered by this stand-in")
    return units


def _merge(body: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The body with a patch in it; null removes a key (RFC 7396)."""
    merged = dict(body)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            inner = merged.get(name)
            merged[name] = _merge(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def _served_key(entry: dict[str, Any]) -> str:
    point = (entry["lat"], entry["lon"], entry["units"], entry["planted"])
    return json.dumps([*point, entry["body"].get("dt")])


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


WORLD = OpenWeatherWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "OPENWEATHER_BASE_URL": url,
        "OPENWEATHER_API_KEY": DEFAULT_KEY,
        "OPENWEATHER_LOCATIONS": (
            "Manila:14.5995:120.9842;Baguio:16.4023:120.596;Tromsø:69.6489:18.9551;At sea:15.5:128"
        ),
    }
