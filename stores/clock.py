"""When an answer was given: by its source's clock, unless no other clock agrees."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from core.errors import StoreFailed
from core.stamps import in_utc, is_ahead
from stores.platform import Platform


@dataclass(frozen=True)
class Moment:
    """When something was observed, UTC; `doubt` says why it is not what the source's clock says."""

    at: datetime
    doubt: str | None = None

    def after(self, last: datetime | None) -> Moment:
        """The same, or right after the last read that was applied, if that is later.

        Batches are ordered by it. A server's Date has whole seconds, and two reads in one would
        have no order; what is read after a clock was put back would count as older than the table.
        """
        return replace(self, at=max(self.at, last + timedelta(microseconds=1))) if last else self


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
        # It bills nothing for it.
        sql = "SELECT CURRENT_TIMESTAMP() AS now"
        (row,) = platform.warehouse.query(sql, source=source, purpose="ledger")
        now, clock = row["now"], "BigQuery's"
    if not is_ahead(served_at, now):
        return Moment(served_at)
    told = f"the source's clock says {in_utc(served_at)} and is not believed"
    return Moment(now, f"{told}: by {clock} it is {in_utc(now)}")
