"""Stamps from the future: a source's clock, a list's stamp or an event's that ran ahead once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerting.read_freshness import read_freshness
from core.stamps import in_utc
from testing.matrix import crossed, only, or_slow
from testing.platform import KITS, TestPlatform
from tests.reliability.test_kill import USGS
from tests.reliability.test_races import run_at

SIZE = 30
AHEAD = timedelta(days=20)
AHEAD_MS = AHEAD // timedelta(milliseconds=1)
HOUR_MS = 3_600_000
FAR = datetime(2286, 1, 1, tzinfo=UTC)
VEHICLES = "nyc_fhv"


def future_lines(platform: TestPlatform) -> list[str]:
    """The states of lines that were observed, or go on from, more than an hour after now."""
    limit = datetime.now(UTC) + timedelta(hours=1)
    return [
        line["state"]
        for line in platform.ledger()
        if max(line["observed_at"], line["watermark"] or line["observed_at"]) > limit
    ]


def advance(platform: TestPlatform, offset_ms: int) -> None:
    """The source changes while its clock is so far ahead, and so it is afterwards.

    An hour of weather passes by its clock, so that is set twice.
    """
    platform.control("clock", {"offset_ms": offset_ms})
    platform.control("advance")
    platform.control("clock", {"offset_ms": offset_ms})


def assert_fresh(platform: TestPlatform) -> None:
    for reading in read_freshness(platform.stores, [platform.source.TABLE.source]):
        assert reading.status == "fresh", reading.lateness
        assert timedelta(minutes=-10) <= reading.age < timedelta(hours=1)


@pytest.mark.parametrize(
    "kit", only(lambda kit: kit == USGS, crossed(KITS), lambda kit: kit in ("ph_news", VEHICLES))
)
def test_a_source_whose_clock_is_ahead_once_loses_nothing_that_comes_later(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    platform.control("clock", {"offset_ms": 0})
    platform.run()
    advance(platform, AHEAD_MS)
    assert "clock says" in platform.run().message
    assert future_lines(platform) == []
    advance(platform, 0)
    assert "clock says" not in platform.run().message
    platform.assert_equals_truth()
    platform.assert_settled()
    assert_fresh(platform)


@pytest.mark.parametrize(
    "kit",
    only(lambda kit: kit == "finance", crossed(KITS), lambda kit: kit in (USGS, VEHICLES)),
)
def test_what_was_loaded_in_the_future_is_healed_by_the_next_run(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    """Both clocks were ahead, so nobody doubted; now both are right."""
    platform = make_platform(kit=kit, size=SIZE)
    # So that there is other weather by now.
    platform.control("clock", {"offset_ms": -HOUR_MS if kit == "openweather" else 0})
    platform.run()
    advance(platform, AHEAD_MS)
    in_child(platform, AHEAD)
    assert future_lines(platform) == ["applied"]
    stale = read_freshness(platform.stores, [platform.source.TABLE.source])[1]
    assert stale.status == "error"
    assert "newest event is 20.0 days in the future" in stale.lateness
    advance(platform, 0)
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()
    assert_fresh(platform)
    seen = [row["_last_seen_at"] for row in platform.rows().values() if "_last_seen_at" in row]
    assert bool(seen) is (kit == "ph_news")
    assert all(moment < datetime.now(UTC) + timedelta(hours=1) for moment in seen)


def in_child(platform: TestPlatform, ahead: timedelta) -> None:
    """A run on a machine whose clock is so far ahead."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=run_at, args=(platform, ahead, sender))
    child.start()
    sender.close()
    assert receiver.recv() > 2
    child.join()
    assert child.exitcode == 0


def test_a_list_that_is_stamped_with_the_future_is_read_and_so_is_the_next(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit=VEHICLES, size=SIZE)
    platform.run()
    platform.control("advance")
    stamp = int((datetime.now(UTC) + timedelta(days=400)).timestamp())
    body = json.dumps({"rowsUpdatedAt": stamp})
    fault = {"path": "/api/views/", "kind": "status", "status": 200, "body": body, "times": 3}
    platform.control("faults", [fault])
    outcome = platform.run()
    told = in_utc(datetime.fromtimestamp(stamp, UTC))
    assert f"rowsUpdatedAt is {told}, in the future: not believed" in outcome.message
    platform.assert_equals_truth()
    # The same stamp is the same list.
    assert platform.only_line(platform.run()).state == "no_change"
    platform.control("faults", [])
    platform.control("advance")
    assert platform.only_line(platform.run()).state == "applied"
    platform.assert_equals_truth()
    assert future_lines(platform) == []
    assert_fresh(platform)


def test_a_list_whose_stamp_went_back_is_read(make_platform: Callable[..., TestPlatform]) -> None:
    platform = make_platform(kit=VEHICLES, size=SIZE)
    platform.run()
    platform.control("advance")
    body = json.dumps({"rowsUpdatedAt": 1_700_000_000})
    fault = {"path": "/api/views/", "kind": "status", "status": 200, "body": body, "times": 3}
    platform.control("faults", [fault])
    assert platform.only_line(platform.run()).state == "applied"
    platform.assert_equals_truth()
    assert platform.only_line(platform.run()).state == "no_change"


def quake(updated: datetime, **properties: Any) -> dict[str, Any]:
    now = datetime.now(UTC) - timedelta(days=2)
    properties = {"ids": ",zz1,", "time": int(now.timestamp() * 1000), **properties}
    return {
        "type": "Feature",
        "id": properties["ids"].split(",")[1],
        "properties": {"updated": int(updated.timestamp() * 1000), **properties},
        "geometry": {"type": "Point", "coordinates": [1, 2, 3]},
    }


@pytest.mark.parametrize(
    "next_",
    or_slow(lambda next_: next_ == "deletion", crossed(["revision", "deletion", "new name"])),
)
def test_an_event_stamped_with_the_future_is_revised_deleted_and_renamed(
    next_: str, platform: TestPlatform
) -> None:
    platform.control("plant", {"features": [quake(FAR, mag=9)]})
    message = platform.run().message
    assert "1 row has `updated` in the future" in message
    assert platform.rows()[("zz1",)]["mag"] == 9
    # The source heals, or deletes, or renames it.
    name, deleted = (",zz2,zz1," if next_ == "new name" else ",zz1,"), next_ == "deletion"
    feature = quake(datetime.now(UTC) + timedelta(seconds=1), ids=name, mag=5)
    platform.control("plant", {"features": [feature], "deleted": deleted, "instead": True})
    assert "in the future" not in platform.run().message
    rows = platform.rows()
    assert rows[("zz1",)]["_is_deleted"] is (next_ != "revision")
    if next_ != "deletion":
        assert rows[("zz2" if next_ == "new name" else "zz1",)]["mag"] == 5
    if next_ == "revision":
        assert rows[("zz1",)]["updated"] < FAR


@pytest.mark.slow
def test_of_two_versions_in_one_batch_a_stamp_from_the_future_is_as_old_as_the_look(
    platform: TestPlatform,
) -> None:
    """It counts as the look's moment, so what was stamped before that is older."""
    past = datetime.now(UTC) - timedelta(days=1)
    platform.control("plant", {"features": [quake(FAR, mag=9), quake(past, mag=5)]})
    assert platform.run().total("duplicate") == 1
    assert platform.rows()[("zz1",)]["mag"] == 9
