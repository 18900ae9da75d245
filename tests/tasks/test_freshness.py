"""Freshness out of the ledger: looks and news are told apart, old rows make nothing fresh."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from alerting.freshness import WORDS, Status
from alerting.read_freshness import declared_thresholds, read_freshness
from flows.dbt_freshness import as_rows, thresholds_of
from runs.build import PROJECT_DIR
from runs.settings import OF_SOURCES
from sources import SOURCES
from sources.usgs_earthquake.settings import UsgsEarthquake
from testing.platform import TestPlatform


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """A ledger without a line."""
    platform = make_platform(kit="finance", size=0)
    platform.stores.warehouse.ensure_ledger()
    return platform


def write(
    platform: TestPlatform, hours: float, state: str, inserted: int = 0, mode: str = "incremental"
) -> None:
    """A line of the finance source, written and observed so many hours ago."""
    at = now(platform) - timedelta(hours=hours)
    write_line(platform, at, at, state, inserted, mode)


def now(platform: TestPlatform) -> datetime:
    at: datetime = platform.query("SELECT CURRENT_TIMESTAMP() AS now")[0]["now"]
    return at


def write_line(
    platform: TestPlatform,
    observed_at: datetime,
    applied_at: datetime,
    state: str = "applied",
    inserted: int = 1,
    mode: str = "incremental",
) -> None:
    counts: dict[str, Any] = dict.fromkeys(
        ("updated", "deleted", "superseded_ids", "absent", "replaced"), 0
    )
    line = {"source": "finance", "state": state, "mode": mode, "inserted": inserted, **counts}
    times = {"observed_at": observed_at, "applied_at": applied_at}
    platform.stores.warehouse.insert_line("_loads", line | times, "finance")


def statuses(platform: TestPlatform, source: str = "finance") -> list[Status]:
    return [reading.status for reading in read_freshness(platform.stores, [source])]


def test_a_quiet_day_is_no_outage_and_an_outage_is_no_quiet_day(platform: TestPlatform) -> None:
    write(platform, 11, "applied", inserted=3)
    assert statuses(platform) == ["error", "fresh"]
    write(platform, 1, "no_change")
    assert statuses(platform) == ["fresh", "fresh"]


def test_looks_that_bring_nothing_for_too_long_are_told(platform: TestPlatform) -> None:
    write(platform, 25, "applied", inserted=3)
    write(platform, 13, "applied")
    write(platform, 1, "no_change")
    assert statuses(platform) == ["fresh", "error"]
    write(platform, 13, "applied", inserted=3)
    assert statuses(platform) == ["fresh", "warn"]


def test_the_ledger_s_limits_are_those_of_its_block_and_by_default_those_of_dbt(
    platform: TestPlatform,
) -> None:
    block = platform.source.block(platform)
    (default,) = thresholds_of({"finance": block, "usgs_earthquake": UsgsEarthquake()}).values()
    assert default["newest_event"] == declared_thresholds()["finance"]["newest_event"]
    settings = OF_SOURCES["finance"].model_fields
    assert settings["newest_event_warn_hours"].default == block.newest_event_warn_hours
    assert settings["newest_event_fail_hours"].default == block.newest_event_fail_hours
    write(platform, 30, "applied", inserted=3)
    write(platform, 1, "no_change")
    for warn, fail, status in ((12, 24, "error"), (12, 36, "warn"), (36, 72, "fresh")):
        block = platform.source.block(
            platform, newest_event_warn_hours=warn, newest_event_fail_hours=fail
        )
        readings = read_freshness(platform.stores, ["finance"], thresholds_of({"finance": block}))
        assert [reading.status for reading in readings] == ["fresh", status]


def test_failures_and_old_rows_make_nothing_fresh(platform: TestPlatform) -> None:
    write(platform, 24 * 61, "applied", inserted=3)
    write(platform, 1, "failed")
    write(platform, 1, "parked")
    write(platform, 1, "applied", inserted=3, mode="backfill")
    assert statuses(platform) == ["error", "error"]


def test_a_source_never_looked_at_is_as_old_as_the_ledger(platform: TestPlatform) -> None:
    readings = read_freshness(platform.stores, ["openweather"])
    assert [reading.at for reading in readings] == [None, None]
    assert all(timedelta() <= reading.age < timedelta(minutes=10) for reading in readings)
    assert [row["at (UTC)"] for row in as_rows(readings)] == ["never", "never"]


def test_what_was_stamped_with_the_future_gives_way_to_what_comes_within_the_same_second(
    platform: TestPlatform,
) -> None:
    second = now(platform).replace(microsecond=0) - timedelta(minutes=5)
    written = second + timedelta(milliseconds=400)
    write_line(platform, second + timedelta(days=20), written)
    reading = read_freshness(platform.stores, ["finance"])[1]
    assert (reading.status, reading.at) == ("error", second + timedelta(days=20))
    # A list that was written after that, in whole seconds.
    write_line(platform, second, written + timedelta(milliseconds=300))
    reading = read_freshness(platform.stores, ["finance"])[1]
    assert (reading.status, reading.at) == ("fresh", second)


def test_a_real_run_makes_its_source_fresh(make_platform: Callable[..., TestPlatform]) -> None:
    platform = make_platform(kit="openweather", size=0)
    platform.run()
    readings = read_freshness(platform.stores, ["openweather"])
    assert all(reading.at for reading in readings)
    assert readings[0].status == "fresh"


def test_every_source_has_thresholds() -> None:
    assert declared_thresholds().keys() == {*SOURCES}


def test_a_source_without_thresholds_is_named(platform: TestPlatform) -> None:
    with pytest.raises(ValueError, match="no freshness thresholds for unheard_of"):
        read_freshness(platform.stores, ["finance", "unheard_of"])


def test_the_documentation_has_the_thresholds() -> None:
    text = (PROJECT_DIR.parent / "docs" / "catalog.md").read_text()
    for source, clocks in declared_thresholds().items():
        told = [
            ", ".join(
                f"{span.total_seconds() / 3600:.0f} h"
                for span in (clocks[clock].warn_after, clocks[clock].error_after)
            )
            for clock in WORDS
        ]
        assert f"| {source} | {' | '.join(told)} |" in text
