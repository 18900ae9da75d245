"""What an article becomes, and what an answer says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.rows import to_chunk
from sources.ph_news.listing import listing_of, published_range
from sources.ph_news.mapping import TABLE, article_id, classify_response, error_code, to_record

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
    (row,) = to_chunk([to_record(article, MOMENT)], TABLE, 0).rows.to_pylist()
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


def test_a_field_that_no_article_has_is_missing_and_one_that_is_null_or_empty_is_not() -> None:
    def changes(*articles: object) -> tuple[tuple[str, str], ...]:
        chunk = to_chunk([to_record(article, MOMENT) for article in articles], TABLE, 0)
        return chunk.fields.changes(TABLE)

    nulls: dict[str, object] = dict.fromkeys(ARTICLE)
    assert changes(ARTICLE) == changes({**nulls, "url": "u"}) == ()
    empty = {**dict.fromkeys(ARTICLE, ""), "url": "u", "published_at": None}
    assert changes(empty) == ()
    for name in ARTICLE:
        without = {key: value for key, value in ARTICLE.items() if key != name}
        assert changes(without, without) == ((name, "missing"),)
        assert changes(without, ARTICLE) == ()


@pytest.mark.parametrize("url", [None, "", 7, ["https://a.example/1"]])
def test_a_row_without_url_is_rejected_whole(url: object) -> None:
    chunk = to_chunk([to_record({**ARTICLE, "url": url}, MOMENT)], TABLE, 0)
    (reject,) = chunk.rejects
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
        (502, '{"error": {"code": "bad_gateway"}}', "bad_gateway", None),
        (503, '{"success": false, "error": {"code": 107, "type": "busy"}}', "busy", None),
        (500, '{"error": "down"}', "unknown", None),
        (500, '{"error": {"code": "usage_limit_reached"}}', "usage_limit_reached", "final"),
        (400, '{"error": {"code": "new_rule"}}', "new_rule", "final"),
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
    assert classify_response(status, body) == verdict


def test_the_real_page_becomes_rows(samples: Path) -> None:
    (path,) = (samples / "mediastack").glob("*.json")
    listing = listing_of(json.loads(path.read_text()), 0, "offset 0")
    assert (len(listing.articles), listing.total) == (25, 10_000)
    chunk = to_chunk([to_record(article, MOMENT) for article in listing.articles], TABLE, 0)
    assert (chunk.rejects, chunk.unparsed) == ([], 0)
    rows = chunk.rows.to_pylist()
    assert len({row["article_id"] for row in rows}) == 25
    for row, article in zip(rows, listing.articles, strict=True):
        assert isinstance(article, dict)
        at = datetime.fromisoformat(article["published_at"])
        assert {name: row[name] for name in article} == {**article, "published_at": at}
        assert "&#8" not in row["title_unescaped"] + row["description_unescaped"]
        assert row["_extra"] is None
    assert any("&#8" in row["description"] for row in rows)
    assert published_range(listing.articles) == (
        min(row["published_at"] for row in rows),
        max(row["published_at"] for row in rows),
    )
