"""Undo: the table is what it was, the ledger keeps both, the next run reads on from there.

The points at which it is killed come from the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from core.batch import NoChange, Window, new_batch_id
from core.errors import OperationRejected
from core.ledger import Cursor
from core.version import code_version
from repair.undo import preview, undo
from runs.due import due_build
from runs.load import load
from runs.outcome import Outcome
from sources.usgs_earthquake.mapping import TABLE
from stores.cursor import read_position
from stores.ledger import record_no_change
from testing.matrix import crossed, only, or_slow, some_kits
from testing.platform import KITS, Event, Lab
from tests.reliability.test_kill import PHASES, steps_in_code
from tests.tasks.test_load import commit_batch, quake, values

SIZE = 60


def applied(lab: Lab) -> list[str]:
    """Batches in the order in which they were applied."""
    return [line["batch_id"] for line in lab.ledger() if line["state"] == "applied"]


def undone(lab: Lab) -> list[str]:
    return [line["batch_id"] for line in lab.ledger() if line["state"] == "undone"]


def take_back(lab: Lab, batch_id: str) -> Outcome:
    return undo(lab.platform, lab.source.TABLE, batch_id)


def take_back_last(lab: Lab) -> Outcome:
    return take_back(lab, applied(lab)[-1])


def cursor(lab: Lab) -> Cursor:
    return read_position(lab.platform.warehouse, lab.source.TABLE, ()).cursor


def live(lab: Lab, rows: dict[Any, Any]) -> list[list[Any]]:
    """What the rows that are not deleted say, whatever batch wrote them."""
    own = lab.source.TABLE.column_names
    found = [[row[name] for name in own] for row in rows.values() if not row["_is_deleted"]]
    return sorted(found, key=str)


def run_thrice(lab: Lab) -> list[dict[Any, Any]]:
    """Three batches out of a world that moves on; the rows after each."""
    tables = []
    for number in range(3):
        if number:
            lab.control("advance")
        lab.run()
        tables.append(lab.rows())
    assert len(applied(lab)) == 3
    return tables


@pytest.mark.parametrize("kit", some_kits(KITS))
def test_the_table_is_exactly_what_it_was_and_the_next_run_brings_all_again(
    kit: str, make_lab: Callable[..., Lab]
) -> None:
    lab = make_lab(kit=kit, size=SIZE)
    _, before, after = run_thrice(lab)
    assert before != after
    was = lab.ledger()
    outcome = take_back(lab, applied(lab)[-1])
    assert lab.rows() == before
    assert outcome.message == (
        f"undone: {applied(lab)[-1]}; {lab.source.TABLE.name} is what it was before "
        f"{applied(lab)[-1]}, {len(before)} rows"
    )
    (line,) = [line for line in lab.ledger() if line not in was]
    assert (line["state"], line["replaced"], line["undos"]) == ("undone", len(after), 1)
    assert line["back_to"] == was[-1]["applied_at"] < line["applied_at"]
    assert lab.run().total("written") > 0
    lab.assert_equals_truth()
    assert len(applied(lab)) == 4
    assert lab.run().lines[0].state == "no_change"


@pytest.mark.parametrize(
    "kit",
    or_slow(lambda kit: kit != "nyc_fhv", [("usgs_earthquake",), ("finance",), ("nyc_fhv",)]),
)
def test_what_would_go_is_told_before_and_is_what_goes(
    kit: str, make_lab: Callable[..., Lab]
) -> None:
    lab = make_lab(kit=kit, size=SIZE)
    before, _, now = run_thrice(lab)
    batches, table = applied(lab), lab.source.TABLE
    ledger = lab.ledger()
    going = preview(lab.platform, table, batches[1])
    assert [one["batch_id"] for one in going.batches] == sorted(batches[1:])
    assert (going.now, going.then) == (len(now), len(before))
    if table.key:
        assert going.gone == len(now.keys() - before.keys())
        assert going.touched == sum(row["_batch_id"] in batches[1:] for row in now.values())
        assert going.touched - going.gone == sum(now[key] != row for key, row in before.items()) > 0
    else:
        assert (going.gone, going.touched) == (len(now), len(now))
    for batch_id in batches[1:]:
        assert f"batch     {batch_id}, applied 20" in str(going)
    assert f"raw.{table.name} {len(now):,} rows, and {len(before):,} before" in str(going)
    # Nothing was written for it.
    assert (lab.rows(), lab.ledger()) == (now, ledger)
    told: list[str] = []
    undo(lab.platform, table, batches[1], say=told.append)
    assert told == [str(going)]
    assert lab.rows() == before
    undo(lab.platform, table, batches[1], say=told.append)
    assert len(told) == 1
    with pytest.raises(OperationRejected, match="was undone at 20"):
        preview(lab.platform, table, batches[1])


@pytest.mark.parametrize(
    "kit",
    or_slow(lambda kit: kit == "nyc_fhv", [("usgs_earthquake",), ("finance",), ("nyc_fhv",)]),
)
def test_every_later_batch_is_undone_too_and_looks_count_no_more(
    kit: str, make_lab: Callable[..., Lab]
) -> None:
    lab = make_lab(kit=kit, size=SIZE)
    first, _, last = run_thrice(lab)
    where = [line["watermark"] for line in lab.ledger()]
    lab.run()
    assert lab.ledger()[-1]["state"] == "no_change"
    batches = applied(lab)
    outcome = take_back(lab, batches[1])
    assert lab.rows() == first
    assert undone(lab) == sorted(batches[1:]) == [line.batch_id for line in outcome.lines]
    assert (cursor(lab).watermark, cursor(lab).undos) == (where[0], 1)
    lab.run()
    # An event that was born and renamed meanwhile is never met under its first name.
    assert live(lab, lab.rows()) == live(lab, last)
    assert lab.run().lines[0].state == "no_change"


@pytest.mark.slow
def test_the_first_batch_can_be_undone_and_undos_follow_each_other(lab: Lab) -> None:
    first, second, last = run_thrice(lab)
    batches = applied(lab)
    take_back(lab, batches[2])
    assert lab.rows() == second
    take_back(lab, batches[1])
    assert lab.rows() == first
    take_back(lab, batches[0])
    assert lab.rows() == {}
    assert undone(lab) == [*reversed(batches)]
    assert cursor(lab) == Cursor(undos=3)
    lab.run()
    assert live(lab, lab.rows()) == live(lab, last)
    assert cursor(lab).watermark is not None
    # And what came after an undo is undone like anything else.
    take_back_last(lab)
    assert lab.rows() == {}
    assert cursor(lab) == Cursor(undos=4)


@pytest.fixture
def bare(make_lab: Callable[..., Lab]) -> Lab:
    lab = make_lab(size=1, retention_days=7)
    lab.platform.warehouse.ensure_ledger()
    return lab


def test_an_undone_batch_is_not_loaded_again_by_itself(bare: Lab) -> None:
    commit_batch(bare, quake("a"))
    commit_batch(bare, quake("b"), hour=1)
    load(bare.platform, TABLE)
    take_back_last(bare)
    assert load(bare.platform, TABLE).lines == []
    assert set(bare.rows()) == {("a",)}


def test_undoing_again_is_left_at_that(bare: Lab) -> None:
    commit_batch(bare, quake("a"))
    commit_batch(bare, quake("b"), hour=1)
    load(bare.platform, TABLE)
    one, two = applied(bare)
    take_back(bare, one)
    was = (bare.rows(), bare.ledger())
    for batch_id in (one, two):
        outcome = take_back(bare, batch_id)
        assert [line.batch_id for line in outcome.lines] == [one, two]
        assert "this was done already, at 20" in outcome.message
    assert (bare.rows(), bare.ledger()) == was


def test_rejects_are_kept_and_marts_are_due(bare: Lab) -> None:
    commit_batch(bare, quake("a"), quake(""))
    load(bare.platform, TABLE)
    before = due_build(bare.platform.warehouse, TABLE.source)
    take_back_last(bare)
    after = due_build(bare.platform.warehouse, TABLE.source)
    assert before and after
    assert before.covers_applied_at < after.covers_applied_at
    assert len(bare.query("SELECT * FROM {raw}._rejects")) == 1


@pytest.mark.slow
def test_marts_that_grow_forget_what_was_undone(
    make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Increments alone would keep it: rows that are gone from raw bring no news."""
    lab = make_lab(size=20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    marts = "SELECT event_id, magnitude, is_deleted FROM {marts}silver.earthquake_events"
    marts += " WHERE occurred_at IS NULL OR occurred_at IS NOT NULL ORDER BY 1"
    lab.run()
    assert lab.build()
    was = lab.query(marts)
    lab.control("advance")
    lab.run()
    assert lab.build()
    assert lab.query(marts) != was
    take_back_last(lab)
    assert lab.build()
    assert lab.query(marts) == was


def test_a_column_added_since_is_null_afterwards(bare: Lab) -> None:
    commit_batch(bare, quake("a"))
    load(bare.platform, TABLE)
    commit_batch(bare, quake("b"), hour=1)
    load(bare.platform, TABLE)
    bare.query(f"ALTER TABLE {{raw}}.{TABLE.name} ADD COLUMN later STRING")
    bare.query(f"UPDATE {{raw}}.{TABLE.name} SET later = 'x' WHERE TRUE")
    take_back_last(bare)
    assert values(bare, "later") == {"a": None}
    assert values(bare, "mag") == {"a": 1.5}


@pytest.mark.slow
def test_a_batch_applied_while_the_earlier_rows_are_staged_is_undone_as_well(
    bare: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_batch(bare, quake("a"))
    commit_batch(bare, quake("b"), hour=1)
    load(bare.platform, TABLE)
    shape = bare.platform.warehouse.staged_shape

    def and_another(name: str) -> tuple[list[str], int]:
        commit_batch(bare, quake("c"), hour=2)
        load(bare.platform, TABLE)
        return shape(name)

    monkeypatch.setattr(bare.platform.warehouse, "staged_shape", and_another)
    take_back_last(bare)
    assert set(bare.rows()) == {("a",)}
    assert len(undone(bare)) == 2


@pytest.mark.slow
def test_a_run_under_way_during_an_undo_does_not_carry_the_watermark_past_it(lab: Lab) -> None:
    first, *_ = run_thrice(lab)
    stale = cursor(lab)
    take_back(lab, applied(lab)[1])
    back = cursor(lab)
    assert back.watermark and stale.watermark and back.watermark < stale.watermark
    # It looked before the undo and tells of it afterwards: once without news, once with.
    moment = stale.watermark + timedelta(minutes=1)
    told = NoChange(
        batch_id=new_batch_id(moment),
        source=TABLE.source,
        table=TABLE.name,
        mode="incremental",
        window=Window(stale.watermark),
        observed_at=moment,
        watermark=moment,
        undos=stale.undos,
        code_version=code_version(),
    )
    record_no_change(lab.platform.warehouse, told)
    assert cursor(lab) == back
    commit_batch(lab, quake("a"), watermark=moment)
    load(lab.platform, lab.source.TABLE)
    assert cursor(lab) == back
    assert first.keys() < lab.rows().keys()
    record_no_change(lab.platform.warehouse, replace(told, undos=back.undos))
    assert cursor(lab).watermark == moment


@pytest.mark.slow
def test_an_undone_newer_whole_does_not_supersede_an_older_one(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(kit="finance", size=SIZE, retention_days=7)
    lab.run()
    # Committed first, loaded last.
    lab.control("advance")
    assert lab.run_in_child(kill_at=("commit.manifest", "after"))
    waiting = {n: lab.platform.landing.get(n) for n in lab.objects() if "manifest" in n}
    (late,) = [name for name in waiting if applied(lab)[0] not in name]
    lab.platform.landing.delete(late)
    lab.control("advance")
    lab.run()
    take_back_last(lab)
    lab.platform.landing.put(late, waiting[late])
    assert lab.only_line(load(lab.platform, lab.source.TABLE)).state == "applied"


@pytest.mark.parametrize(
    ("batch_id", "cause"),
    [
        ("yesterday", "'yesterday' is not a batch id; one looks like 2"),
        ("20260102T030405678901_0a1b2c3d", "is unknown to the ledger: only what was applied can"),
    ],
)
def test_what_is_not_a_batch_is_told(bare: Lab, batch_id: str, cause: str) -> None:
    with pytest.raises(OperationRejected, match=cause):
        take_back(bare, batch_id)


def test_what_changed_no_row_cannot_be_undone(bare: Lab) -> None:
    lost = commit_batch(bare, quake("a"))
    bare.platform.landing.delete(
        f"{bare.platform.prefix(TABLE.source)}{lost.batch_id}/part-0001.parquet"
    )
    load(bare.platform, TABLE)
    with pytest.raises(OperationRejected, match="is failed: only what was applied can be undone"):
        take_back(bare, lost.batch_id)
    # Another source's.
    commit_batch(bare, quake("b"), hour=1)
    load(bare.platform, TABLE)
    other = Lab("other", bare.env, "finance", raw_dataset=bare.settings.warehouse.raw_dataset)
    with pytest.raises(OperationRejected, match="is of usgs_earthquake, not of finance"):
        take_back(other, applied(bare)[0])


def test_beyond_time_travel_it_is_told_and_nothing_changes(
    bare: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_batch(bare, quake("a"))
    load(bare.platform, TABLE)
    was = (bare.rows(), bare.ledger())
    monkeypatch.setattr("repair.undo.TIME_TRAVEL", timedelta(0))
    with pytest.raises(
        OperationRejected, match=r"was applied at .* knows what a table was for 0 days"
    ):
        take_back_last(bare)
    monkeypatch.undo()
    # And in BigQuery's own words, where a dataset keeps less.
    bare.query(
        "UPDATE {raw}._loads SET applied_at = TIMESTAMP_SUB(applied_at, INTERVAL 1 DAY) WHERE TRUE"
    )
    with pytest.raises(OperationRejected, match=r"SYSTEM_TIME|snapshot"):
        take_back_last(bare)
    assert bare.rows() == was[0]
    assert undone(bare) == []


def test_a_ledger_that_does_not_agree_with_the_moment_stops_it(bare: Lab) -> None:
    commit_batch(bare, quake("a"))
    load(bare.platform, TABLE)
    commit_batch(bare, quake("b"), hour=1)
    load(bare.platform, TABLE)
    bare.query("UPDATE {raw}._loads SET state = 'no_change' WHERE batch_id LIKE '20260131T12%'")
    with pytest.raises(OperationRejected, match=r"the ledger had 1 lines .*, and now 0 of before"):
        take_back_last(bare)
    assert len(bare.rows()) == 2


# Killed anywhere.


def prepare(lab: Lab) -> tuple[dict[Any, Any], dict[Any, Any]]:
    lab.run()
    before = lab.rows()
    lab.control("advance")
    lab.run()
    return before, lab.rows()


@cache
def trace(kit: str, env: tuple[tuple[str, str], ...]) -> list[Event]:
    """What an undisturbed undo passes."""
    lab = Lab(f"undo-trace-{kit.replace('_', '-')}", dict(env), kit)
    lab.source.start(lab, SIZE)
    prepare(lab)
    return lab.run_in_child(do=take_back_last)


KILLED = ["usgs_earthquake", "nyc_fhv"]
POINTS: list[Event] = sorted(
    (name, phase) for name in steps_in_code() if name.startswith("undo.") for phase in PHASES
)


@pytest.mark.parametrize("kit", or_slow(lambda kit: kit == KILLED[1], crossed(KILLED)))
def test_every_point_of_an_undo_is_reached(kit: str, stack_env: dict[str, str]) -> None:
    assert len(POINTS) > 10
    assert sorted(trace(kit, tuple(stack_env.items()))) == POINTS


def is_quick(kit: str, point: Event) -> bool:
    """Where something lasting has happened."""
    return kit == KILLED[1] and point == ("undo.wait", "before")


def is_slow(kit: str, point: Event) -> bool:
    """Where it is about to."""
    return kit == KILLED[1] and point == ("undo.apply", "before")


@pytest.mark.parametrize(("kit", "point"), only(is_quick, crossed(KILLED, POINTS), is_slow))
def test_an_undo_killed_anywhere_is_made_good_by_repeating_it(
    kit: str, point: Event, make_lab: Callable[..., Lab]
) -> None:
    lab = make_lab(kit=kit, size=SIZE)
    before, after = prepare(lab)
    batch_id = applied(lab)[-1]
    assert lab.run_in_child(kill_at=point, do=partial(take_back, batch_id=batch_id))[-1] == point
    assert lab.rows() in (before, after)
    take_back(lab, batch_id)
    assert lab.rows() == before
    assert undone(lab) == [batch_id]
    staging = f"{lab.settings.warehouse.raw_dataset}_staging"
    assert list(lab.platform.warehouse.client.list_tables(staging)) == []
    lab.run()
    lab.assert_equals_truth()
