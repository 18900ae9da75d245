"""PH news in a lab."""

from __future__ import annotations

from datetime import datetime
from html import unescape
from typing import Any

from runs.extract import run as run_flow
from runs.outcome import Outcome
from sources.ph_news.mapping import TABLE, article_id
from sources.ph_news.settings import PhNews
from testing.platform import Lab

TABLE = TABLE
KEY = "sandbox-mediastack-key"
# So many that every second of a month allows a run.
PLENTY = 10**9


def start(lab: Lab, size: int, **settings: Any) -> None:
    lab.control("world", {"seed": 7, "size": size, **settings})


def block(lab: Lab, **settings: Any) -> PhNews:
    return PhNews.model_validate(
        {
            "base_url": lab.sources_url,
            "access_key": KEY,
            "monthly_requests": PLENTY,
            **settings,
        }
    )


def run(lab: Lab, **settings: Any) -> Outcome:
    """A run; `settings` are of the block."""
    return run_flow(lab.platform, "ph_news", block(lab, **settings))


def assert_equals_truth(lab: Lab) -> None:
    articles = {(article_id(row),): row for row in lab.look("truth")["articles"]}
    rows = lab.rows()
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
