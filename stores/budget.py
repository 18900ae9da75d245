"""A budget of requests: reserved in `raw._requests` before one is sent, settled afterwards.

What a calendar month (UTC, BigQuery's clock) allows grows evenly, from one request in its first
second to the whole budget in its last. Spent is what was settled, and what was reserved and never
settled. The script is fenced like that of an apply, so two runs are never granted one request. A
month's lines count: a run over midnight spends of the month in which it settles.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.api_core.exceptions import GoogleAPIError

from core.errors import NoRequestLeft, first_line
from core.schema import Table
from core.sql import Names, fence_table, literal
from core.steps import step
from stores.bigquery import Warehouse

logger = logging.getLogger("pipelines.budget")

# Reserved at first, and twice as many each time they are used up: few are lost with a killed run.
FIRST_RESERVED = 2
# BigQuery's own clock; a test sets another.
CLOCK = "CURRENT_TIMESTAMP()"


@dataclass
class Reservation:
    """Requests granted out of `share` of what the month allows."""

    id: str
    granted: int
    share: float
    sent: int = 0


@dataclass
class Budget:
    """What one run may send of a source's `per_month` requests."""

    warehouse: Warehouse
    table: Table
    per_month: int
    clock: str = field(default_factory=lambda: CLOCK)
    reservations: list[Reservation] = field(default_factory=list)
    # What the month had allowed, and what was spent or reserved of it, at the last reservation.
    allowed: int = 0
    spent: int = 0

    def spend(self, share: float = 1.0) -> None:
        """One request that may be sent now, of the first `share` of what the month allows so far.

        Raises NoRequestLeft when that is spent.
        """
        last = self.reservations[-1] if self.reservations else None
        if not last or last.sent == last.granted or last.share != share:
            last = self._reserve(FIRST_RESERVED << len(self.reservations), share)
            self.reservations.append(last)
        last.sent += 1

    def spare(self, share: float) -> int:
        """How many more requests `share` allowed at the last reservation; asks nobody."""
        return max(0, int(self.allowed * share) - self.spent)

    def settle(self) -> None:
        """Write what was really sent. What cannot be written counts as sent, and loses no page."""
        for reservation in self.reservations:
            line = {
                "reservation_id": reservation.id,
                "source": self.table.source,
                "state": "settled",
                "requests": reservation.sent,
                "recorded_at": "now",
            }
            try:
                with step("budget.settle"):
                    self.warehouse.insert_line("_requests", line, self.table.source)
            except GoogleAPIError as error:
                logger.error(
                    "%s: %d of %d reserved requests not settled: %s",
                    self.table.source,
                    reservation.sent,
                    reservation.granted,
                    first_line(str(error)),
                )

    def _reserve(self, wanted: int, share: float) -> Reservation:
        if not self.warehouse.has_source(self.table):
            self.warehouse.ensure_source(self.table)
        reservation_id = secrets.token_hex(8)
        script = reserve_script(
            self.table.source,
            reservation_id,
            wanted=wanted,
            per_month=max(1, int(self.per_month * share)),
            names=self.warehouse.names,
            clock=self.clock,
        )
        with step("budget.reserve"):
            # Run again it finds its own line, after the fence, and grants nothing more.
            (row,) = self.warehouse.query(script, source=self.table.source, purpose="ledger")
        if not row["granted"]:
            raise NoRequestLeft(row["next_at"])
        if share == 1.0:
            self.allowed = row["allowed"]
        self.spent = row["spent"] + row["granted"]
        return Reservation(reservation_id, row["granted"], share)


@contextmanager
def budget(warehouse: Warehouse, table: Table, per_month: int) -> Iterator[Budget]:
    """A Budget for one run, settled at its end, however it ends."""
    held = Budget(warehouse, table, per_month)
    try:
        yield held
    finally:
        held.settle()


def reserve_script(
    source: str,
    reservation_id: str,
    *,
    wanted: int,
    per_month: int,
    names: Names,
    clock: str = CLOCK,
) -> str:
    """The script that grants at most `wanted` requests, and a line in `_requests` for them.

    Its result is one row: `granted`, `next_at`, when one more will be allowed, and what the month
    has `allowed` so far and was `spent` of it before. Repeating it with the same id grants nothing
    more and gives the same number.
    """
    requests = names.raw("_requests")
    # The emulator multiplies small numbers in 32 bits, and takes DIV for an operator: casts and
    # inner parentheses do nothing on BigQuery.
    budget = f"CAST({per_month} AS INT64)"
    # A repetition may come after midnight, so the day before the month is looked through, too.
    of_this = f"reservation_id = {literal(reservation_id)}"
    return f"""\
DECLARE reserved_at, month_at, month_end_at, next_at TIMESTAMP;
DECLARE asked STRING;
DECLARE month_seconds, elapsed_seconds, spent, allowed, granted INT64 DEFAULT 0;
BEGIN TRANSACTION;
UPDATE {names.raw(fence_table(source))}
SET fenced_at = CURRENT_TIMESTAMP()
WHERE TRUE;
SET reserved_at = {clock};
SET month_at = TIMESTAMP_TRUNC(reserved_at, MONTH);
SET month_end_at = TIMESTAMP(DATE_ADD(DATE(month_at), INTERVAL 1 MONTH));
SET month_seconds = TIMESTAMP_DIFF(month_end_at, month_at, SECOND);
SET elapsed_seconds = TIMESTAMP_DIFF(reserved_at, month_at, SECOND);
SET asked = (
    SELECT CONCAT(
        CAST(COALESCE(SUM(r.spent), 0) AS STRING), ',', CAST(COALESCE(MAX(r.granted), -1) AS STRING)
    )
    FROM (
        SELECT
            COALESCE(
                MAX(IF(state = 'settled' AND recorded_at >= month_at, requests, NULL)),
                MAX(IF(recorded_at >= month_at, requests, NULL))
            ) AS spent,
            MAX(IF({of_this} AND state = 'reserved', requests, NULL)) AS granted
        FROM {requests}
        WHERE
            source = {literal(source)}
            AND recorded_at >= TIMESTAMP_SUB(month_at, INTERVAL 1 DAY)
        GROUP BY reservation_id
    ) AS r
);
SET spent = CAST(SPLIT(asked, ',')[OFFSET(0)] AS INT64);
SET granted = CAST(SPLIT(asked, ',')[OFFSET(1)] AS INT64);
SET allowed = GREATEST(
    1, DIV(({budget} * elapsed_seconds + month_seconds - 1), month_seconds)
);
IF granted < 0 THEN
  SET granted = GREATEST(0, LEAST({wanted}, allowed - spent));
  IF granted > 0 THEN
    INSERT INTO {requests} (reservation_id, source, state, requests, recorded_at)
    SELECT {literal(reservation_id)}, {literal(source)}, 'reserved', granted, reserved_at;
  END IF;
END IF;
SET elapsed_seconds = DIV((CAST(spent AS INT64) * month_seconds), {budget}) + 1;
SET next_at = TIMESTAMP_ADD(month_at, INTERVAL LEAST(month_seconds, elapsed_seconds) SECOND);
COMMIT TRANSACTION;
SELECT granted, next_at, allowed, spent;
"""
