"""Two at once: runs of one source at every step of each other, and what else may get between.

One run stands still before a step while another goes from its beginning to its end. The steps come
from the code, as in test_kill.py. What BigQuery does with two transactions at the same moment is
not seen here, since the emulator's queries run one at a time: tests/core/test_script.py reads the
scripts for the fence, and `make test-cloud` runs three loaders on the real service.
"""

from __future__ import annotations

import inspect
import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core import steps
from core.errors import StoreFailed
from core.sql import staging_table
from runs.cleanup import cleanup
from runs.load import load
from stores.settings import LANDING_GCS, LANDING_S3
from testing.matrix import crossed, only, or_slow
from testing.paused import paused
from testing.platform import KITS, Event, TestPlatform, lands_in
from testing.rooms import PRODUCT
from tests.reliability.test_kill import COMMITTED, NOT_OF, POINTS, USGS

SIZE = 30
# Where a run stands still: before each step, since nothing lasting happens between two. One with
# news records no look.
STEPS = [name for name, phase in POINTS if phase == "before" and name != "look.record"]


def steps_of(kit: str) -> list[str]:
    return [name for name in STEPS if not any(name.startswith(prefix) for prefix in NOT_OF[kit])]


# What a run does only when it finds a batch waiting.
OF_WAITING = {"load.read_ledger"}
# In `make test` one source stands still where something lasting is next; all at all in the matrix.
QUICK = {"commit.manifest"}
SLOW = {"extract.page", "commit.list", "load.stage", "load.wait"}
OFFSETS = only(
    lambda kit, name: kit == "finance" and name in QUICK,
    ((kit, name) for kit in KITS for name in steps_of(kit)),
    lambda kit, name: kit == "finance" and name in SLOW,
)


@pytest.mark.parametrize(("kit", "name"), OFFSETS)
def test_a_run_that_stands_still_while_the_world_and_another_run_go_on(
    kit: str, name: str, make_platform: Callable[..., TestPlatform]
) -> None:
    """So its batch, where it has one, is committed or applied after a newer one."""
    platform = make_platform(kit=kit, size=SIZE)
    platform.run()
    platform.control("advance")
    if name in OF_WAITING:
        platform.run_in_child(kill_at=COMMITTED)
        platform.control("advance")
    with paused(platform, (name, "before")) as first:
        platform.control("advance")
        platform.run()
        failure = first.go_on()
    assert first.reached, name
    assert failure == ""
    # And one more, since a look may have been late.
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()


