"""The raw table of a source, by the source's name in the ledger."""

from __future__ import annotations

from importlib import import_module

from core.schema import Table
from sources import SOURCES


def table_of(source: str) -> Table:
    """What a source declares of itself. Its own module is imported and no other."""
    table: Table = import_module(f"sources.{source}.mapping").TABLE
    return table


def public_sources() -> tuple[str, ...]:
    """Those whose data anybody may see."""
    return tuple(source for source in SOURCES if table_of(source).is_public)
