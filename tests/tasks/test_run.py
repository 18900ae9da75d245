"""The course of a run: what it asks BigQuery, where batches of before stand in the bucket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runs.load import load
from testing.platform import Lab
from testing.recording import listening

QUESTION, LOOK, APPLY = "WITH lines AS", "INSERT INTO", "DECLARE known"


def sent(lab: Lab) -> list[str]:
    """What each statement of a run is; the one that accounts for the jobs is in every run."""
    with listening(lab) as jobs:
        lab.run()
    found = [
        next((one for one in (APPLY, QUESTION, LOOK) if one in job.sql), job.sql)
        for job in jobs
        if "`_jobs`" not in job.sql
    ]
    assert len(jobs) > len(found) > 0
    return found


@pytest.mark.parametrize("kit", ["usgs_earthquake", "finance"])
def test_a_run_asks_the_ledger_once(kit: str, make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(kit=kit, size=12, retention_days=7)
    lab.run()
    assert sent(lab) == [QUESTION, LOOK]
    lab.control("advance")
    assert sent(lab) == [QUESTION, APPLY]
    assert sent(lab) == [QUESTION, LOOK]


def test_a_batch_that_another_run_loads_first_is_not_loaded_twice(
    make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is read, and this run no longer claims to know all that was applied."""
    lab = make_lab(size=12, retention_days=7)
    lab.run()
    lab.control("advance")

    def after_another(platform: object, table: object, batch: object = None) -> object:
        if batch is not None:
            load(lab.platform, lab.source.TABLE)
        return load(platform, table, batch)  # type: ignore[arg-type]

    monkeypatch.setattr("runs.course.load", after_another)
    outcome = lab.run()
    assert [line.state for line in outcome.lines] == ["applied"]
    assert outcome.changes is None
    assert [line["state"] for line in lab.ledger()] == ["applied", "applied"]
    lab.assert_equals_truth()
