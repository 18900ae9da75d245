"""PH news in a platform."""

from __future__ import annotations

from datetime import datetime
from html import unescape
from typing import Any

from runs.extract import run as run_flow
from runs.outcome import Outcome
from sources.ph_news.mapping import TABLE, article_id
from sources.ph_news.settings import PhNews
from testing.platform import TestPlatform

TABLE = TABLE
KEY = "sandbox-mediastack-key"
# So many that every second of a month allows a run.
PLENTY = 10**9


def start(platform: TestPlatform, size: int, **settings: Any) -> None:
    platform.control("world", {"seed": 7, "size": size, **settings})


def block(platform: TestPlatform, **settings: Any) -> PhNews:
    return PhNews.model_validate(
        {
            "base_url": platform.sources_url,
            "access_key": KEY,
            "monthly_requests": PLENTY,
            **settings,
        }
    )


def run(platform: TestPlatform, **settings: Any) -> Outcome:
    """A run; `settings` are of the block."""
    return run_flow(platform.stores, "ph_news", block(platform, **settings))


def assert_equals_truth(platform: TestPlatform) -> None:
    articles = {(article_id(row),): row for row in platform.look("truth")["articles"]}
    rows = platform.rows()
    assert articles
    assert rows.keys() == articles.keys()
    for key, article in articles.items():
        row = rows[key]
        published_at = datetime.fromisoformat(article["published_at"])
        assert {name: row[name] for name in article} == {**article, "published_at": published_at}
        for name in ("title", "description"):
            text = article[name]
            assert row[f"{name}_unescaped"] == (None if text is None else unescape(text))
        assert row["_first_seen_at"] <= row["_last_seen_at"]
        assert (row["_is_deleted"], row["_extra"]) == (False, None)
