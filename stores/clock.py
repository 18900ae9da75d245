"""When an answer was given: by its source's clock, unless no other clock agrees."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from core.errors import StoreFailed
from core.stamps import in_utc, is_ahead, moment_of_read
from stores.platform import Platform


@dataclass(frozen=True)
class Moment:
    """When something was observed, UTC; `doubt` says why it is not what the source's clock says."""

    at: datetime
    doubt: str | None = None

    def after(self, last: datetime | None) -> Moment:
        """The same, or right after the last read that was applied, if that is later."""
        return replace(self, at=moment_of_read(self.at, last))


def moment_of(platform: Platform, source: str, served_at: datetime | None) -> Moment:
    """The moment of an answer that was given at `served_at` by its source's clock.

    This machine's clock counts only where the source tells none. A source's clock that is ahead of
    it is believed when BigQuery's says the same; if not, or if BigQuery does not answer, it is the
    source's that is wrong.
    """
    now, clock = datetime.now(UTC), "this machine's"
    if served_at is None or not is_ahead(served_at, now):
        return Moment(served_at or now)
    with suppress(GoogleAPIError, GoogleAuthError, StoreFailed, OSError):
        now, clock = bigquery_clock(platform, source), "BigQuery's"
    if not is_ahead(served_at, now):
        return Moment(served_at)
    told = f"the source's clock says {in_utc(served_at)} and is not believed"
    return Moment(now, f"{told}: by {clock} it is {in_utc(now)}")


def bigquery_clock(platform: Platform, source: str) -> datetime:
    """BigQuery's time; it bills nothing for it."""
    (row,) = platform.warehouse.query(
        "SELECT CURRENT_TIMESTAMP() AS now", source=source, purpose="ledger"
    )
    now: datetime = row["now"]
    return now
