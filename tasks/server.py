"""The Prefect server that a command line or a look speaks to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from prefect.settings import get_current_settings

PAGE_ROWS = 200  # the server's limit

T = TypeVar("T")


def server_url() -> str | None:
    """Its API's address; None, said on stderr, where there is none.

    A client without one would start a server of its own.
    """
    url = get_current_settings().api.url
    if not url:
        print("PREFECT_API_URL is not set", file=sys.stderr)
    return url


def every(read: Callable[..., list[T]], **filters: Any) -> list[T]:
    """All that one of the client's `read_...` finds, however many pages that is."""
    found: list[T] = []
    while True:
        page = read(limit=PAGE_ROWS, offset=len(found), **filters)
        found += page
        if len(page) < PAGE_ROWS:
            return found
