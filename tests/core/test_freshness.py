"""The two clocks of a source, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alerting.freshness import Reading, Status, Threshold, in_words, read_clocks, summary

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BORN = NOW - timedelta(hours=5)
LIMIT = Threshold(timedelta(hours=2), timedelta(hours=6))


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


@pytest.mark.parametrize(
    ("last_look", "newest_event", "statuses"),
    [
        (ago(minutes=30), ago(hours=1), ["fresh", "fresh"]),
        (ago(hours=2), ago(hours=2), ["fresh", "fresh"]),
        # A quiet day: looked at, without news.
        (ago(minutes=30), ago(hours=3), ["fresh", "warn"]),
        (ago(hours=6), ago(hours=6, seconds=1), ["warn", "error"]),
        (ago(hours=7), ago(days=9), ["error", "error"]),
        # Never: as old as the ledger.
        (None, None, ["warn", "warn"]),
        # A source whose clock is ahead of BigQuery's: believed for ten minutes.
        (ago(minutes=1), ago(minutes=-10), ["fresh", "fresh"]),
        (ago(minutes=1), ago(minutes=-11), ["fresh", "error"]),
    ],
)
def test_each_clock_has_its_own_age(
    last_look: datetime | None, newest_event: datetime | None, statuses: list[Status]
) -> None:
    readings = read_clocks(
        {"weather": {"last_look": LIMIT, "newest_event": LIMIT}},
        {"weather": {"last_look": last_look, "newest_event": newest_event}, "another": {}},
        BORN,
        NOW,
    )
    assert [(reading.source, reading.clock) for reading in readings] == [
        ("weather", "last_look"),
        ("weather", "newest_event"),
    ]
    assert [reading.status for reading in readings] == statuses


def reading(hours: float, *, at: bool = True, source: str = "weather") -> Reading:
    age = timedelta(hours=hours)
    return Reading(source, "last_look", NOW - age if at else None, age, LIMIT)


def test_the_summary_names_what_is_stale_and_how_late() -> None:
    assert summary([reading(1), reading(1, source="news")]) == "2 sources fresh"
    assert summary([reading(2.5), reading(1, source="news")]) == (
        "late: weather: last look 2.5 h ago, 30 min later than allowed"
    )
    assert summary([reading(2.5), reading(54.0, source="news")]) == (
        "stale: news: last look 2.2 days ago, 2.0 days later than allowed. "
        "late: weather: last look 2.5 h ago, 30 min later than allowed"
    )
    assert summary([reading(7, at=False)]) == (
        "stale: weather: last look never in 7.0 h, 1.0 h later than allowed"
    )
    assert summary([reading(-480)]) == "stale: weather: last look is 20.0 days in the future"


@pytest.mark.parametrize(("warn", "error"), [(0, 1), (2, 2), (3, 2), (-1, 2)])
def test_thresholds_that_make_no_sense_are_refused(warn: int, error: int) -> None:
    with pytest.raises(ValueError, match="warn after"):
        Threshold(timedelta(hours=warn), timedelta(hours=error))


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(minutes=40), "40 min"),
        (timedelta(hours=7.2), "7.2 h"),
        (timedelta(days=3.1), "3.1 days"),
        (timedelta(minutes=-5), "-5 min"),
    ],
)
def test_a_span_is_told_in_words(span: timedelta, words: str) -> None:
    assert in_words(span) == words
