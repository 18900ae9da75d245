"""Moving in on the stack: old tables into ours, once; live rows win; names stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.batch import MANIFEST, decode_manifest, encode_manifest
from migration.course import compare_marts, import_table
from migration.history import read_plan
from migration.plan import Import, Mart
from migration.tables import compare_mart, keep_name
from repair.replay import replay
from repair.undo import undo
from sources.ph_news.mapping import article_id
from testing.platform import TestPlatform

LEDGER_COLUMNS = (
    "id STRING, date DATE, type STRING, item STRING, `to` STRING, cost NUMERIC, source STRING, "
    "paper STRING, currency STRING"
)
LEDGER = [
    "'old-1', DATE '2024-05-01', 'FOOD', 'rice', 'Shop', NUMERIC '250.5', 'BPI', 'r/1.jpg', 'PHP'",
    "'old-2', DATE '2024-05-02', 'BILLS', 'power', 'Grid', NUMERIC '1200', 'bank', NULL, 'PHP'",
    "NULL, DATE '2024-05-03', 'FOOD', 'fish', 'Market', NUMERIC '90', 'cash', NULL, 'PHP'",
]
WANTED = {"columns": {"receipt": "paper"}}


def make(platform: TestPlatform, name: str, columns: str, rows: list[str]) -> str:
    """A table of the older system, in a dataset of the platform's own, which is returned."""
    old = f"{platform.stores.warehouse.raw_dataset}_old"
    platform.query(f"CREATE SCHEMA IF NOT EXISTS {old}")
    platform.query(f"CREATE OR REPLACE TABLE {old}.{name} ({columns})")
    platform.query(f"INSERT INTO {old}.{name} VALUES {', '.join(f'({row})' for row in rows)}")
    return old


def test_a_ledgers_history_is_imported_once_and_stays_when_the_sheet_is_read(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="finance", size=40)
    platform.run()
    live = platform.rows()
    taken = min(key for (key,) in live)
    known = f"'{taken}', DATE '2020-01-01', 'FOOD', 'other', 'X', NUMERIC '1', 'cash', NULL, 'PHP'"
    old = make(platform, "ledger", LEDGER_COLUMNS, [*LEDGER, known])
    wanted = Import(f"{old}.ledger", **WANTED)  # type: ignore[arg-type]
    outcome = import_table(platform.stores, "ledger", wanted)
    line = platform.only_line(outcome)
    assert (line.extracted, line.inserted, line.older, line.rejected) == (4, 2, 1, 1)
    rows = platform.rows()
    assert rows.keys() == live.keys() | {("old-1",), ("old-2",)}
    assert rows[(taken,)] == live[(taken,)]
    row = rows[("old-1",)]
    assert [row[name] for name in ("year", "month", "day")] == [2024, 5, 1]
    assert (row["cost"], row["receipt"]) == (Decimal("250.5"), "r/1.jpg")
    assert json.loads(row["_extra"]) == {"currency": "PHP"}
    (reject,) = platform.query("SELECT * FROM {raw}._rejects WHERE reason = 'blank id'")
    assert json.loads(reject["payload"])["item"] == "fish"

    again = import_table(platform.stores, "ledger", wanted)
    assert again.message.startswith("nothing new")
    assert platform.rows() == rows
    # A line that an earlier release wrote has the note alone.
    platform.query("UPDATE {raw}._loads SET import_id = NULL WHERE import_id IS NOT NULL")
    again = import_table(platform.stores, "ledger", wanted)
    assert again.message.startswith("nothing new")

    # The sheet has none of them, and they are not gone.
    platform.control("advance")
    outcome = platform.run()
    assert outcome.total("held") == 0
    after = platform.rows()
    assert not after[("old-1",)]["_is_deleted"]
    assert after[("old-1",)] == row
    platform.assert_settled()


def test_an_imported_entry_that_the_sheet_holds_is_given_up_with_it(
    make_platform: Callable[..., TestPlatform],
) -> None:
    """Equal rows too: once a snapshot had it, another can have lost it."""
    platform = make_platform(kit="finance", size=60)
    platform.run_in_child(kill_at=("commit.manifest", "after"))
    # What was read stands for an import of the very same entries.
    (name,) = (name for name in platform.objects() if name.endswith(MANIFEST))
    read = decode_manifest(platform.stores.landing.get(name), name)
    imported = replace(read, mode="backfill", watermark=None, known_digests={})
    platform.stores.landing.delete(name)
    platform.stores.landing.put(name, encode_manifest(imported))
    platform.run()
    platform.control("advance")
    platform.run()
    assert any(row["_is_deleted"] for row in platform.rows().values())
    platform.assert_equals_truth()


def test_an_import_that_was_undone_comes_back_by_its_replay(
    make_platform: Callable[..., TestPlatform],
) -> None:
    """It is as little a whole then as it was before."""
    platform = make_platform(kit="finance", size=40, retention_days=7)
    platform.run()
    live = platform.rows()
    old = make(platform, "ledger", LEDGER_COLUMNS, LEDGER)
    line = platform.only_line(
        import_table(platform.stores, "ledger", Import(f"{old}.ledger", **WANTED))  # type: ignore[arg-type]
    )
    undo(platform.stores, platform.source.TABLE, line.batch_id)
    assert platform.rows().keys() == live.keys()
    replay(platform.stores, platform.source.TABLE, line.batch_id)
    platform.control("advance")
    platform.run()
    rows = platform.rows()
    assert rows.keys() >= live.keys() | {("old-1",), ("old-2",)}
    assert not rows[("old-1",)]["_is_deleted"]


