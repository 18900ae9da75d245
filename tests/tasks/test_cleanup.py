"""Cleanup removes what has served, keeps what may be needed, and sweeps what died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest

from runs import cleanup as module
from runs.cleanup import Cleaned, cleanup, sweep_staging, take_stock
from runs.load import load
from sources.usgs_earthquake.mapping import TABLE
from testing.platform import TestPlatform
from testing.recording import listening
from tests.tasks.test_load import commit_batch, quake


@pytest.fixture
def bare(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    platform = make_platform(size=1, retention_days=7)
    platform.stores.warehouse.ensure_ledger()
    return platform


def test_a_loaded_batch_stays_for_its_retention(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"), quake(""))
    load(bare.stores, TABLE)
    assert cleanup(bare.stores, TABLE).removed == 0
    assert len(bare.objects()) == 3
    assert cleanup(replace(bare.stores, retention_days=0), TABLE).removed == 1
    assert bare.objects() == []


@pytest.mark.parametrize(
    ("days", "statements"), [(0, 0), (7.9, 0), (8.1, 1)], ids=["young", "not yet", "once a day"]
)
def test_the_ledger_is_asked_about_old_batches_only_and_by_its_own_clock(
    bare: TestPlatform, monkeypatch: pytest.MonkeyPatch, days: float, statements: int
) -> None:
    """A clock of this machine that is ahead costs a statement, and removes nothing."""
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=days)

    monkeypatch.setattr(module, "datetime", Ahead)
    with listening(bare) as jobs:
        assert cleanup(bare.stores, TABLE) == Cleaned()
    assert len(jobs) == statements
    assert len(bare.objects()) == 2


def test_a_committed_batch_that_is_not_loaded_is_never_removed(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    cleanup(replace(bare.stores, retention_days=0), TABLE)
    assert len(bare.objects()) == 2


def test_leftovers_are_swept_when_they_are_old(
    bare: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = commit_batch(bare, quake("a"))
    prefix = f"{bare.stores.prefix(TABLE.source)}{manifest.batch_id}/"
    bare.stores.landing.delete(f"{prefix}manifest.json")
    assert cleanup(bare.stores, TABLE).swept == 0
    assert len(bare.objects()) == 1
    monkeypatch.setattr(module, "UNCOMMITTED_LIFETIME", timedelta(seconds=-60))
    assert cleanup(bare.stores, TABLE).swept == 1
    assert bare.objects() == []


def test_another_project_s_batches_are_not_seen(
    bare: TestPlatform, make_platform: Callable[..., TestPlatform]
) -> None:
    other = make_platform(suffix="other", size=1)
    other.stores.warehouse.ensure_ledger()
    commit_batch(bare, quake("a"))
    assert load(other.stores, TABLE).lines == []
    cleanup(other.stores, TABLE)
    assert len(bare.objects()) == 2


def test_staging_tables_that_should_have_expired_are_swept(
    bare: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = commit_batch(bare, quake("a"))
    warehouse = bare.stores.warehouse
    staged = warehouse.create_staging(manifest, "rows", TABLE.columns)
    assert sweep_staging(bare.stores) == 0
    assert warehouse.client.get_table(staged)
    monkeypatch.setattr(module, "STAGING_LIFETIME", timedelta(seconds=-60))
    assert sweep_staging(bare.stores) == 1
    assert sweep_staging(bare.stores) == 0


def test_stock_is_counted(bare: TestPlatform) -> None:
    assert take_stock(bare.stores, TABLE).rows == 0
    commit_batch(bare, quake("a"), quake("b"))
    load(bare.stores, TABLE)
    stock = take_stock(bare.stores, TABLE)
    assert (stock.source, stock.batches, stock.rows) == (TABLE.source, 1, 2)
    assert stock.landed_bytes == sum(
        one.size_bytes for one in bare.stores.landing.list(bare.stores.prefix(TABLE.source))
    )
