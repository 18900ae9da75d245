"""What somebody wants of a run of a source, beside what is new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from core.batch import Window
from core.schema import Mode


@dataclass(frozen=True)
class Request:
    """A range of the source's own times to read again (UTC), of a source that has any, and whether
    as many rows may be given up as are gone from a source that is read whole."""

    start: datetime | None = None
    end: datetime | None = None
    allow_deletions: bool = False

    @property
    def mode(self) -> Mode:
        return "backfill" if self.start or self.end else "incremental"

    @property
    def window(self) -> Window | None:
        """The range; None for what is new."""
        return Window(self.start, self.end) if self.mode == "backfill" else None


NOTHING_ELSE = Request()


def days(start: date | None, end: date | None) -> tuple[datetime | None, datetime | None]:
    """The first moment of `start` and the last second of `end`, UTC."""
    return (
        datetime.combine(start, time.min, UTC) if start else None,
        datetime.combine(end, time(23, 59, 59), UTC) if end else None,
    )
