"""Ten loaders on one committed batch, of which one dies: it is in its table and the ledger once.

Together they do more to the staging table than its quota allows, which the proxy holds them to.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import steps
from runs.load import load
from stores.settings import LandingName
from testing.matrix import only
from testing.platform import RUNS, TestPlatform
from testing.proxy import Proxies

LOADERS = 10
# In place of BigQuery's ten, so that nobody waits for long.
QUOTA_SECONDS = 2.0


def _load(platform: TestPlatform, died: Path, gate: Any) -> None:
    """Load what waits. The first that has submitted its script dies, and `died` then exists."""
    os.environ.update(platform.env)

    def die(name: str, phase: steps.Phase) -> None:
        if (name, phase) == ("load.wait", "before"):
            with contextlib.suppress(FileExistsError):
                died.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    steps.observers.append(die)
    gate.wait()
    load(platform.stores, platform.source.TABLE)


def race(platform: TestPlatform, died: Path, number: int = LOADERS) -> None:
    """So many loaders start together on what is committed; exactly one of them dies."""
    context = multiprocessing.get_context("forkserver")
    gate = context.Barrier(number)
    loaders = [context.Process(target=_load, args=(platform, died, gate)) for _ in range(number)]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
    exits = sorted(loader.exitcode or 0 for loader in loaders)
    assert exits == [-signal.SIGKILL] + [0] * (number - 1)
    assert [line["state"] for line in platform.ledger()] == ["applied"]


@pytest.mark.parametrize(
    ("kit", "landing"),
    only(
        lambda *run: run == ("nyc_fhv", None), RUNS, lambda *run: run == ("usgs_earthquake", None)
    ),
)
def test_ten_loaders_on_one_batch_of_which_one_dies(
    kit: str,
    landing: LandingName | None,
    make_platform: Callable[..., TestPlatform],
    through: Proxies,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    platform = make_platform(kit=kit, landing=landing, size=60)
    # Committed and never loaded.
    assert platform.run_in_child(kill_at=("commit.manifest", "after"))
    monkeypatch.setattr(through["bigquery"].strict, "window_seconds", QUOTA_SECONDS)
    race(replace(platform, env=through.env), tmp_path / "died")
    platform.assert_equals_truth()
