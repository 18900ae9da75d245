"""Ledger runs against the stand-in: the raw table equals the sheet, whatever people do to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.batch import Manifest, Window
from core.errors import DeletionsHeld, SourceError, TooManyRejects
from core.ledger import ROW_OUTCOMES, Cursor
from repair.replay import replay
from repair.undo import undo
from runs.load import load
from runs.outcome import report
from runs.upload import new_batch
from sandbox.sources.sheets_ledger import COLUMNS
from sources.finance.mapping import TABLE, read_ledger
from stores.clock import Moment
from testing.platform import TestPlatform, committed

HEADER = list(COLUMNS)
DAY = {"year": 2026, "month": 1, "day": 31}


def entry(id_: Any, cost: Any = 10, **cells: Any) -> list[Any]:
    row = {"id": id_, **DAY, "type": "EXPENSES", "cost": cost, **cells}
    return [row.get(name) for name in HEADER]


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform(kit="finance")


@pytest.fixture
def small(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """A ledger of ten entries, a to j, that a run has loaded."""
    platform = make_platform(
        kit="finance", size=0, rows=[HEADER, *(entry(id_) for id_ in "abcdefghij")]
    )
    assert platform.run().total("inserted") == 10
    return platform


def deleted(platform: TestPlatform) -> set[str]:
    return {id_ for (id_,), row in platform.rows().items() if row["_is_deleted"]}


def costs(platform: TestPlatform) -> dict[str, Any]:
    return {id_: row["cost"] for (id_,), row in platform.rows().items()}


def test_the_raw_table_equals_the_sheet_through_three_stages(platform: TestPlatform) -> None:
    outcome = platform.run()
    assert (outcome.total("inserted"), outcome.total("unparsed")) == (120, 3)
    platform.assert_equals_truth()
    for _ in range(2):
        changed = platform.control("advance")
        outcome = platform.run()
        platform.assert_equals_truth()
        platform.assert_settled()
        assert outcome.total("inserted") == changed["appended"] + changed["inserted"]
        edits = changed["edited"] + changed["edited_same_second"] + changed["retyped"]
        assert outcome.total("updated") == edits > 0
        assert outcome.total("absent") == changed["deleted"] > 0
        assert outcome.total("unchanged") > 80
        report(outcome)


def test_an_unchanged_sheet_is_one_request_and_one_line(platform: TestPlatform) -> None:
    platform.run()
    before = platform.rows()
    platform.control("reset-requests")
    line = platform.only_line(platform.run())
    assert (line.state, line.requests, line.source_count) == ("no_change", 1, 120)
    assert len(platform.look("control/requests")) == 1
    assert platform.rows() == before
    assert [line["state"] for line in platform.ledger()] == ["applied", "no_change"]
    assert platform.objects() == []


def test_counts_add_up_in_every_line(platform: TestPlatform) -> None:
    platform.run()
    platform.control("duplicate", {"id": "007"})
    platform.run()
    platform.run()
    lines = platform.ledger()
    assert [line["state"] for line in lines] == ["applied", "applied", "no_change"]
    outcomes = [*ROW_OUTCOMES, "rejected", "rejected_before"]
    for line in lines:
        assert sum(line[name] for name in outcomes) == line["extracted"]
        assert line["extracted"] + line["already_seen"] == line["source_count"]


def test_two_edits_within_a_second_are_seen(small: TestPlatform) -> None:
    for cost in (11, 12.5):
        small.control("edit", {"id": "a", "column": "cost", "value": cost})
        outcome = small.run()
        assert (outcome.total("updated"), outcome.total("unchanged")) == (1, 9)
        assert costs(small)["a"] == Decimal(str(cost))
    stamps = [line["observed_at"] for line in small.ledger()]
    assert stamps == sorted(set(stamps))


def test_a_clock_that_stands_still_or_goes_back_loses_nothing(small: TestPlatform) -> None:
    for offset, cost in ((-3_600_000, 20), (-7_200_000, 30)):
        small.control("clock", {"offset_ms": offset})
        small.control("edit", {"id": "a", "column": "cost", "value": cost})
        assert small.only_line(small.run()).state == "applied"
        assert costs(small)["a"] == cost
    small.assert_equals_truth()


def test_a_retyped_entry_is_one_row(small: TestPlatform) -> None:
    small.control("edit", {"id": "b", "column": "type", "value": "CASHBACK"})
    assert small.run().total("updated") == 1
    assert small.rows()[("b",)]["type"] == "CASHBACK"
    small.assert_equals_truth()


def test_an_entry_that_comes_back_lives_again(small: TestPlatform) -> None:
    small.control("delete", {"ids": ["c"]})
    assert small.run().total("absent") == 1
    assert deleted(small) == {"c"}
    small.control("append", {"rows": [entry("c", 3)]})
    small.run()
    assert deleted(small) == set()
    small.assert_equals_truth()


def test_too_many_deletions_are_held_until_somebody_allows_them(small: TestPlatform) -> None:
    small.control("delete", {"ids": ["a", "b", "c"]})
    small.control("edit", {"id": "d", "column": "cost", "value": 99})
    for _ in range(2):
        # The second time nothing has changed, and it is red all the same.
        outcome = small.run()
        assert (outcome.total("held"), outcome.total("absent")) == (3, 0)
        with pytest.raises(DeletionsHeld, match=r"3 rows are gone .* allow_deletions=true"):
            report(outcome)
    assert costs(small)["d"] == 99
    assert deleted(small) == set()
    outcome = small.run(allow_deletions=True)
    report(outcome)
    assert outcome.total("absent") == 3
    assert deleted(small) == {"a", "b", "c"}
    small.assert_equals_truth()
    assert small.only_line(small.run()).state == "no_change"


@pytest.mark.parametrize("rows", [[], [HEADER]], ids=["no cell", "only a header"])
def test_an_empty_sheet_deletes_nothing(small: TestPlatform, rows: list[Any]) -> None:
    small.control("set", {"rows": rows})
    outcome = small.run()
    assert (outcome.total("held"), outcome.total("extracted")) == (10, 0)
    with pytest.raises(DeletionsHeld, match="10 rows are gone"):
        report(outcome)
    assert deleted(small) == set()
    small.run(allow_deletions=True)
    assert deleted(small) == set("abcdefghij")


def test_an_empty_sheet_is_no_error_where_nothing_stands(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="finance", size=0, rows=[HEADER])
    outcome = platform.run()
    report(outcome)
    assert outcome.total("extracted") == 0
    assert platform.only_line(platform.run()).state == "no_change"


def test_a_duplicate_leaves_its_entry_as_it_was_until_it_is_resolved(small: TestPlatform) -> None:
    small.control("duplicate", {"id": "a"})
    small.control("edit", {"id": "a", "column": "cost", "value": 77})
    outcome = small.run()
    assert (outcome.total("rejected"), outcome.total("absent")) == (2, 0)
    with pytest.raises(TooManyRejects, match=r"2 of 11 rows rejected.*raw\._rejects"):
        report(outcome)
    assert costs(small)["a"] == 10
    small.assert_equals_truth()
    rejects = small.query("SELECT reason, payload FROM {raw}._rejects")
    assert {row["reason"] for row in rejects} == {"duplicate id"}
    small.control("delete", {"ids": ["a"]})
    small.control("append", {"rows": [entry("a", 78)]})
    assert small.run().total("updated") == 1
    assert costs(small)["a"] == 78
    small.assert_equals_truth()


def test_rejected_rows_are_those_of_the_truth_with_their_reasons(small: TestPlatform) -> None:
    bad = [["", 2026], ["  ", 2026], ["b", 2026, 1, 1]]
    good = [[7, 2026, 2, 30], ["x1"], ["x2", "2026", 1.5, "13/45/2024"], [" x6", 1e20, -1, 0]]
    small.control("append", {"rows": bad + good})
    small.run()
    truth = small.look("truth")
    rejects = small.query("SELECT reason FROM {raw}._rejects ORDER BY row_number")
    assert [row["reason"] for row in rejects] == [row["reason"] for row in truth["rejected"]]
    assert len(rejects) == 4
    small.assert_equals_truth()


def test_no_cell_of_a_rejected_row_is_logged(
    small: TestPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    small.control("append", {"rows": [entry("a", to="a secret debt")]})
    with caplog.at_level("DEBUG"), pytest.raises(TooManyRejects) as raised:
        report(small.run())
    said = [str(raised.value), *(record.getMessage() for record in caplog.records)]
    assert len(said) > 1
    assert not [line for line in said if "secret debt" in line]


def test_a_header_that_is_not_the_ledgers_stops_the_run_before_anything_is_written(
    small: TestPlatform,
) -> None:
    before = (small.rows(), small.ledger())
    small.control("header", {"values": ["sum" if n == "cost" else n for n in HEADER]})
    with pytest.raises(SourceError, match=r"missing: 'cost' \(not declared: 'sum'\)"):
        small.run()
    assert (small.rows(), small.ledger(), small.objects()) == (*before, [])


def test_what_the_header_has_otherwise_than_declared_is_announced_once(small: TestPlatform) -> None:
    names = [name for name in reversed(HEADER) if name != "store"]
    cells = dict(zip(HEADER, entry("a"), strict=True))
    row = [cells[name] for name in names]
    small.control("set", {"rows": [[*names, " mood ", ""], [*row, "fine", 7]]})
    outcome = small.run(allow_deletions=True)
    assert outcome.announced == ("new field column M", "new field mood", "missing field store")
    assert small.rows()[("a",)]["_extra"] == '{"column M":7,"mood":"fine"}'
    small.control("append", {"rows": [[*row[:-1], "z", "fair", 8]]})
    outcome = small.run()
    assert (outcome.total("inserted"), outcome.announced) == (1, ())
    assert "mood" not in outcome.message
    small.assert_equals_truth()


# What five reads show of an entry, and what becomes of it. x is its row and b a row without an id
# that has its other cells; y and c are the same with another cost. L is live, D deleted.
SHOWN = {
    "cleared": ("x b b b b", "L L L L L"),
    "back and cleared again": ("x b x x b", "L L L L L"),
    "cleared, then gone": ("x b b - b", "L L L D D"),
    "cleared and changed": ("x c c c c", "L D D D D"),
    "gone": ("x - - - -", "L D D D D"),
    "beside its total, gone": ("xb xb b b b", "L L D D D"),
    "a total is added, gone": ("x xb xb b b", "L L L D D"),
    "beside its total, cleared": ("xb bb bb bb b", "L L L L D"),
    "a total is added, cleared": ("x xb bb bb b", "L L L L D"),
    "changed beside a total": ("x yc yc c c", "L L L D D"),
    "typed before it had an id": ("b x b b b", "- L L L L"),
    "deleted before": ("x - b x b", "L D D L L"),
    "twin, cleared": ("x b b b b", "L L L L L"),
    "twin, gone": ("x x x - -", "L L L D D"),
}


def shown(read: int) -> list[list[Any]]:
    """The rows of a read, with costs and texts that are loaded otherwise than they came."""
    rows = [entry(f"filler {number}") for number in range(60)]
    for number, (name, (reads, _)) in enumerate(SHOWN.items()):
        cells = {"to": 'Niño, "7"', "created_at": 45316.5, "day": 1.5 if number % 2 else 1}
        cost = 100 / 3 if name.startswith("twin") else number + 200 / 3
        for mark in reads.split()[read].replace("-", ""):
            id_ = name if mark in "xy" else None
            rows.append(entry(id_, cost + 1 if mark in "yc" else cost, **cells))
    return rows


def states(platform: TestPlatform) -> dict[str, str]:
    rows = {id_: row for (id_,), row in platform.rows().items()}
    return {
        name: "-" if name not in rows else "D" if rows[name]["_is_deleted"] else "L"
        for name in SHOWN
    }


def test_an_entry_whose_id_cell_was_cleared_is_kept(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="finance", size=0, rows=[HEADER])
    kept: list[str] = []
    for read in range(5):
        platform.control("set", {"rows": [HEADER, *shown(read)]})
        outcome = platform.run()
        wanted = {name: fate.split()[read] for name, (_, fate) in SHOWN.items()}
        assert states(platform) == wanted, read
        kept = [
            name
            for name, (reads, _) in SHOWN.items()
            if wanted[name] == "L" and not {*"xy"} & {*reads.split()[read]}
        ]
        assert (outcome.total("cleared"), outcome.total("held")) == (len(kept), 0)
        assert (f"{len(kept)} kept whose id was cleared" in outcome.message) == bool(kept)
    assert len(kept) == 5
    assert platform.only_line(platform.run()).state == "no_change"
    outcome = platform.run(allow_deletions=True)
    assert (outcome.total("cleared"), outcome.total("absent")) == (0, len(kept))
    assert {name for name, state in states(platform).items() if state == "L"} == set()


@pytest.mark.slow
def test_a_cleared_id_is_kept_through_undo_and_replay(
    make_platform: Callable[..., TestPlatform],
) -> None:
    rows = [HEADER, *(entry(id_, number) for number, id_ in enumerate("abcdefghij"))]
    platform = make_platform(kit="finance", size=0, rows=rows, retention_days=7)
    platform.run()
    platform.control("edit", {"id": "a", "column": "id", "value": None})
    platform.control("append", {"rows": [entry(None, 1)]})
    cleared = platform.only_line(platform.run())
    # The total of b was added, and is none of a row that lost its id.
    platform.control("delete", {"ids": ["b"]})
    line = platform.only_line(platform.run())
    assert (cleared.cleared, cleared.absent, line.cleared, line.absent) == (1, 0, 1, 1)
    undo(platform.stores, TABLE, line.batch_id)
    assert deleted(platform) == set()
    line = platform.only_line(platform.run())
    assert (line.cleared, line.absent) == (1, 1)
    # An earlier whole is superseded; the last one again says the same again.
    assert (
        platform.only_line(replay(platform.stores, TABLE, cleared.batch_id)).state == "superseded"
    )
    again = platform.only_line(replay(platform.stores, TABLE, line.batch_id))
    assert (again.state, again.cleared, again.absent) == ("applied", 1, 0)
    assert deleted(platform) == {"b"}
    platform.assert_equals_truth()
    again = platform.only_line(replay(platform.stores, TABLE, line.batch_id, allow_deletions=True))
    assert (again.cleared, again.absent) == (0, 1)
    assert deleted(platform) == {"a", "b"}


def test_many_cleared_ids_are_no_deletions_to_be_held_back(small: TestPlatform) -> None:
    for id_ in "abcde":
        small.control("edit", {"id": id_, "column": "id", "value": None})
    outcome = small.run()
    assert (outcome.total("cleared"), outcome.total("held")) == (5, 0)
    assert deleted(small) == set()


def commit_snapshot(platform: TestPlatform, *rows: list[Any], number: int) -> Manifest:
    # After the platform's own run, and not so late that no clock would believe it.
    first = min(line["observed_at"] for line in platform.ledger())
    observed_at = first + timedelta(minutes=number)
    records = read_ledger([HEADER, *rows], "a window")
    with new_batch(platform.stores, TABLE, Window(), Cursor(), Moment(observed_at)) as batch:
        batch.add(records)
        return committed(batch, source_count=len(records))


def test_an_older_snapshot_that_arrives_later_changes_nothing(small: TestPlatform) -> None:
    commit_snapshot(small, *(entry(id_, 2) for id_ in "abcdefghijk"), number=2)
    assert small.only_line(load(small.stores, TABLE)).inserted == 1
    before = small.rows()
    commit_snapshot(small, *(entry(id_, 1) for id_ in "abcdefghi"), number=1)
    line = small.only_line(load(small.stores, TABLE))
    assert (line.state, line.older, line.absent, line.held) == ("superseded", 9, 0, 0)
    assert small.rows() == before
    commit_snapshot(small, *(entry(id_, 3) for id_ in "abcdefghij"), number=3)
    line = small.only_line(load(small.stores, TABLE))
    assert (line.state, line.updated, line.absent) == ("applied", 10, 1)


def test_what_an_earlier_snapshot_held_back_does_not_fail_the_run_that_settles_it(
    small: TestPlatform,
) -> None:
    commit_snapshot(small, *(entry(id_) for id_ in "defghij"), number=1)
    small.control("delete", {"ids": ["a", "b", "c"]})
    outcome = small.run(allow_deletions=True)
    assert [(line.held, line.absent) for line in outcome.lines] == [(3, 0), (0, 3)]
    report(outcome)
    small.assert_equals_truth()


def test_a_run_killed_after_its_commit_is_made_good_by_the_next(platform: TestPlatform) -> None:
    events = platform.run_in_child()
    assert ("commit.manifest", "after") in events
    platform.control("advance")
    kill_at = events.index(("commit.manifest", "after"))
    platform.run_in_child(kill_at=kill_at)
    platform.control("advance")
    assert [line.state for line in platform.run().lines] == ["applied", "applied"]
    platform.assert_equals_truth()
    platform.assert_settled()
