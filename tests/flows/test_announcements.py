"""What is announced of fields: one that is gone, once; none that is null, empty or optional."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.rows import Fields, Record, to_chunk
from core.schema import Table
from sources.nyc_fhv import mapping as nyc_fhv
from sources.openweather import mapping as openweather
from sources.openweather.settings import Location
from sources.usgs_earthquake import mapping as usgs_earthquake
from testing.kits.openweather import LOCATIONS
from testing.matrix import crossed, or_slow
from testing.platform import KITS, TestPlatform
from tests.flows.test_bad_input import feature
from tests.sources.test_usgs_earthquake import FEATURE


@pytest.mark.parametrize("kit", or_slow(lambda kit: kit != "nyc_fhv", crossed(KITS)))
def test_a_normal_reply_of_a_stand_in_announces_nothing(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=60)
    for _ in range(2):
        outcome = platform.run()
        assert outcome.total("extracted") > 0
        assert outcome.announced == ()
        platform.control("advance")


@pytest.mark.parametrize(
    "place",
    or_slow(lambda place: place == LOCATIONS[0], crossed(LOCATIONS)),
    ids=lambda place: place.name,
)
def test_the_weather_of_a_single_place_announces_nothing(
    place: Location, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit="openweather")
    for _ in range(3):
        outcome = platform.run(locations=(place,))
        assert (outcome.total("inserted"), outcome.announced) == (1, ())
        platform.control("advance")


def changes(records: list[Record], table: Table) -> tuple[tuple[str, str], ...]:
    chunk = to_chunk(records, table, 0)
    assert chunk.rows.num_rows == len(records) > 0
    return chunk.fields.changes(table)


def test_the_samples_announce_nothing(samples: Path) -> None:
    query = openweather.Query("here", 1.0, 2.0, "metric")
    weather = sorted((samples / "openweather").glob("*.json"))
    assert len(weather) == 2
    for path in weather:
        # Each is all that one run may see.
        record = openweather.to_record(json.loads(path.read_text()), query)
        assert changes([record], openweather.TABLE) == ()
    (path,) = (samples / "usgs").glob("*.geojson")
    for one in json.loads(path.read_text())["features"]:
        record = usgs_earthquake.to_record(one, "live")
        assert changes([record], usgs_earthquake.TABLE) == ()
    (path,) = (samples / "soda").glob("*.yml")
    found = re.search(r"x-soda2-fields: '(.*)'", path.read_text())
    assert found
    names = set(json.loads(found[1]))
    fields = Fields(names - nyc_fhv.TYPES.keys(), set(), names, nyc_fhv.TYPES.keys() - names)
    assert fields.changes(nyc_fhv.TABLE) == ()


@pytest.mark.slow
def test_weather_without_a_required_field_announces_it_once(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="openweather")
    platform.run()
    for place in LOCATIONS:
        patch = {"main": {"humidity": None}, "wind": {"gust": None}, "sys": {"id": None}}
        platform.control("plant", {"lat": place.latitude, "lon": place.longitude, "patch": patch})
    announced = []
    for _ in range(2):
        platform.control("advance")
        announced.append(platform.run().announced)
    assert announced == [("missing field main_humidity",), ()]


def test_an_earthquake_without_a_required_field_announces_it_once(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(size=0)
    announced = []
    for number in range(2):
        updated = int(time.time() * 1000) + number
        # Null and empty are values; a field that is left out is none.
        properties = {**FEATURE["properties"], "updated": updated, "place": None, "alert": ""}
        del properties["rms"]
        platform.control(
            "plant", {"features": [{**FEATURE, "properties": properties}], "instead": True}
        )
        outcome = platform.run()
        assert outcome.total("extracted") == 1
        announced.append(outcome.announced)
    assert announced == [("missing field rms",), ()]


def test_an_earthquake_whose_place_is_null_announces_nothing() -> None:
    for geometry in (None, {"type": "Point", "coordinates": None}):
        record = usgs_earthquake.to_record({**FEATURE, "geometry": geometry}, "live")
        assert changes([record], usgs_earthquake.TABLE) == ()
    record = usgs_earthquake.to_record(feature(), "live")
    assert ("mag", "missing") in changes([record], usgs_earthquake.TABLE)
