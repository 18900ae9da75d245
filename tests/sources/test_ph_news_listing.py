"""Where a read of the listing ends, what it makes of a listing that moves, what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import CountMismatch, SourceError
from core.values import digest
from sources.ph_news.listing import (
    DEEPER_EVERY,
    MOST_LISTED,
    MOST_SEAMS,
    MOST_SEEN,
    OVERDUE_AFTER,
    PLAIN_FOR,
    Listing,
    Memory,
    Reading,
    above_gap,
    is_known_ground,
    is_news,
    label,
    listing_of,
    plan_digest,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ARTICLE = {"title": "Rice", "url": "https://a.example/1", "source": "a", "category": "general"}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"data": []},
        {"pagination": {}, "data": []},
        {"pagination": {"count": 0, "total": 0}, "data": {}},
    ],
)
def test_what_is_no_page_is_named(body: object) -> None:
    with pytest.raises(SourceError, match="offset 0"):
        listing_of(body, 0, "offset 0")


def test_a_page_with_another_number_of_articles_than_it_says_is_refused() -> None:
    body = {"pagination": {"count": 2, "total": 2}, "data": [ARTICLE]}
    with pytest.raises(CountMismatch, match="source 2, landed 1"):
        listing_of(body, 0, "offset 0")


def articles(*numbers: int) -> list[object]:
    return [{**ARTICLE, "url": f"https://a.example/{number}"} for number in numbers]


@pytest.mark.parametrize(
    ("offset", "count", "total", "is_last"),
    [
        (0, 3, 10, False),
        (0, 2, 10, True),
        (0, 0, 0, True),
        (3, 3, 6, True),
        (9_997, 3, 10_000, True),
        (9_997, 3, 20_000, True),
    ],
)
def test_where_the_listing_ends(offset: int, count: int, total: int, is_last: bool) -> None:
    assert Listing(offset, total, articles(*range(count))).is_last(3) is is_last


def test_a_read_ends_at_a_whole_page_known_before_any_gap() -> None:
    listing = Listing(0, 9, [*articles(1, 2), {"title": "no url"}])
    one, two = listing.ids
    assert is_known_ground(listing, {one, two}, set())
    assert not is_known_ground(listing, {one}, set())
    assert not is_known_ground(listing, {one, two}, {two})
    assert not is_known_ground(Listing(0, 9, [{"title": "no url"}]), {one}, set())


def test_a_read_is_news_when_an_article_is_new_or_differs() -> None:
    rows = [*articles(1, 2), {"title": "no url"}]
    seen = {label(row): digest(row) for row in rows}
    assert not is_news(rows, seen)
    assert not is_news(rows, {id_: f"{mark}+" for id_, mark in seen.items()})
    assert is_news(articles(3), seen)
    assert is_news([{**ARTICLE, "url": "https://a.example/1", "title": "update"}], seen)


def remembered(
    listings: list[Listing], known: set[str], seen: Mapping[str, str], **facts: Any
) -> Mapping[str, str]:
    """What a read of these pages leaves to the next, of rows."""
    return Reading(Memory(seen), listings, known=known, **facts).remembered().rows


def test_what_was_met_above_a_gap_stays_marked_until_it_is_closed() -> None:
    first = Listing(0, 9, articles(1, 2))
    one, two = first.ids
    gapped = remembered([first], {two}, {}, is_open=True)
    assert above_gap(gapped) == {one}
    # By the next read the table holds them, but not what lies below; new ones push them down.
    second = Listing(0, 9, articles(3))
    (three,) = second.ids
    gapped = remembered([second], set(), gapped, is_open=True)
    assert above_gap(gapped) == {one, three}
    closed = remembered([second, first], {one, two, three}, gapped, is_open=False)
    assert closed.keys() == {one, two, three}
    assert above_gap(closed) == set()


def test_a_read_too_long_to_be_remembered_is_forgotten() -> None:
    listing = Listing(0, 9_999, articles(*range(MOST_SEEN + 1)))
    assert remembered([listing], set(), {}, is_open=True) == {}


def pages(limit: int, *answers: tuple[int, range]) -> Reading:
    """A read of pages, each with the total of its answer and the articles that it shows."""
    reading = Reading(Memory())
    offset = 0
    for total, numbers in answers:
        assert len(numbers) <= limit
        offset = reading.add(Listing(offset, total, articles(*numbers)))
    return reading


def test_what_a_withdrawal_moved_up_between_two_pages_is_read_again() -> None:
    reading = Reading(Memory())
    assert reading.add(Listing(0, 40, articles(*range(10)))) == 10
    # Three of the first page are gone: the second shows 13 to 22.
    assert reading.add(Listing(10, 37, articles(*range(13, 23)))) == 7
    assert reading.add(Listing(7, 37, articles(*range(10, 20)))) == 17
    assert reading.seams == 1


@pytest.mark.parametrize(
    ("first", "second", "goes_on_at"), [(40, 40, 20), (40, 43, 20), (40, 39, 9), (40, 20, 0)]
)
def test_a_read_goes_on_above_a_page_by_as_many_as_were_withdrawn(
    first: int, second: int, goes_on_at: int
) -> None:
    reading = Reading(Memory())
    reading.add(Listing(0, first, articles(*range(10))))
    assert reading.add(Listing(10, second, articles(*range(10, 20)))) == goes_on_at
    assert reading.notes == []


def test_a_listing_that_shrinks_at_every_page_ends_in_a_stated_gap() -> None:
    reading = Reading(Memory())
    offset = 0
    for number in range(MOST_SEAMS + 2):
        offset = reading.add(Listing(offset, 90 - number, articles(*range(10))))
    assert reading.seams == MOST_SEAMS
    (note,) = reading.notes
    assert note.startswith("gap: 1 articles were withdrawn above offset ")


@pytest.mark.parametrize(
    ("total", "distinct", "short"),
    [(40, 40, 0), (37, 40, 0), (40, 38, 2), (MOST_LISTED, MOST_LISTED + 3, 0)],
)
def test_at_the_end_as_many_articles_must_have_been_met_as_are_listed(
    total: int, distinct: int, short: int
) -> None:
    memory = Memory(expected=5, missed=3).at_end(total, distinct, NOW)
    assert (memory.ended_at, memory.expected) == (NOW, total)
    assert (memory.short, memory.missed) == (short, short)
    assert memory.is_due(NOW) is (short > 0)
    # A second read that finds as many lacking is the last for now.
    again = memory.at_end(total, distinct, NOW)
    assert (again.short, again.missed) == (short, 0)
    assert not again.is_due(NOW)


def test_an_end_at_which_articles_are_lacking_is_told() -> None:
    # The service gives one page whatever it is asked for.
    reading = pages(10, (30, range(10)), (30, range(10)), (30, range(10)))
    reading.end(NOW)
    assert reading.notes == ["gap: the service lists 30 articles, and 10 different ones were met"]
    assert reading.memory.is_due(NOW)


@pytest.mark.parametrize(
    ("expected", "earlier", "total", "fresh", "missed"),
    [
        (40, 0, 40, 0, 0),
        (40, 0, 45, 5, 0),
        (40, 0, 44, 0, 4),
        (40, 0, 49, 5, 4),
        (40, 2, 44, 0, 6),
        # Withdrawals, and an archive that loses at its end what it gains on top.
        (40, 0, 37, 0, 0),
        (40, 0, 40, 5, 0),
        (40, 2, 37, 0, 2),
        # Never read to its end, or at least so many: nothing can be said.
        (None, 0, 44, 0, 0),
        (MOST_LISTED - 10, 0, MOST_LISTED, 0, 0),
    ],
)
def test_more_than_was_met_on_top_is_listed_below(
    expected: int | None, earlier: int, total: int, fresh: int, missed: int
) -> None:
    assert Memory(expected=expected, missed=earlier).missed_by(total, fresh) == missed


def test_the_end_is_due_after_hours_and_overdue_after_a_day() -> None:
    assert Memory().is_due(NOW) and Memory().is_due(NOW, OVERDUE_AFTER)
    memory = Memory(ended_at=NOW)
    second = timedelta(seconds=1)
    assert not memory.is_due(NOW + DEEPER_EVERY - second)
    assert memory.is_due(NOW + DEEPER_EVERY)
    assert not memory.is_due(NOW + OVERDUE_AFTER - second, OVERDUE_AFTER)
    assert memory.is_due(NOW + OVERDUE_AFTER, OVERDUE_AFTER)
    assert replace(memory, missed=1).is_due(NOW)


def test_what_a_look_puts_off_is_told_once_it_is_overdue() -> None:
    reading = pages(10, (45, range(10)))
    reading.memory = Memory(ended_at=NOW - DEEPER_EVERY)
    reading.put_off(10, 10, 100, NOW)
    assert reading.notes == []
    reading.memory = Memory(ended_at=NOW - OVERDUE_AFTER, missed=4)
    reading.put_off(10, 10, 100, NOW)
    assert reading.notes == [
        "gap: what is below offset 10 of 45 was last read at 2026-01-01 03:04 UTC; 4 more are "
        "listed than were met; that takes 4 requests, which the plan does not have to spare "
        "(plan: 100 a month)"
    ]


def test_of_a_deeper_look_only_rows_without_a_key_are_remembered() -> None:
    top, below = Listing(0, 9, articles(1, 2)), Listing(2, 9, [*articles(3), {"title": "no url"}])
    met = remembered([top], set(), {}, is_open=False, is_at_end=True, deeper=[below])
    assert len(met) == 3
    (no_key,) = met.keys() - set(top.ids)
    assert no_key == label({"title": "no url"})
    # The next look at the top keeps it, the next at the end forgets it unless it is still there.
    assert no_key in remembered([top], set(), met, is_open=False)
    assert no_key not in remembered([top], set(), met, is_open=False, is_at_end=True)


def test_what_is_remembered_comes_back_from_the_ledger() -> None:
    rows = {"a" * 64: "0123", "~b": "4567+"}
    memory = Memory(rows, "ph", NOW, 40, 2, 1, plan_digest("https://a", "key", 100), NOW)
    seen = memory.known_digests()
    assert all(isinstance(value, str) for value in seen.values())
    assert Memory.of(seen, "ph") == memory
    assert Memory.of({}, "ph") == Memory(filters="ph")
    assert Memory.of(rows, "ph") == Memory(rows, "ph")
    # Of another listing nothing is known.
    other = Memory.of(seen, "ph,sg")
    assert other == Memory(rows, "ph,sg", plain=memory.plain, plain_at=NOW)
    assert other.is_due(NOW)


def test_a_refusal_of_tls_holds_for_one_address_key_and_plan_and_for_a_month() -> None:
    plan = plan_digest("https://a", "key", 100)
    memory = Memory(plain=plan, plain_at=NOW)
    assert memory.is_plain(plan, NOW)
    assert memory.is_plain(plan, NOW + PLAIN_FOR - timedelta(seconds=1))
    assert not memory.is_plain(plan, NOW + PLAIN_FOR)
    assert not memory.is_plain(plan, None)
    assert not Memory().is_plain("", NOW)
    for changed in (("https://b", "key", 100), ("https://a", "new", 100), ("https://a", "key", 9)):
        assert not memory.is_plain(plan_digest(*changed), NOW)
    assert "key" not in plan
