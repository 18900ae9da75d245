"""Old rows as ours: types, zones, names, and what cannot be made of them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from core.rows import Record, to_chunk
from migration.history import (
    KINDS,
    Kind,
    epoch,
    imports,
    local_day,
    moment,
    read_plan,
    resolve,
    stamp,
    to_records,
    typed,
)
from migration.plan import Import, InvalidPlan
from sources.finance import mapping as finance
from sources.openweather import mapping as openweather
from sources.ph_news import mapping as ph_news

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
    chunk = to_chunk([record], ph_news.TABLE, 0)
    (row,) = chunk.rows.to_pylist()
    assert row["article_id"] == ph_news.article_id(served)
    assert (row["title"], row["title_unescaped"]) == ("Rain &amp; wind", "Rain & wind")
    assert (row["country"], row["category"], row["author"]) == ("ph", "general", None)
    assert row["published_at"] == datetime(2025, 6, 1, 3, 2, 1, tzinfo=UTC)
    assert row["_first_seen_at"] == row["_last_seen_at"] == loaded_at
    assert row["_extra"] == '{"sentiment":"0.25"}'


def test_when_an_article_was_seen_is_not_known_where_the_plan_does_not_say() -> None:
    served = {"url": "https://abc.example/1", "published_at": "2025-06-01"}
    (record,) = records("articles", Import("old.articles"), served)
    (row,) = to_chunk([record], ph_news.TABLE, 0).rows.to_pylist()
    assert (row["_first_seen_at"], row["_last_seen_at"]) == (None, None)


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
    chunk = to_chunk(records("weather", wanted, *rows), openweather.TABLE, 0)
    first, second = chunk.rows.to_pylist()
    assert first["dt"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (first["main_temp"], first["weather"]) == (31.5, '[{"main":"Rain"}]')
    assert (second["main_temp"], second["_extra"]) == (None, '{"main_temp":"warm"}')
    assert chunk.unparsed == 1
    assert [reject.reason for reject in chunk.rejects] == ["row with blank dt"]


def test_ledger_entries_become_rows_of_the_sheet() -> None:
    wanted = Import("old.ledger", columns={"cost": "spent", "created_at": "_created_at"})
    base = {
        "id": 7,
        "year": 2026,
        "month": 2,
        "day": 30,
        "type": "FOOD",
        "to": "Shop",
        "spent": 100 / 3,
        "_created_at": datetime(2026, 1, 1, 16, 0, tzinfo=UTC),
        "currency": "PHP",
        "updated_at": "2026-01-02 08:15:00",
    }
    made = records(
        "ledger",
        wanted,
        base,
        {**base, "id": 8, "spent": "12.50", "year": 2026.5, "_created_at": 45316.5},
        {**base, "id": 9, "spent": "1,250.50", "_created_at": None},
        {**base, "id": 10},
        {**base, "id": 10},
        {**base, "id": None},
    )
    chunk = to_chunk(made, finance.TABLE, 0)
    first, second, third = chunk.rows.to_pylist()
    assert [first[name] for name in ("id", "year", "month", "day")] == ["7", 2026, 2, 30]
    assert (first["cost"], first["to"], first["store"]) == (Decimal("33.333333333"), "Shop", None)
    # Midnight in Manila.
    assert first["created_at"] == "2026-01-02 00:00:00"
    assert first["updated_at"] == "2026-01-02 08:15:00"
    assert json.loads(first["_extra"]) == {"currency": "PHP"}
    assert (second["cost"], second["year"], second["created_at"]) == (
        *(Decimal("12.5"), None),
        "45316.5",
    )
    assert json.loads(second["_extra"]) == {"currency": "PHP", "year": 2026.5}
    assert (third["cost"], third["created_at"]) == (None, None)
    assert json.loads(third["_extra"]) == {"currency": "PHP", "cost": "1,250.50"}
    assert [reject.reason for reject in chunk.rejects] == [
        *("duplicate id", "duplicate id"),
        "blank id",
    ]


def test_a_ledger_with_one_date_column_has_its_three_parts() -> None:
    base = {"id": "a", "type": "FOOD", "cost": 1, "spent_on": date(2026, 1, 31), "year": 1999}
    wanted = Import("old.ledger", columns={"date": "spent_on"})
    made = records("ledger", wanted, base, {**base, "id": "b", "spent_on": None})
    first, second = to_chunk(made, finance.TABLE, 0).rows.to_pylist()
    assert [first[name] for name in ("year", "month", "day")] == [2026, 1, 31]
    assert json.loads(first["_extra"]) == {"year": 1999}
    assert [second[name] for name in ("year", "month", "day")] == [None] * 3
    (by_name,) = records(
        "ledger", Import("old.ledger"), {"id": "a", "Date": "31 Jan", "type": "FOOD", "cost": 1}
    )
    (row,) = to_chunk([by_name], finance.TABLE, 0).rows.to_pylist()
    assert (row["year"], row["_extra"]) == (None, '{"date":"31 Jan"}')
    with pytest.raises(InvalidPlan, match="nothing gives year, month, day or date: name"):
        resolve("ledger", Import("old.ledger"), ["id", "type", "cost", "year", "day"])


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (date(2026, 1, 31), date(2026, 1, 31)),
        ("2026-01-31", date(2026, 1, 31)),
        (" 2026-01-31 ", date(2026, 1, 31)),
        (46053, date(2026, 1, 31)),
        ("46053.75", date(2026, 1, 31)),
        (datetime(2026, 1, 31, 8), date(2026, 1, 31)),  # noqa: DTZ001
        (datetime(2026, 1, 30, 16, tzinfo=UTC), date(2026, 1, 31)),
        ("2026-01-30T16:00:00Z", date(2026, 1, 31)),
        ("13/45/2024", None),
        (0, None),
        (3e9, None),
        (float("nan"), None),
        (True, None),
    ],
)
def test_a_day_is_the_philippine_one(value: object, day: date | None) -> None:
    assert local_day(value, MANILA) == day


@pytest.mark.parametrize(
    ("value", "zone", "text"),
    [
        ("2026-01-31 08:15:00", "Asia/Manila", "2026-01-31 08:15:00"),
        ("2026-01-31", "Asia/Manila", "2026-01-31"),
        ("2026-01-31 08:15:00", "UTC", "2026-01-31 16:15:00"),
        ("2026-01-31 00:15:00 UTC", "Asia/Manila", "2026-01-31 08:15:00"),
        (datetime(2026, 1, 31, 0, 15, tzinfo=UTC), "Asia/Manila", "2026-01-31 08:15:00"),
        (datetime(2026, 1, 31, 8, 15), "Asia/Manila", "2026-01-31 08:15:00"),  # noqa: DTZ001
        (date(2026, 1, 31), "Asia/Manila", "2026-01-31"),
        ("45316.5", "Asia/Manila", "45316.5"),
        (45316.5, "Asia/Manila", 45316.5),
        ("soon", "Asia/Manila", "soon"),
    ],
)
def test_a_stamp_is_a_philippine_text(value: object, zone: str, text: object) -> None:
    assert stamp(value, ZoneInfo(zone)) == text


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


MART = "[[marts]]\nold='o.t'\nnew='gold.t'\nkey=['day']\ncolumns={day='day', n='n'}\n"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("reason='', column='n', equals='1'", "o.t: an expected difference needs a reason"),
        ("reason='so', only='new'", "'so': give column and equals, or only and where"),
        ("reason='so', only='new', where='TRUE'", "'so': where must be a condition"),
        ("reason='so', column='cost', equals='1'", "no such column to compare: cost"),
        ("reason='so', column='day', equals='1'", "no such column to compare: day"),
    ],
)
def test_an_expected_difference_that_is_no_rule_is_refused(rule: str, message: str) -> None:
    with pytest.raises(InvalidPlan, match=message):
        read_plan(f"{MART}expected=[{{{rule}}}]".encode(), "plan.toml")


def test_an_entry_that_was_deleted_stays_deleted() -> None:
    row = {"id": "1", "year": 2024, "month": 5, "day": 1, "type": "BILLS", "cost": 1.5}
    made = records(
        "ledger",
        Import("old.ledger"),
        {**row, "_is_deleted": True},
        {**row, "id": "2", "_is_deleted": False},
        {**row, "id": "3", "_is_deleted": None},
    )
    assert [(one.fields["id"], one.is_deleted) for one in made] == [
        ("1", True),
        ("2", False),
        ("3", False),
    ]
    assert [one.extra for one in made] == [{}, {}, {}]


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
