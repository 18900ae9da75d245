"""SIGKILL before and after every step, then one rerun: nothing lost, nothing twice, nothing left.

The points come from the code: every `step("...")` of the rooms that a source's run passes through.
A point that no run reaches fails the test.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache

import pytest

from core.steps import Phase
from stores.settings import LandingName
from testing.matrix import only, or_slow
from testing.platform import RUNS, Event, TestPlatform
from testing.rooms import PRODUCT, ROOT

# Steps that no source's run has: the parent flow's after it, those of other flows, and what is done
# by hand, which tests/tasks/test_undo.py and test_replay.py kill, those of a bucket that fails
# (killed by test_spool.py), and those of an export (tests/dashboards/test_money.py).
OF_NO_RUN = (
    *("build.", "undo.", "replay.", "catalog.", "freshness.", "spool.", "export.", "run_logs."),
    *("cleanup.list_staging", "cleanup.drop_staging"),
)
SIZE = 60
COMMITTED: Event = ("commit.manifest", "after")
USGS = "usgs_earthquake"


def steps_in_code() -> set[str]:
    """The names of all steps that the code marks."""
    names = set()
    for room in PRODUCT:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "step":
                    assert isinstance(node.args[0], ast.Constant), f"{path}: {ast.dump(node)}"
                    names.add(str(node.args[0].value))
    return names


PHASES: tuple[Phase, ...] = ("before", "after")
POINTS: list[Event] = sorted(
    (name, phase) for name in steps_in_code() if not name.startswith(OF_NO_RUN) for phase in PHASES
)


# Which steps a source's run does not have. Everything else must be reached by each.
NOT_OF = {
    USGS: {"budget.", "extract.known"},
    "openweather": {"budget.", "extract.known"},
    "ph_news": set[str](),
    "nyc_fhv": {"budget.", "extract.known"},
    "finance": {"budget.", "extract.known"},
}


def points_of(kit: str) -> list[Event]:
    """The points that a run of this source must pass."""
    return [
        (name, phase)
        for name, phase in POINTS
        if not any(name.startswith(prefix) for prefix in NOT_OF[kit])
    ]


@cache
def traces(
    kit: str, landing: LandingName | None, env: tuple[tuple[str, str], ...]
) -> dict[str, list[Event]]:
    """What an undisturbed run passes: one with news, one without, one that finds a batch waiting.

    USGS is killed in a run that finds a loaded table, the others in their very first.
    """
    name = f"kill-traces-{kit.replace('_', '-')}-{landing or 'own'}"
    platform = TestPlatform(name, dict(env), kit, landing=landing)
    platform.source.start(platform, SIZE)
    if kit == USGS:
        platform.run_in_child()
        platform.control("advance")
    found = {"news": platform.run_in_child(), "nothing new": platform.run_in_child()}
    platform.control("advance")
    platform.run_in_child(kill_at=COMMITTED)
    return {**found, "a batch waits": platform.run_in_child()}


def places(kit: str, events: list[Event], point: Event) -> list[int | Event]:
    """Where a run passes a point: for the first time and, for USGS, for the last.

    The others' is told by its name, since some read in threads, which come in any order.
    """
    at = [number for number, event in enumerate(events) if event == point]
    if not at:
        return []
    return [*sorted({at[0], at[-1]})] if kit == USGS else [point]


@pytest.mark.parametrize(("kit", "landing"), or_slow(lambda kit, landing: kit == "nyc_fhv", RUNS))
def test_every_point_is_reached(
    kit: str, landing: LandingName | None, stack_env: dict[str, str]
) -> None:
    assert len(points_of(kit)) > 25
    known = traces(kit, landing, tuple(stack_env.items()))
    reached = {event for events in known.values() for event in events}
    assert sorted(set(points_of(kit)) - reached) == []


# Where a source's run does otherwise than that of one that replaces.
OWN_STEPS = {
    USGS: {"commit.manifest", "load.apply", "load.wait", "cleanup.delete"},
    "openweather": {"load.apply"},
    "ph_news": {"budget.reserve", "budget.settle", "extract.known", "load.apply"},
    "finance": {"load.apply"},
}


# Before what a run leaves in the bucket, in its table and in the ledger.
QUICK = ("upload.part", "commit.manifest", "load.apply")


def is_slow(kit: str, landing: LandingName | None, point: Event) -> bool:
    """A source that merges and one that replaces die before every step: between two of them nothing
    lasting happens. The others do before their own."""
    if landing or point[1] != "before":
        return False
    return kit in (USGS, "nyc_fhv") or point[0] in OWN_STEPS[kit]


def is_quick(kit: str, landing: LandingName | None, point: Event) -> bool:
    """One source, where something lasting comes next."""
    return (kit, landing) == ("nyc_fhv", None) and point[1] == "before" and point[0] in QUICK


CASES = only(is_quick, [(*run, point) for run in RUNS for point in points_of(run[0])], is_slow)


def kill_and_rerun(platform: TestPlatform, place: int | Event, point: Event) -> None:
    """What was committed by then is safe, whatever the source says afterwards."""
    events = platform.run_in_child(kill_at=place)
    assert events[-1] == point
    if not platform.source.TABLE.is_replayable and ("commit.manifest", "after") in events:
        platform.control("advance")
    platform.run_in_child()


@pytest.mark.parametrize(("kit", "landing", "point"), CASES)
def test_a_run_killed_anywhere_is_made_good_by_the_next(
    kit: str,
    landing: LandingName | None,
    point: Event,
    stack_env: dict[str, str],
    make_platform: Callable[..., TestPlatform],
) -> None:
    known = traces(kit, landing, tuple(stack_env.items()))
    which = next(name for name, events in known.items() if point in events)
    reached = places(kit, known[which], point)
    assert reached
    for number, place in enumerate(reached):
        platform = make_platform(suffix=str(number), kit=kit, size=SIZE, landing=landing)
        if kit == USGS:
            platform.run_in_child()
            platform.control("advance")
        if which != "news":
            platform.run_in_child(kill_at=COMMITTED if which == "a batch waits" else None)
        kill_and_rerun(platform, place, point)
        platform.assert_equals_truth()
        platform.assert_settled()
