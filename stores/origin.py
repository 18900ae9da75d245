"""Which redirects are followed: a key, a token or a signed request goes to no other origin."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

MOST_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port of an address; no port is the scheme's own."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port else ''}"


def origin_of(url: str) -> Origin:
    """The origin of an address. Raises ValueError when its port is none."""
    parts = urlsplit(url)
    return Origin(parts.scheme.lower(), parts.hostname or "", parts.port)


def may_follow(at: Origin, to: Origin) -> bool:
    """Whether a redirect stays within the origin, or goes on to TLS on the same host."""
    if to.host != at.host:
        return False
    if to.scheme == at.scheme:
        own = PORTS.get(at.scheme)
        return (to.port or own) == (at.port or own)
    return (at.scheme, to.scheme) == ("http", "https")


def not_followed(at: Origin, to: Origin) -> str:
    """Why a redirect was not followed, without its path and query, where a key may be."""
    if may_follow(at, to):
        return f"more than {MOST_REDIRECTS} redirects, the last from {at} to {to}"
    return (
        f"redirects from {at} to {to}, which is not followed, since keys are sent to no other "
        "address; if the service has moved, set its new one"
    )
