"""`_extra` and payloads are JSON that every parser takes, whatever a source or a table sent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest

from core.rows import Chunk, Record, to_chunk
from core.values import as_json, parse_json
from migration import history
from migration.plan import Import
from sources.openweather import mapping as openweather
from sources.ph_news import mapping as ph_news
from sources.usgs_earthquake import mapping as usgs_earthquake

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUERY = openweather.Query("here", 1.0, 2.0, "metric")
# Bodies as they come: numbers that no FLOAT64 holds, half of a surrogate pair, any text.
LEAVES = [
    *("null", "true", "0", "-1.5", "1e999", "-1e999", "1" * 400, "1" * 5000, "1e-999", '""'),
    *(
        r'"\ud800"',
        r'"\ud83d\ude00"',
        r'"\udc00 \u0000"',
        '"Ōta 🚕"',
        '"NaN"',
        "9" * 320 + ".5",
    ),
]
OLD = [
    None,
    math.nan,
    math.inf,
    -math.inf,
    1.5,
    Decimal("NaN"),
    Decimal(1),
    "NaN",
    NOON,
    [math.nan],
]


def value(rng: Random, depth: int) -> str:
    """The text of a JSON value."""
    kind = rng.random()
    if depth and kind < 0.2:
        return f"[{','.join(value(rng, depth - 1) for _ in range(rng.randrange(3)))}]"
    if depth and kind < 0.5:
        names = ('"mag"', '"main"', '"x"', r'"\ud800"', '"1e999"')
        fields = (f"{rng.choice(names)}:{value(rng, depth - 1)}" for _ in range(rng.randrange(4)))
        return f"{{{','.join(fields)}}}"
    return rng.choice(LEAVES)


def bodies(rng: Random, names: tuple[str, ...], given: str) -> Iterator[Any]:
    """Objects with a value for some of the names and of others, beside what is `given`."""
    for _ in range(150):
        chosen = rng.sample([*names, "surprise"], k=min(6, len(names)))
        fields = [f'"{name}":{value(rng, 2)}' for name in chosen]
        yield parse_json(f"{{{','.join([*fields, given])}}}".encode())


def texts(chunk: Chunk) -> list[str]:
    extras = [text for text in chunk.rows["_extra"].to_pylist() if text is not None]
    return extras + [reject.payload for reject in chunk.rejects]


def no_constant(name: str) -> None:
    raise ValueError(name)


def assert_strict(found: list[str]) -> None:
    assert len(found) > 50
    for text in found:
        assert text.isascii()
        assert msgspec.json.decode(text) == json.loads(text, parse_constant=no_constant)


@pytest.mark.parametrize("seed", range(3))
def test_what_does_not_fit_is_strict_json_in_every_source(seed: int) -> None:
    rng = Random(seed)
    properties = tuple(usgs_earthquake.TABLE.column_names)
    quakes = (
        usgs_earthquake.to_record({"id": rng.choice(["", "a"]), "properties": body}, "live")
        for body in bodies(rng, properties, '"updated":1')
    )
    assert_strict(texts(to_chunk(quakes, usgs_earthquake.TABLE, 0)))
    weather = (
        openweather.to_record(body, QUERY)
        for body in bodies(rng, (*openweather.PLAIN, *openweather.NESTED), '"cod":200')
    )
    assert_strict(texts(to_chunk(weather, openweather.TABLE, 0)))
    articles = (
        ph_news.to_record(body, NOON) for body in bodies(rng, ph_news.SERVED, '"source":"s"')
    )
    assert_strict(texts(to_chunk(articles, ph_news.TABLE, 0)))


def test_what_an_old_table_has_is_strict_json() -> None:
    rng = Random(1)
    names = ("location", "dt", "units", "main_temp", "sys_id", "surprise", "more")
    resolved = {name: name for name in names[:5]}
    rows = [{name: rng.choice(OLD) for name in names} for _ in range(150)]
    wanted = Import(table="old")
    records: list[Record] = list(history.to_records("weather", wanted, resolved, rows, NOON))
    assert_strict(texts(to_chunk(records, openweather.TABLE, 0)))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a":1e999}', '{"a":"1e999"}'),
        (b'{"a":-1e999}', '{"a":"-1e999"}'),
        (b'{"a":1e300}', '{"a":1e+300}'),
        (b'{"a":1E+400,"b":1.5}', '{"a":"1E+400","b":1.5}'),
        (b'{"a":"\\ud83d\\ude00"}', '{"a":"\\ud83d\\ude00"}'),
        (b'{"a":"\\ud800"}', '{"a":"\\\\ud800"}'),
        (b"9" * 400, f'"{"9" * 400}"'),
    ],
)
def test_a_number_that_no_float_holds_keeps_its_digits(body: bytes, text: str) -> None:
    assert as_json(parse_json(body)) == text


def test_what_is_no_number_is_a_text() -> None:
    assert as_json([math.nan, math.inf, -math.inf]) == '["NaN","Infinity","-Infinity"]'


@pytest.mark.parametrize("body", [b"NaN", b'{"a":Infinity}', b"", b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="a body that is not JSON"):
        parse_json(body)
