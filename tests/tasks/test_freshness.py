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
from testing.platform import Lab


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """A ledger without a line."""
    lab = make_lab(kit="finance", size=0)
    lab.platform.warehouse.ensure_ledger()
    return lab


def write(lab: Lab, hours: float, state: str, inserted: int = 0, mode: str = "incremental") -> None:
    """A line of the finance source, written and observed so many hours ago."""
    at = now(lab) - timedelta(hours=hours)
    write_line(lab, at, at, state, inserted, mode)


def now(lab: Lab) -> datetime:
    at: datetime = lab.query("SELECT CURRENT_TIMESTAMP() AS now")[0]["now"]
    return at


def write_line(
    lab: Lab,
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
    lab.platform.warehouse.insert_line("_loads", line | times, "finance")


def statuses(lab: Lab, source: str = "finance") -> list[Status]:
    return [reading.status for reading in read_freshness(lab.platform, [source])]


def test_a_quiet_day_is_no_outage_and_an_outage_is_no_quiet_day(lab: Lab) -> None:
    write(lab, 11, "applied", inserted=3)
    assert statuses(lab) == ["error", "fresh"]
    write(lab, 1, "no_change")
    assert statuses(lab) == ["fresh", "fresh"]


def test_looks_that_bring_nothing_for_too_long_are_told(lab: Lab) -> None:
    write(lab, 25, "applied", inserted=3)
    write(lab, 13, "applied")
    write(lab, 1, "no_change")
    assert statuses(lab) == ["fresh", "error"]
    write(lab, 13, "applied", inserted=3)
    assert statuses(lab) == ["fresh", "warn"]


def test_the_ledger_s_limits_are_those_of_its_block_and_by_default_those_of_dbt(lab: Lab) -> None:
    block = lab.source.block(lab)
    (default,) = thresholds_of({"finance": block, "usgs_earthquake": UsgsEarthquake()}).values()
    assert default["newest_event"] == declared_thresholds()["finance"]["newest_event"]
    settings = OF_SOURCES["finance"].model_fields
    assert settings["newest_event_warn_hours"].default == block.newest_event_warn_hours
    assert settings["newest_event_fail_hours"].default == block.newest_event_fail_hours
    write(lab, 30, "applied", inserted=3)
    write(lab, 1, "no_change")
    for warn, fail, status in ((12, 24, "error"), (12, 36, "warn"), (36, 72, "fresh")):
        block = lab.source.block(lab, newest_event_warn_hours=warn, newest_event_fail_hours=fail)
        readings = read_freshness(lab.platform, ["finance"], thresholds_of({"finance": block}))
        assert [reading.status for reading in readings] == ["fresh", status]


def test_failures_and_old_rows_make_nothing_fresh(lab: Lab) -> None:
    write(lab, 24 * 61, "applied", inserted=3)
    write(lab, 1, "failed")
    write(lab, 1, "parked")
    write(lab, 1, "applied", inserted=3, mode="backfill")
    assert statuses(lab) == ["error", "error"]


def test_a_source_never_looked_at_is_as_old_as_the_ledger(lab: Lab) -> None:
    readings = read_freshness(lab.platform, ["openweather"])
    assert [reading.at for reading in readings] == [None, None]
    assert all(timedelta() <= reading.age < timedelta(minutes=10) for reading in readings)
    assert [row["at (UTC)"] for row in as_rows(readings)] == ["never", "never"]


def test_what_was_stamped_with_the_future_gives_way_to_what_comes_within_the_same_second(
    lab: Lab,
) -> None:
    second = now(lab).replace(microsecond=0) - timedelta(minutes=5)
    written = second + timedelta(milliseconds=400)
    write_line(lab, second + timedelta(days=20), written)
    reading = read_freshness(lab.platform, ["finance"])[1]
    assert (reading.status, reading.at) == ("error", second + timedelta(days=20))
    # A list that was written after that, in whole seconds.
    write_line(lab, second, written + timedelta(milliseconds=300))
    reading = read_freshness(lab.platform, ["finance"])[1]
    assert (reading.status, reading.at) == ("fresh", second)


def test_a_real_run_makes_its_source_fresh(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(kit="openweather", size=0)
    lab.run()
    readings = read_freshness(lab.platform, ["openweather"])
    assert all(reading.at for reading in readings)
    assert readings[0].status == "fresh"


def test_every_source_has_thresholds() -> None:
    assert declared_thresholds().keys() == {*SOURCES}


def test_a_source_without_thresholds_is_named(lab: Lab) -> None:
    with pytest.raises(ValueError, match="no freshness thresholds for unheard_of"):
        read_freshness(lab.platform, ["finance", "unheard_of"])


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
