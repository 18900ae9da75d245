"""What an inspection finds in the ledger of real runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from alerting.ledger_conditions import (
    ledger_age,
    nearly_spent,
    new_fields,
    over_budget,
    parked,
    requests_spent,
    unloaded,
)
from alerting.report import Age, Counted, read_ages, read_counted
from core.batch import MANIFEST, new_batch_id
from repair.replay import replay
from runs.load import load
from sources.ph_news.mapping import TABLE
from testing.platform import TestPlatform

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)


def test_a_run_without_fault_is_found_by_nothing(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=150)
    platform.run()
    warehouse = platform.stores.warehouse
    warehouse.flush_jobs("ph_news")
    budgets, spent = {"ph_news": 1000}, requests_spent(warehouse)
    assert parked(warehouse) == []
    assert nearly_spent(spent, budgets, 0.9, NOW) == []
    assert over_budget(warehouse, 2**35) == []
    assert unloaded(platform.stores, [TABLE], timedelta(days=1)) == ([], {})
    # A bucket that cannot be listed is not one in which nothing waits.
    _, unlisted = unloaded(platform.without_s3(), [TABLE], timedelta(days=1))
    assert [address.partition(":")[0] for address in unlisted] == ["s3"]
    assert ledger_age(warehouse, timedelta(hours=1)) == []
    assert new_fields(warehouse, None) == ([], None)

    counted = read_counted(warehouse)
    assert {days: one["ph_news"].written for days, one in counted.items()} == {
        1: 150,
        7: 150,
        30: 150,
    }
    assert counted[1]["ph_news"].batches == 1
    age = read_ages(warehouse)["ph_news"]
    assert isinstance(age, Age)
    assert age.look_hours is not None and 0 <= age.look_hours < 1


def test_what_is_wrong_is_found_with_source_and_cause(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=150)
    odd = {"url": "https://a.example/1", "title": "t", "mood": "good"}
    platform.control("plant", {"articles": [odd]})
    platform.run()
    warehouse = platform.stores.warehouse

    (finding,), until = new_fields(warehouse, None)
    assert (finding.kind, finding.source) == ("schema-change", "ph_news")
    assert finding.cause.startswith("new field mood")
    assert new_fields(warehouse, until) == ([], until)

    sent = sum(line["requests"] for line in platform.ledger())
    spent = requests_spent(warehouse)
    assert spent == {"ph_news": sent}
    assert nearly_spent(spent, {"ph_news": 2 * sent}, 0.9, NOW) == []
    (finding,) = nearly_spent(spent, {"ph_news": sent}, 0.9, NOW)
    assert finding.title == f"ph_news: {sent} of {sent} requests spent"

    assert ledger_age(warehouse, timedelta(0))[0].title == "the ledger stands still"

    platform.query(
        "INSERT INTO {raw}._jobs (job_id, source, bytes_billed, started_at) VALUES "
        "('j', 'ph_news', 700, CURRENT_TIMESTAMP()), ('k', 'finance', 300, CURRENT_TIMESTAMP()), "
        "('l', 'finance', 9000, TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 25 HOUR))"
    )
    assert over_budget(warehouse, 10**9) == []
    (finding,) = over_budget(warehouse, 999)
    assert "ph_news" in finding.cause and "bytes in 24 hours, 999 budgeted" in finding.cause


def test_a_batch_is_missed_until_it_is_parked_and_parked_until_it_is_in(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=0)
    platform.stores.warehouse.ensure_ledger()
    batch_id = new_batch_id(datetime.now(UTC))
    poison = f"{platform.stores.prefix('ph_news')}{batch_id}/{MANIFEST}"
    platform.stores.landing.put(poison, b"{}")

    assert unloaded(platform.stores, [TABLE], timedelta(days=1)) == ([], {})
    ((finding,), _) = unloaded(platform.stores, [TABLE], timedelta(0))
    assert batch_id in finding.cause
    assert parked(platform.stores.warehouse) == []
    for _ in range(3):
        assert load(platform.stores, TABLE).failures
    assert unloaded(platform.stores, [TABLE], timedelta(0)) == ([], {})
    (finding,) = parked(platform.stores.warehouse)
    assert finding.title == "ph_news: 1 parked batch"
    assert batch_id in finding.cause and "missing required field" in finding.cause
    platform.query(
        "UPDATE {raw}._loads SET applied_at = TIMESTAMP_SUB(applied_at, INTERVAL 400 DAY) "
        "WHERE true"
    )
    assert parked(platform.stores.warehouse) == [finding]
    platform.query(
        "INSERT INTO {raw}._loads (batch_id, source, state, applied_at) "
        f"VALUES ('{batch_id}', 'ph_news', 'applied', CURRENT_TIMESTAMP())"
    )
    assert parked(platform.stores.warehouse) == []


def test_a_parked_batch_that_was_replayed_is_parked_no_more(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=20, retention_days=7)
    platform.run_in_child(kill_at=("commit.manifest", "after"))
    (name,) = (name for name in platform.objects() if name.endswith(".parquet"))
    batch_id, whole = name.split("/")[-2], platform.stores.landing.get(name)
    platform.stores.landing.put(name, b"no Parquet")
    for _ in range(3):
        assert load(platform.stores, TABLE).failures
    (finding,) = parked(platform.stores.warehouse)
    assert batch_id in finding.cause

    platform.stores.landing.put(name, whole)
    replay(platform.stores, TABLE, batch_id)
    assert parked(platform.stores.warehouse) == []
    assert len(platform.rows()) == 20

    # It is a fact of its own, and of a line that an earlier release wrote the note tells it.
    platform.query("UPDATE {raw}._loads SET message = 'x' WHERE replay_of IS NOT NULL")
    assert parked(platform.stores.warehouse) == []
    platform.query("UPDATE {raw}._loads SET replay_of = NULL WHERE replay_of IS NOT NULL")
    assert parked(platform.stores.warehouse) == [finding]
    platform.query(
        f"UPDATE {{raw}}._loads SET message = 'replay of {batch_id}' WHERE state = 'applied'"
    )
    assert parked(platform.stores.warehouse) == []


def test_the_ledger_is_counted_over_1_7_and_30_days(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=0)
    warehouse = platform.stores.warehouse
    warehouse.ensure_ledger()
    now: datetime = platform.query("SELECT CURRENT_TIMESTAMP() AS now")[0]["now"]
    for days in (0.5, 3, 20, 35):
        at = now - timedelta(days=days)
        line = {"source": "a", "rejected": 2, "requests": 5, "watermark": at, "applied_at": at}
        applied = line | {"state": "applied", "inserted": 10, "updated": 1, "absent": 3}
        for one in (
            applied,
            line | {"state": "no_change", "rejected": 0},
            line | {"state": "failed"},
        ):
            warehouse.insert_line("_loads", one, "a")
        for table in ("_jobs", "_builds"):
            warehouse.insert_line(table, {"source": "a", "bytes_billed": 7, "started_at": at}, "a")

    counted = read_counted(warehouse)
    for times, days in enumerate((1, 7, 30), start=1):
        assert counted[days] == {
            "a": Counted(
                batches=times,
                looks=times,
                written=14 * times,
                rejected=2 * times,
                requests=15 * times,
                bytes_billed=14 * times,
            )
        }
    age = read_ages(warehouse)["a"]
    assert age.data_hours == pytest.approx(12, abs=0.1)
    assert age.look_hours == pytest.approx(12, abs=0.1)
