"""PH news: how it loads, what an article becomes, and where a read ends.

Facts from mediastack's documentation, https://docs.apilayer.com/mediastack, and a page of 2022.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.errors import CountMismatch, SourceError
from core.rows import Record
from core.schema import Column, Table
from core.values import as_json, iso_8601

SOURCE = "ph_news"
TABLE = Table(
    source=SOURCE,
    name="ph_news__articles",
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
            "When the publisher says it was published, by its own clock, UTC.",
            iso_8601,
        ),
        Column("title_unescaped", "STRING", "title with HTML entities resolved once."),
        Column("description_unescaped", "STRING", "description with HTML entities resolved once."),
        Column("_first_seen_at", "TIMESTAMP", "First read that listed it, UTC.", iso_8601, "min"),
        Column(
            "_last_seen_at",
            "TIMESTAMP",
            "Last read with news that listed it, UTC.",
            iso_8601,
            "max",
        ),
    ),
)

FILTERS = {"countries": "ph", "languages": "en", "sort": "published_desc"}
# The service lists no more than this, whatever it has.
MOST_LISTED = 10_000
# More rows than this are not remembered from one read to the next.
MOST_SEEN = 2_000
# A remembered digest with this mark is of a row first met above a gap that is still open.
ABOVE_GAP = "+"
# Refusals that pass by themselves.
PASSING = {"rate_limit_reached", "internal_error"}
HTTPS_RESTRICTED = "https_access_restricted"

SERVED = (
    *("author", "title", "description", "url", "source", "image"),
    *("category", "language", "country", "published_at"),
)


@dataclass(frozen=True)
class Listing:
    """One page of the listing from `offset` on; `total` of all pages is at most MOST_LISTED."""

    offset: int
    total: int
    articles: list[object]

    @property
    def ids(self) -> list[str]:
        """Keys of the articles that have one."""
        return [id_ for article in self.articles if (id_ := article_id(article))]

    @property
    def next_offset(self) -> int:
        return self.offset + len(self.articles)

    def is_last(self, limit: int) -> bool:
        """Whether the service lists nothing beyond this page."""
        return len(self.articles) < limit or self.next_offset >= min(self.total, MOST_LISTED)


def parameters(offset: int, limit: int) -> dict[str, str | int | float]:
    """Query parameters of a page, without the key."""
    return {**FILTERS, "limit": limit, "offset": offset}


def listing_of(body: object, offset: int, window: object) -> Listing:
    """The page in an answer.

    Raises SourceError when it is something else, CountMismatch when it has not as many articles as
    it says.
    """
    pagination = body.get("pagination") if isinstance(body, dict) else None
    articles = body.get("data") if isinstance(body, dict) else None
    if not isinstance(pagination, dict) or not isinstance(articles, list):
        raise SourceError(SOURCE, window, "the answer has no pagination and data")
    count, total = pagination.get("count"), pagination.get("total")
    if not isinstance(count, int) or not isinstance(total, int):
        raise SourceError(SOURCE, window, "the pagination has no count and total")
    if count != len(articles):
        raise CountMismatch(SOURCE, window, count, len(articles))
    return Listing(offset, total, articles)


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


def judge(status: int, text: str) -> Literal["final", "repeat"] | None:
    """The error in a body goes before the status: 429 is both too fast and a spent plan."""
    code = error_code(text)
    if code is None:
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
    """An article as a row; whatever has no column goes to `extra`."""
    if not isinstance(article, dict):
        return Record({}, {}, False, article, "row that is no object")
    fields: dict[str, object] = {name: article.get(name) for name in SERVED}
    extra = {name: value for name, value in article.items() if name not in SERVED}
    id_ = article_id(article)
    fields["article_id"] = id_
    for name in ("title", "description"):
        text = article.get(name)
        if isinstance(text, str):
            fields[f"{name}_unescaped"] = html.unescape(text)
    fields["_first_seen_at"] = fields["_last_seen_at"] = observed_at.isoformat()
    return Record(fields, extra, False, article, None if id_ else "row without url")


def published_range(listing: Listing) -> tuple[datetime | None, datetime | None]:
    """The first and the last time at which the page's articles say they were published."""
    moments = []
    for article in listing.articles:
        if isinstance(article, dict):
            with suppress(ValueError):
                moments.append(iso_8601(article.get("published_at")))
    return min(moments, default=None), max(moments, default=None)


def observed_at(served_at: datetime, watermark: datetime | None) -> datetime:
    """When a read took place: by the service's clock, but after the last one that was applied.

    Batches are ordered by it. The clock tells whole seconds, and when it was ahead once and is put
    right, what is read until it has caught up would count as older than what stands.
    """
    if watermark is None:
        return served_at
    return max(served_at, watermark + timedelta(microseconds=1))


def digest(article: object) -> str:
    """Sixteen hex digits of an article's content."""
    return hashlib.sha256(as_json(article).encode()).hexdigest()[:16]


def label(article: object) -> str:
    """What an article is recognised by at the next read: its key, or its digest without one."""
    return article_id(article) or f"~{digest(article)}"


def is_news(articles: Iterable[object], seen: Mapping[str, str]) -> bool:
    """Whether any of the articles is new or differs from what the last read met."""
    return any(
        seen.get(label(article), "").removesuffix(ABOVE_GAP) != digest(article)
        for article in articles
    )


def above_gap(seen: Mapping[str, str]) -> set[str]:
    """Keys first met since the reads no longer reach known ground: they prove no end."""
    return {id_ for id_, mark in seen.items() if mark.endswith(ABOVE_GAP)}


def is_known_ground(listing: Listing, known: Collection[str], open_ids: Collection[str]) -> bool:
    """Whether a read may end here: a whole page without a key unknown before any gap."""
    ids = listing.ids
    return bool(ids) and all(id_ in known and id_ not in open_ids for id_ in ids)


def remembered(
    listings: Iterable[Listing],
    known: Collection[str],
    seen: Mapping[str, str],
    *,
    has_gap: bool,
) -> dict[str, str]:
    """What the next read should know of this one: label to digest of each row.

    With a gap, the rows first met above it are marked, and those of earlier reads stay. More than
    MOST_SEEN are forgotten, and the gap then stays open in the ledger only.
    """
    open_ids = above_gap(seen)
    met = {id_: mark for id_, mark in seen.items() if has_gap and id_ in open_ids}
    for listing in listings:
        for article in listing.articles:
            id_ = label(article)
            is_above = has_gap and (id_ in open_ids or id_ not in known)
            met[id_] = digest(article) + (ABOVE_GAP if is_above else "")
    return met if len(met) <= MOST_SEEN else {}
