"""The OpenWeather stand-in: `/data/2.5/weather` with its refusals, control and truth.

Facts come from the provider's documentation and from replies that others published: `cod` is a
number in key and quota errors and a string in request errors. The API cannot be asked again for
what it once said, so the truth is what was served, and it is stored with the recipe. Patches
planted into bodies are for one test and are forgotten on restart.
"""

import json
from collections import defaultdict, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.sources.faults import Response
from sandbox.sources.memory import Clock, recall, refuse_unknown, store, texts, whole
from sandbox.sources.openweather_generator import INTERVAL_SECONDS, observe, observed_at
from sandbox.sources.server import ControlError, Request

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


class Refusal(Exception):
    """An error body's HTTP status, `cod` and message."""

    def __init__(self, status: int, cod: int | str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.cod = cod


@dataclass
class Recipe:
    """What a world is a function of, its service's settings, and every body it ever served."""

    seed: int = 1
    keys: list[str] = field(default_factory=lambda: [DEFAULT_KEY])
    calls_per_minute: int | None = None
    clock: Clock = field(default_factory=Clock)
    stages: int = 0
    served: list[dict[str, Any]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The recipe as JSON has it; the bodies are not copied, there may be thousands."""
        return {**vars(self), "clock": asdict(self.clock)}


class OpenWeatherWorld:
    """A world by its name: from its stored recipe, or new."""

    def __init__(self, name: str, *, state_dir: Path) -> None:
        self._path = state_dir / f"{name}.openweather.json"
        self._recipe = Recipe(**(recall(self._path) or {}))
        self._served_keys = {_served_key(entry) for entry in self._recipe.served}
        self._patches: dict[tuple[float, float], dict[str, Any]] = {}
        self._calls_ms: dict[str, deque[int]] = defaultdict(deque)
        self._store()

    def now_ms(self) -> int:
        """The world's clock."""
        return self._recipe.clock.now_ms()

    def answer(self, request: Request) -> Response:
        """The current weather at a point, or the real service's refusal."""
        try:
            if request.path != PATH or request.method != "GET":
                raise Refusal(404, "404", "Internal error")
            params = request.params
            self._admit(params.get("appid", ""))
            lat, lon = _point(params)
            units = _units(params)
        except Refusal as refusal:
            body: dict[str, Any] = {"cod": refusal.cod, "message": str(refusal)}
            return Response(refusal.status, _encode(body), HEADERS)
        body = self._observe(lat, lon, units, params.get("lang", "en"))
        if request.reaches_client:
            self._remember(lat, lon, units, body)
        return Response(200, _encode(body), HEADERS)

    def truth(self) -> dict[str, Any]:
        """Every body that reached a client, once for each point, units and `dt`, oldest first."""
        return {"served": self._recipe.served}

    def state(self) -> dict[str, Any]:
        """The recipe, with the number of bodies served instead of the bodies."""
        return {
            **self._recipe.document(),
            "served": len(self._recipe.served),
            "now_ms": self.now_ms(),
            "planted": len(self._patches),
        }

    def control(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Do `world`, `settings`, `advance`, `clock` or `plant`. Raises ControlError."""
        match action:
            case "world":
                refuse_unknown(payload, {"seed", "keys", "calls_per_minute"})
                recipe = Recipe(seed=whole(payload, "seed", 1))
                _set(recipe, payload)
                self._recipe = recipe
                self._served_keys.clear()
                self._patches.clear()
                self._calls_ms.clear()
            case "settings":
                refuse_unknown(payload, {"keys", "calls_per_minute"})
                _set(self._recipe, payload)
            case "advance":
                return self._advance()
            case "clock":
                self._recipe.clock.set(payload)
            case "plant":
                return self._plant(payload)
            case _:
                raise ControlError(404, f"no control action {action!r}")
        self._store()
        return self.state()

    def _admit(self, key: str) -> None:
        """Count a call of an accepted key against its limit. Raises Refusal."""
        if key not in self._recipe.keys:
            raise Refusal(401, 401, INVALID_KEY)
        now_ms, calls_ms = self.now_ms(), self._calls_ms[key]
        # A clock that was set back leaves calls in the future; they are no longer of this minute.
        while calls_ms and not 0 <= now_ms - calls_ms[0] < MINUTE_MS:
            calls_ms.popleft()
        limit = self._recipe.calls_per_minute
        if limit is not None and len(calls_ms) >= limit:
            raise Refusal(429, 429, TOO_MANY_CALLS)
        calls_ms.append(now_ms)

    def _observe(self, lat: float, lon: float, units: str, lang: str) -> dict[str, Any]:
        seed = self._recipe.seed
        dt = observed_at(seed, lat, lon, self.now_ms() // 1000)
        body = observe(seed, lat, lon, dt, units, lang)
        return _merge(body, self._patches.get((lat, lon), {}))

    def _remember(self, lat: float, lon: float, units: str, body: dict[str, Any]) -> None:
        entry = {
            "lat": lat,
            "lon": lon,
            "units": units,
            "planted": (lat, lon) in self._patches,
            "body": body,
        }
        if (key := _served_key(entry)) not in self._served_keys:
            self._served_keys.add(key)
            self._recipe.served.append(entry)
            self._store()

    def _advance(self) -> dict[str, Any]:
        """One hour passes; for each point served before, how many observations came since."""
        last_dt: dict[tuple[float, float], int] = {}
        for entry in self._recipe.served:
            if not entry["planted"]:
                point = (entry["lat"], entry["lon"])
                last_dt[point] = max(entry["body"]["dt"], last_dt.get(point, 0))
        self._recipe.clock.move(HOUR_MS)
        self._recipe.stages += 1
        self._store()
        now_s = self.now_ms() // 1000
        new = {
            f"{lat},{lon}": (observed_at(self._recipe.seed, lat, lon, now_s) - dt)
            // INTERVAL_SECONDS
            for (lat, lon), dt in last_dt.items()
        }
        return {
            "stage": self._recipe.stages,
            "moment_ms": self.now_ms(),
            "locations": len(new),
            "new": new,
        }

    def _plant(self, payload: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown(payload, {"lat", "lon", "patch"})
        match payload:
            case {"lat": float() | int() as lat, "lon": float() | int() as lon, "patch": None}:
                self._patches.pop((lat, lon), None)
            case {
                "lat": float() | int() as lat,
                "lon": float() | int() as lon,
                "patch": dict(patch),
            }:
                self._patches[lat, lon] = patch
            case _:
                raise ControlError(400, 'plant takes {"lat": .., "lon": .., "patch": {..} or null}')
        return {"planted": len(self._patches)}

    def _store(self) -> None:
        store(self._path, self._recipe.document())


def _set(recipe: Recipe, payload: dict[str, Any]) -> None:
    recipe.keys = texts(payload, "keys", recipe.keys)
    if payload.get("calls_per_minute", recipe.calls_per_minute) is None:
        recipe.calls_per_minute = None
    else:
        recipe.calls_per_minute = whole(payload, "calls_per_minute", recipe.calls_per_minute or 0)


def _point(params: dict[str, str]) -> tuple[float, float]:
    for name in NOT_OFFERED:
        if name in params:
            raise Refusal(400, "400", f"{name} is not offered by this stand-in")
    if "lat" not in params or "lon" not in params:
        raise Refusal(400, "400", "Nothing to geocode")
    return (
        _degrees(params["lat"], 90, "wrong latitude"),
        _degrees(params["lon"], 180, "wrong longitude"),
    )


def _degrees(text: str, limit: int, refusal: str) -> float:
    try:
        degrees = float(text)
    except ValueError:
        raise Refusal(400, "400", refusal) from None
    if not abs(degrees) <= limit:
        raise Refusal(400, "400", refusal)
    return degrees


def _units(params: dict[str, str]) -> str:
    units = params.get("units", "standard")
    if units not in UNITS:
        # What the real service makes of it is not known; Kelvin by mistake must not pass here.
        raise Refusal(400, "400", f"units {units} is not offered by this stand-in")
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