def older_after_newer(platform: TestPlatform) -> None:
    """A batch is committed after one that was observed later has been applied."""
    platform.run()
    platform.control("advance")
    with paused(platform, ("commit.manifest", "before")) as older:
        # The source's clock tells whole seconds; the two are to be seconds apart.
        platform.control("clock", {"offset_ms": 5_000})
        platform.control("advance")
        platform.run()
        before = platform.rows()
        assert older.go_on() == ""
    states = [line["state"] for line in platform.ledger()][1:]
    assert len(states) == 2
    if platform.source.TABLE.is_whole:
        # In the order of batches, the older has come too late.
        assert sorted(states) == ["applied", "superseded"]
        assert platform.rows() == before
    else:
        assert states == ["applied", "applied"]
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.parametrize("kit", or_slow(lambda kit: kit == "finance", ((kit,) for kit in KITS)))
def test_an_older_batch_that_is_committed_after_a_newer_was_applied(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    older_after_newer(make_platform(kit=kit, size=SIZE))


BESIDE: list[Event] = [
    *((name, "before") for name in ("extract.page", "commit.manifest", "load.stage", "load.apply")),
    ("load.wait", "after"),
]


@pytest.mark.parametrize(
    ("name", "phase"),
    only(
        lambda name, _: name == "load.apply",
        BESIDE,
        lambda name, _: name == "extract.page",
    ),
)
def test_a_backfill_beside_an_incremental_run(
    name: str, phase: steps.Phase, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=USGS, size=SIZE)
    platform.run()
    range_ = {"start": datetime(1900, 1, 1, tzinfo=UTC), "end": datetime.now(UTC)}
    with paused(platform, (name, phase), **range_) as backfill:
        platform.control("advance")
        platform.run()
        assert backfill.go_on() == ""
    assert backfill.reached
    platform.assert_equals_truth()
    platform.assert_settled()
    assert {line["mode"] for line in platform.ledger()} == {"incremental", "backfill"}


@pytest.mark.parametrize(
    "name",
    only(
        lambda name: name == "load.stage",
        ((name,) for name in STEPS if name.startswith("load.")),
        lambda name: name == "load.read_ledger",
    ),
)
def test_cleanup_beside_a_load(name: str, make_platform: Callable[..., TestPlatform]) -> None:
    """Another's load and cleanup take the batch and its objects away under a loader."""
    platform = make_platform(kit=USGS, size=SIZE)
    platform.run_in_child(kill_at=("commit.manifest", "after"))
    with paused(platform, (name, "before")) as loader:
        load(platform.stores, platform.source.TABLE)
        assert cleanup(platform.stores, platform.source.TABLE).removed == 1
        assert loader.go_on() == ""
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.parametrize(
    "name",
    only(
        lambda name: name == "commit.manifest",
        crossed(["extract.page", "commit.list", "commit.manifest", "load.stage"]),
    ),
)
def test_a_sweep_beside_a_run_takes_nothing_that_is_young_or_committed(
    name: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=USGS, size=SIZE)
    with paused(platform, (name, "before")) as run:
        cleaned = cleanup(platform.stores, platform.source.TABLE)
        assert (cleaned.removed, cleaned.swept) == (0, 0)
        assert run.go_on() == ""
    platform.assert_equals_truth()
    platform.assert_settled()


def test_a_sweep_under_a_run_of_more_than_a_day_fails_its_commit(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds its parts gone before it writes the manifest, so that no half of a batch exists."""
    platform = make_platform(kit=USGS, size=SIZE)
    with paused(platform, ("commit.list", "before")) as run:
        monkeypatch.setattr("runs.cleanup.UNCOMMITTED_LIFETIME", timedelta(seconds=-60))
        assert cleanup(platform.stores, platform.source.TABLE).swept == 1
        assert "part-0001.parquet is missing in the bucket" in run.go_on()
    monkeypatch.undo()
    assert platform.objects() == []
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.parametrize(
    "kit",
    only(lambda kit: kit == "openweather", crossed(KITS), lambda kit: kit == "nyc_fhv"),
)
def test_a_switch_to_the_other_bucket_with_a_batch_waiting(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    other = LANDING_S3 if lands_in(kit) == LANDING_GCS else LANDING_GCS
    platform = make_platform(kit=kit, size=SIZE)
    platform.run_in_child(kill_at=("commit.manifest", "after"))
    platform.control("advance")
    switched = replace(platform, landing=other)
    switched.run()
    assert len([line for line in platform.ledger() if line["state"] == "applied"]) == 2
    platform.assert_equals_truth()
    platform.assert_settled()


OFF_MS = 10 * 60 * 1000


# What is ordered by the source's clock alone, and not by a stamp of its rows.
@pytest.mark.parametrize(
    ("kit", "offset_ms"),
    only(
        lambda kit, offset_ms: (kit, offset_ms) == ("ph_news", OFF_MS),
        crossed(KITS, [OFF_MS, -OFF_MS]),
        lambda kit, offset_ms: (kit, offset_ms) == ("finance", -OFF_MS),
    ),
)
def test_a_source_whose_clock_jumps_ten_minutes(
    kit: str, offset_ms: int, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    platform.run()
    platform.control("clock", {"offset_ms": offset_ms})
    platform.control("advance")
    platform.run()
    platform.control("clock", {"offset_ms": 0})
    platform.control("advance")
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()


def run_at(platform: TestPlatform, off: timedelta, sender: Any) -> None:
    """A run in a process whose every `datetime.now` is so far off; sends in how many modules."""
    os.environ.update(platform.env)
    # Imports the source's flow: what is imported later would have the right clock.
    kit = platform.source

    class AnyDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Off(datetime, metaclass=AnyDatetime):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return datetime(*args, **kwargs)  # noqa: DTZ001 — whatever it was called with

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + off

    moved = 0
    for name, module in list(sys.modules.items()):
        ours = name.partition(".")[0] in PRODUCT
        if ours and "datetime.now(" in inspect.getsource(module):
            vars(module)["datetime"] = Off
            moved += 1
    kit.run(platform)
    sender.send(moved)


@pytest.mark.parametrize("kit", only(lambda kit: kit == USGS, crossed(KITS)))
@pytest.mark.parametrize(
    "off", [timedelta(days=20), pytest.param(timedelta(minutes=10), marks=pytest.mark.slow)]
)
def test_a_local_clock_that_is_off_changes_nothing(
    off: timedelta, kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    platform.control("clock", {"offset_ms": 0})
    context = multiprocessing.get_context("forkserver")
    for wrong in (off, -off):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=run_at, args=(platform, wrong, sender))
        child.start()
        sender.close()
        assert receiver.recv() > 2
        child.join()
        assert child.exitcode == 0
        platform.control("advance")
        # An hour of weather passes by its clock.
        platform.control("clock", {"offset_ms": 0})
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()
    assert not [line["message"] for line in platform.ledger() if line["message"]]


@pytest.mark.parametrize(
    ("kit", "name"),
    only(
        lambda kit, name: (kit, name) == (USGS, "load.apply"),
        crossed([USGS, "nyc_fhv"], ["load.stage", "load.apply", "load.drop_staging"]),
        lambda kit, name: (kit, name) == ("nyc_fhv", "load.stage"),
    ),
)
def test_a_staging_table_that_expires_under_a_load_is_filled_again(
    kit: str, name: str, make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.retry.random.uniform", lambda *_: 0.01)
    platform = make_platform(kit=kit, size=SIZE)
    platform.run_in_child(kill_at=("commit.manifest", "after"))
    warehouse, gone = platform.stores.warehouse, list[str]()

    def expire(step: str, phase: steps.Phase) -> None:
        if (step, phase) == (name, "before") and not gone:
            listed = warehouse.client.list_tables(warehouse.staging_dataset)
            gone.extend(table.table_id for table in listed)
            for table_id in gone:
                warehouse.client.delete_table(f"{warehouse.staging_dataset}.{table_id}")

    monkeypatch.setattr(steps, "observers", [expire])
    loaded = load(platform.stores, platform.source.TABLE)
    assert loaded.failures == {}
    assert staging_table(kit, loaded.lines[0].batch_id, "rows") in gone
    assert [line["state"] for line in platform.ledger()] == ["applied"]
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()


def _run_on_a_full_disk(platform: TestPlatform, sender: Any) -> None:
    """No file of this process may grow beyond a few bytes: Python ignores SIGXFSZ, so that each
    write that would fails with EFBIG, as one on a full disk does with ENOSPC."""
    os.environ.update(platform.env)
    assert platform.stores.landings

    def fill(name: str, phase: steps.Phase) -> None:
        if (name, phase) == ("load.stage", "before"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    steps.observers.append(fill)
    try:
        platform.run()
    except StoreFailed as failed:
        sender.send(str(failed))


@pytest.mark.parametrize(
    "kit", or_slow(lambda kit: kit == "nyc_fhv", [("nyc_fhv",), ("openweather",)])
)
def test_a_disk_that_is_full_fails_the_run_and_the_next_makes_it_good(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE, landing=LANDING_S3)
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run_on_a_full_disk, args=(platform, sender))
    child.start()
    sender.close()
    assert receiver.recv() == f"{kit}, first load: OSError: [Errno 27] File too large"
    child.join()
    assert platform.ledger() == []
    # Its hour is over; the batch is in the bucket.
    platform.control("advance")
    platform.run()
    platform.assert_equals_truth()
    platform.assert_settled()
