"""A batch in the making: nobody tells its writer what it knows; a commit makes it exist."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from core.batch import Manifest, NoChange, Window
from core.errors import CountMismatch
from core.ledger import Cursor
from core.rows import Record
from runs.load import load
from runs.upload import BatchWriter, new_batch
from sources.finance.mapping import TABLE, read_ledger
from stores.clock import Moment
from stores.ledger import record_no_change
from testing.platform import TestPlatform, committed
from tests.flows.test_finance import HEADER, entry

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RECORDS: list[Record] = read_ledger([HEADER, entry("a"), entry("b"), entry("")], "a test")


@dataclass
class Client:
    """Whatever sends requests."""

    requests: int = 0


@pytest.fixture
def bare(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    platform = make_platform(kit="finance", size=1, retention_days=7)
    platform.stores.warehouse.ensure_ledger()
    return platform


def batch_of(
    platform: TestPlatform, doubt: str | None = None, **more: Any
) -> AbstractContextManager[BatchWriter]:
    cursor = Cursor(undos=2)
    return new_batch(platform.stores, TABLE, Window(NOON), cursor, Moment(NOON, doubt), **more)


def test_what_the_writer_knows_is_in_the_manifest(bare: TestPlatform) -> None:
    client = Client()
    with batch_of(bare, "a doubt", asked=client, allow_absent=True) as batch:
        client.requests += 3
        batch.add(RECORDS)
        manifest = committed(batch, known_digests={"a": "b"}, source_count=5, already_seen=2)
    assert (manifest.source, manifest.table, manifest.mode) == (
        "finance",
        TABLE.name,
        "incremental",
    )
    assert (manifest.window, manifest.observed_at, manifest.watermark) == (Window(NOON), NOON, NOON)
    assert (manifest.rows, manifest.rejected, manifest.rejected_unexpected) == (2, 1, 1)
    assert (manifest.already_seen, manifest.source_count, manifest.requests) == (2, 5, 3)
    assert (manifest.undos, manifest.known_digests) == (2, {"a": "b"})
    assert (manifest.note, manifest.allow_absent) == ("a doubt", True)
    assert [part.rows for part in manifest.parts] == [2, 1]


def test_without_a_chunk_nothing_is_in_the_bucket_and_the_ledger_has_a_line(
    bare: TestPlatform,
) -> None:
    with batch_of(bare, asked=Client(4)) as batch:
        batch.add([])
        found = batch.unchanged(
            known_digests={"a": "b"}, source_count=2, already_seen=2, total=9, depth=7
        )
    assert bare.objects() == []
    assert isinstance(found.batch, NoChange)
    line = record_no_change(bare.stores.warehouse, found.batch)
    assert (line.state, line.already_seen, line.source_count, line.requests) == (
        "no_change",
        2,
        2,
        4,
    )
    (told,) = bare.ledger()
    assert json.loads(told["known_digests"]) == {"a": "b"}
    assert (told["watermark"], told["observed_at"], told["window_start"]) == (NOON, NOON, NOON)
    assert (told["total"], told["depth"], told["undos"], told["extracted"]) == (9, 7, 2, 0)
    assert (told["extract_started_at"], told["schema_fingerprint"]) == (None, None)


def test_a_batch_that_the_source_does_not_replace_leaves_the_watermark(bare: TestPlatform) -> None:
    with batch_of(bare, mode="backfill") as batch:
        found = batch.unchanged(known_digests={"a": "b"})
    assert isinstance(found.batch, NoChange)
    assert found.batch.watermark is None
    record_no_change(bare.stores.warehouse, found.batch)
    (told,) = bare.ledger()
    assert (told["watermark"], told["known_digests"]) == (None, None)


def test_rows_that_were_added_cannot_be_called_no_change(bare: TestPlatform) -> None:
    with (
        batch_of(bare) as batch,
        pytest.raises(ValueError, match="has rows: it is to be committed"),
    ):
        batch.add(RECORDS)
        batch.unchanged()


@pytest.mark.parametrize("already_seen", [0, 2])
def test_a_batch_with_more_or_fewer_rows_than_the_source_counts_does_not_exist(
    bare: TestPlatform, already_seen: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipelines.upload")
    with (
        pytest.raises(CountMismatch, match=f"source 4, landed {3 + already_seen}"),
        batch_of(bare) as batch,
    ):
        batch.add(RECORDS)
        batch.commit(source_count=4, already_seen=already_seen)
    assert [name.rpartition("/")[2] for name in bare.objects()] == [
        "part-0001.parquet",
        "rejects-0001.parquet",
    ]
    assert load(bare.stores, TABLE).lines == []
    (told,) = caplog.messages
    assert "finance: 2 objects without a manifest" in told


def test_what_could_not_be_had_is_in_the_ledgers_note_once(bare: TestPlatform) -> None:
    """A run's message names it beside its note."""
    failures = ("Cebu: HTTP 500", "Davao: HTTP 500")
    with batch_of(bare, "a doubt") as batch:
        found = batch.unchanged(failures=failures)
    assert (found.note, found.failures) == ("a doubt", failures)
    assert found.batch and found.batch.note == "a doubt; not had: Cebu: HTTP 500; Davao: HTTP 500"
    with batch_of(bare) as batch:
        found = batch.commit(failures=failures, note="gap: the rest is not read")
    assert isinstance(found.batch, Manifest)
    assert found.note == found.batch.note == "gap: the rest is not read"
