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
from testing.platform import KITS, Event, TestPlatform
from tests.reliability.test_kill import PHASES, steps_in_code
from tests.tasks.test_load import commit_batch, quake, values

SIZE = 60


def applied(platform: TestPlatform) -> list[str]:
    """Batches in the order in which they were applied."""
    return [line["batch_id"] for line in platform.ledger() if line["state"] == "applied"]


def undone(platform: TestPlatform) -> list[str]:
    return [line["batch_id"] for line in platform.ledger() if line["state"] == "undone"]


def take_back(platform: TestPlatform, batch_id: str) -> Outcome:
    return undo(platform.stores, platform.source.TABLE, batch_id)


def take_back_last(platform: TestPlatform) -> Outcome:
    return take_back(platform, applied(platform)[-1])


def cursor(platform: TestPlatform) -> Cursor:
    return read_position(platform.stores.warehouse, platform.source.TABLE, ()).cursor


def live(platform: TestPlatform, rows: dict[Any, Any]) -> list[list[Any]]:
    """What the rows that are not deleted say, whatever batch wrote them."""
    own = platform.source.TABLE.column_names
    found = [[row[name] for name in own] for row in rows.values() if not row["_is_deleted"]]
    return sorted(found, key=str)


def run_thrice(platform: TestPlatform) -> list[dict[Any, Any]]:
    """Three batches out of a world that moves on; the rows after each."""
    tables = []
    for number in range(3):
        if number:
            platform.control("advance")
        platform.run()
        tables.append(platform.rows())
    assert len(applied(platform)) == 3
    return tables


