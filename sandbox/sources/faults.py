"""Injected faults: which request gets one, and how it reaches the socket.

A plan is a list of entries. An entry sees the requests whose path and query contain its `path` and
that no earlier entry answered; it lets `skip` of them pass, then strikes `times` of them (-1 means
always).
"""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Kind = Literal[
    "status",
    "drop",
    "truncate",
    "wrong_length",
    "malformed",
    "html",
    "empty",
    "drip",
    "hang",
    "withhold",
    "repeat",
]

HTML_PAGE = (
    b"<!DOCTYPE html><html><head><title>Service notice</title></head>"
    b"<body><h1>We will be back soon</h1></body></html>"
)


class Fault(BaseModel):
    """One entry of a fault plan; `skip` and `times` count down as requests arrive."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    path: str = ""
    skip: int = 0
    times: int = 1
    status: int = 503
    headers: dict[str, str] = Field(default_factory=dict)
    body: str = ""
    encoding: str = "utf-8"
    n: int = 1
    seconds: float = 1.0

    @property
    def breaks_body(self) -> bool:
        """Whether the client gets another body than the source's, or none."""
        return self.kind not in ("drip", "withhold", "repeat")


PLAN = TypeAdapter(list[Fault])


def next_fault(plan: list[Fault], uri: str) -> Fault | None:
    """The fault that strikes this request, if any; counts the plan down."""
    for fault in plan:
        if fault.path not in uri or fault.times == 0:
            continue
        if fault.skip > 0:
            fault.skip -= 1
            continue
        if fault.times > 0:
            fault.times -= 1
        return fault
    return None


@dataclass
class Listing:
    """A body made of items between a head and a tail, so that faults can lose or repeat some."""

    head: bytes
    items: list[bytes]
    tail: bytes
    separator: bytes = b","

    def encode(self) -> bytes:
        """The whole body."""
        return self.head + self.separator.join(self.items) + self.tail


@dataclass
class Response:
    """An answer before it meets the wire. `body` is bytes, or items that a fault may change."""

    status: int = 200
    body: bytes | Listing = b""
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body as bytes, not compressed."""
        return self.body.encode() if isinstance(self.body, Listing) else self.body


def distort(response: Response, fault: Fault) -> Response:
    """The response as this fault leaves it; kinds that act on the socket change nothing here."""
    match fault.kind:
        case "status":
            headers = {"Content-Type": "text/plain", **fault.headers}
            return Response(fault.status, fault.body.encode(fault.encoding), headers)
        case "html":
            return Response(200, HTML_PAGE, {"Content-Type": "text/html; charset=UTF-8"})
        case "empty":
            return Response(200, b"", response.headers)
        case "malformed":
            content = response.content()
            return Response(response.status, content[: len(content) // 2], response.headers)
        case "withhold" | "repeat" if isinstance(response.body, Listing):
            listing = response.body
            keep = max(len(listing.items) - fault.n, 0)
            items = listing.items[:keep] if fault.kind == "withhold" else list(listing.items)
            if fault.kind == "repeat":
                items += listing.items[: fault.n]
            body = Listing(listing.head, items, listing.tail, listing.separator)
            return Response(response.status, body, response.headers)
    return response
