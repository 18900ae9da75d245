"""Articles seen twice, under several links and outlets in, hand-computed answers out."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from runs.build import BuildResult, build
from sources.ph_news.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

SELECT = "source:ph_news+"


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-{text}+00:00")


def article(id_: str, url: str, outlet: str, category: str, **fields: Any) -> dict[str, Any]:
    return {
        "article_id": id_,
        "url": url,
        "source": outlet,
        "category": category,
        "title_unescaped": f"Title {id_}",
        "published_at": at("02 15:59:59"),
        "_first_seen_at": at("02 17:00:00"),
        "_last_seen_at": at("02 17:00:00"),
        "_inserted_at": at("02 17:00:05"),
        "_batch_id": "b1",
        **fields,
    }


STAR = "https://www.star.example/flood/"
ARTICLES = [
    # One story by four rows: another category, another outlet, a tracked link over http.
    article("a1", STAR, "Star", "general", author="Ana"),
    article("a2", STAR, "Star", "business", _last_seen_at=at("03 18:00:00")),
    article(
        *("a3", "http://star.example/flood", "starcode", "general"),
        _first_seen_at=at("02 16:30:00"),
    ),
    article("a4", f"{STAR}?utm_source=rss", "Star", "general", published_at=None),
    # The next second is another day in Manila; listed by a second read three hours later.
    article(
        *("b1", "https://star.example/rain?id=7", "Star", "general"),
        published_at=at("02 16:00:00"),
        _last_seen_at=at("02 20:00:00"),
    ),
    article("c1", "https://ledger.example/sport", "Ledger", "sports", author=" "),
    article("d1", "https://ledger.example/undated", "Ledger", "sports", published_at=None),
    # Of the older system: no read of ours saw the one, the other is listed as well.
    article(
        *("e1", "https://old.example/history", "Old", "general"),
        _first_seen_at=None,
        _last_seen_at=None,
    ),
    article(
        *("b0", "https://star.example/rain?id=7", "Old", "general"),
        published_at=at("02 16:00:00"),
        _first_seen_at=None,
        _last_seen_at=None,
    ),
    # A publisher's clock that runs on, and one that was never set.
    article("f1", "https://late.example/1", "Late", "sports", published_at=datetime(2286, 1, 1)),  # noqa: DTZ001
    article("f2", "https://late.example/2", "Late", "sports", published_at=datetime(1970, 1, 1)),  # noqa: DTZ001
]


@pytest.fixture(scope="module")
def built(dbt_env: dict[str, str], query: Query, target_path: Path) -> BuildResult:
    raw.create(query, TABLE)
    raw.insert(query, TABLE, ARTICLES)
    return build(SELECT, target_path, dbt_env, query)


def rows(query: Query, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query(sql)]


def test_all_tests_pass_but_for_the_times_that_could_not_be_read(built: BuildResult) -> None:
    assert (built.nodes_failed, built.nodes_warned, built.nodes_skipped) == (0, 2, 0)
    keys = {warning.node: sorted(warning.keys) for warning in built.warnings}
    assert keys["every_story_lies_in_the_calendar"] == ["late.example/1", "late.example/2"]


def test_what_lies_beyond_the_calendar_is_listed_and_in_no_other_mart(
    built: object, query: Query
) -> None:
    listed = "select normalised_url, reason from gold.uncounted_stories order by normalised_url"
    assert rows(query, listed) == [
        ("late.example/1", "beyond the calendar"),
        ("late.example/2", "beyond the calendar"),
    ]
    for mart in ("daily_news_by_source_and_category", "daily_news_listing_times"):
        sites = rows(query, f"select distinct source_site from gold.{mart}")
        assert ("star.example",) in sites and ("late.example",) not in sites, mart


def test_what_was_seen_first_speaks_for_a_story(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select normalised_url, outlet, category, title, article_count, outlet_count,
            category_count, listed_hours, published_hour_manila
        from silver.news_stories where uncounted_reason is null order by normalised_url
        """,
    )
    assert found == [
        ("ledger.example/sport", "Ledger", "sports", "Title c1", 1, 1, 1, 0.0, 23),
        ("ledger.example/undated", "Ledger", "sports", "Title d1", 1, 1, 1, 0.0, None),
        ("old.example/history", "Old", "general", "Title e1", 1, 1, 1, None, 23),
        ("star.example/flood", "starcode", "general", "Title a3", 4, 2, 2, 25.5, 23),
        ("star.example/rain?id=7", "Old", "general", "Title b0", 2, 2, 1, 3.0, 0),
    ]


def test_stories_by_manila_day_source_and_category(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select published_date_manila, source_site, category, story_count, article_count,
            repeated_story_count, signed_story_count, first_published_at
        from gold.daily_news_by_source_and_category order by 1 nulls last, 2
        """,
    )
    march_2, march_3 = date(2026, 3, 2), date(2026, 3, 3)
    assert found == [
        (march_2, "ledger.example", "sports", 1, 1, 0, 0, at("02 15:59:59")),
        (march_2, "old.example", "general", 1, 1, 0, 0, at("02 15:59:59")),
        (march_2, "star.example", "general", 1, 4, 1, 0, at("02 15:59:59")),
        (march_3, "star.example", "general", 1, 2, 1, 0, at("02 16:00:00")),
        (None, "ledger.example", "sports", 1, 1, 0, 0, None),
    ]


def test_every_hour_of_the_manila_day_has_a_row(built: object, query: Query) -> None:
    found = rows(
        query,
        """
        select category, published_hour_manila, story_count, category_share
        from gold.news_by_hour_of_day order by category, published_hour_manila
        """,
    )
    assert len(found) == 48
    assert [row for row in found if row[2]] == [
        ("general", 0, 1, 1 / 3),
        ("general", 23, 2, 2 / 3),
        ("sports", 23, 1, 1.0),
    ]


def test_how_long_stories_were_listed(built: object, query: Query) -> None:
    found = rows(query, "select * from gold.daily_news_listing_times order by 1, 2")
    # Day, source, stories; seen once, for less than a day, for longer; average and most hours.
    assert found == [
        (date(2026, 3, 3), "ledger.example", 2, 2, 0, 0, 0.0, 0.0),
        (date(2026, 3, 3), "star.example", 2, 0, 1, 1, 14.25, 25.5),
    ]


def test_the_unit_tests_pass(built: object, run_dbt: RunDbt) -> None:
    result, _ = run_dbt("test", "--select", f"{SELECT},test_type:unit")
    assert [str(outcome.status) for outcome in result.result.results] == ["pass"]
