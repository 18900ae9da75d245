"""A budget of requests: reserved in `raw._requests` before one is sent, settled afterwards."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.api_core.exceptions import GoogleAPIError

from core.errors import NoRequestLeft, first_line
from core.schema import Table
from core.steps import step
from stores.bigquery import Warehouse
from stores.budget_plan import CLOCK, reserve_script

logger = logging.getLogger("pipelines.budget")

# Reserved at first, and twice as many each time they are used up: few are lost with a killed run.
FIRST_RESERVED = 2


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
