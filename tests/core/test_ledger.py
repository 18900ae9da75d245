"""What a run knows of the batches that were applied, while others may apply theirs."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.batch import Counts, Manifest
from core.ledger import (
    COUNTED,
    COUNTS,
    LOADS,
    NO_COUNTS,
    ROW_OUTCOMES,
    Change,
    Changes,
    Line,
    State,
    columns_of,
    line_of,
)
from tests.core.test_script import MANIFEST

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def line(hours: float, previous: float | None, state: State = "applied") -> Line:
    return Line(
        batch_id="b",
        state=state,
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


def test_a_count_is_declared_once_and_is_a_column_of_the_ledger() -> None:
    columns = {column.name: (column.type, column.description) for column in LOADS}
    assert len(columns) == len(LOADS)
    assert len(COUNTS) > 20
    for name, count in COUNTS.items():
        assert columns[name] == ("INT64", count.description)
    assert {one.name for one in fields(Counts)} <= COUNTS.keys()
    # No number of a line is anything else.
    assert {one.name for one in fields(Line) if one.type in ("int", "int | None")} == set(COUNTS)


def test_each_count_is_described_once_at_its_column() -> None:
    described = {column.name: column.description for column in LOADS}
    assert {name: described[name] for name in COUNTS} == {
        name: count.description for name, count in COUNTS.items()
    }
    sources = Path("dbt/models/staging/operations/_operations__sources.yml").read_text()
    assert not [name for name in COUNTS if f"name: {name}," in sources]


def test_the_script_counts_what_becomes_of_rows_and_of_the_table() -> None:
    outcomes = {"inserted", "updated", "unchanged", "older", "duplicate", "deleted"}
    effects = {"superseded_ids", "absent", "cleared", "held", "replaced"}
    assert set(ROW_OUTCOMES) == outcomes
    assert set(COUNTED) == outcomes | effects | {"rejected", "rejected_before"}
    unsaid = {name for name, count in NO_COUNTS.items() if count is None}
    assert unsaid == {"source_count", "total", "depth"}


def test_a_manifest_says_of_its_line_all_but_what_the_script_finds() -> None:
    told = columns_of(replace(MANIFEST, note="a gap", replay_of=("b", "a"), total=9, depth=8))
    absent = {"state", "back_to", "touched_from", "touched_to", "applied_at", "rejected_before"}
    assert {column.name for column in LOADS} - told.keys() == absent | set(COUNTED) - {"rejected"}
    assert (told["table_name"], told["message"]) == (MANIFEST.table, "a gap")
    assert told["replay_of"] == "b,a"
    assert (told["extracted"], told["size_bytes"], told["total"]) == (12, 1, 9)
    backfill: Manifest = replace(MANIFEST, mode="backfill")
    told = columns_of(backfill)
    assert (told["watermark"], told["known_digests"]) == (None, None)


def test_a_line_has_the_counts_of_its_batch_and_those_of_its_load() -> None:
    line = line_of(replace(MANIFEST, already_seen=4), "superseded", older=10, rejected=1)
    assert (line.batch_id, line.state) == (MANIFEST.batch_id, "superseded")
    assert (line.extracted, line.already_seen, line.requests, line.older) == (12, 4, 3, 10)
    assert (line.rejected, line.rejected_unexpected) == (1, 1)
