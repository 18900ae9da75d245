"""The marts of one version, as rows for pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from dashboards.formats import Formats
from serving.contract import Audience
from serving.snapshot import Snapshot
from serving.status import SOURCES

Rows = list[dict[str, Any]]


@dataclass
class Data:
    """Reads marts of a snapshot and remembers which. `now` is when the page is built, UTC."""

    snapshot: Snapshot
    audience: Audience
    formats: Formats
    now: datetime
    used: list[str] = field(default_factory=list)

    def has(self, mart: str) -> bool:
        """Whether the mart was built and exported; it is named on the page either way."""
        if mart not in self.used:
            self.used.append(mart)
        return mart in self.snapshot.manifest.marts

    def why_empty(self, mart: str) -> str:
        """Why a part of a page has no rows of this mart, in a sentence for its reader."""
        if not self.has(mart):
            return f"The mart {mart} was not built yet. A run of its source builds it."
        of_that_time = " of that time" if self.snapshot.manifest.marts[mart].rows else ""
        return f"The mart {mart} has no rows{of_that_time}."

    def rows(self, mart: str, order: str | None = None, **least: Any) -> Rows:
        """Rows of a mart by `order` (`-name` from the highest). `least` bounds columns from below.
        None when the mart is not there."""
        if not self.has(mart):
            return []
        table = self.snapshot.table(mart)
        for name, bound in least.items():
            table = table.filter(pc.greater_equal(table[name], bound))
        if order:
            direction = "descending" if order.startswith("-") else "ascending"
            table = table.sort_by([(order.lstrip("-"), direction)])
        rows: Rows = table.to_pylist()
        return rows


def absent_sources(snapshot: Snapshot) -> frozenset[str]:
    """The sources that are not configured here; none before `watch/alerts` has said so."""
    if SOURCES.name not in snapshot.manifest.marts:
        return frozenset()
    rows = snapshot.table(SOURCES.name).to_pylist()
    return frozenset(row["source"] for row in rows if not row["is_configured"])


def total(rows: Rows, name: str) -> Any:
    """The sum of a column; nulls count as nothing."""
    return sum(row[name] for row in rows if row[name] is not None)


def renamed(rows: Rows, **fields: str) -> Rows:
    """Of rows these fields alone, by the name that each is to have."""
    return [{new: row[old] for new, old in fields.items()} for row in rows]


def with_month(rows: Rows, day: str) -> Rows:
    """Rows and the `month` of a date of theirs, such as 2026-11."""
    return [{**row, "month": f"{row[day]:%Y-%m}"} for row in rows]


def grouped(rows: Rows, by: tuple[str, ...], *sums: str) -> Rows:
    """One row per value of `by`, in the order of first appearance, with the sums of columns."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in by)
        into = found.setdefault(key, dict(zip(by, key, strict=True)) | dict.fromkeys(sums, 0))
        for name in sums:
            into[name] += row[name] or 0
    return list(found.values())
