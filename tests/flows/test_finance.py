"""Ledger runs against the stand-in: the raw table equals the sheet, whatever people do to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from core.batch import Manifest, Window
from core.errors import DeletionsHeld, SourceError, TooManyRejects
from core.rows import to_page
from sources.finance import TABLE, read_ledger
from tasks.load import load
from tasks.report import report
from tasks.upload import add_page, commit, new_draft
from tests.lab import Lab

HEADER = list(TABLE.column_names)


def entry(id_: str, amount: Any = 10, date: Any = 45316, **cells: Any) -> list[Any]:
    row = {"id": id_, "date": date, "type": "EXPENSES", "amount": amount, **cells}
    return [row.get(name) for name in HEADER]


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(kit="finance")


@pytest.fixture
def small(make_lab: Callable[..., Lab]) -> Lab:
    """A ledger of ten entries, a to j, that a run has loaded."""
    lab = make_lab(kit="finance", size=0, rows=[HEADER, *(entry(id_) for id_ in "abcdefghij")])
    assert lab.run().total("inserted") == 10
    return lab


def deleted(lab: Lab) -> set[str]:
    return {id_ for (id_,), row in lab.rows().items() if row["_is_deleted"]}


def amounts(lab: Lab) -> dict[str, Any]:
    return {id_: row["amount"] for (id_,), row in lab.rows().items()}


def test_the_raw_table_equals_the_sheet_through_three_stages(lab: Lab) -> None:
    outcome = lab.run()
    assert (outcome.total("inserted"), outcome.total("odd")) == (120, 3)
    lab.assert_equals_truth()
    for _ in range(2):
        changed = lab.control("advance")
        outcome = lab.run()
        lab.assert_equals_truth()
        lab.assert_settled()
        assert outcome.total("inserted") == changed["appended"] + changed["inserted"]
        edits = changed["edited"] + changed["edited_same_second"] + changed["retyped"]
        assert outcome.total("updated") == edits > 0
        assert outcome.total("absent") == changed["deleted"] > 0
        assert outcome.total("unchanged") > 80
        report(outcome)


def test_an_unchanged_sheet_is_one_request_and_one_line(lab: Lab) -> None:
    lab.run()
    before = lab.rows()
    lab.control("reset-requests")
    line = lab.only_line(lab.run())
    assert (line.state, line.requests, line.source_count) == ("looked", 1, 120)
    assert len(lab.look("control/requests")) == 1
    assert lab.rows() == before
    assert [line["state"] for line in lab.ledger()] == ["applied", "looked"]
    assert lab.objects() == []


def test_counts_add_up_in_every_line(lab: Lab) -> None:
    lab.run()
    lab.control("duplicate", {"id": "007"})
    lab.run()
    lab.run()
    lines = lab.ledger()
    assert [line["state"] for line in lines] == ["applied", "applied", "looked"]
    verdicts = ("inserted", "updated", "unchanged", "older", "duplicate", "deleted", "rejected")
    for line in lines:
        assert sum(line[verdict] for verdict in verdicts) == line["extracted"]
        assert line["extracted"] + line["met_again"] == line["source_count"]


def test_two_edits_within_a_second_are_seen(small: Lab) -> None:
    for amount in (11, 12.5):
        small.control("edit", {"id": "a", "column": "amount", "value": amount})
        outcome = small.run()
        assert (outcome.total("updated"), outcome.total("unchanged")) == (1, 9)
        assert amounts(small)["a"] == Decimal(str(amount))
    stamps = [line["observed_at"] for line in small.ledger()]
    assert stamps == sorted(set(stamps))


def test_a_clock_that_stands_still_or_goes_back_loses_nothing(small: Lab) -> None:
    for offset, amount in ((-3_600_000, 20), (-7_200_000, 30)):
        small.control("clock", {"offset_ms": offset})
        small.control("edit", {"id": "a", "column": "amount", "value": amount})
        assert small.only_line(small.run()).state == "applied"
        assert amounts(small)["a"] == amount
    small.assert_equals_truth()


def test_a_retyped_entry_is_one_row(small: Lab) -> None:
    small.control("edit", {"id": "b", "column": "type", "value": "CASHBACK"})
    assert small.run().total("updated") == 1
    assert small.rows()[("b",)]["type"] == "CASHBACK"
    small.assert_equals_truth()


def test_an_entry_that_comes_back_lives_again(small: Lab) -> None:
    small.control("delete", {"ids": ["c"]})
    assert small.run().total("absent") == 1
    assert deleted(small) == {"c"}
    small.control("append", {"rows": [entry("c", 3)]})
    small.run()
    assert deleted(small) == set()
    small.assert_equals_truth()


def test_too_many_deletions_are_held_until_somebody_allows_them(small: Lab) -> None:
    small.control("delete", {"ids": ["a", "b", "c"]})
    small.control("edit", {"id": "d", "column": "amount", "value": 99})
    for _ in range(2):
        # The second time nothing has changed, and it is red all the same.
        outcome = small.run()
        assert (outcome.total("held"), outcome.total("absent")) == (3, 0)
        with pytest.raises(DeletionsHeld, match=r"3 rows are gone .* allow_deletions=true"):
            report(outcome)
    assert amounts(small)["d"] == 99
    assert deleted(small) == set()
    outcome = small.run(allow_deletions=True)
    report(outcome)
    assert outcome.total("absent") == 3
    assert deleted(small) == {"a", "b", "c"}
    small.assert_equals_truth()
    assert small.only_line(small.run()).state == "looked"


@pytest.mark.parametrize("rows", [[], [HEADER]], ids=["no cell", "only a header"])
def test_an_empty_sheet_deletes_nothing(small: Lab, rows: list[Any]) -> None:
    small.control("set", {"rows": rows})
    outcome = small.run()
    assert (outcome.total("held"), outcome.total("extracted")) == (10, 0)
    with pytest.raises(DeletionsHeld, match="10 rows are gone"):
        report(outcome)
    assert deleted(small) == set()
    small.run(allow_deletions=True)
    assert deleted(small) == set("abcdefghij")


def test_an_empty_sheet_is_no_error_where_nothing_stands(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(kit="finance", size=0, rows=[HEADER])
    outcome = lab.run()
    report(outcome)
    assert outcome.total("extracted") == 0
    assert lab.only_line(lab.run()).state == "looked"


def test_a_duplicate_leaves_its_entry_as_it_was_until_it_is_resolved(small: Lab) -> None:
    small.control("duplicate", {"id": "a"})
    small.control("edit", {"id": "a", "column": "amount", "value": 77})
    outcome = small.run()
    assert (outcome.total("rejected"), outcome.total("absent")) == (2, 0)
    with pytest.raises(TooManyRejects, match=r"2 of 11 rows rejected.*raw\._rejects"):
        report(outcome)
    assert amounts(small)["a"] == 10
    small.assert_equals_truth()
    rejects = small.query("SELECT reason, payload FROM {raw}._rejects")
    assert {row["reason"] for row in rejects} == {"duplicate id"}
    small.control("delete", {"ids": ["a"]})
    small.control("append", {"rows": [entry("a", 78)]})
    assert small.run().total("updated") == 1
    assert amounts(small)["a"] == 78
    small.assert_equals_truth()


def test_rejected_rows_are_those_of_the_truth_with_their_reasons(small: Lab) -> None:
    bad = [
        ["", 45316],
        ["  ", 45316],
        ["x1", "13/45/2024"],
        ["x2"],
        ["x3", -1],
        ["x4", 3e9],
        ["b", 45316],
    ]
    good = [[7, 45316.5], ["x5", 2958465], [" x6", 1]]
    small.control("append", {"rows": bad + good})
    small.run()
    truth = small.look("truth")
    rejects = small.query("SELECT reason FROM {raw}._rejects ORDER BY row_number")
    assert [row["reason"] for row in rejects] == [row["reason"] for row in truth["rejected"]]
    assert len(rejects) == 8
    small.assert_equals_truth()


def test_no_cell_of_a_rejected_row_is_logged(small: Lab, caplog: pytest.LogCaptureFixture) -> None:
    small.control("append", {"rows": [entry("zz-private", date="soon", notes="a secret debt")]})
    with caplog.at_level("DEBUG"), pytest.raises(TooManyRejects) as raised:
        report(small.run())
    said = [str(raised.value), *(record.getMessage() for record in caplog.records)]
    assert len(said) > 1
    assert not [line for line in said if "secret debt" in line or "zz-private" in line]


def test_a_header_that_is_not_the_ledgers_stops_the_run_before_anything_is_written(
    small: Lab,
) -> None:
    before = (small.rows(), small.ledger())
    small.control("header", {"values": ["sum" if n == "amount" else n for n in HEADER]})
    with pytest.raises(SourceError, match=r"missing: 'amount' \(not declared: 'sum'\)"):
        small.run()
    assert (small.rows(), small.ledger(), small.objects()) == (*before, [])


def test_a_column_nobody_declared_is_kept_and_announced(small: Lab) -> None:
    small.control("header", {"values": [*reversed(HEADER), "mood"]})
    small.control("set", {"rows": [[*reversed(HEADER), "mood"], [*reversed(entry("a")), "fine"]]})
    outcome = small.run()
    assert "columns kept in _extra: mood" in outcome.message
    assert small.rows()[("a",)]["_extra"] == '{"mood":"fine"}'
    assert small.ledger()[-1]["message"] == "columns kept in _extra: mood"


def commit_snapshot(lab: Lab, *rows: list[Any], hour: int) -> Manifest:
    observed_at = datetime(2030, 1, 1, hour, tzinfo=UTC)
    draft = new_draft(lab.platform, TABLE, "incremental", Window(), observed_at)
    records = read_ledger([HEADER, *rows], "a window").records
    add_page(draft, to_page(records, TABLE, 0))
    return commit(draft, requests=1, source_count=len(records), watermark=observed_at)


def test_an_older_snapshot_that_arrives_later_changes_nothing(small: Lab) -> None:
    commit_snapshot(small, *(entry(id_, 2) for id_ in "abcdefghijk"), hour=2)
    assert small.only_line(load(small.platform, TABLE)).inserted == 1
    before = small.rows()
    commit_snapshot(small, *(entry(id_, 1) for id_ in "abcdefghi"), hour=1)
    line = small.only_line(load(small.platform, TABLE))
    assert (line.state, line.older, line.absent, line.held) == ("superseded", 9, 0, 0)
    assert small.rows() == before
    commit_snapshot(small, *(entry(id_, 3) for id_ in "abcdefghij"), hour=3)
    line = small.only_line(load(small.platform, TABLE))
    assert (line.state, line.updated, line.absent) == ("applied", 10, 1)


def test_what_an_earlier_snapshot_held_back_does_not_fail_the_run_that_settles_it(
    small: Lab,
) -> None:
    commit_snapshot(small, *(entry(id_) for id_ in "defghij"), hour=1)
    small.control("delete", {"ids": ["a", "b", "c"]})
    outcome = small.run(allow_deletions=True)
    assert [(line.held, line.absent) for line in outcome.lines] == [(3, 0), (0, 3)]
    report(outcome)
    small.assert_equals_truth()


def test_a_run_killed_after_its_commit_is_made_good_by_the_next(lab: Lab) -> None:
    events = lab.run_in_child()
    assert ("commit.manifest", "after") in events
    lab.control("advance")
    kill_at = events.index(("commit.manifest", "after"))
    lab.run_in_child(kill_at=kill_at)
    lab.control("advance")
    assert [line.state for line in lab.run().lines] == ["applied", "applied"]
    lab.assert_equals_truth()
    lab.assert_settled()
