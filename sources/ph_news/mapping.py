"""PH news: how it loads, what an article becomes, and what is a refusal.

Facts from mediastack's documentation, https://docs.apilayer.com/mediastack, and a page of 2022.
"""

from __future__ import annotations

import hashlib
import html
import json
from datetime import datetime
from typing import Literal

from core.rows import Record
from core.schema import Column, Table
from core.values import as_json, iso_8601

SOURCE = "ph_news"
TABLE = Table(
    source=SOURCE,
    name="ph_news__articles",
    title="News",
    about="News of the Philippines, as mediastack lists it.",
    is_public=True,
    key=("article_id",),
    # The service tells no time of update, so the order of reads decides.
    partition_by="published_at",
    columns=(
        Column("article_id", "STRING", "SHA-256 in hex of url, source and category."),
        Column("author", "STRING", "Who wrote it; often null, may be empty."),
        Column("title", "STRING", "Headline as served, with HTML entities."),
        Column("description", "STRING", "Teaser as served, with HTML entities; null for some."),
        Column("url", "STRING", "Address of the article as served."),
        Column("source", "STRING", "Outlet: a code for some, a display name for others."),
        Column("image", "STRING", "Address of an image; mostly null."),
        Column("category", "STRING", "general, business, health, sports ..."),
        Column("language", "STRING", "Two-letter language code."),
        Column("country", "STRING", "Two-letter country code."),
        Column(
            "published_at",
            "TIMESTAMP",
            "By the publisher's clock, UTC, also back- or post-dated; null when unreadable.",
            iso_8601,
        ),
        Column("title_unescaped", "STRING", "title with HTML entities resolved once."),
        Column("description_unescaped", "STRING", "description with HTML entities resolved once."),
        Column("_first_seen_at", "TIMESTAMP", "First read that listed it, UTC.", iso_8601, "min"),
        Column(
            "_last_seen_at",
            "TIMESTAMP",
            "Last read with news that listed it, UTC; null when only an import knows it.",
            iso_8601,
            "max",
        ),
    ),
)

HTTPS_RESTRICTED = "https_access_restricted"
# The documented refusals that pass by themselves, and those that stay.
PASSING = {"rate_limit_reached", "internal_error"}
STAYING = {
    *("missing_access_key", "invalid_access_key", "inactive_user", HTTPS_RESTRICTED),
    *("function_access_restricted", "invalid_api_function", "404_not_found"),
    *("usage_limit_reached", "validation_error"),
}

SERVED = (
    *("author", "title", "description", "url", "source", "image"),
    *("category", "language", "country", "published_at"),
)


def error_code(text: str) -> str | None:
    """The code of an error body, in the present form or in that of older apilayer products.

    `{"error": {"code": "...", ...}}`, `{"success": false, "error": {"code": 105, "type": "..."}}`.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or ("error" not in body and body.get("success") is not False):
        return None
    error = body.get("error")
    if not isinstance(error, dict):
        return "unknown"
    named = (error.get("type"), error.get("code"))
    return next((name for name in named if isinstance(name, str) and name), "unknown")


def classify_response(status: int, text: str) -> Literal["final", "repeat"] | None:
    """The error in a body goes before the status: 429 is both too fast and a spent plan.

    A server error with a code that nobody documented is one like any other.
    """
    code = error_code(text)
    if code is None or (status >= 500 and code not in PASSING | STAYING):
        return None
    return "repeat" if code in PASSING else "final"


def article_id(article: object) -> str | None:
    """The key of an article: there is none in the answer, and an url may stand in it repeatedly.

    None for a row without url.
    """
    if not isinstance(article, dict):
        return None
    url = article.get("url")
    if not isinstance(url, str) or not url:
        return None
    parts = as_json([url, article.get("source"), article.get("category")])
    return hashlib.sha256(parts.encode()).hexdigest()


def to_record(article: object, observed_at: datetime) -> Record:
    """An article as a row; whatever has no column goes to `extra`.

    Of the fields that the service serves the row has those that are there, null and empty ones too.
    """
    if not isinstance(article, dict):
        return Record({}, {}, False, article, "row that is no object")
    fields: dict[str, object] = {name: article[name] for name in SERVED if name in article}
    extra = {name: value for name, value in article.items() if name not in SERVED}
    id_ = article_id(article)
    fields["article_id"] = id_
    for name in ("title", "description"):
        text = article.get(name)
        fields[f"{name}_unescaped"] = html.unescape(text) if isinstance(text, str) else None
    fields["_first_seen_at"] = fields["_last_seen_at"] = observed_at.isoformat()
    return Record(fields, extra, False, article, None if id_ else "row without url")
