"""SIGKILL before and after every step, then one rerun: nothing lost, nothing twice, nothing left.

The points come from the code: every `step("...")` of the rooms that a source's run passes through.
A point that no run reaches fails the test.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from core.steps import Phase
from tests.lab import Event, Lab

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "sources", "tasks", "flows")
# Steps of the parent flow, after the source's run.
OF_THE_BUILD = "build."


def steps_in_code() -> set[str]:
    """The names of all steps that the code marks."""
    names = set()
    for room in ROOMS:
        for path in (ROOT / room).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "step":
                    assert isinstance(node.args[0], ast.Constant), f"{path}: {ast.dump(node)}"
                    names.add(str(node.args[0].value))
    return {name for name in names if not name.startswith(OF_THE_BUILD)}


PHASES: tuple[Phase, ...] = ("before", "after")
POINTS: list[Event] = sorted((name, phase) for name in steps_in_code() for phase in PHASES)


def first_and_last(events: list[Event], point: Event) -> list[int]:
    """Where a run passes a point for the first and for the last time."""
    at = [number for number, event in enumerate(events) if event == point]
    return sorted({at[0], at[-1]}) if at else []


@pytest.fixture(scope="module")
def traces(stack_env: dict[str, str]) -> dict[str, list[Event]]:
    """What an undisturbed run passes: one with news, one without."""
    lab = Lab("kill-traces", stack_env)
    lab.source.start(lab, 60)
    lab.run_in_child()
    lab.control("advance")
    return {"news": lab.run_in_child(), "nothing new": lab.run_in_child()}


def test_every_point_is_reached(traces: dict[str, list[Event]]) -> None:
    assert len(POINTS) > 25
    reached = {event for events in traces.values() for event in events}
    assert sorted(set(POINTS) - reached) == []


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[1]}-{point[0]}")
def test_a_run_killed_anywhere_is_made_good_by_the_next(
    point: Event, traces: dict[str, list[Event]], make_lab: Callable[..., Lab]
) -> None:
    which = "news" if point in traces["news"] else "nothing new"
    places = first_and_last(traces[which], point)
    assert places
    for place in places:
        lab = make_lab(suffix=str(place), size=60)
        lab.run_in_child()
        lab.control("advance")
        if which == "nothing new":
            lab.run_in_child()
        assert lab.run_in_child(kill_at=place)[-1] == point
        lab.run_in_child()
        lab.assert_equals_truth()
        lab.assert_settled()
