"""Replay: a batch is loaded again whatever became of it, and the rule of order still holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from core.batch import InvalidManifest, batch_of, replay_id
from core.errors import LoadFailed, OperationRejected
from core.ledger import Line
from repair.replay import replay
from runs.cleanup import cleanup
from runs.load import load
from runs.outcome import report
from sources.usgs_earthquake.mapping import TABLE
from stores.cursor import read_position
from stores.platform import connect
from stores.settings import LANDING_GCS, LANDING_S3
from testing.matrix import crossed, only, or_slow, some_kits
from testing.platform import KITS, Event, TestPlatform
from tests.reliability.test_kill import PHASES, steps_in_code
from tests.tasks.test_load import commit_batch, quake, values
from tests.tasks.test_undo import applied, live, take_back

SIZE = 60


@pytest.fixture
def bare(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """A platform whose bucket keeps its batches and whose ledger is empty."""
    platform = make_platform(size=1, retention_days=7)
    platform.stores.warehouse.ensure_ledger()
    return platform


def again(platform: TestPlatform, batch_id: str, **options: bool) -> Line:
    """Replay a batch; the line of its copy."""
    outcome = replay(platform.stores, platform.source.TABLE, batch_id, **options)
    line = platform.only_line(outcome)
    assert line.batch_id > batch_id
    assert (line.message or "").startswith(f"replay of {batch_id}")
    (written,) = (one for one in platform.ledger() if one["batch_id"] == line.batch_id)
    assert written["replay_of"].split(",")[0] == batch_id
    return line


def again_first(platform: TestPlatform) -> None:
    again(platform, applied(platform)[0])


@pytest.mark.parametrize("kit", some_kits(KITS))
def test_what_is_applied_and_the_last_changes_nothing(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE, retention_days=7)
    first = platform.only_line(platform.run())
    rows = platform.rows()
    cursor = read_position(platform.stores.warehouse, platform.source.TABLE, ()).cursor
    line = again(platform, first.batch_id)
    if kit == "nyc_fhv":
        assert (line.inserted, line.replaced) == (first.inserted, first.inserted)
        assert live(platform, platform.rows()) == live(platform, rows)
    else:
        assert (line.unchanged, line.written) == (first.inserted + first.deleted, 0)
        assert platform.rows() == rows
    assert (line.extracted, line.requests) == (first.extracted, 0)
    assert platform.ledger()[-1]["mode"] == "replay"
    assert read_position(platform.stores.warehouse, platform.source.TABLE, ()).cursor == cursor
    # And once more, also of the copy: each sorts after the one before.
    copies = [line.batch_id, *(again(platform, first.batch_id).batch_id for _ in range(3))]
    copies.append(again(platform, line.batch_id).batch_id)
    assert sorted(set(copies)) == copies
    assert live(platform, platform.rows()) == live(platform, rows)
    platform.assert_equals_truth()


def test_what_is_newer_stays(bare: TestPlatform) -> None:
    old = commit_batch(bare, quake("a", 1, mag=1), quake("b", 1, mag=1))
    commit_batch(bare, quake("a", 2, mag=2), hour=1)
    load(bare.stores, TABLE)
    line = again(bare, old.batch_id)
    assert (line.older, line.unchanged, line.written) == (1, 1, 0)
    assert values(bare, "mag") == {"a": 2, "b": 1}


def test_a_parked_batch_comes_back_once_its_part_is_there(bare: TestPlatform) -> None:
    lost = commit_batch(bare, quake("a"), quake(""))
    name = f"{bare.stores.prefix(TABLE.source)}{lost.batch_id}/{lost.parts[0].name}"
    content = bare.stores.landing.get(name)
    bare.stores.landing.delete(name)
    for _ in range(3):
        load(bare.stores, TABLE)
    commit_batch(bare, quake("b"), hour=1)
    load(bare.stores, TABLE)
    with pytest.raises(
        OperationRejected, match=rf"cannot be replayed: .*{lost.parts[0].name} is gone"
    ):
        replay(bare.stores, TABLE, lost.batch_id)
    bare.stores.landing.put(name, content[:-1] + b"x")
    with pytest.raises(InvalidManifest, match="its MD5 is"):
        replay(bare.stores, TABLE, lost.batch_id)
    assert set(bare.rows()) == {("b",)}
    bare.stores.landing.put(name, content)
    line = again(bare, lost.batch_id)
    assert (line.state, line.inserted, line.rejected) == ("applied", 1, 1)
    assert set(bare.rows()) == {("a",), ("b",)}


def test_a_failed_batch_is_loaded_by_itself_and_again(bare: TestPlatform) -> None:
    lost = commit_batch(bare, quake("a"))
    name = f"{bare.stores.prefix(TABLE.source)}{lost.batch_id}/{lost.parts[0].name}"
    content = bare.stores.landing.get(name)
    bare.stores.landing.delete(name)
    load(bare.stores, TABLE)
    bare.stores.landing.put(name, content)
    first, second = replay(bare.stores, TABLE, lost.batch_id).lines
    assert (first.batch_id, first.inserted, second.unchanged) == (lost.batch_id, 1, 1)


@pytest.mark.parametrize(("kit", "landing"), [("finance", LANDING_GCS), ("nyc_fhv", LANDING_S3)])
def test_what_was_held_is_applied_with_permission_and_superseded_later(
    kit: str, landing: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE, retention_days=7, landing=landing)
    platform.run()
    if kit == "finance":
        ids = sorted(row["id"] for row in platform.rows().values())
        platform.control("delete", {"ids": ids[: SIZE // 2]})
    else:
        platform.control("shrink", {"share": 0.5})
    held = platform.only_line(platform.run())
    assert held.held > 0
    assert again(platform, held.batch_id).held == held.held
    line = again(platform, held.batch_id, allow_deletions=True)
    assert (line.state, line.held) == ("applied", 0)
    assert line.absent or line.replaced
    platform.assert_equals_truth()
    # Where to go on is told by incremental lines alone; the next run finds the same once more.
    assert platform.run().lines[-1].held == 0
    platform.control("advance")
    platform.run()
    rows = platform.rows()
    line = again(platform, held.batch_id, allow_deletions=True)
    assert (line.state, line.older) == (
        "superseded",
        line.extracted - line.rejected - line.rejected_before,
    )
    assert platform.rows() == rows


@pytest.mark.parametrize("kit", some_kits(KITS))
def test_after_an_undo_it_brings_the_rows_back(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE, retention_days=7)
    platform.run()
    platform.control("advance")
    platform.run()
    rows = platform.rows()
    batch_id = applied(platform)[-1]
    take_back(platform, batch_id)
    assert live(platform, platform.rows()) != live(platform, rows)
    again(platform, batch_id)
    assert live(platform, platform.rows()) == live(platform, rows)
    platform.assert_equals_truth()
    # The run that reads it once more finds it there.
    platform.run()
    platform.assert_equals_truth()


def test_what_was_undone_is_kept_as_long_as_what_was_applied_then(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    (batch_id,) = applied(bare)
    bare.query(
        "UPDATE {raw}._loads SET applied_at = TIMESTAMP_SUB(applied_at, INTERVAL 8 DAY) WHERE TRUE"
    )
    bare.query(
        "INSERT INTO {raw}._loads (source, batch_id, state, undos, applied_at) "
        "SELECT source, batch_id, 'undone', 1, CURRENT_TIMESTAMP() FROM {raw}._loads"
    )
    assert cleanup(bare.stores, TABLE).removed == 0
    assert cleanup(replace(bare.stores, retention_days=0), TABLE).removed == 1
    with pytest.raises(
        OperationRejected, match=f"batch {batch_id} of .*, applied, undone by the ledger"
    ):
        replay(bare.stores, TABLE, batch_id)


def test_a_batch_is_copied_from_the_bucket_where_it_stands(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="nyc_fhv", size=SIZE, retention_days=7, landing=LANDING_S3)
    first = platform.only_line(platform.run())
    rows = live(platform, platform.rows())
    platform.stores = connect(platform.blocks, LANDING_GCS)
    line = again(platform, first.batch_id)
    assert (line.inserted, line.size_bytes) == (first.inserted, first.size_bytes)
    assert live(platform, platform.rows()) == rows
    gcs, s3 = platform.stores.landings
    prefix = platform.stores.prefix("nyc_fhv")
    stored = [{batch_of(o.name, prefix) for o in bucket.list(prefix)} for bucket in (gcs, s3)]
    assert stored == [{line.batch_id}, {first.batch_id}]


@pytest.mark.parametrize(
    ("batch_id", "cause"),
    [
        ("yesterday", "'yesterday' is not a batch id; one looks like 2"),
        (
            "20260102T030405678901_0a1b2c3d",
            r"of usgs_earthquake, unknown to the ledger, cannot be replayed: it is not in "
            r"gs://landing; it is not in s3://landing \(what was loaded is kept for 7 days\)",
        ),
    ],
)
def test_what_is_not_a_batch_is_told(bare: TestPlatform, batch_id: str, cause: str) -> None:
    with pytest.raises(OperationRejected, match=cause):
        replay(bare.stores, TABLE, batch_id)


def test_a_batch_that_is_gone_or_another_sources_is_told(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    (batch_id,) = applied(bare)
    other = TestPlatform(
        "other", bare.env, "finance", raw_dataset=bare.settings.warehouse.raw_dataset
    )
    with pytest.raises(OperationRejected, match="is of usgs_earthquake, not of finance"):
        replay(other.stores, other.source.TABLE, batch_id)
    cleanup(replace(bare.stores, retention_days=0), TABLE)
    with pytest.raises(
        OperationRejected, match=r"applied by the ledger, cannot be replayed: it is not"
    ):
        replay(bare.stores, TABLE, batch_id)
    bare.stores = bare.without_s3()
    with pytest.raises(
        OperationRejected, match=r"not in gs://landing; s3://landing/\S+: Could not"
    ):
        replay(bare.stores, TABLE, batch_id)


def test_a_replay_that_cannot_be_loaded_fails_like_any_batch(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    bare.query(f"INSERT INTO {{raw}}.{TABLE.name} SELECT * FROM {{raw}}.{TABLE.name}")
    outcome = replay(bare.stores, TABLE, applied(bare)[0])
    with pytest.raises(LoadFailed, match="do not add up"):
        report(outcome)


def test_ids_of_replays_sort_after_their_batch_and_do_not_repeat() -> None:
    for suffix in ("00000000", "0a1b2c3d", "ffffffff"):
        batch_id = f"20260102T030405678901_{suffix}"
        ids = {replay_id(batch_id) for _ in range(50)}
        assert len(ids) > 40
        assert batch_id < min(ids) <= max(ids) < "20260102T030405678903"


# Killed anywhere.


@cache
def trace(kit: str, env: tuple[tuple[str, str], ...]) -> list[Event]:
    """What an undisturbed replay passes."""
    platform = TestPlatform(
        f"replay-trace-{kit.replace('_', '-')}", dict(env), kit, retention_days=7
    )
    platform.source.start(platform, SIZE)
    platform.run()
    return platform.run_in_child(do=again_first)


KILLED = ["nyc_fhv", "finance"]
# Its own steps, and those of the ordinary course; with the batches kept, nothing is cleaned up.
OF_A_REPLAY = ("replay.", "commit.", "load.", "cleanup.list")
POINTS: list[Event] = sorted(
    (name, phase)
    for name in steps_in_code() - {"cleanup.list_staging"}
    if name.startswith(OF_A_REPLAY)
    for phase in PHASES
)


@pytest.mark.parametrize("kit", or_slow(lambda kit: kit == KILLED[0], crossed(KILLED)))
def test_every_point_of_a_replay_is_reached(kit: str, stack_env: dict[str, str]) -> None:
    assert len(POINTS) > 20
    assert set(trace(kit, tuple(stack_env.items()))) == set(POINTS)


def is_quick(kit: str, point: Event) -> bool:
    """Its own steps; tests/reliability/test_kill.py has those of the ordinary course."""
    return kit == KILLED[0] and point == ("replay.part", "after")


@pytest.mark.parametrize(("kit", "point"), only(is_quick, crossed(KILLED, POINTS)))
def test_a_replay_killed_anywhere_is_made_good_by_repeating_it(
    kit: str, point: Event, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE, retention_days=7)
    platform.run()
    rows = live(platform, platform.rows())
    batch_id = applied(platform)[0]
    take_back(platform, batch_id)
    assert platform.rows() == {}
    assert platform.run_in_child(kill_at=point, do=again_first)[-1] == point
    assert live(platform, platform.rows()) in ([], rows)
    replay(platform.stores, platform.source.TABLE, batch_id)
    assert live(platform, platform.rows()) == rows
    assert_known_once(platform)


def assert_known_once(platform: TestPlatform) -> None:
    """Every committed batch has one line, and one more when it was undone."""
    lines: list[tuple[Any, Any]] = [(line["batch_id"], line["state"]) for line in platform.ledger()]
    assert len(lines) == len(set(lines))
    prefix = platform.stores.prefix(platform.source.TABLE.source)
    committed = {batch_of(n, prefix) for n in platform.objects() if n.endswith("manifest.json")}
    assert committed <= {batch_id for batch_id, _ in lines}
