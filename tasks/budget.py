"""A budget of requests: reserved in `raw._requests` before one is sent, settled afterwards."""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError

from core.budget import CLOCK, reserve_script
from core.errors import NoRequestLeft, first_line
from core.schema import Table
from core.steps import step
from tasks.load import TRIES, may_pass
from tasks.warehouse import Warehouse

logger = logging.getLogger("pipelines.budget")

# Reserved at first, and twice as many each time they are used up: few are lost with a killed run.
FIRST_RESERVED = 2


@dataclass
class Reservation:
    id: str
    granted: int
    sent: int = 0


@dataclass
class Budget:
    """What one run may send of a source's `per_month` requests."""

    warehouse: Warehouse
    table: Table
    per_month: int
    clock: str = CLOCK
    reservations: list[Reservation] = field(default_factory=list)

    def spend(self) -> None:
        """One request that may be sent now. Raises NoRequestLeft when the month allows none yet."""
        if not self.reservations or self.reservations[-1].sent == self.reservations[-1].granted:
            self.reservations.append(self._reserve(FIRST_RESERVED << len(self.reservations)))
        self.reservations[-1].sent += 1

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

    def _reserve(self, wanted: int) -> Reservation:
        if not self.warehouse.has_source(self.table):
            self.warehouse.ensure_source(self.table)
        reservation_id = secrets.token_hex(8)
        script = reserve_script(
            self.table.source,
            reservation_id,
            wanted=wanted,
            per_month=self.per_month,
            names=self.warehouse.names,
            clock=self.clock,
        )
        for attempt in range(1, TRIES + 1):
            try:
                with step("budget.reserve"):
                    (row,) = self.warehouse.query(
                        script, source=self.table.source, purpose="ledger"
                    )
                break
            except GoogleAPICallError as error:
                if attempt == TRIES or not may_pass(error):
                    raise
                wait = random.uniform(0.5, 1.5) * min(2.0**attempt, 20.0)
                logger.warning("%s; again in %.1f s", first_line(str(error)), wait)
                time.sleep(wait)
        if not row["granted"]:
            raise NoRequestLeft(row["next_at"])
        return Reservation(reservation_id, row["granted"])


@contextmanager
def budget(warehouse: Warehouse, table: Table, per_month: int) -> Iterator[Budget]:
    """A Budget for one run, settled at its end, however it ends."""
    held = Budget(warehouse, table, per_month)
    try:
        yield held
    finally:
        held.settle()
