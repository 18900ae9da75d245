"""When the flow `watch` looks at the ledger; what it tells is in tests/deploy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flows.watch import is_ledger_due

NOW = datetime(2026, 1, 2, 12, 0, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "on_schedule", "is_due"),
    [
        (None, True, True),
        (timedelta(hours=2, minutes=45), True, False),
        (timedelta(hours=2, minutes=59, seconds=50), True, True),
        (timedelta(hours=5), True, True),
        (timedelta(seconds=30), False, True),
    ],
)
def test_a_schedule_looks_every_third_hour_and_anything_else_at_once(
    ago: timedelta | None, on_schedule: bool, is_due: bool
) -> None:
    last = None if ago is None else NOW - ago
    assert is_ledger_due(last, NOW, on_schedule=on_schedule) is is_due
