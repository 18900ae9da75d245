"""The OpenWeather mapping, as pure functions; and how locations are written in the environment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import SourceError
from core.rows import to_chunk
from core.values import epoch_seconds
from sources.openweather.mapping import (
    NESTED,
    PLAIN,
    TABLE,
    Query,
    classify_response,
    digest,
    reply_of,
    spacing_seconds,
    to_record,
)
from sources.openweather.settings import Location, OpenWeather, parse_locations
from testing.kits.openweather import flat

MANILA = Query("Manila", 14.5995, 120.9842, "metric")
ASKED = {"location": "Manila", "latitude": 14.5995, "longitude": 120.9842, "units": "metric"}
BODY: dict[str, Any] = {
    "coord": {"lon": 121, "lat": 14.6},
    "weather": [
        {"id": 501, "main": "Rain", "description": "lluvia moderada, é", "icon": "10d"},
        {"id": 701, "main": "Mist", "description": "mist", "icon": "50d"},
    ],
    "base": "stations",
    "main": {
        "temp": 27,
        "feels_like": 30.12,
        "temp_min": 26.5,
        "temp_max": 28.5,
        "pressure": 1008.5,
        "humidity": 89,
        "sea_level": 1009,
        "grnd_level": 1003,
    },
    "visibility": 4828,
    "wind": {"speed": 3.6, "deg": 240, "gust": 7.2},
    "clouds": {"all": 75},
    "rain": {"1h": 2.5, "3h": 4},
    "snow": {"1h": 0.5, "3h": 1.5},
    "dt": 1633046650,
    "sys": {
        "type": 2,
        "id": 2009636,
        "country": "PH",
        "sunrise": 1633038103,
        "sunset": 1633081545,
    },
    "timezone": 28800,
    "id": 1701668,
    "name": "Manila",
    "cod": 200,
}
# Every column with the value that BODY must become.
ROW: dict[str, Any] = {
    **ASKED,
    **flat(BODY),
    "dt": datetime(2021, 10, 1, 0, 4, 10, tzinfo=UTC),
    "sys_sunrise": datetime(2021, 9, 30, 21, 41, 43, tzinfo=UTC),
    "sys_sunset": datetime(2021, 10, 1, 9, 45, 45, tzinfo=UTC),
}
INNER = {
    name: [one.removeprefix(f"{name}_") for one in TABLE.column_names if one.startswith(f"{name}_")]
    for name in NESTED
}
PATHS = [(name, None) for name in PLAIN] + [
    (name, inner) for name, inners in INNER.items() for inner in inners
]


def chunk_of(body: dict[str, Any]) -> Any:
    return to_chunk([to_record(body, MANILA)], TABLE, 0)


def row_of(body: dict[str, Any]) -> dict[str, Any]:
    return dict(chunk_of(body).rows.to_pylist()[0])


def changed(path: tuple[str, str | None], value: object) -> dict[str, Any]:
    """BODY with another value at a path; Ellipsis removes the key."""
    name, inner = path
    body = dict(BODY)
    holder = body if inner is None else dict(BODY[name])
    if inner is not None:
        body[name] = holder
    if value is ...:
        holder.pop(inner or name)
    else:
        holder[inner or name] = value
    return body


def column_of(path: tuple[str, str | None]) -> str:
    return "_".join(part for part in path if part)


@pytest.mark.parametrize("name", TABLE.column_names)
def test_every_field_is_converted(name: str) -> None:
    row = row_of(BODY)
    given = json.loads(row[name]) if name == "weather" else row[name]
    assert given == ROW[name]
    assert row["_extra"] is None
    assert row["_is_deleted"] is False


@pytest.mark.parametrize("value", [None, ...], ids=["null", "absent"])
@pytest.mark.parametrize("path", PATHS, ids=column_of)
def test_every_field_but_dt_may_be_missing(path: tuple[str, str | None], value: object) -> None:
    chunk = chunk_of(changed(path, value))
    if column_of(path) == "dt":
        assert [reject.reason for reject in chunk.rejects] == ["row with blank dt"]
        return
    row = chunk.rows.to_pylist()[0]
    assert (row[column_of(path)], row["_extra"], chunk.unparsed) == (None, None, 0)


@pytest.mark.parametrize("value", [None, ...], ids=["null", "absent"])
@pytest.mark.parametrize("name", NESTED)
def test_every_object_may_be_missing(name: str, value: object) -> None:
    row = row_of(changed((name, None), value))
    assert {row[f"{name}_{inner}"] for inner in INNER[name]} == {None}
    assert row["_extra"] is None


@pytest.mark.parametrize("path", PATHS, ids=column_of)
def test_every_field_of_another_type_is_kept_or_rejected(path: tuple[str, str | None]) -> None:
    body = changed(path, {"?": 1})
    chunk = chunk_of(body)
    if column_of(path) == "dt":
        assert [reject.reason for reject in chunk.rejects] == ["row with unusable dt"]
        assert json.loads(chunk.rejects[0].payload) == body
        return
    row, name = chunk.rows.to_pylist()[0], column_of(path)
    assert (row[name], row["_extra"], chunk.unparsed) == (None, f'{{"{name}":{{"?":1}}}}', 1)


@pytest.mark.parametrize("dt", ["1633046650", 10**12, -(10**12), True, 1.23456789, []])
def test_a_row_without_a_usable_dt_is_rejected_whole(dt: object) -> None:
    chunk = chunk_of({**BODY, "dt": dt})
    assert [reject.reason for reject in chunk.rejects] == ["row with unusable dt"]
    assert json.loads(chunk.rejects[0].payload) == {**BODY, "dt": dt}


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ({**BODY, "uv": {"index": 3}}, {"uv": {"index": 3}}),
        (changed(("main", "dew_point"), 24.1), {"main.dew_point": 24.1}),
        (changed(("rain", "6h"), 9), {"rain.6h": 9}),
        ({**BODY, "main": [1]}, {"main": [1]}),
        ({**BODY, "sys": 0}, {"sys": 0}),
        (
            {**BODY, "location": "Cebu", "main_temp": 1},
            {"body.location": "Cebu", "body.main_temp": 1},
        ),
        ({**BODY, "_batch_id": "x", "surprise": None}, {"_batch_id": "x", "surprise": None}),
        (changed(("main", "temp"), 10**30), {"main_temp": 10**30}),
    ],
)
def test_what_has_no_column_is_kept(body: dict[str, Any], extra: dict[str, Any]) -> None:
    row = row_of(body)
    assert json.loads(row["_extra"]) == extra
    assert {name: row[name] for name in ASKED} == ASKED


def test_every_condition_is_kept_in_its_order() -> None:
    assert json.loads(row_of(BODY)["weather"]) == BODY["weather"]
    assert row_of({**BODY, "weather": []})["weather"] == "[]"


@pytest.mark.parametrize(("cod", "kept"), [(200, 200), ("200", 200), (200.0, 200)])
def test_cod_is_a_number_or_its_digits(cod: object, kept: int) -> None:
    assert row_of({**BODY, "cod": cod})["cod"] == kept


@pytest.mark.parametrize("cod", ["", "ok", "-1", "²", "9" * 5000, [200]])
def test_any_other_cod_is_odd_and_does_not_decide(cod: object) -> None:
    row = row_of({**BODY, "cod": cod})
    assert (row["cod"], json.loads(row["_extra"])) == (None, {"cod": cod})
    assert reply_of({**BODY, "cod": cod}, MANILA)[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (BODY, 200, "no message"),
        ({}, 200, "no message"),
        ({**BODY, "cod": "200"}, 200, "no message"),
        ({"cod": "404", "message": "city not found"}, 404, "city not found"),
        ({"cod": 401, "message": "Invalid API key"}, 401, "Invalid API key"),
        ({"cod": 500}, 500, "no message"),
    ],
)
def test_an_answer_says_whether_it_is_a_refusal(body: object, status: int, message: str) -> None:
    assert reply_of(body, MANILA)[:2] == (status, message)


@pytest.mark.parametrize("body", [None, [], "x", 3, [BODY]])
def test_an_answer_that_is_no_object_is_an_error(body: object) -> None:
    with pytest.raises(SourceError, match="openweather, Manila: the answer is no JSON object"):
        reply_of(body, MANILA)


def test_a_blocked_account_is_final_and_nothing_else_is() -> None:
    blocked = '{"cod":429,"message":"Your account is temporary blocked due to exceeding of"}'
    assert classify_response(429, blocked) == "final"
    assert classify_response(429, '{"cod":429,"message":"Too many"}') is None
    assert classify_response(200, f'{{"name": {blocked}}}') is None


def test_units_are_always_asked_for_and_numbers_are_plain() -> None:
    query = Query("Null Island", -0.00001, 1e-7, "standard")
    assert query.parameters("a-key") == {
        "lat": "-0.00001",
        "lon": "0.0000001",
        "units": "standard",
        "appid": "a-key",
    }
    assert MANILA.parameters("k")["lat"] == "14.5995"


def test_an_answer_is_known_by_what_was_asked_and_said() -> None:
    known = digest(BODY, MANILA)
    assert digest(dict(reversed(BODY.items())), MANILA) == known
    assert digest({**BODY, "dt": BODY["dt"] + 1}, MANILA) != known
    assert digest(BODY, Query("Manila", 14.5995, 120.9842, "imperial")) != known


def test_calls_are_spaced_only_beyond_the_plan_s_minute() -> None:
    assert [spacing_seconds(number) for number in (1, 60, 61, 500)] == [0, 0, 1, 1]


def test_epoch_seconds_are_exact_to_the_microsecond() -> None:
    assert epoch_seconds(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert epoch_seconds(-1.5) == datetime(1969, 12, 31, 23, 59, 58, 500000, UTC)
    assert epoch_seconds(1633046650.000001).microsecond == 1
    for value in (True, "1", None, float("nan"), float("inf"), 1e-7, 253402300800):
        with pytest.raises(ValueError, match=r"not a number of seconds|finer|beyond"):
            epoch_seconds(value)


def test_the_real_payloads_map_without_a_loss(samples: Path) -> None:
    paths = sorted((samples / "openweather").glob("*.json"))
    assert len(paths) == 2
    for path in paths:
        body = json.loads(path.read_text(encoding="utf-8"))
        chunk = chunk_of(body)
        assert (chunk.rejects, chunk.unparsed) == ([], 0)
        row = chunk.rows.to_pylist()[0]
        assert row["_extra"] is None
        row["weather"] = json.loads(row["weather"])
        kept = {n: v for n, v in row.items() if v is not None and not n.startswith("_")}
        assert kept == {**ASKED, **flat(body)}


def test_locations_are_read_from_the_environment_s_form() -> None:
    assert parse_locations(" Manila : 14.5995 : 120.9842 ;Tromsø:69.6489:18.9551; ") == [
        Location(name="Manila", latitude=14.5995, longitude=120.9842),
        Location(name="Tromsø", latitude=69.6489, longitude=18.9551),
    ]
    assert parse_locations("home: roof:-1:2")[0].name == "home: roof"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no location is given \(name:lat:lon"),
        (" ; ", "no location is given"),
        ("Manila", r"'Manila' is not name:lat:lon"),
        ("A:1:2;Manila:14.6", r"'Manila:14.6' is not name:lat:lon"),
        ("A:1:2;:1:2", "':1:2': name: "),
        ("A:north:2", "'A:north:2': latitude: "),
        ("A:91:2", "'A:91:2': latitude: .* less than or equal to 90"),
        ("A:1:-180.5", "'A:1:-180.5': longitude: "),
        ("A:nan:2", "'A:nan:2': latitude: "),
        ("A:1:2;B:1:2;A:3:4", "'A:3:4': the name 'A' is given twice"),
    ],
)
def test_a_wrong_location_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"OPENWEATHER_LOCATIONS: {said}"):
        parse_locations(text)


def test_the_block_keeps_a_path_prefix_and_hides_its_key() -> None:
    here = parse_locations("A:1:2")
    block = OpenWeather.model_validate(
        {"base_url": "http://h/prefix/", "api_key": "s3cret", "locations": here}
    )
    assert block.url("weather") == "http://h/prefix/data/2.5/weather"
    assert "s3cret" not in repr(block) + str(block)
    assert block.units == "metric"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"locations": []}, "locations"),
        ({"locations": parse_locations("A:1:2") * 2}, "two locations are called A"),
        ({"api_key": " "}, "the key is empty"),
        ({"units": "kelvin"}, "units"),
    ],
)
def test_a_block_that_cannot_work_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpenWeather.model_validate(
            {"api_key": "k", "locations": parse_locations("A:1:2"), **changed}
        )
