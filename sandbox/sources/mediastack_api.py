"""The answers of mediastack's `/v1/news` to a listing of articles.

Facts come from the provider's documentation, a real page of 2022 and replies that others published.
The HTTP status of a refusal is documented for none; those here were seen on this service or on its
siblings. What the real service does with an unknown parameter is not known: it is refused here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from sandbox.sources.faults import Listing, Response
from sandbox.sources.mediastack_articles import CATEGORIES, Article, key

Envelope = Literal["current", "old"]

PATH = "/v1/news"
JSON = {"Content-Type": "application/json"}
DEFAULT_LIMIT = 25
LIMIT_MAX = 100
TOTAL_MAX = 10_000
LANGUAGES = ("ar", "de", "en", "es", "fr", "he", "it", "nl", "no", "pt", "ru", "se", "zh")
SORTS = ("published_desc", "published_asc", "popularity")
PARAMETERS = {
    *("access_key", "sources", "categories", "countries", "languages", "keywords", "date", "sort"),
    *("limit", "offset"),
}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}(,\d{4}-\d{2}-\d{2})?")

# code: HTTP status, message, number in the old envelope (105 was seen; the others are the sibling
# products' documented ones)
REFUSALS: dict[str, tuple[int, str, int]] = {
    "missing_access_key": (401, "You have not supplied an API Access Key.", 101),
    "invalid_access_key": (401, "You have not supplied a valid API Access Key.", 101),
    "inactive_user": (401, "The user account is inactive.", 102),
    "https_access_restricted": (
        403,
        "Access Restricted - Your current Subscription Plan does not support HTTPS Encryption.",
        105,
    ),
    "function_access_restricted": (
        403,
        "Access Restricted - Your current Subscription Plan does not support this API Function.",
        105,
    ),
    "invalid_api_function": (404, "This API Function does not exist.", 103),
    "usage_limit_reached": (
        429,
        "Your monthly usage limit has been reached. Please upgrade your Subscription Plan.",
        104,
    ),
    "rate_limit_reached": (429, "You have exceeded the maximum rate limitation.", 106),
    "validation_error": (400, "Validation error", 601),
    "internal_error": (500, "An internal error occurred.", 500),
}


class Refusal(Exception):
    """A refusal by its code; `context` names the parameters at fault."""

    def __init__(self, code: str, context: dict[str, list[str]] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.context = context


@dataclass
class Choice:
    """A comma list: one of `wanted` where there are any, none of `unwanted` (written with `-`)."""

    wanted: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)

    def allows(self, value: str) -> bool:
        """Whether a value passes."""
        return (not self.wanted or value in self.wanted) and value not in self.unwanted


@dataclass
class Query:
    """A parsed query. `days` is an inclusive range of UTC dates."""

    choices: dict[str, Choice]
    keywords: Choice
    days: tuple[str, str] | None
    sort: str
    limit: int
    offset: int


def parse(params: Mapping[str, str], *, is_free: bool) -> Query:
    """The query in the parameters. Raises Refusal; the free plan has no `date`."""
    if unknown := sorted(params.keys() - PARAMETERS):
        raise _invalid(unknown[0], "NO_SUCH_FIELD_ERROR")
    choices = {
        "country": _choice(params, "countries"),
        "language": _choice(params, "languages", LANGUAGES),
        "category": _choice(params, "categories", CATEGORIES),
        "source": _choice(params, "sources"),
    }
    sort = params.get("sort") or SORTS[0]
    if sort not in SORTS:
        raise _invalid("sort", "NO_SUCH_CHOICE_ERROR")
    days = None
    if date := params.get("date"):
        if is_free:
            raise Refusal("function_access_restricted")
        if not DATE.fullmatch(date):
            raise _invalid("date", "NO_SUCH_CHOICE_ERROR")
        days = (date[:10], date[-10:])
    return Query(
        choices=choices,
        keywords=_listed(params.get("keywords", "").lower().split()),
        days=days,
        sort=sort,
        limit=_number(params, "limit", DEFAULT_LIMIT, 1, LIMIT_MAX),
        offset=_number(params, "offset", 0, 0, None),
    )


def page(query: Query, rows: list[Article], planted: list[Any]) -> Response:
    """One page of the listing. Planted rows stand on top of it under every filter."""
    matching = planted + _sorted(query, [row for row in rows if _matches(query, row)])
    total = min(len(matching), TOTAL_MAX)
    data = matching[:TOTAL_MAX][query.offset : query.offset + query.limit]
    pagination = {
        "limit": query.limit,
        "offset": query.offset,
        "count": len(data),
        "total": total,
    }
    head = b'{"pagination":' + encode(pagination) + b',"data":['
    return Response(200, Listing(head, [encode(row) for row in data], b"]}"), JSON)


def refuse(refusal: Refusal, envelope: Envelope) -> Response:
    """The error body: as documented, or as older apilayer products write it, with HTTP 200."""
    status, message, number = REFUSALS[refusal.code]
    if envelope == "old":
        error: dict[str, Any] = {"code": number, "type": refusal.code, "info": message}
        return Response(200, encode({"success": False, "error": error}), JSON)
    error = {"code": refusal.code, "message": message}
    if refusal.context is not None:
        error["context"] = refusal.context
    return Response(status, encode({"error": error}), JSON)


def encode(document: Any) -> bytes:
    """JSON as PHP writes it with all its JSON_HEX options: `\\/`, `\\u0026`, `\\u0022`."""
    text = json.dumps(document, separators=(",", ":"))
    text = re.sub(r"\\.", lambda found: r"\u0022" if found[0] == r"\"" else found[0], text)
    for plain, escaped in (
        ("/", r"\/"),
        ("&", r"\u0026"),
        ("'", r"\u0027"),
        ("<", r"\u003C"),
        (">", r"\u003E"),
    ):
        text = text.replace(plain, escaped)
    return text.encode()


def _matches(query: Query, row: Article) -> bool:
    if not all(choice.allows(row[name].lower()) for name, choice in query.choices.items()):
        return False
    if query.days is not None and not query.days[0] <= row["published_at"][:10] <= query.days[1]:
        return False
    text = f"{row['title']} {row['description'] or ''}".lower()
    keywords = query.keywords
    return all(word in text for word in keywords.wanted) and not any(
        word in text for word in keywords.unwanted
    )


def _sorted(query: Query, rows: list[Article]) -> list[Article]:
    """The default order is the listing's own: by arrival, not by `published_at`."""
    if query.sort == "published_asc":
        return rows[::-1]
    if query.sort == "popularity":
        return sorted(rows, key=lambda row: Random(repr(key(row))).random())
    return rows


def _choice(params: Mapping[str, str], name: str, allowed: tuple[str, ...] | None = None) -> Choice:
    choice = _listed([entry for entry in params.get(name, "").lower().split(",") if entry])
    if allowed is not None and not choice.wanted | choice.unwanted <= set(allowed):
        raise _invalid(name, "NO_SUCH_CHOICE_ERROR")
    return choice


def _listed(entries: list[str]) -> Choice:
    unwanted = {entry[1:] for entry in entries if entry.startswith("-")}
    return Choice({entry for entry in entries if not entry.startswith("-")}, unwanted)


def _number(params: Mapping[str, str], name: str, default: int, low: int, high: int | None) -> int:
    text = params.get(name) or str(default)
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise _invalid(name, "INVALID_TYPE_ERROR")
    if int(text) < low:
        raise _invalid(name, "TOO_LOW_ERROR")
    if high is not None and int(text) > high:
        raise _invalid(name, "TOO_HIGH_ERROR")
    return int(text)


def _invalid(name: str, error: str) -> Refusal:
    return Refusal("validation_error", {name: [error]})
