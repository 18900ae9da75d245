"""SIGKILL between load and build, inside dbt and after it: the next run makes the marts good.

The source has nothing new by then, so that only the ledger knows of it. The points come from the
code, as in test_kill.py; inside dbt they are the queries that it sends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runs.due import due_build
from testing.platform import Event, TestPlatform, run_and_build
from tests.reliability.test_kill import PHASES, steps_in_code

BUILD_STEPS = sorted(name for name in steps_in_code() if name.startswith("build."))


@pytest.fixture
def loaded(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> TestPlatform:
    """A platform whose builds have a cache of their own."""
    platform = make_platform(size=40)
    platform.env = {**platform.env, "XDG_CACHE_HOME": str(tmp_path)}
    return platform


def marts(platform: TestPlatform) -> dict[str, int]:
    """Events per calendar in gold."""
    rows = platform.query(
        "SELECT calendar, SUM(event_count) AS n FROM {marts}gold.daily_earthquake_activity "
        "GROUP BY 1"
    )
    return {row["calendar"]: int(row["n"]) for row in rows}


def assert_marts_are_good(platform: TestPlatform) -> None:
    """All that is live is counted, a build covers it, and none is due."""
    live = sum(not row["_is_deleted"] for row in platform.rows().values())
    assert marts(platform) == {"UTC": live, "Asia/Manila": live}
    assert due_build(platform.stores.warehouse, platform.source.TABLE.source) is None
    platform.assert_equals_truth()


def killed(platform: TestPlatform, point: int | Event) -> list[Event]:
    events = platform.run_in_child(kill_at=point, do=run_and_build)
    assert events
    return events


@pytest.mark.slow
def test_a_run_that_dies_before_inside_and_after_dbt_is_made_good(loaded: TestPlatform) -> None:
    """One after another on one ledger: every run but the last dies, each further on."""
    killed(loaded, ("build.read_ledger", "before"))
    killed(loaded, ("build.query", "before"))
    assert [line["state"] for line in loaded.ledger()] == ["applied", "no_change"]
    # dbt has written everything, and nobody has noted it.
    killed(loaded, ("build.record", "before"))
    assert due_build(loaded.stores.warehouse, "usgs_earthquake")
    events = loaded.run_in_child(do=run_and_build)
    assert ("build.record", "after") in events
    assert_marts_are_good(loaded)
    assert ("build.dbt", "before") not in loaded.run_in_child(do=run_and_build)


POINTS: list[Event] = [(name, phase) for name in BUILD_STEPS for phase in PHASES]


@pytest.mark.matrix
@pytest.mark.parametrize("point", POINTS, ids="-".join)
def test_a_run_killed_around_dbt_is_made_good(loaded: TestPlatform, point: Event) -> None:
    assert killed(loaded, point)[-1] == point
    loaded.run_in_child(do=run_and_build)
    assert_marts_are_good(loaded)


@pytest.mark.matrix
def test_a_run_killed_at_queries_of_dbt_is_made_good(loaded: TestPlatform) -> None:
    """At the first, the middle and the last query, each after news."""
    events = loaded.run_in_child(do=run_and_build)
    queries = [number for number, event in enumerate(events) if event[0] == "build.query"]
    assert len(queries) > 6
    for share in (0, len(queries) // 2, len(queries) - 1):
        loaded.control("advance")
        # As many events later as a run with news has more steps: by its place among the queries.
        loaded.run_in_child()
        before = queries[share] - queries[0]
        at = next(n for n, event in enumerate(events) if event[0] == "build.query") + before
        if loaded.child(kill_at=at, do=run_and_build)[1]:
            loaded.run_in_child(do=run_and_build)
        assert_marts_are_good(loaded)
