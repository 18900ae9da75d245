"""OpenWeather in a platform."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from runs.extract import run as run_flow
from runs.outcome import Outcome
from sources.openweather.mapping import TABLE
from sources.openweather.settings import OpenWeather, parse_locations
from testing.platform import TestPlatform

TABLE = TABLE
KEY = "sandbox-openweather-key"
LOCATIONS = parse_locations(
    "Manila:14.5995:120.9842;Baguio:16.4023:120.596;Tromsø:69.6489:18.9551;At sea:15.5:128"
)
TIMES = ("dt", "sys_sunrise", "sys_sunset")
# Any moment: the weather of a test is a function of it, so it may not be the hour of the run.
NOW_MS = 1_772_337_600_000


def start(platform: TestPlatform, size: int, **settings: Any) -> None:
    """A world whose clock stands still, so that only `advance` makes news; `size` says nothing."""
    platform.control("world", {"seed": 7, **settings})
    platform.control("clock", {"now_ms": NOW_MS})


def api(platform: TestPlatform, **changed: Any) -> OpenWeather:
    """The block of a platform's world."""
    return OpenWeather.model_validate(
        {
            "base_url": platform.sources_url,
            "api_key": KEY,
            "locations": LOCATIONS,
            "units": "metric",
            **changed,
        }
    )


def run(platform: TestPlatform, **changed: Any) -> Outcome:
    return run_flow(platform.stores, "openweather", api(platform, **changed))


def flat(body: dict[str, Any]) -> dict[str, Any]:
    """A body by the names of columns: nothing of the mapping under test is used."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        if isinstance(value, dict):
            found |= {f"{name}_{inner}": inner_value for inner, inner_value in value.items()}
        else:
            found[name] = value
    for name in TIMES:
        if name in found:
            found[name] = datetime.fromtimestamp(found[name], UTC)
    found["cod"] = int(found["cod"])
    return found


def assert_equals_truth(platform: TestPlatform) -> None:
    """Every body that was served is a row, every field of it in its column, and nothing else is."""
    names = {(at.latitude, at.longitude): at.name for at in LOCATIONS}
    expected = {}
    for entry in platform.look("truth")["served"]:
        point = (entry["lat"], entry["lon"])
        body = flat(entry["body"])
        asked = {"latitude": point[0], "longitude": point[1], "units": entry["units"]}
        expected[names[point], body["dt"]] = {"location": names[point], **asked, **body}
    assert expected
    rows = platform.rows()
    assert rows.keys() == expected.keys()
    for key, wanted in expected.items():
        row = dict(rows[key])
        row["weather"] = json.loads(row["weather"])
        assert row["_extra"] is None
        assert row["_is_deleted"] is False
        got = {
            name: value
            for name, value in row.items()
            if value is not None and not name.startswith("_")
        }
        assert got == wanted
