"""The course of a run: what it asks BigQuery, where batches of before stand in the bucket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runs.load import load
from testing.platform import TestPlatform
from testing.recording import listening

QUESTION, LOOK, APPLY = "WITH lines AS", "INSERT INTO", "DECLARE known"


def sent(platform: TestPlatform) -> list[str]:
    """What each statement of a run is; the one that accounts for the jobs is in every run."""
    with listening(platform) as jobs:
        platform.run()
    found = [
        next((one for one in (APPLY, QUESTION, LOOK) if one in job.sql), job.sql)
        for job in jobs
        if "`_jobs`" not in job.sql
    ]
    assert len(jobs) > len(found) > 0
    return found


@pytest.mark.parametrize("kit", ["usgs_earthquake", "finance"])
def test_a_run_asks_the_ledger_once(kit: str, make_platform: Callable[..., TestPlatform]) -> None:
    platform = make_platform(kit=kit, size=12, retention_days=7)
    platform.run()
    assert sent(platform) == [QUESTION, LOOK]
    platform.control("advance")
    assert sent(platform) == [QUESTION, APPLY]
    assert sent(platform) == [QUESTION, LOOK]


def test_a_batch_that_another_run_loads_first_is_not_loaded_twice(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is read, and this run no longer claims to know all that was applied."""
    platform = make_platform(size=12, retention_days=7)
    platform.run()
    platform.control("advance")

    def after_another(stores: object, table: object, batch: object = None) -> object:
        if batch is not None:
            load(platform.stores, platform.source.TABLE)
        return load(stores, table, batch)  # type: ignore[arg-type]

    monkeypatch.setattr("runs.course.load", after_another)
    outcome = platform.run()
    assert [line.state for line in outcome.lines] == ["applied"]
    assert outcome.changes is None
    assert [line["state"] for line in platform.ledger()] == ["applied", "applied"]
    platform.assert_equals_truth()
