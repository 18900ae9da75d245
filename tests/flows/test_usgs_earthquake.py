"""USGS runs against the stand-in: the raw table equals the world, whatever the world does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from core.ledger import ROW_OUTCOMES
from stores.settings import LANDING_GCS, LANDING_S3, LandingName
from testing.matrix import crossed, or_slow
from testing.platform import TestPlatform


@pytest.mark.parametrize(
    "landing", or_slow(lambda landing: landing == LANDING_GCS, crossed([LANDING_GCS, LANDING_S3]))
)
def test_the_raw_table_equals_the_world_through_three_stages(
    landing: LandingName, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(landing=landing)
    assert platform.run().total("inserted") > 100
    platform.assert_equals_truth()
    for _ in range(2):
        changed = platform.control("advance")
        outcome = platform.run()
        platform.assert_equals_truth()
        platform.assert_settled()
        assert outcome.total("superseded_ids") >= changed["reidentified"] > 0
        assert outcome.total("deleted") >= changed["deleted"] > 0
        assert outcome.total("updated") >= changed["revised"] > 0


def test_a_run_without_news_writes_one_line_and_no_row(platform: TestPlatform) -> None:
    platform.run()
    before = platform.rows()
    outcome = platform.run()
    assert platform.only_line(outcome).state == "no_change"
    assert platform.rows() == before
    assert [line["state"] for line in platform.ledger()] == ["applied", "no_change"]
    assert platform.objects() == []


def test_counts_add_up_in_every_line(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    platform.run()
    lines = platform.ledger()
    assert len(lines) == 2
    outcomes = [*ROW_OUTCOMES, "rejected", "rejected_before"]
    for line in lines:
        assert sum(line[name] for name in outcomes) == line["extracted"]
        assert line["extracted"] + line["already_seen"] == line["source_count"]


def test_a_world_beyond_the_cap_is_read_in_windows(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(size=300, cap=40)
    outcome = platform.run()
    assert platform.only_line(outcome).requests > 10
    platform.assert_equals_truth()
    assert {call["status"] for call in platform.look("control/requests")} == {200}


def test_a_backfill_reads_a_range_of_days_and_leaves_the_watermark(platform: TestPlatform) -> None:
    platform.run()
    watermark = platform.ledger()[-1]["watermark"]
    warehouse = platform.stores.warehouse
    platform.query("DELETE FROM {raw}.usgs_earthquake__events WHERE EXTRACT(YEAR FROM time) > 2000")
    assert warehouse.raw_dataset
    end = datetime.now(UTC)
    outcome = platform.run(start=end - timedelta(days=60), end=end)
    line = platform.only_line(outcome)
    assert line.inserted > 50
    platform.assert_equals_truth()
    last = platform.ledger()[-1]
    assert (last["mode"], last["watermark"]) == ("backfill", None)
    platform.run()
    assert platform.ledger()[-1]["watermark"] >= watermark


@pytest.mark.slow
def test_a_wrong_source_clock_does_not_lose_changes(platform: TestPlatform) -> None:
    platform.control("clock", {"offset_ms": -600_000})
    platform.run()
    platform.control("clock", {"offset_ms": 0})
    platform.control("advance")
    platform.run()
    platform.assert_equals_truth()


@pytest.mark.parametrize("year", or_slow(lambda year: year == 1886, crossed([1, 1886, 2099])))
def test_an_event_of_any_year_is_revised(platform: TestPlatform, year: int) -> None:
    platform.run()
    time = int(datetime(year, 9, 1, 2, 51, tzinfo=UTC).timestamp() * 1000)
    for mag in (6.9, 7.0):
        feature = {
            "type": "Feature",
            "id": "xx1",
            "properties": {
                "time": time,
                "updated": int((datetime.now(UTC) + timedelta(seconds=mag)).timestamp() * 1000),
                "ids": ",xx1,",
                "mag": mag,
            },
            "geometry": {"type": "Point", "coordinates": [-80, 33, 10]},
        }
        platform.control("plant", {"features": [feature], "instead": True})
        platform.run()
        row = platform.rows()[("xx1",)]
        assert (row["mag"], row["time"].year) == (mag, year)
