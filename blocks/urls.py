"""Joining a base URL, which may carry a path prefix, with a path."""

from __future__ import annotations


def join(base_url: object, path: str) -> str:
    """`base_url` and `path` with one slash between; a prefix in the base is kept."""
    return f"{str(base_url).rstrip('/')}/{path.lstrip('/')}"
