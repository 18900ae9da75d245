"""How fresh a source is, by two clocks: when it was last looked at, and when it last brought news.

A quiet day stops the second clock and not the first, so it is no outage; an extraction that no
longer runs, or runs and finds nothing for too long, stops one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.errors import NamedFailure
from core.stamps import AHEAD

Status = Literal["fresh", "warn", "error"]
ClockName = Literal["last_look", "newest_event"]
WORDS: dict[ClockName, str] = {"last_look": "last look", "newest_event": "newest event"}
# When each clock of a source was last set, UTC; None for never.
LastSeen = Mapping[ClockName, datetime | None]
# The key of the artifact that a check leaves.
ARTIFACT = "freshness"


class StaleSource(NamedFailure):
    """At least one source is stale; the message names each, its clock and how late it is."""

    state_name = "StaleSource"


@dataclass(frozen=True)
class Threshold:
    """How old a clock's last stroke may be before it is reported, and before it is a failure."""

    warn_after: timedelta
    error_after: timedelta

    def __post_init__(self) -> None:
        if not timedelta() < self.warn_after < self.error_after:
            raise ValueError(f"warn after {self.warn_after} and error after {self.error_after}")


@dataclass(frozen=True)
class Reading:
    """One clock of one source. Before its first stroke its age counts from the ledger's birth."""

    source: str
    clock: ClockName
    at: datetime | None
    age: timedelta
    threshold: Threshold

    @property
    def is_ahead(self) -> bool:
        """Whether the source's own time is from the future: then nobody knows how old it is."""
        return self.age < -AHEAD

    @property
    def status(self) -> Status:
        if self.is_ahead or self.age > self.threshold.error_after:
            return "error"
        return "warn" if self.age > self.threshold.warn_after else "fresh"

    @property
    def lateness(self) -> str:
        """How late the clock is; empty when it is not."""
        if self.status == "fresh":
            return ""
        if self.is_ahead:
            return f"{WORDS[self.clock]} is {in_words(-self.age)} in the future"
        since = f"{in_words(self.age)} ago" if self.at else f"never in {in_words(self.age)}"
        limit = self.threshold.error_after
        if self.status != "error":
            limit = self.threshold.warn_after
        late = in_words(self.age - limit)
        return f"{WORDS[self.clock]} {since}, {late} later than allowed"


def read_clocks(
    thresholds: Mapping[str, Mapping[ClockName, Threshold]],
    last_seen: Mapping[str, LastSeen],
    ledger_born_at: datetime,
    now: datetime,
) -> list[Reading]:
    """Both clocks of every source that has thresholds, by source."""
    readings = []
    for source in sorted(thresholds):
        for clock in WORDS:
            at = last_seen.get(source, {}).get(clock)
            age = now - (at or ledger_born_at)
            readings.append(Reading(source, clock, at, age, thresholds[source][clock]))
    return readings


def summary(readings: Iterable[Reading]) -> str:
    """One line: what is stale, else what is late, else that all is fresh."""
    listed = list(readings)
    sources = len({reading.source for reading in listed})
    told = [
        f"{word}: {'; '.join(f'{one.source}: {one.lateness}' for one in late)}"
        for word, status in (("stale", "error"), ("late", "warn"))
        if (late := [reading for reading in listed if reading.status == status])
    ]
    return ". ".join(told) or f"{sources} sources fresh"


def stale_sources(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Source to how late it is, of rows with `source`, `status` and `lateness` of readings."""
    found: dict[str, str] = {}
    for row in rows:
        if row["status"] == "error":
            told = (found.get(row["source"]), row["lateness"])
            found[row["source"]] = "; ".join(one for one in told if one)
    return found


def in_words(span: timedelta) -> str:
    """A span to the hour or the day: 40 min, 7.2 h, 3.1 days."""
    hours = span.total_seconds() / 3600
    if abs(hours) < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if abs(hours) < 48 else f"{hours / 24:.1f} days"
