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
from testing.platform import Lab
from testing.recording import listening
from tests.tasks.test_load import commit_batch, quake


@pytest.fixture
def bare(make_lab: Callable[..., Lab]) -> Lab:
    lab = make_lab(size=1, retention_days=7)
    lab.platform.warehouse.ensure_ledger()
    return lab


def test_a_loaded_batch_stays_for_its_retention(bare: Lab) -> None:
    commit_batch(bare, quake("a"), quake(""))
    load(bare.platform, TABLE)
    assert cleanup(bare.platform, TABLE).removed == 0
    assert len(bare.objects()) == 3
    assert cleanup(replace(bare.platform, retention_days=0), TABLE).removed == 1
    assert bare.objects() == []


@pytest.mark.parametrize(
    ("days", "statements"), [(0, 0), (7.9, 0), (8.1, 1)], ids=["young", "not yet", "once a day"]
)
def test_the_ledger_is_asked_about_old_batches_only_and_by_its_own_clock(
    bare: Lab, monkeypatch: pytest.MonkeyPatch, days: float, statements: int
) -> None:
    """A clock of this machine that is ahead costs a statement, and removes nothing."""
    commit_batch(bare, quake("a"))
    load(bare.platform, TABLE)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=days)

    monkeypatch.setattr(module, "datetime", Ahead)
    with listening(bare) as jobs:
        assert cleanup(bare.platform, TABLE) == Cleaned()
    assert len(jobs) == statements
    assert len(bare.objects()) == 2


def test_a_committed_batch_that_is_not_loaded_is_never_removed(bare: Lab) -> None:
    commit_batch(bare, quake("a"))
    cleanup(replace(bare.platform, retention_days=0), TABLE)
    assert len(bare.objects()) == 2


def test_leftovers_are_swept_when_they_are_old(bare: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = commit_batch(bare, quake("a"))
    prefix = f"{bare.platform.prefix(TABLE.source)}{manifest.batch_id}/"
    bare.platform.landing.delete(f"{prefix}manifest.json")
    assert cleanup(bare.platform, TABLE).swept == 0
    assert len(bare.objects()) == 1
    monkeypatch.setattr(module, "UNCOMMITTED_LIFETIME", timedelta(seconds=-60))
    assert cleanup(bare.platform, TABLE).swept == 1
    assert bare.objects() == []


def test_another_project_s_batches_are_not_seen(bare: Lab, make_lab: Callable[..., Lab]) -> None:
    other = make_lab(suffix="other", size=1)
    other.platform.warehouse.ensure_ledger()
    commit_batch(bare, quake("a"))
    assert load(other.platform, TABLE).lines == []
    cleanup(other.platform, TABLE)
    assert len(bare.objects()) == 2


def test_staging_tables_that_should_have_expired_are_swept(
    bare: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = commit_batch(bare, quake("a"))
    warehouse = bare.platform.warehouse
    staged = warehouse.create_staging(manifest, "rows", TABLE.columns)
    assert sweep_staging(bare.platform) == 0
    assert warehouse.client.get_table(staged)
    monkeypatch.setattr(module, "STAGING_LIFETIME", timedelta(seconds=-60))
    assert sweep_staging(bare.platform) == 1
    assert sweep_staging(bare.platform) == 0


def test_stock_is_counted(bare: Lab) -> None:
    assert take_stock(bare.platform, TABLE).rows == 0
    commit_batch(bare, quake("a"), quake("b"))
    load(bare.platform, TABLE)
    stock = take_stock(bare.platform, TABLE)
    assert (stock.source, stock.batches, stock.rows) == (TABLE.source, 1, 2)
    assert stock.landed_bytes == sum(
        one.size_bytes for one in bare.platform.landing.list(bare.platform.prefix(TABLE.source))
    )
