"""PH news: where a read of the listing ends, and what it leaves to the next.

A listing moves while it is read. New articles come on top and push the others down, which repeats
rows; one that is withdrawn pulls those below it up, which hides rows between two pages; one may be
listed late, below rows that are known. The service tells how many it lists, 10,000 at most.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from core.errors import CountMismatch, SourceError
from core.values import as_json, digest, iso_8601
from sources.ph_news.mapping import SOURCE, article_id

# The service lists no more than this, whatever it has.
MOST_LISTED = 10_000
# More rows than this are not remembered from one read to the next.
MOST_SEEN = 2_000
# What a row without a key is remembered by begins so.
NO_KEY = "~"
# A remembered digest with this mark is of a row first met above a gap that is still open.
ABOVE_GAP = "+"
# In what a read remembers, beside its rows.
LISTING, PLAIN = "listing", "https_refused"
# Pages of a first run: a tenth of the free plan's month. A listing of 10,000 would take all of it.
FIRST_RUN_PAGES = 10
# How often, in one read, the rows above a page are read again because some were withdrawn.
MOST_SEAMS = 3
# A look reads on to the end of the listing when the last one that did is as old as this; with the
# hours that the plan may take to have the requests to spare, a day passes at most.
DEEPER_EVERY = timedelta(hours=12)
# From then on the ledger says that it is overdue.
OVERDUE_AFTER = timedelta(hours=24)
# What deeper looks leave to the others of what the plan allows so far is a quarter.
DEEPER_SHARE = 0.75
# So long a plan that was refused TLS is asked without it. It may have been upgraded since.
PLAIN_FOR = timedelta(days=30)


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


def published_range(articles: Iterable[object]) -> tuple[datetime | None, datetime | None]:
    """The first and the last time at which the articles say they were published."""
    moments = []
    for article in articles:
        if isinstance(article, dict):
            with suppress(ValueError):
                moments.append(iso_8601(article.get("published_at")))
    return min(moments, default=None), max(moments, default=None)


def label(article: object) -> str:
    """What an article is recognised by at the next read: its key, or its digest without one."""
    return article_id(article) or f"{NO_KEY}{digest(article)}"


def is_news(articles: Iterable[object], known: Mapping[str, str]) -> bool:
    """Whether any of the articles is new or differs from what the last read met."""
    return any(
        known.get(label(article), "").removesuffix(ABOVE_GAP) != digest(article)
        for article in articles
    )


def above_gap(known: Mapping[str, str]) -> set[str]:
    """Keys first met since the reads no longer reach known ground: they prove no end."""
    return {id_ for id_, mark in known.items() if mark.endswith(ABOVE_GAP)}


def is_known_ground(listing: Listing, known: Collection[str], open_ids: Collection[str]) -> bool:
    """Whether a read may end here: a whole page without a key unknown before any gap."""
    ids = listing.ids
    return bool(ids) and all(id_ in known and id_ not in open_ids for id_ in ids)


def moment_of(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def plan_digest(base_url: str, access_key: str, monthly_requests: int) -> str:
    """By what a plan that was refused TLS is recognised; the key cannot be read out of it."""
    return digest([base_url, access_key, monthly_requests])


@dataclass(frozen=True)
class Memory:
    """What one read leaves to the next, in the ledger's `known_digests`.

    `rows` are label to digest of each row that the next read meets again. Of the listing that
    `filters` choose: `ended_at` is when it was last read to its end, `expected` how many articles
    it should have by now, `missed` how many more than that it was found to have, and `short` how
    many fewer than it counts were met at its end. `plain` is a digest of the address, key and plan
    that were refused TLS at `plain_at`.
    """

    rows: Mapping[str, str] = field(default_factory=dict)
    filters: str = ""
    ended_at: datetime | None = None
    expected: int | None = None
    missed: int = 0
    short: int = 0
    plain: str = ""
    plain_at: datetime | None = None

    @classmethod
    def of(cls, known: Mapping[str, str], filters: str) -> Self:
        """What `known` holds; of another listing only the rows and the refusal."""
        rows = {id_: mark for id_, mark in known.items() if id_ not in (LISTING, PLAIN)}
        told: dict[str, Any] = json.loads(known.get(LISTING, "{}"))
        plain, _, at = known.get(PLAIN, "").partition(" ")
        memory = cls(rows, filters, plain=plain, plain_at=moment_of(at))
        if told.get("filters") != filters:
            return memory
        return replace(memory, **{**told, "ended_at": moment_of(told["ended_at"])})

    def known_digests(self) -> dict[str, str]:
        listing = {
            "filters": self.filters,
            "ended_at": self.ended_at.isoformat() if self.ended_at else "",
            "expected": self.expected,
            "missed": self.missed,
            "short": self.short,
        }
        plain = f"{self.plain} {self.plain_at.isoformat()}" if self.plain_at else ""
        return {**self.rows, LISTING: as_json(listing)} | ({PLAIN: plain} if plain else {})

    def is_plain(self, plain: str, now: datetime | None) -> bool:
        """Whether this address, key and plan are known to be refused TLS."""
        at = self.plain_at
        return self.plain == plain and bool(at and now and now - at < PLAIN_FOR)

    def missed_by(self, total: int, fresh: int) -> int:
        """How many articles are listed below what was met, when `fresh` were new above that."""
        if self.expected is None or total >= MOST_LISTED:
            return self.missed
        return self.missed + max(0, total - self.expected - fresh)

    def is_due(self, now: datetime, age: timedelta = DEEPER_EVERY) -> bool:
        """Whether the listing should be read on to its end: the last look at that is as old as
        this, or articles are known to be below known ground."""
        return self.ended_at is None or self.missed > 0 or now - self.ended_at >= age

    def at_end(self, total: int, distinct: int, now: datetime) -> Self:
        """After a read from the top to the end.

        Where fewer articles were met than the listing counts, another one follows. When as many are
        lacking again, reading once more finds no more: they are listed twice, or not at all.
        """
        short = max(0, total - distinct)
        missed = 0 if short == self.short else short
        return replace(self, ended_at=now, expected=total, missed=missed, short=short)


@dataclass
class Reading:
    """What one read met, top first: at most MOST_LISTED articles.

    `listings` reach down to known ground, `deeper` from there on. `notes` say what was not reached,
    `failure` why when the source is to blame; `is_open` when the next reads should go on until they
    reach known ground. `memory` is what the next read should know, but for its rows.
    """

    memory: Memory
    listings: list[Listing] = field(default_factory=list)
    deeper: list[Listing] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    observed_at: datetime | None = None
    requests: int = 0
    is_deeper: bool = False
    is_at_end: bool = False
    is_open: bool = False
    seams: int = 0
    notes: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def note(self) -> str | None:
        return "; ".join(self.notes) or None

    @property
    def answers(self) -> list[Listing]:
        return self.listings + self.deeper

    @property
    def total(self) -> int:
        """How many articles the service listed at the last answer."""
        return self.answers[-1].total

    @property
    def depth(self) -> int:
        return max(listing.next_offset for listing in self.answers)

    @property
    def fresh(self) -> int:
        """How many rows above known ground no read has met before."""
        labels = {label(article) for listing in self.listings for article in listing.articles}
        return len(labels - self.known - self.memory.rows.keys())

    def add(self, listing: Listing) -> int:
        """Keep a page; the offset to go on from.

        That is further up when the service lists fewer articles than at the last answer: each that
        was withdrawn above the page has moved one up which no page has shown.
        """
        withdrawn = self.total - listing.total if self.answers else 0
        (self.deeper if self.is_deeper else self.listings).append(listing)
        if withdrawn <= 0 or not listing.offset:
            return listing.next_offset
        if self.seams == MOST_SEAMS:
            self.notes.append(
                f"gap: {withdrawn:,} articles were withdrawn above offset {listing.offset:,} while "
                f"the listing was read, after rows were read again {MOST_SEAMS} times for others"
            )
            return listing.next_offset
        self.seams += 1
        return max(0, listing.offset - withdrawn)

    def is_unmet(self, article: object) -> bool:
        """Whether no read has met a row that a deeper look did."""
        return label(article) not in self.known and label(article) not in self.memory.rows

    def is_due(self, now: datetime) -> bool:
        """Whether the read should go on to the end of the listing, which it has not reached."""
        missed = self.memory.missed_by(self.total, self.fresh)
        self.memory = replace(self.memory, expected=self.total, missed=missed)
        return self.memory.is_due(now)

    def pages_left(self, offset: int, limit: int) -> int:
        return -(-(min(self.total, MOST_LISTED) - offset) // limit)

    def put_off(self, offset: int, limit: int, per_month: int, now: datetime) -> None:
        """The plan has not the requests to spare to go on: say so, once it is overdue."""
        if not self.memory.is_due(now, OVERDUE_AFTER):
            return
        ended_at = self.memory.ended_at
        last = f"was last read at {ended_at:%Y-%m-%d %H:%M} UTC" if ended_at else "was never read"
        missed = self.memory.missed
        more = f"; {missed:,} more are listed than were met" if missed else ""
        self.notes.append(
            f"gap: what is below offset {offset:,} of {self.total:,} {last}{more}; that takes "
            f"{self.pages_left(offset, limit):,} requests, which the plan does not have to spare "
            f"(plan: {per_month:,} a month)"
        )

    def stop(self, offset: int, cause: str) -> None:
        """Nothing more can be had now; `cause` says why."""
        if not self.answers:
            self.notes.append(cause)
            return
        self.notes.append(f"gap: older than offset {offset:,} not read; {cause}")
        if not self.is_deeper:
            self.is_open = True
            if self.memory.expected is not None:
                # What was met is known from now on.
                self.memory = replace(self.memory, expected=self.memory.expected + self.fresh)

    def stop_first_run(self, offset: int) -> None:
        self.memory = replace(self.memory, expected=self.total, missed=0)
        self.notes.append(
            f"gap: older than offset {offset:,} not read; a first run ends after {FIRST_RUN_PAGES} "
            "pages, and the rest is read when the plan has the requests to spare"
        )

    def end(self, now: datetime) -> None:
        """The read has reached the end of the listing."""
        self.is_at_end = True
        met = {label(article) for listing in self.answers for article in listing.articles}
        self.memory = self.memory.at_end(self.total, len(met), now)
        if self.memory.short:
            self.notes.append(
                f"gap: the service lists {self.total:,} articles, and {len(met):,} different ones "
                "were met"
            )
        if self.total >= MOST_LISTED:
            self.notes.append(f"gap: the service lists no more than {MOST_LISTED:,} articles")

    def remembered(self) -> Memory:
        """What the next read should know.

        With a gap, the rows first met above it are marked, and those of earlier reads stay. Of what
        a deeper look met only rows without a key are kept, by which the next one knows them. More
        than MOST_SEEN are forgotten, and the gap then stays open in the ledger only.
        """
        before, deeper = self.memory.rows, [one for page in self.deeper for one in page.articles]
        open_ids = above_gap(before)
        rows = {
            id_: mark
            for id_, mark in before.items()
            if (self.is_open and id_ in open_ids) or (id_.startswith(NO_KEY) and not self.is_at_end)
        }
        rows |= {label(one): digest(one) for one in deeper if not article_id(one)}
        for article in (one for page in self.listings for one in page.articles):
            id_ = label(article)
            is_above = self.is_open and (id_ in open_ids or id_ not in self.known)
            rows[id_] = digest(article) + (ABOVE_GAP if is_above else "")
        return replace(self.memory, rows=rows if len(rows) <= MOST_SEEN else {})
