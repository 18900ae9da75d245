"""The OpenWeather stand-in through real HTTP: weather, refusals, faults, truth and memory."""

import json
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.client import SHARED_SAMPLES, StandInWorld, stand_in

SAMPLES = SHARED_SAMPLES / "openweather"
WEATHER = "/data/2.5/weather"
KEY = "sandbox-openweather-key"
NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
MANILA: dict[str, Any] = {"lat": 14.5995, "lon": 120.9842}
BAGUIO: dict[str, Any] = {"lat": 16.4023, "lon": 120.596}
TROMSO: dict[str, Any] = {"lat": 69.6489, "lon": 18.9551}
SEA: dict[str, Any] = {"lat": 15.5, "lon": 128}
INVALID_KEY = {
    "cod": 401,
    "message": "Invalid API key. Please see https://openweathermap.org/faq#error401 for more info.",
}


class World(StandInWorld):
    """One isolated world of a running stand-in."""

    source = "openweather"

    def get(self, path: str = WEATHER, **params: Any) -> httpx.Response:
        return self.http.get(self.url + path, params={"appid": KEY, **params})

    def weather(self, **params: Any) -> dict[str, Any]:
        response = self.get(**params)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def served(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.look("truth")["served"]
        return entries

    def many(self, **params: Any) -> list[dict[str, Any]]:
        """A hundred observations of one point, the clock set on between them."""
        bodies = []
        for step in range(100):
            self.control("clock", {"now_ms": NOW_MS + step * HOUR_MS // 6})
            bodies.append(self.weather(**params))
        return bodies


@pytest.fixture
def world(base: str) -> World:
    """A world whose clock stands still."""
    fresh = World.new(base)
    fresh.control("clock", {"now_ms": NOW_MS})
    return fresh


@pytest.mark.parametrize(
    ("params", "status", "body"),
    [
        ({"appid": "wrong", **MANILA}, 401, INVALID_KEY),
        ({"appid": "", **MANILA}, 401, INVALID_KEY),
        ({}, 400, {"cod": "400", "message": "Nothing to geocode"}),
        ({"lat": 14.6}, 400, {"cod": "400", "message": "Nothing to geocode"}),
        ({"lat": 91, "lon": 0}, 400, {"cod": "400", "message": "wrong latitude"}),
        ({"lat": "nan", "lon": 0}, 400, {"cod": "400", "message": "wrong latitude"}),
        ({"lat": 0, "lon": "east"}, 400, {"cod": "400", "message": "wrong longitude"}),
        ({"lat": 0, "lon": -180.1}, 400, {"cod": "400", "message": "wrong longitude"}),
    ],
)
def test_a_bad_request_is_refused_in_the_services_own_words(
    world: World, params: dict[str, Any], status: int, body: dict[str, Any]
) -> None:
    response = world.get(**params)
    assert (response.status_code, response.json()) == (status, body)
    assert world.served() == []


def test_a_call_without_a_key_and_a_wrong_path_are_refused(world: World) -> None:
    keyless = world.http.get(world.url + WEATHER, params=MANILA)
    assert (keyless.status_code, keyless.json()) == (401, INVALID_KEY)
    lost = world.get("/data/2.5/whether", **MANILA)
    assert (lost.status_code, lost.json()) == (404, {"cod": "404", "message": "Internal error"})


@pytest.mark.parametrize("extra", [{"q": "Manila"}, {"mode": "xml"}, {"units": "kelvin"}])
def test_what_is_not_offered_is_refused_and_not_ignored(
    world: World, extra: dict[str, str]
) -> None:
    response = world.get(**MANILA, **extra)
    assert response.status_code == 400
    assert "not offered by this stand-in" in response.json()["message"]


def test_calls_are_limited_by_minute_and_key_once_a_limit_is_set(world: World) -> None:
    for _ in range(61):
        world.weather(**MANILA)
    world.control("world", {"calls_per_minute": 2, "keys": ["one", "two"]})
    world.control("clock", {"now_ms": NOW_MS})
    assert world.get(**MANILA).status_code == 401
    assert [world.get(**MANILA, appid="one").status_code for _ in range(3)] == [200, 200, 429]
    blocked = world.get(**MANILA, appid="one").json()
    assert blocked["cod"] == 429
    assert blocked["message"].startswith("Your account is temporary blocked due to exceeding")
    assert world.get(**MANILA, appid="two").status_code == 200
    world.control("clock", {"now_ms": NOW_MS + 60_000})
    assert world.get(**MANILA, appid="one").status_code == 200
    world.control("settings", {"calls_per_minute": None})
    assert [world.get(**MANILA, appid="one").status_code for _ in range(3)] == [200] * 3
    assert len(world.served()) == 1  # settings leave the truth as it is


def test_an_observation_stands_for_ten_minutes(world: World) -> None:
    first = world.weather(**MANILA, units="metric")
    assert NOW_MS // 1000 - 600 < first["dt"] <= NOW_MS // 1000
    for moment_s in (first["dt"], first["dt"] + 599):
        world.control("clock", {"now_ms": moment_s * 1000})
        assert world.weather(**MANILA, units="metric") == first
    world.control("clock", {"now_ms": (first["dt"] + 600) * 1000})
    second = world.weather(**MANILA, units="metric")
    assert second["dt"] == first["dt"] + 600
    assert second["main"] != first["main"]
    assert world.weather(**BAGUIO)["dt"] % 600 != second["dt"] % 600


def test_the_date_header_follows_the_clock(world: World) -> None:
    date = parsedate_to_datetime(world.get(**MANILA).headers["Date"])
    assert date.timestamp() == NOW_MS / 1000


def test_units_change_temperatures_and_wind_and_nothing_else(world: World) -> None:
    pairs = 0
    for step in range(40):
        world.control("clock", {"now_ms": NOW_MS + step * HOUR_MS})
        kelvin, metric, imperial = (
            world.weather(**TROMSO, units=units) for units in ("standard", "metric", "imperial")
        )
        assert kelvin == world.weather(**TROMSO)
        for name in ("temp", "feels_like", "temp_min", "temp_max"):
            celsius = kelvin["main"][name] - 273.15
            assert metric["main"][name] == pytest.approx(celsius, abs=0.006)
            assert imperial["main"][name] == pytest.approx(celsius * 9 / 5 + 32, abs=0.006)
        assert metric["wind"] == kelvin["wind"]
        for name in kelvin["wind"].keys() & {"speed", "gust"}:
            mph = kelvin["wind"][name] * 2.236936
            assert imperial["wind"][name] == pytest.approx(mph, abs=0.006)
            pairs += 1
        for body in (kelvin, metric, imperial):
            for name in ("temp", "feels_like", "temp_min", "temp_max"):
                del body["main"][name]
            del body["wind"]
        assert kelvin == metric == imperial
    assert pairs > 40


def test_optional_objects_come_and_go(world: World) -> None:
    manila, tromso = world.many(**MANILA), world.many(**TROMSO)
    for bodies, present in ((manila, ("rain", "visibility")), (tromso, ("snow", "rain"))):
        for name in present:
            assert 0 < sum(name in body for body in bodies) < 100
    assert any(body.keys() >= {"rain", "snow"} for body in tromso)
    for section, name in (("wind", "gust"), ("main", "sea_level"), ("sys", "type")):
        assert 0 < sum(name in body[section] for body in manila) < 100
    assert all(("sea_level" in b["main"]) == ("grnd_level" in b["main"]) for b in manila)
    assert {len(body["weather"]) for body in manila} == {1, 2, 3}
    for section, name in (("main", "temp"), ("wind", "speed"), ("rain", "1h")):
        values = [body[section][name] for body in manila + tromso if section in body]
        assert {type(value) for value in values} == {int, float}


def test_places_have_names_of_all_kinds(world: World) -> None:
    assert world.weather(**MANILA)["name"] == "Manila"
    assert world.weather(**TROMSO)["name"] == "Tromsø"
    assert "Tromsø".encode() in world.get(**TROMSO).content
    unnamed = world.weather(**SEA)
    assert (unnamed["id"], unnamed["name"], unnamed["coord"]["lon"]) == (0, "", 128)
    assert "country" not in unnamed["sys"]
    binan = world.weather(lat=14.3427, lon=121.0807)
    assert (binan["id"], binan["name"]) == (0, "Biñan")
    invented = [world.weather(lat=-50 + step, lon=step / 3) for step in range(20)]
    assert {body["name"] == "" for body in invented} == {True, False}
    assert (world.weather(**BAGUIO)["cod"], world.weather(**MANILA)["cod"]) == ("200", 200)


def test_a_language_translates_the_description_only(world: World) -> None:
    english, spanish = world.weather(**MANILA), world.weather(**MANILA, lang="es")
    assert english["weather"] != spanish["weather"]
    assert {**english, "weather": 0} == {**spanish, "weather": 0}
    assert english["weather"][0]["main"] == spanish["weather"][0]["main"]


def test_truth_is_every_body_that_was_served(world: World) -> None:
    first = world.weather(**MANILA, units="metric")
    world.weather(**MANILA, units="metric")
    imperial = world.weather(**MANILA, units="imperial")
    counts = world.control("advance")
    assert counts["stage"] == counts["locations"] == 1
    assert counts["moment_ms"] == NOW_MS + HOUR_MS
    assert counts["new"] == {"14.5995,120.9842": 6}
    second = world.weather(**MANILA, units="metric")
    assert second["dt"] == first["dt"] + 3600
    expected = [("metric", first), ("imperial", imperial), ("metric", second)]
    assert world.served() == [
        {**MANILA, "units": units, "planted": False, "body": body} for units, body in expected
    ]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "drop"},
        {"kind": "truncate"},
        {"kind": "wrong_length", "n": 5},
        {"kind": "malformed"},
        {"kind": "html"},
        {"kind": "empty"},
        {"kind": "hang", "seconds": 0.05},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_body_that_a_fault_broke_is_not_in_the_truth(world: World, fault: dict[str, Any]) -> None:
    world.control("faults", [{"path": f"lat={MANILA['lat']}", **fault}])
    try:
        with pytest.raises(json.JSONDecodeError):
            world.get(**MANILA).json()
    except httpx.RemoteProtocolError:
        assert fault["kind"] in ("drop", "truncate", "wrong_length", "hang")
    assert world.served() == []
    body = world.weather(**MANILA)
    assert [entry["body"] for entry in world.served()] == [body]


def test_a_slow_body_is_in_the_truth(world: World) -> None:
    world.control("faults", [{"kind": "drip", "seconds": 0.1}])
    assert [world.weather(**MANILA)] == [entry["body"] for entry in world.served()]


def test_a_patch_is_merged_into_the_body_of_its_location(world: World) -> None:
    plain = world.weather(**MANILA)
    patch = {"main": None, "uv": {"index": 3}, "wind": {"deg": "north"}, "dt": str(plain["dt"])}
    assert world.control("plant", {**MANILA, "patch": patch}) == {"planted": 1}
    odd = world.weather(**MANILA)
    assert "main" not in odd and odd["uv"] == {"index": 3}
    assert odd["wind"] == {**plain["wind"], "deg": "north"}
    assert odd["dt"] == str(plain["dt"])
    assert "uv" not in world.weather(**BAGUIO)
    assert [entry["planted"] for entry in world.served()] == [False, True, False]
    assert world.control("advance")["locations"] == 2
    world.control("plant", {**MANILA, "patch": None})
    assert "main" in world.weather(**MANILA)
    assert world.refused("plant", {"lat": 1, "patch": {}})[0] == 400


def test_a_world_is_the_same_after_a_restart(tmp_path: Path) -> None:
    asked = [MANILA, BAGUIO, SEA, {"lat": 1.25, "lon": -60}]
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        world.control("world", {"seed": 7, "calls_per_minute": 50})
        world.control("clock", {"now_ms": NOW_MS})
        world.control("advance")
        bodies = [world.weather(**point) for point in asked]
        state, truth = world.look("control/state"), world.look("truth")
        other = World(base, "other")
        other.control("clock", {"now_ms": NOW_MS + HOUR_MS})
        assert [other.weather(**point) for point in asked] != bodies
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        assert {**world.look("control/state"), "queries": 4} == state
        assert [world.weather(**point) for point in asked] == bodies
        assert world.look("truth") == truth
        assert state["now_ms"] == NOW_MS + HOUR_MS and state["served"] == len(truth["served"]) == 4


def test_a_running_clock_keeps_its_offset(world: World) -> None:
    world.control("clock", {"offset_ms": -HOUR_MS})
    before = world.look("control/state")["now_ms"]
    moved = world.control("advance")["moment_ms"]
    assert 0 <= moved - before - HOUR_MS < 60_000


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is absent: no real payload")
def test_every_field_of_a_real_payload_is_served_with_its_type(world: World) -> None:
    bodies = world.many(**MANILA, units="metric")
    samples = [json.loads(path.read_text(encoding="utf-8")) for path in SAMPLES.glob("*.json")]
    ours = set().union(*map(shape, bodies))
    theirs = set().union(*map(shape, samples))
    assert len(samples) == 2 and len(theirs) > 25
    assert theirs <= ours
    rainy = {("rain", "object"), ("rain.1h", "number")}
    assert ours - theirs == rainy
    always = set.intersection(*map(shape, bodies))
    assert always <= set.intersection(*map(shape, samples))
    order = list(dict.fromkeys(name for sample in samples for name in sample))
    assert [name for name in bodies[0] if name in order] == [n for n in order if n in bodies[0]]


def shape(value: Any, path: str = "") -> set[tuple[str, str]]:
    """Every path in a document with its type; a number is a number, whole or not."""
    match value:
        case dict():
            inner = {pair for k, v in value.items() for pair in shape(v, f"{path}.{k}".strip("."))}
            return inner | {(path, "object")}
        case list():
            return {(path, "list")}.union(*(shape(entry, f"{path}[]") for entry in value))
        case bool() | None:
            return {(path, repr(value))}
        case int() | float():
            return {(path, "number")}
    return {(path, type(value).__name__)}
