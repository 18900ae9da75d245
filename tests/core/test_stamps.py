"""Which stamps are believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.stamps import AHEAD, is_ahead
from stores.clock import Moment

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        ((NOON,), False),
        ((NOON - AHEAD,), False),
        ((NOON - AHEAD - MOMENT,), True),
        ((NOON - DAY, NOON), False),
        ((NOON, NOON - DAY), False),
        ((NOON - DAY, NOON - DAY), True),
    ],
)
def test_a_stamp_is_from_the_future_when_it_is_later_than_every_clock(
    clocks: tuple[datetime, ...], expected: bool
) -> None:
    assert is_ahead(NOON, *clocks) is expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, NOON),
        (NOON - DAY, NOON),
        (NOON, NOON + MOMENT),
        (NOON + DAY, NOON + DAY + MOMENT),
    ],
)
def test_a_read_comes_after_the_last_one_whatever_the_clock_says(
    last: datetime | None, expected: datetime
) -> None:
    assert Moment(NOON).after(last).at == expected
