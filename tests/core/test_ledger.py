"""What a run knows of the batches that were applied, while others may apply theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.ledger import Change, Changes, Line, State

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def line(hours: float, previous: float | None, state: State = "applied") -> Line:
    return Line(
        "b",
        state,
        touched_from=at(-9),
        touched_to=at(-8),
        applied_at=at(hours),
        previous_at=None if previous is None else at(previous),
    )


def test_a_batch_that_this_run_applied_is_known_with_where_its_rows_lie() -> None:
    known = Changes(START, (Change("undone", at(1)),)).and_this(line(2, previous=1))
    assert known == Changes(
        START, (Change("undone", at(1)), Change("applied", at(2), at(-9), at(-8)))
    )
    assert known.last_at == at(2)
    assert known.and_this(line(3, previous=2)) is not None


@pytest.mark.parametrize(
    ("listed", "previous", "is_known"),
    [
        ((), None, True),
        ((), -5, True),
        ((), 0, True),
        ((), 0.5, False),
        ((1,), 1, True),
        ((1,), 1.5, False),
    ],
    ids=["first ever", "long ago", "as known", "another", "after the known", "another after it"],
)
def test_with_another_runs_batch_in_between_nothing_is_known(
    listed: tuple[int, ...], previous: float | None, is_known: bool
) -> None:
    changes = Changes(START, tuple(Change("applied", at(hours)) for hours in listed))
    assert (changes.and_this(line(2, previous)) is not None) == is_known


def test_a_batch_that_changed_nothing_changes_nothing_known() -> None:
    known = Changes(START, (Change("applied", at(1)),))
    assert known.and_this(line(2, previous=1, state="superseded")) == known
