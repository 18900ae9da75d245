"""A listing that moves while it is read: articles withdrawn between two pages, or listed late.

The looks of a day are made with the service's clock set to each, and the month's with BigQuery's,
so that the plan allows what it would by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import PartlyExtracted
from core.sql import literal
from runs.outcome import Outcome, report
from sources.ph_news.mapping import TABLE
from stores.budget import budget
from testing.platform import TestPlatform

LISTED, WITHDRAWN, LATE = 40, 3, 4
PAGE = 10
HOUR_MS = 3_600_000


@dataclass
class Day:
    """Runs at hours since the first, on a plan whose month began earlier."""

    platform: TestPlatform
    monthly_requests: int
    began: datetime
    patch: pytest.MonkeyPatch

    def at(self, hours: float) -> None:
        now = self.began + timedelta(hours=hours)
        self.patch.setattr("stores.budget.CLOCK", literal(now))
        # A day is not over before now: no clock may be ahead.
        self.platform.control("clock", {"offset_ms": int((hours - 48) * HOUR_MS)})

    def look(self, hours: float) -> Outcome:
        self.at(hours)
        return self.platform.run(monthly_requests=self.monthly_requests, page_size=PAGE)

    def others_spend(self, requests: int) -> None:
        """What other looks of the month have spent."""
        with budget(self.platform.stores.warehouse, TABLE, self.monthly_requests) as held:
            for _ in range(requests):
                held.spend()


@pytest.fixture
def day(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Day]:
    def make(monthly_requests: int, began: datetime) -> Day:
        platform = make_platform(kit="ph_news", size=LISTED)
        made = Day(platform, monthly_requests, began, monkeypatch)
        made.at(0)
        return made

    return make


def february(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 2, day, hour, minute, second, tzinfo=UTC)


def read_in_ledger(platform: TestPlatform) -> list[tuple[int, int, int]]:
    """Of each look: the listing's own count, how deep it was read, and the requests."""
    return [(line["total"], line["depth"], line["requests"]) for line in platform.ledger()]


def sent(platform: TestPlatform) -> int:
    """Requests settled, which are all that the service has got."""
    lines = platform.query("SELECT * FROM {raw}._requests WHERE state = 'settled'")
    return sum(line["requests"] for line in lines)


def test_on_a_plan_of_ten_thousand_all_articles_are_in_within_a_day(
    day: Callable[..., Day],
) -> None:
    looks = day(10_000, february(1, 6))
    platform = looks.platform
    platform.control("withdraw", {"place": 2, "count": WITHDRAWN, "after_requests": 1})
    first = looks.look(0)
    # Pages 0 and 10, the seam at 7, and on to the end at 37: every article that was listed.
    assert first.total("inserted") == LISTED
    assert first.note is None
    platform.control("late", {"place": 25, "count": LATE})
    second = looks.look(2)
    assert second.total("inserted") == LATE
    assert second.note is None
    assert len(platform.rows()) == LISTED + LATE
    platform.assert_equals_truth()
    # A look at known ground again, and the numbers of each in the ledger.
    third = looks.look(4)
    assert platform.only_line(third).state == "no_change"
    assert read_in_ledger(platform) == [(37, 37, 5), (41, 41, 5), (41, 10, 1)]
    assert sent(platform) == platform.look("control/state")["requests_counted"] == 11
    platform.assert_settled()


@pytest.mark.slow
def test_what_the_total_does_not_show_is_found_within_a_day(day: Callable[..., Day]) -> None:
    looks = day(10_000, february(1, 6))
    platform = looks.platform
    looks.look(0)
    # As many are withdrawn as are listed late: the service counts as many as before.
    platform.control("withdraw", {"place": 12, "count": LATE})
    platform.control("late", {"place": 25, "count": LATE})
    for hours in range(4, 25, 4):
        assert looks.look(hours).note is None
    assert len(platform.rows()) == LISTED + LATE
    platform.assert_equals_truth()
    # Two looks of a day go to the end, the others to known ground.
    assert [depth for _, depth, _ in read_in_ledger(platform)] == [40, 10, 10, 40, 10, 10, 40]


@pytest.mark.slow
def test_on_a_plan_of_a_hundred_what_is_listed_late_is_a_stated_gap(
    day: Callable[..., Day],
) -> None:
    looks = day(100, february(20))
    platform = looks.platform
    platform.control("withdraw", {"place": 2, "count": WITHDRAWN, "after_requests": 1})
    looks.look(0)
    platform.control("late", {"place": 25, "count": LATE})
    # The month has allowed 68 requests; looks every two hours would have used them up.
    looks.others_spend(60)
    for hours in (8, 16, 24):
        note = looks.look(hours).note
        assert note is not None
        assert note.startswith("gap: what is below offset 10 of 41 was last read at ")
        assert "; 4 more are listed than were met; that takes 4 requests" in note
        assert note.endswith("(plan: 100 a month)")
    assert platform.ledger()[-1]["message"] == note
    assert len(platform.rows()) == LISTED
    # When the month has more to spare, the next look closes it.
    looks.began = february(28)
    assert looks.look(23).note is None
    platform.assert_equals_truth()


