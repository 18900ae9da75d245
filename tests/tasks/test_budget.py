"""Reservations against BigQuery: what a month allows, and never one request twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import NoRequestLeft
from core.sql import literal
from sources.ph_news.mapping import TABLE
from stores.budget import Budget, budget
from stores.platform import connect
from testing.platform import TestPlatform

PER_MONTH = 100


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    platform = make_platform(kit="ph_news", size=0)
    platform.stores.warehouse.ensure_ledger()
    return platform


def at(month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> str:
    return literal(datetime(2026, month, day, hour, minute, second, tzinfo=UTC))


def spend_all(
    platform: TestPlatform, clock: str, per_month: int = PER_MONTH
) -> tuple[int, datetime]:
    """How many requests may be sent at a moment, and when the next one may be."""
    held = Budget(platform.stores.warehouse, TABLE, per_month, clock)
    sent = 0
    while True:
        try:
            held.spend()
        except NoRequestLeft as stop:
            return sent, stop.until
        sent += 1


def requests(platform: TestPlatform) -> list[dict[str, Any]]:
    return platform.query("SELECT * FROM {raw}._requests ORDER BY recorded_at, state")


def test_a_month_allows_evenly_from_one_request_to_all(platform: TestPlatform) -> None:
    # February 2026 has 2,419,200 seconds; a hundredth of them is 24,192: 6:43:12.
    assert spend_all(platform, at(2, 1)) == (1, datetime(2026, 2, 1, 6, 43, 13, tzinfo=UTC))
    assert spend_all(platform, at(2, 1, 6, 43, 12))[0] == 0
    assert spend_all(platform, at(2, 1, 6, 43, 13))[0] == 1
    assert spend_all(platform, at(2, 15))[0] == 50 - 2
    last = spend_all(platform, at(2, 28, 23, 59, 59))
    assert last == (PER_MONTH - 50, datetime(2026, 3, 1, tzinfo=UTC))
    assert spend_all(platform, at(3, 1))[0] == 1
    assert sum(line["requests"] for line in requests(platform)) == PER_MONTH + 1


@pytest.mark.parametrize("per_month", [1, 3, 40])
def test_a_month_never_allows_more_than_the_plan(platform: TestPlatform, per_month: int) -> None:
    assert spend_all(platform, at(2, 28, 23, 59, 59), per_month)[0] == per_month
    assert spend_all(platform, at(2, 28, 23, 59, 59), per_month)[0] == 0
    assert sum(line["requests"] for line in requests(platform)) == per_month


def test_what_is_settled_counts_as_sent_and_what_is_not_as_reserved(platform: TestPlatform) -> None:
    warehouse = platform.stores.warehouse
    with budget(warehouse, TABLE, 10**9) as held:
        held.spend()
    assert [(line["state"], line["requests"]) for line in requests(platform)] == [
        ("reserved", 2),
        ("settled", 1),
    ]
    # One of two is spent: a plan of two has one left at the end of the month.
    end = literal(datetime.now(UTC).replace(day=28, hour=23, minute=59, second=59, microsecond=0))
    killed = Budget(warehouse, TABLE, 2, end)
    killed.spend()
    with pytest.raises(NoRequestLeft):
        Budget(warehouse, TABLE, 2, end).spend()


def test_a_run_that_fails_settles_what_it_sent(platform: TestPlatform) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        budget(platform.stores.warehouse, TABLE, 10**9) as held,
    ):
        for _ in range(3):
            held.spend()
        raise ZeroDivisionError
    settled = [line["requests"] for line in requests(platform) if line["state"] == "settled"]
    assert sorted(settled) == [1, 2]


def test_of_a_share_of_the_month_no_more_is_granted(platform: TestPlatform) -> None:
    # Half of February: 50 requests, three quarters of which are 37.
    held = Budget(platform.stores.warehouse, TABLE, PER_MONTH, at(2, 15))
    held.spend()
    # Two of 50 are reserved.
    assert (held.spare(0.75), held.spare(1.0), held.spare(0.01)) == (35, 48, 0)
    sent = 0
    with pytest.raises(NoRequestLeft):
        while True:
            held.spend(0.75)
            sent += 1
    # 37.5 have accrued of 75, which counts as 38.
    assert sent == 38 - 2
    assert held.spare(0.75) == 0
    # The rest is for the others, and what was reserved for one purpose is not sent for the other.
    assert spend_all(platform, at(2, 15))[0] == 50 - 38


def test_ten_runs_at_once_are_never_granted_one_request_twice(platform: TestPlatform) -> None:
    platform.stores.warehouse.ensure_source(TABLE)
    clock = at(2, 1, 23, 59, 59)
    start = threading.Barrier(10)

    def run(_: int) -> int:
        held = Budget(connect(platform.blocks).warehouse, TABLE, PER_MONTH, clock)
        start.wait()
        try:
            held.spend()
        except NoRequestLeft:
            return 0
        return held.reservations[0].granted

    with ThreadPoolExecutor(10) as pool:
        granted = sorted(pool.map(run, range(10)))
    # A day of February allows 4 of 100.
    assert granted == [0] * 8 + [2, 2]
    assert sum(line["requests"] for line in requests(platform)) == 4