@pytest.mark.parametrize("kit", some_kits(KITS))
def test_the_table_is_exactly_what_it_was_and_the_next_run_brings_all_again(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    _, before, after = run_thrice(platform)
    assert before != after
    was = platform.ledger()
    outcome = take_back(platform, applied(platform)[-1])
    assert platform.rows() == before
    assert outcome.message == (
        f"undone: {applied(platform)[-1]}; {platform.source.TABLE.name} is what it was before "
        f"{applied(platform)[-1]}, {len(before)} rows"
    )
    (line,) = [line for line in platform.ledger() if line not in was]
    assert (line["state"], line["replaced"], line["undos"]) == ("undone", len(after), 1)
    assert line["back_to"] == was[-1]["applied_at"] < line["applied_at"]
    assert platform.run().total("written") > 0
    platform.assert_equals_truth()
    assert len(applied(platform)) == 4
    assert platform.run().lines[0].state == "no_change"


@pytest.mark.parametrize(
    "kit",
    or_slow(lambda kit: kit != "nyc_fhv", [("usgs_earthquake",), ("finance",), ("nyc_fhv",)]),
)
def test_what_would_go_is_told_before_and_is_what_goes(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    before, _, now = run_thrice(platform)
    batches, table = applied(platform), platform.source.TABLE
    ledger = platform.ledger()
    going = preview(platform.stores, table, batches[1])
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
    assert (platform.rows(), platform.ledger()) == (now, ledger)
    told: list[str] = []
    undo(platform.stores, table, batches[1], say=told.append)
    assert told == [str(going)]
    assert platform.rows() == before
    undo(platform.stores, table, batches[1], say=told.append)
    assert len(told) == 1
    with pytest.raises(OperationRejected, match="was undone at 20"):
        preview(platform.stores, table, batches[1])


@pytest.mark.parametrize(
    "kit",
    or_slow(lambda kit: kit == "nyc_fhv", [("usgs_earthquake",), ("finance",), ("nyc_fhv",)]),
)
def test_every_later_batch_is_undone_too_and_looks_count_no_more(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    first, _, last = run_thrice(platform)
    where = [line["watermark"] for line in platform.ledger()]
    platform.run()
    assert platform.ledger()[-1]["state"] == "no_change"
    batches = applied(platform)
    outcome = take_back(platform, batches[1])
    assert platform.rows() == first
    assert undone(platform) == sorted(batches[1:]) == [line.batch_id for line in outcome.lines]
    assert (cursor(platform).watermark, cursor(platform).undos) == (where[0], 1)
    platform.run()
    # An event that was born and renamed meanwhile is never met under its first name.
    assert live(platform, platform.rows()) == live(platform, last)
    assert platform.run().lines[0].state == "no_change"


@pytest.mark.slow
def test_the_first_batch_can_be_undone_and_undos_follow_each_other(platform: TestPlatform) -> None:
    first, second, last = run_thrice(platform)
    batches = applied(platform)
    take_back(platform, batches[2])
    assert platform.rows() == second
    take_back(platform, batches[1])
    assert platform.rows() == first
    take_back(platform, batches[0])
    assert platform.rows() == {}
    assert undone(platform) == [*reversed(batches)]
    assert cursor(platform) == Cursor(undos=3)
    platform.run()
    assert live(platform, platform.rows()) == live(platform, last)
    assert cursor(platform).watermark is not None
    # And what came after an undo is undone like anything else.
    take_back_last(platform)
    assert platform.rows() == {}
    assert cursor(platform) == Cursor(undos=4)


@pytest.fixture
def bare(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    platform = make_platform(size=1, retention_days=7)
    platform.stores.warehouse.ensure_ledger()
    return platform


def test_an_undone_batch_is_not_loaded_again_by_itself(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    take_back_last(bare)
    assert load(bare.stores, TABLE).lines == []
    assert set(bare.rows()) == {("a",)}


def test_undoing_again_is_left_at_that(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    one, two = applied(bare)
    take_back(bare, one)
    was = (bare.rows(), bare.ledger())
    for batch_id in (one, two):
        outcome = take_back(bare, batch_id)
        assert [line.batch_id for line in outcome.lines] == [one, two]
        assert "this was done already, at 20" in outcome.message
    assert (bare.rows(), bare.ledger()) == was


def test_rejects_are_kept_and_marts_are_due(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"), quake(""))
    load(bare.stores, TABLE)
    before = due_build(bare.stores.warehouse, TABLE.source)
    take_back_last(bare)
    after = due_build(bare.stores.warehouse, TABLE.source)
    assert before and after
    assert before.covers_applied_at < after.covers_applied_at
    assert len(bare.query("SELECT * FROM {raw}._rejects")) == 1


@pytest.mark.slow
def test_marts_that_grow_forget_what_was_undone(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Increments alone would keep it: rows that are gone from raw bring no news."""
    platform = make_platform(size=20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    marts = "SELECT event_id, magnitude, is_deleted FROM {marts}silver.earthquake_events"
    marts += " WHERE occurred_at IS NULL OR occurred_at IS NOT NULL ORDER BY 1"
    platform.run()
    assert platform.build()
    was = platform.query(marts)
    platform.control("advance")
    platform.run()
    assert platform.build()
    assert platform.query(marts) != was
    take_back_last(platform)
    assert platform.build()
    assert platform.query(marts) == was


def test_a_column_added_since_is_null_afterwards(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    bare.query(f"ALTER TABLE {{raw}}.{TABLE.name} ADD COLUMN later STRING")
    bare.query(f"UPDATE {{raw}}.{TABLE.name} SET later = 'x' WHERE TRUE")
    take_back_last(bare)
    assert values(bare, "later") == {"a": None}
    assert values(bare, "mag") == {"a": 1.5}


@pytest.mark.slow
def test_a_batch_applied_while_the_earlier_rows_are_staged_is_undone_as_well(
    bare: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_batch(bare, quake("a"))
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    shape = bare.stores.warehouse.staged_shape

    def and_another(name: str) -> tuple[list[str], int]:
        commit_batch(bare, quake("c"), hour=2)
        load(bare.stores, TABLE)
        return shape(name)

    monkeypatch.setattr(bare.stores.warehouse, "staged_shape", and_another)
    take_back_last(bare)
    assert set(bare.rows()) == {("a",)}
    assert len(undone(bare)) == 2


@pytest.mark.slow
def test_a_run_under_way_during_an_undo_does_not_carry_the_watermark_past_it(
    platform: TestPlatform,
) -> None:
    first, *_ = run_thrice(platform)
    stale = cursor(platform)
    take_back(platform, applied(platform)[1])
    back = cursor(platform)
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
    record_no_change(platform.stores.warehouse, told)
    assert cursor(platform) == back
    commit_batch(platform, quake("a"), watermark=moment)
    load(platform.stores, platform.source.TABLE)
    assert cursor(platform) == back
    assert first.keys() < platform.rows().keys()
    record_no_change(platform.stores.warehouse, replace(told, undos=back.undos))
    assert cursor(platform).watermark == moment


@pytest.mark.slow
def test_an_undone_newer_whole_does_not_supersede_an_older_one(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="finance", size=SIZE, retention_days=7)
    platform.run()
    # Committed first, loaded last.
    platform.control("advance")
    assert platform.run_in_child(kill_at=("commit.manifest", "after"))
    waiting = {n: platform.stores.landing.get(n) for n in platform.objects() if "manifest" in n}
    (late,) = [name for name in waiting if applied(platform)[0] not in name]
    platform.stores.landing.delete(late)
    platform.control("advance")
    platform.run()
    take_back_last(platform)
    platform.stores.landing.put(late, waiting[late])
    assert platform.only_line(load(platform.stores, platform.source.TABLE)).state == "applied"


@pytest.mark.parametrize(
    ("batch_id", "cause"),
    [
        ("yesterday", "'yesterday' is not a batch id; one looks like 2"),
        ("20260102T030405678901_0a1b2c3d", "is unknown to the ledger: only what was applied can"),
    ],
)
def test_what_is_not_a_batch_is_told(bare: TestPlatform, batch_id: str, cause: str) -> None:
    with pytest.raises(OperationRejected, match=cause):
        take_back(bare, batch_id)


def test_what_changed_no_row_cannot_be_undone(bare: TestPlatform) -> None:
    lost = commit_batch(bare, quake("a"))
    bare.stores.landing.delete(
        f"{bare.stores.prefix(TABLE.source)}{lost.batch_id}/part-0001.parquet"
    )
    load(bare.stores, TABLE)
    with pytest.raises(OperationRejected, match="is failed: only what was applied can be undone"):
        take_back(bare, lost.batch_id)
    # Another source's.
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    other = TestPlatform(
        "other", bare.env, "finance", raw_dataset=bare.settings.warehouse.raw_dataset
    )
    with pytest.raises(OperationRejected, match="is of usgs_earthquake, not of finance"):
        take_back(other, applied(bare)[0])


def test_beyond_time_travel_it_is_told_and_nothing_changes(
    bare: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
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


def test_a_ledger_that_does_not_agree_with_the_moment_stops_it(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    bare.query("UPDATE {raw}._loads SET state = 'no_change' WHERE batch_id LIKE '20260131T12%'")
    with pytest.raises(OperationRejected, match=r"the ledger had 1 lines .*, and now 0 of before"):
        take_back_last(bare)
    assert len(bare.rows()) == 2


# Killed anywhere.


def prepare(platform: TestPlatform) -> tuple[dict[Any, Any], dict[Any, Any]]:
    platform.run()
    before = platform.rows()
    platform.control("advance")
    platform.run()
    return before, platform.rows()


@cache
def trace(kit: str, env: tuple[tuple[str, str], ...]) -> list[Event]:
    """What an undisturbed undo passes."""
    platform = TestPlatform(f"undo-trace-{kit.replace('_', '-')}", dict(env), kit)
    platform.source.start(platform, SIZE)
    prepare(platform)
    return platform.run_in_child(do=take_back_last)


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
    kit: str, point: Event, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    before, after = prepare(platform)
    batch_id = applied(platform)[-1]
    assert (
        platform.run_in_child(kill_at=point, do=partial(take_back, batch_id=batch_id))[-1] == point
    )
    assert platform.rows() in (before, after)
    take_back(platform, batch_id)
    assert platform.rows() == before
    assert undone(platform) == [batch_id]
    staging = f"{platform.settings.warehouse.raw_dataset}_staging"
    assert list(platform.stores.warehouse.client.list_tables(staging)) == []
    platform.run()
    platform.assert_equals_truth()
