"""A reader sees one version, whole, whenever a writer is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sandbox.processes import end_with_parent
from serving.snapshot import (
    KEPT_FOR,
    Column,
    NoSnapshot,
    Snapshot,
    Written,
    publish,
    write_mart,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema([("generation", pa.int64())])
FORK = multiprocessing.get_context("fork")


def mart(root: Path, name: str, generation: int, rows: int = 3) -> Written:
    batch = pa.RecordBatch.from_pydict({"generation": [generation] * rows}, schema=SCHEMA)
    return write_mart(
        root,
        name,
        SCHEMA,
        [batch],
        group="g",
        description="One row per row.",
        grain=("generation",),
        columns=(Column("generation", "INT64"),),
        built_at=NOW,
        exported_at=NOW,
    )


def generations(snapshot: Snapshot) -> set[int]:
    """Every value of every mart of a version."""
    return {
        value
        for name in snapshot.manifest.marts
        for value in snapshot.table(name)["generation"].to_pylist()
    }


def test_before_the_first_version_there_is_nothing_and_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoSnapshot, match="no snapshot was published yet"):
        Snapshot.open(tmp_path / "public")


def test_a_version_keeps_what_was_not_written_again(tmp_path: Path) -> None:
    first = publish(tmp_path, [mart(tmp_path, "a", 1), mart(tmp_path, "b", 1)], not_built=["c"])
    second = publish(tmp_path, [mart(tmp_path, "b", 2)])
    assert Snapshot.open(tmp_path) == second != first
    assert second.table("a")["generation"].to_pylist() == [1, 1, 1]
    assert second.table("b")["generation"].to_pylist() == [2, 2, 2]
    assert second.manifest.not_built == ("c",)
    # Unchanged files are not copied; the version before is as it was.
    file = second.manifest.marts["a"].file
    assert (first.directory / file).samefile(second.directory / file)
    assert generations(first) == {1}
    third = publish(tmp_path, [mart(tmp_path, "c", 3)], gone=["a"])
    assert set(third.manifest.marts) == {"b", "c"}
    assert third.manifest.not_built == ()


def test_a_manifest_says_what_its_files_hold(tmp_path: Path) -> None:
    version = publish(tmp_path, [mart(tmp_path, "a", 1, rows=7)])
    told = Snapshot.open(tmp_path).manifest.marts["a"]
    assert told == version.manifest.marts["a"]
    assert (told.rows, told.grain, told.columns[0].type) == (7, ("generation",), "INT64")
    assert (version.directory / told.file).stat().st_size == told.size_bytes


def test_old_versions_and_what_killed_writers_left_are_removed(tmp_path: Path) -> None:
    folders = []
    for generation in range(4):
        version = publish(tmp_path, [mart(tmp_path, "a", generation)])
        folders.append(version.directory)
        old = time.time() - KEPT_FOR.total_seconds() - 60
        os.utime(version.directory, (old, old))
    killed = tmp_path / "versions" / "20200101T000000.000000Z-killed"
    killed.mkdir()
    leftover = mart(tmp_path, "b", 1).path
    os.utime(killed, (old, old))
    os.utime(leftover, (old, old))
    last = publish(tmp_path, [mart(tmp_path, "a", 9)])
    assert sorted((tmp_path / "versions").iterdir()) == [folders[-1], last.directory]
    assert not leftover.exists()


def test_a_version_that_was_current_lately_is_kept_for_its_readers(tmp_path: Path) -> None:
    versions = [publish(tmp_path, [mart(tmp_path, "a", number)]) for number in range(5)]
    assert [generations(one) for one in versions] == [{0}, {1}, {2}, {3}, {4}]
    later = datetime.now(UTC) + KEPT_FOR + timedelta(minutes=1)
    last = publish(tmp_path, [mart(tmp_path, "a", 5)], now=later)
    assert generations(last) == {5}
    assert len(list((tmp_path / "versions").iterdir())) == 2


def with_one_thread() -> None:
    """Five processes with Arrow's ten threads each would wait for each other."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def write_for_ever(root: Path, first: int, names: tuple[str, ...]) -> None:
    end_with_parent()
    with_one_thread()
    generation = first
    while True:
        generation += 1
        publish(root, [mart(root, name, generation, rows=200) for name in names])


def read_for_ever(root: Path, stop: Event, answers: Any) -> None:
    """How many versions were read, and the first that was a mixture."""
    end_with_parent()
    with_one_thread()
    read, mixed = 0, None
    while not stop.is_set() and mixed is None:
        try:
            snapshot = Snapshot.open(root)
        except NoSnapshot:
            continue
        found = generations(snapshot)
        read += 1
        if len(found) != 1 or len(snapshot.manifest.marts) != 3:
            mixed = (snapshot.manifest.version, sorted(found))
    answers.put((read, mixed))


@contextmanager
def readers(root: Path, count: int, read: Callable[..., None] = read_for_ever) -> Iterator[Any]:
    """So many processes that read all the time; then what each of them saw."""
    stop, answers = FORK.Event(), FORK.Queue()
    processes = [FORK.Process(target=read, args=(root, stop, answers)) for _ in range(count)]
    for process in processes:
        process.start()

    def seen() -> list[Any]:
        stop.set()
        return [answers.get(timeout=60) for _ in processes]

    try:
        yield seen
    finally:
        stop.set()
        for process in processes:
            process.join(timeout=60)


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_no_kill_of_a_writer_shows_a_reader_two_versions_at_once(
    tmp_path: Path, kills: int
) -> None:
    rng = random.Random(7)
    names = ("a", "b", "c")
    publish(tmp_path, [mart(tmp_path, name, 0, rows=200) for name in names])
    with readers(tmp_path, 4) as seen:
        for number in range(kills):
            first = 1_000 * (number + 1)
            writer = FORK.Process(target=write_for_ever, args=(tmp_path, first, names))
            writer.start()
            time.sleep(rng.uniform(0.01, 0.12))
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join(timeout=60)
            assert len(generations(Snapshot.open(tmp_path))) == 1
        told = seen()
    assert [mixed for _, mixed in told] == [None] * 4
    assert all(read > kills for read, _ in told), told
    # And the next writer is not held up by a lock that nobody holds.
    assert generations(publish(tmp_path, [mart(tmp_path, name, 9) for name in names])) == {9}