@pytest.mark.slow
def test_a_plan_that_is_hardly_begun_states_what_it_did_not_reach(day: Callable[..., Day]) -> None:
    # A hundredth of February and a second: two requests.
    looks = day(100, february(1, 6, 43, 13))
    platform = looks.platform
    platform.control("withdraw", {"place": 2, "count": WITHDRAWN, "after_requests": 1})
    note = looks.look(0).note
    assert note is not None
    # The seam was to be read again, and that is what the gap begins with.
    assert note.startswith("gap: older than offset 7 not read; no request left until 2026-02-01")
    platform.control("late", {"place": 25, "count": LATE})
    for hours in (8, 16, 24):
        note = looks.look(hours).note
        assert note is not None and "gap: older than offset " in note
    assert 0 < len(platform.rows()) < LISTED + LATE
    # After a day and six hours the month has allowed five, and each was sent.
    assert sent(platform) == platform.look("control/state")["requests_counted"] == 5


@pytest.mark.slow
def test_deeper_looks_leave_a_quarter_of_what_the_plan_allows(day: Callable[..., Day]) -> None:
    looks = day(100, february(15))
    platform = looks.platform
    # Half of February: 50 requests. A look that needs three goes deeper up to 37.
    looks.look(0)
    looks.others_spend(28)
    spent = sent(platform)
    assert spent == 4 + 28
    for hours in (12, 12.1, 24, 24.1, 36, 36.1):
        looks.look(hours)
    deep = [requests for _, depth, requests in read_in_ledger(platform)[1:] if depth == LISTED]
    assert deep == [4]
    assert sent(platform) == spent + 4 + 5


@pytest.mark.slow
def test_a_failure_in_a_deeper_look_keeps_what_was_read_and_the_next_one_goes_on(
    day: Callable[..., Day],
) -> None:
    looks = day(10_000, february(10))
    platform = looks.platform
    looks.look(0)
    platform.control("late", {"place": 15, "count": 2})
    platform.control("late", {"place": 35, "count": 2})
    platform.control("faults", [{"kind": "status", "status": 404, "path": "offset=20", "times": 1}])
    outcome = looks.look(2)
    assert outcome.total("inserted") == 2
    with pytest.raises(PartlyExtracted, match="offset 20: HTTP 404"):
        report(outcome)
    report(looks.look(4))
    assert len(platform.rows()) == LISTED + 4
    platform.assert_equals_truth()


def test_a_first_run_ends_after_ten_pages_and_deeper_looks_read_the_rest(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=130)
    first = platform.run(page_size=PAGE)
    assert first.total("inserted") == 100
    assert first.note is not None
    assert first.note.startswith("gap: older than offset 100 not read; a first run ends after 10")
    platform.control("advance")
    second = platform.run(page_size=PAGE)
    assert second.note is None
    platform.assert_equals_truth()
    assert read_in_ledger(platform)[0] == (130, 100, 10)
    # Of what is below known ground only the new rows are written.
    assert platform.only_line(second).already_seen > 0


@pytest.mark.slow
def test_a_first_run_that_was_cut_short_does_not_lift_the_limit_of_the_next(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=130)
    platform.control("faults", [{"kind": "status", "status": 404, "path": "offset=30", "times": 1}])
    assert platform.run(page_size=PAGE).total("inserted") == 30
    second = platform.run(page_size=PAGE)
    assert "a first run ends after 10 pages" in (second.note or "")
    assert platform.run(page_size=PAGE).note is None
    platform.assert_equals_truth()
    assert read_in_ledger(platform) == [(130, 30, 4), (130, 100, 10), (130, 130, 13)]


def test_an_article_listed_twice_is_told_and_looked_for_once_more(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=30)
    twice: dict[str, Any] = {"url": "https://a.example/1", "source": "a", "category": "general"}
    platform.control("plant", {"articles": [twice, twice]})
    told = "gap: the service lists 32 articles, and 31 different ones were met"
    assert platform.run(page_size=PAGE).note == told
    # Read to the end once more; then it is as it is.
    assert platform.run(page_size=PAGE).note == told
    assert platform.run(page_size=PAGE).note is None
    assert [depth for _, depth, _ in read_in_ledger(platform)] == [32, 32, 10]
