"""Makes the stand-in's news: a pure function of seed, size, anchor and the changes since.

Outlets and stories are invented. What is awkward in them is real: several rows for one story, urls
that differ only in scheme, slash or tracking parameters, entities and tags in text, repeated, back-
and post-dated timestamps, and shares of nulls as in a real page (22 of 25 images, none of 25
descriptions, though others met those).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

Article = dict[str, Any]

BATCH = 40
BATCH_STEP_MS = 2 * 3_600_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
# Live news reaches the free plan half an hour late.
DELAY_MS = 30 * MINUTE_MS
# A change this near the top is met by everyone who reads back to a whole page of known rows.
NEAR_TOP = 20

# host, code and display name of one outlet; the API uses either as `source`
OUTLETS = (
    ("www.manila-ledger.example", "manilaledger", "Manila Ledger"),
    ("visayaspost.example", "visayaspost", "Visayas Post | Latest And Live News"),
    ("www.mindanao-star.example", "mindanaostar", "Mindanao Star"),
    ("negosyo.example", "negosyo", "Negosyo Araw-Araw"),
)
ABROAD = (
    ("www.harbor-times.example", "harbortimes", "Harbor Times", "us", "en"),
    ("thames-wire.example", "thameswire", "Thames Wire", "gb", "en"),
    ("diario-sur.example", "diariosur", "Diario Sur", "mx", "es"),
    # From the Philippines, in another language.
    ("huaqiao-ribao.example", "huaqiaoribao", "Huaqiao Ribao", "ph", "zh"),
)
CATEGORIES = (
    "general",
    "business",
    "entertainment",
    "health",
    "science",
    "sports",
    "technology",
)
PLACES = ("Parañaque", "Cebu", "Baguio", "Las Piñas", "Davao", "Quezon City", "Iloilo")
SUBJECTS = ("Mayor", "Senate panel", "Fisherfolk", "PAGASA", "DepEd", "Small-business owners")
VERBS = ("backs", "weighs", "questions", "welcomes", "delays", "reviews")
OBJECTS = (
    "₱1.2-billion flood plan",
    "\u2018no permit, no exam\u2019 rule",
    "rice & sugar import terms",
    "new jeepney route",
    'what it calls "a fair wage"',
    "typhoon early-warning app",
)
AUTHORS = ("Ma. Teresa Dela Peña", "J. O'Hara", "Staff", "Reuters", "José Rizaldy Ñ. Cruz")


def generate(seed: int, size: int, anchor_ms: int) -> list[Article]:
    """The listing, top first: `size` rows of ph, and others between them.

    The rows came in batches of two hours; the newest batch is on top, within one there is no order.
    """
    rows: list[Article] = []
    batches = -(-size // BATCH)
    for batch in range(batches):
        moment_ms = anchor_ms - (batches - 1 - batch) * BATCH_STEP_MS
        wanted = min(BATCH, size - batch * BATCH)
        rows[:0] = _batch(Random(f"{seed}/{size}/{batch}"), seed, batch, wanted, moment_ms)
    return rows


@dataclass
class StageCounts:
    """How many articles of ph a stage touched, and how many others it added."""

    new: int = 0
    retitled: int = 0
    relisted: int = 0
    others: int = 0


def advance(rows: list[Article], seed: int, stage: int, moment_ms: int) -> dict[str, int]:
    """Put a batch on top, move a few old articles there, and change a few titles.

    A changed title is either near the top or one of those listed again.
    """
    rng = Random(f"{seed}/stage {stage}")
    counts = StageCounts()
    known = [row for row in rows if is_wanted(row)]
    near, deep = known[:NEAR_TOP], known[NEAR_TOP:]
    retitled = rng.sample(near, min(3, len(near)))
    relisted = rng.sample(deep, min(3, len(deep)))
    for article in retitled + relisted[:1]:
        article["title"] = f"{article['title']} (update {stage})"
        counts.retitled += 1
    top = _batch(rng, seed, 5000 + stage, BATCH, moment_ms)
    counts.new = sum(is_wanted(row) for row in top)
    counts.others = len(top) - counts.new
    counts.relisted = len(relisted)
    for article in relisted:
        rows.remove(article)
    top += relisted
    rng.shuffle(top)
    rows[:0] = top
    return asdict(counts)


def withdraw(rows: list[Article], place: int, count: int) -> list[Article]:
    """Take so many articles of ph out of the listing, from their place among those of ph on."""
    gone = [row for row in rows if is_wanted(row)][place : place + count]
    for article in gone:
        rows.remove(article)
    return gone


def list_late(
    rows: list[Article], seed: int, change: int, moment_ms: int, place: int, count: int
) -> None:
    """List so many new articles of ph not on top but below `place` others of ph."""
    above = [number for number, row in enumerate(rows) if is_wanted(row)][:place]
    at = above[-1] + 1 if above else 0
    rows[at:at] = _batch(Random(f"{seed}/late {change}"), seed, 8000 + change, count, moment_ms)


def is_wanted(article: Article) -> bool:
    """Whether countries=ph lets it pass."""
    return bool(article["country"] == "ph")


def key(article: Article) -> tuple[str, str, str]:
    """What tells one row from another: there is no article id."""
    return article["url"], article["source"], article["category"]


def _batch(rng: Random, seed: int, batch: int, wanted: int, moment_ms: int) -> list[Article]:
    """Rows in no order; `wanted` of them are of ph."""
    rows: list[Article] = []
    found = number = 0
    published_ms = moment_ms - DELAY_MS
    while found < wanted:
        serial = seed % 900 * 10_000_000 + batch * 1000 + number
        if rng.random() > 0.4:  # else at the same second as the story before
            published_ms = _published_ms(rng, number, moment_ms)
        story = list(_story(rng, serial, number, published_ms))
        if is_wanted(story[0]):
            story = story[: wanted - found]
            found += len(story)
        rows += story
        number += 1
    rng.shuffle(rows)
    return rows


def _published_ms(rng: Random, number: int, moment_ms: int) -> int:
    if number % 9 == 4:  # back-dated
        return moment_ms - rng.randrange(2 * DAY_MS, 20 * DAY_MS)
    if number % 9 == 7:  # post-dated
        return moment_ms + rng.randrange(60 * MINUTE_MS, 12 * 60 * MINUTE_MS)
    return moment_ms - DELAY_MS - rng.randrange(90 * MINUTE_MS)


def _story(rng: Random, serial: int, number: int, published_ms: int) -> Iterator[Article]:
    """The rows of one story; how many and how they differ depends on its place in the batch."""
    country, language = "ph", "en"
    if number % 6 == 5:
        host, code, display, country, language = rng.choice(ABROAD)
    else:
        host, code, display = rng.choice(OUTLETS)
    place = rng.choice(PLACES)
    words = (rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(OBJECTS))
    title = f"{' '.join(words)} in {place}"
    slug = "-".join(w.lower() for w in words[0].split()) + f"-{words[1]}-{serial}"
    day = datetime.fromtimestamp(published_ms / 1000, UTC).strftime("%Y/%m/%d")
    url = f"https://{host}/{day}/{slug}/"
    article: Article = {
        "author": rng.choice((None, None, "", *AUTHORS)),
        "title": title.replace("\u2018", "&#8216;") if number % 10 == 9 else title,
        "description": _description(rng, title, number),
        "url": url,
        "source": rng.choice((code, display)),
        "image": f"https://{host}/img/{serial}.jpg?quality=90&strip=all"
        if number % 8 == 6
        else None,
        "category": rng.choice(CATEGORIES),
        "language": language,
        "country": country,
        "published_at": _iso(published_ms),
    }
    other = OUTLETS[0][1] if code != OUTLETS[0][1] else OUTLETS[1][1]
    match number % 12:
        case 1:  # in two categories
            yield article
            yield article | {
                "category": "general" if article["category"] != "general" else "health"
            }
        case 3:  # under two sources
            yield article
            yield article | {"source": other, "author": None}
        case 6:  # with tracking parameters, once beside the plain url
            yield article
            yield article | {"url": f"{url}?utm_source=rss&utm_medium=feed&utm_campaign=ph"}
        case 8:  # over http, and without the slash
            yield article
            yield article | {"url": url.replace("https:", "http:"), "source": other}
            yield article | {"url": url.removesuffix("/"), "image": None}
        case 10:  # tracked beside a parameter that means something
            yield article | {"url": f"{url}?id={serial}&utm_source=newsletter"}
        case _:
            yield article


def _description(rng: Random, title: str, number: int) -> str | None:
    if number % 17 == 2:
        return None
    if number % 13 == 5:
        return f'<p>{title}.</p> <a href="https://ads.example/?a=1&amp;b=2">Read more</a>'
    tail = rng.choice(("It said the plan\u2019s cost &amp; schedule stand.", "Q&A follows."))
    return f"{title} &#8211; the city&#8217;s council met on Friday. {tail} [&#8230;]"


def _iso(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).isoformat()
