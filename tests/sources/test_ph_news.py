"""What an article becomes, what an answer says, and where a read ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import CountMismatch, SourceError
from core.rows import to_page
from sources.ph_news import (
    MOST_SEEN,
    TABLE,
    Listing,
    above_gap,
    article_id,
    digest,
    error_code,
    is_known_ground,
    is_news,
    judge,
    label,
    listing_of,
    observed_at,
    published_range,
    remembered,
    to_record,
)

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ARTICLE = {
    "author": None,
    "title": "Rice &#038; sugar: &#8216;Q&amp;A&#8217;",
    "description": None,
    "url": "https://a.example/1",
    "source": "a",
    "image": None,
    "category": "general",
    "language": "en",
    "country": "ph",
    "published_at": "2026-01-02T08:00:00+08:00",
}


def row_of(article: object) -> dict[str, Any]:
    (row,) = to_page([to_record(article, MOMENT)], TABLE, 0).rows.to_pylist()
    return dict(row)


def test_an_article_becomes_a_row() -> None:
    assert row_of(ARTICLE) == {
        **ARTICLE,
        "article_id": article_id(ARTICLE),
        "published_at": datetime(2026, 1, 2, tzinfo=UTC),
        "title_unescaped": "Rice & sugar: \u2018Q&A\u2019",
        "description_unescaped": None,
        "_first_seen_at": MOMENT,
        "_last_seen_at": MOMENT,
        "_is_deleted": False,
        "_extra": None,
        "_row": 0,
    }


@pytest.mark.parametrize(
    ("after_seconds", "expected_microseconds"),
    [(None, 0), (-60, 0), (0, 1), (0.5, 500_001), (1, 1_000_001), (600, 600_000_001)],
)
def test_a_read_comes_after_the_last_one_whatever_the_clock_says(
    after_seconds: float | None, expected_microseconds: int
) -> None:
    watermark = None if after_seconds is None else MOMENT + timedelta(seconds=after_seconds)
    expected = MOMENT + timedelta(microseconds=expected_microseconds)
    assert observed_at(MOMENT, watermark) == expected


def test_text_is_unescaped_once() -> None:
    assert row_of({**ARTICLE, "title": "&amp;lt;"})["title_unescaped"] == "&lt;"


@pytest.mark.parametrize(
    ("given", "extra"),
    [
        ({"published_at": None}, None),
        ({"published_at": "2026-01-02"}, {"published_at": "2026-01-02"}),
        ({"published_at": "2026-01-02T03:04:05"}, {"published_at": "2026-01-02T03:04:05"}),
        ({"published_at": 1767268800}, {"published_at": 1767268800}),
        ({"mood": "good"}, {"mood": "good"}),
        ({"article_id": "mine"}, {"article_id": "mine"}),
        ({"_first_seen_at": "2020"}, {"_first_seen_at": "2020"}),
        ({"title": ["a"]}, {"title": ["a"]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_fits_no_column_is_kept(given: dict[str, object], extra: object) -> None:
    row = row_of({**ARTICLE, **given})
    assert (json.loads(row["_extra"]) if row["_extra"] else None) == extra
    assert row["_first_seen_at"] == MOMENT
    assert row["article_id"] == article_id(ARTICLE)


@pytest.mark.parametrize("url", [None, "", 7, ["https://a.example/1"]])
def test_a_row_without_url_is_rejected_whole(url: object) -> None:
    page = to_page([to_record({**ARTICLE, "url": url}, MOMENT)], TABLE, 0)
    (reject,) = page.rejects
    assert reject.reason == "row without url"
    assert json.loads(reject.payload)["url"] == url


def test_a_key_is_of_url_source_and_category_and_nothing_joins_them() -> None:
    keys = {
        article_id({"url": url, "source": source, "category": category})
        for url, source, category in [
            ("a", "b", "c"),
            ("ab", "", "c"),
            ("a", "bc", ""),
            ('a","b', "", "c"),
            ("a", None, "c"),
        ]
    }
    assert len(keys) == 5
    assert article_id({**ARTICLE, "title": "another", "image": "x"}) == article_id(ARTICLE)


@pytest.mark.parametrize(
    ("status", "body", "code", "verdict"),
    [
        (200, '{"pagination": {}, "data": [{"title": "error"}]}', None, None),
        (500, "<html>", None, None),
        (503, "[]", None, None),
        (429, '{"error": {"code": "usage_limit_reached"}}', "usage_limit_reached", "final"),
        (429, '{"error": {"code": "rate_limit_reached"}}', "rate_limit_reached", "repeat"),
        (500, '{"error": {"code": "internal_error"}}', "internal_error", "repeat"),
        (
            200,
            '{"success": false, "error": {"code": 104, "type": "usage_limit_reached"}}',
            "usage_limit_reached",
            "final",
        ),
        (
            200,
            '{"success": false, "error": {"code": 106, "type": "rate_limit_reached"}}',
            "rate_limit_reached",
            "repeat",
        ),
        (200, '{"success": false}', "unknown", "final"),
        (200, '{"error": {"code": 105}}', "unknown", "final"),
    ],
)
def test_an_error_is_told_by_its_body(
    status: int, body: str, code: str | None, verdict: str | None
) -> None:
    assert error_code(body) == code
    assert judge(status, body) == verdict


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


def test_the_real_page_becomes_rows(samples: Path) -> None:
    (path,) = (samples / "mediastack").glob("*.json")
    listing = listing_of(json.loads(path.read_text()), 0, "offset 0")
    assert (len(listing.articles), listing.total) == (25, 10_000)
    page = to_page([to_record(article, MOMENT) for article in listing.articles], TABLE, 0)
    assert (page.rejects, page.odd) == ([], 0)
    rows = page.rows.to_pylist()
    assert len({row["article_id"] for row in rows}) == 25
    for row, article in zip(rows, listing.articles, strict=True):
        assert isinstance(article, dict)
        at = datetime.fromisoformat(article["published_at"])
        assert {name: row[name] for name in article} == {**article, "published_at": at}
        assert "&#8" not in row["title_unescaped"] + row["description_unescaped"]
        assert row["_extra"] is None
    assert any("&#8" in row["description"] for row in rows)
    assert published_range(listing) == (
        min(row["published_at"] for row in rows),
        max(row["published_at"] for row in rows),
    )


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


def test_what_was_met_above_a_gap_stays_marked_until_it_is_closed() -> None:
    first = Listing(0, 9, articles(1, 2))
    one, two = first.ids
    gapped = remembered([first], {two}, {}, has_gap=True)
    assert above_gap(gapped) == {one}
    # By the next read the table holds them, but not what lies below; new ones push them down.
    second = Listing(0, 9, articles(3))
    (three,) = second.ids
    gapped = remembered([second], set(), gapped, has_gap=True)
    assert above_gap(gapped) == {one, three}
    closed = remembered([second, first], {one, two, three}, gapped, has_gap=False)
    assert closed.keys() == {one, two, three}
    assert above_gap(closed) == set()


def test_a_read_too_long_to_be_remembered_is_forgotten() -> None:
    listing = Listing(0, 9_999, articles(*range(MOST_SEEN + 1)))
    assert remembered([listing], set(), {}, has_gap=True) == {}