def test_old_articles_and_readings_come_before_live_ones(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=20)
    platform.run()
    live = platform.rows()
    known = next(iter(live.values()))
    values = (known["url"], known["source"], known["category"])
    seen_at = datetime(2024, 1, 1, tzinfo=UTC)
    old = make(
        platform,
        "articles",
        "url STRING, source STRING, category STRING, headline STRING, published_at TIMESTAMP",
        [
            f"'{values[0]}', '{values[1]}', '{values[2]}', 'an old headline', "
            "TIMESTAMP '2024-01-01 00:00:00+00'",
            "'https://gone.example/1', 'gone', 'general', 'gone', "
            "TIMESTAMP '2024-01-01 00:00:00+00'",
        ],
    )
    columns = {"title": "headline", "_first_seen_at": "published_at"}
    columns["published_at"] = "published_at"
    outcome = import_table(platform.stores, "articles", Import(f"{old}.articles", columns))
    line = platform.only_line(outcome)
    assert (line.inserted, line.rejected) == (1, 0)
    rows = platform.rows()
    same = rows[(known["article_id"],)]
    # Seen earlier than the live read knew, and otherwise as the live read has it.
    assert same["_first_seen_at"] == seen_at
    assert same["title"] == known["title"]
    gone = {"url": "https://gone.example/1", "source": "gone", "category": "general"}
    assert rows[(article_id(gone),)]["published_at"] == seen_at

    weather = make_platform("weather", kit="openweather", size=0)
    weather.run()
    (location, dt), reading = next(iter(weather.rows().items()))
    old = make(
        weather,
        "readings",
        "unix INT64, city STRING, temp FLOAT64",
        [
            f"{int(dt.timestamp())}, '{location}', -99.0",
            f"1700000000, '{location}', 21.5",
            f"NULL, '{location}', 1.0",
        ],
    )
    plan = read_plan(
        f"""
        [weather]
        table = "{old}.readings"
        columns = {{dt = "unix", location = "city", main_temp = "temp"}}
        values = {{units = "metric"}}
        """.encode(),
        "plan.toml",
    )
    assert plan.weather
    outcome = import_table(weather.stores, "weather", plan.weather)
    line = weather.only_line(outcome)
    assert (line.inserted, line.unchanged, line.rejected) == (1, 1, 1)
    assert weather.rows()[(location, dt)] == reading


def test_a_recovered_import_is_loaded_by_the_live_run(
    make_platform: Callable[..., TestPlatform],
) -> None:
    """An import that died after its manifest: the next run of the source brings it in."""
    platform = make_platform(kit="finance", size=10)
    platform.run()
    old = make(platform, "ledger", LEDGER_COLUMNS, LEDGER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runs.course.load", _dies_at_the_second_call())
        with pytest.raises(KeyboardInterrupt):
            import_table(platform.stores, "ledger", Import(f"{old}.ledger", **WANTED))  # type: ignore[arg-type]
    assert ("old-1",) not in platform.rows()
    platform.run()
    assert not platform.rows()[("old-1",)]["_is_deleted"]


def _dies_at_the_second_call() -> Callable[..., Any]:
    from runs.load import load

    calls = []

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return load(*args, **kwargs)

    return dying


def test_marts_are_compared_and_keep_their_old_names(
    make_platform: Callable[..., TestPlatform], tmp_path: Path
) -> None:
    platform = make_platform(kit="finance", size=0)
    rows = ["'2026-01', 10.0", "'2026-02', 20.0", "'2026-03', 30.0"]
    old = make(platform, "monthly", "month STRING, spent FLOAT64", rows)
    rows = [
        f"DATE '2026-{month}-01', NUMERIC '{total}'"
        for month, total in (("01", "10.001"), ("02", "25"), ("04", "40"))
    ]
    make(platform, "mart", "month_start DATE, total NUMERIC", rows)
    columns = {"month": "FORMAT_DATE('%Y-%m', month_start)", "spent": "total"}
    mart = Mart(f"{old}.monthly", f"{old}.mart", ["month"], columns, tolerance=0.01)
    warehouse = platform.stores.warehouse

    def differences() -> tuple[Any, ...]:
        found = compare_mart(warehouse, mart)
        return (
            [(one.key, one.old, one.new) for one in found.differences],
            found.only_old,
            found.only_new,
        )

    expected = ([(("2026-02",), "20", "25")], [("2026-03",)], [("2026-04",)])
    assert differences() == expected
    report = tmp_path / "report.md"
    text = f"[[marts]]\nold='{mart.old}'\nnew='{mart.new}'\nkey=['month']\ntolerance=0.01\n"
    text += "[marts.columns]\nmonth=\"FORMAT_DATE('%Y-%m', month_start)\"\nspent='total'\n"
    plan = read_plan(text.encode(), "plan.toml")
    assert compare_marts(platform.stores, plan, "plan.toml", report) == 1
    assert "| 2026-02 | spent | 20 | 25 |" in report.read_text()

    for _ in range(2):
        assert keep_name(warehouse, mart).startswith(f"sandbox-project.{old}.monthly is a view")
        seen = platform.query(f"SELECT month, spent FROM {old}.monthly ORDER BY month")
        assert [row["month"] for row in seen] == ["2026-01", "2026-02", "2026-04"]
        # What stood there is kept, and still what the comparison reads.
        assert differences() == expected
