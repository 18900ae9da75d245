"""Old rows as ours: types, zones, names, and what cannot be made of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.plan import Import, InvalidPlan
from core.rows import Record, to_page
from sources import finance, openweather, ph_news
from sources.history import (
    KINDS,
    Kind,
    epoch,
    imports,
    moment,
    read_plan,
    resolve,
    serial,
    to_records,
    typed,
)

STAMP = datetime(2026, 3, 1, tzinfo=UTC)
MANILA = ZoneInfo("Asia/Manila")


def records(kind: Kind, wanted: Import, *rows: dict[str, Any]) -> list[Record]:
    resolved = resolve(kind, wanted, rows[0])
    return list(to_records(kind, wanted, resolved, rows, STAMP))


def test_an_article_has_the_key_of_the_live_one_and_keeps_what_has_no_column() -> None:
    served = {"url": "https://a.example/1", "source": "abc", "category": "general"}
    wanted = Import(
        "old.articles",
        columns={"title": "headline", "_first_seen_at": "loaded_at"},
        values={"country": "ph", "category": "general"},
    )
    loaded_at = datetime(2025, 6, 1, 4, 5, tzinfo=UTC)
    (record,) = records(
        "articles",
        wanted,
        {
            "URL": served["url"],
            "source": "abc",
            "headline": "Rain &amp; wind",
            "published_at": datetime(2025, 6, 1, 3, 2, 1, tzinfo=UTC),
            "loaded_at": loaded_at,
            "sentiment": Decimal("0.25"),
            "empty": None,
        },
    )
    page = to_page([record], ph_news.TABLE, 0)
    (row,) = page.rows.to_pylist()
    assert row["article_id"] == ph_news.article_id(served)
    assert (row["title"], row["title_unescaped"]) == ("Rain &amp; wind", "Rain & wind")
    assert (row["country"], row["category"], row["author"]) == ("ph", "general", None)
    assert row["published_at"] == datetime(2025, 6, 1, 3, 2, 1, tzinfo=UTC)
    assert row["_first_seen_at"] == row["_last_seen_at"] == loaded_at
    assert row["_extra"] == '{"sentiment":"0.25"}'


def test_a_reading_of_the_weather_is_converted_without_guessing() -> None:
    wanted = Import(
        "old.readings",
        columns={"dt": "unix", "location": "city", "main_temp": "temp", "weather.main": "sky"},
        values={"units": "metric"},
    )
    rows: list[dict[str, Any]] = [
        {"unix": 1700000000, "city": "Manila", "temp": "31.5", "sky": "Rain"},
        {"unix": "1700003600", "city": "Manila", "temp": "warm", "sky": None},
        {"unix": None, "city": "Manila", "temp": 30.0, "sky": None},
    ]
    page = to_page(records("weather", wanted, *rows), openweather.TABLE, 0)
    first, second = page.rows.to_pylist()
    assert first["dt"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (first["main_temp"], first["weather"]) == (31.5, '[{"main":"Rain"}]')
    assert (second["main_temp"], second["_extra"]) == (None, '{"main_temp":"warm"}')
    assert page.odd == 1
    assert [reject.reason for reject in page.rejects] == ["row with blank dt"]


def test_ledger_entries_become_cells_of_the_sheet() -> None:
    wanted = Import("old.ledger", columns={"amount": "cost"}, values={"currency": "PHP"})
    base = {"id": 7, "date": date(2026, 1, 2), "type": "FOOD", "to": "Shop", "cost": "12.50"}
    made = records(
        "ledger",
        wanted,
        {**base, "time": time(6, 0), "created_at": datetime(2026, 1, 1, 16, 0, tzinfo=UTC)},
        {**base, "id": 8, "date": "2026-01-03", "time": "18:00:00", "created_at": None},
        {**base, "id": 9, "date": "3 Jan", "time": None, "created_at": None},
        {**base, "id": 10, "time": None, "created_at": None},
        {**base, "id": 10, "time": None, "created_at": None},
    )
    page = to_page(made, finance.TABLE, 0)
    first, second = page.rows.to_pylist()
    assert (first["id"], first["date"], first["time"]) == ("7", 46024.0, 0.25)
    assert (first["amount"], first["currency"]) == (Decimal("12.5"), "PHP")
    # Midnight of 2 January in Manila.
    assert first["created_at"] == 46024.0
    assert (second["date"], second["time"]) == (46025.0, 0.75)
    assert [reject.reason for reject in page.rejects] == [
        "impossible date",
        "duplicate id",
        "duplicate id",
    ]


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (datetime(2026, 1, 1, 8), datetime(2026, 1, 1, tzinfo=UTC)),  # noqa: DTZ001
        ("2026-01-01 08:00:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01 00:00:00 UTC", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (date(2026, 1, 2), datetime(2026, 1, 1, 16, tzinfo=UTC)),
        (1.5, datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("yesterday", None),
        (True, None),
        (10**30, None),
        (None, None),
    ],
)
def test_a_moment_is_read_in_the_plans_zone(value: object, at: datetime | None) -> None:
    assert moment(value, MANILA) == at


def test_conversions_are_exact_or_leave_the_value_alone() -> None:
    at = datetime(2026, 1, 1, 0, 0, 0, 123457, tzinfo=UTC)
    seconds = Decimal(repr(epoch(at)))
    assert seconds * 10**6 == (seconds * 10**6).to_integral_value()
    assert typed("1,000", "NUMERIC") == "1,000"
    assert typed("7.0", "INT64") == 7
    assert typed(Decimal("0.10"), "NUMERIC") == Decimal("0.10")
    assert serial("sometime", MANILA) == "sometime"
    assert serial(46024, MANILA) == 46024


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[articles]", "missing required field `table`"),
        ("[article]\ntable='a.b'", "unknown field `article`"),
        ("[weather]\ntable='a.b'\n[weather.columns]\ntemp='t'", "no such column: temp"),
        ("[ledger]\ntable='a.b'\ntime_zone='Manila'", "time_zone"),
        ("[[marts]]\nold='a.b'\nnew='gold.c'\nkey=['d']\n[marts.columns]\ne='e'", "the key"),
        ("not toml", "plan.toml"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_says_why(text: str, message: str) -> None:
    with pytest.raises(InvalidPlan, match=message):
        read_plan(text.encode(), "plan.toml")


def test_a_plan_that_does_not_fit_its_table_says_what_is_missing() -> None:
    wanted = Import("old.readings", columns={"dt": "unix"})
    with pytest.raises(InvalidPlan, match="has no column unix"):
        resolve("weather", wanted, ["dt", "location"])
    with pytest.raises(InvalidPlan, match="nothing gives location, units"):
        resolve("weather", wanted, ["unix"])


def test_the_plan_of_the_guide_is_one() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "moving-in.md").read_text()
    text = guide.partition("```toml\n")[2].partition("```")[0]
    plan = read_plan(text.encode(), "docs/moving-in.md")
    assert imports(plan).keys() == set(KINDS)
    assert [mart.new for mart in plan.marts] == ["gold.daily_weather"]
