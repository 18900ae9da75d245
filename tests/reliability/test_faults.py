"""What a source's server may do wrong: asked for again, or a clear failure and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from core.errors import SourceError
from stores.settings import LandingName
from testing.matrix import crossed, only
from testing.platform import KITS, RUNS, TestPlatform

SIZE = 60
BODY = "{}"
FAULTS: dict[str, dict[str, Any]] = {
    "429 at once": {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "dropped": {"kind": "drop"},
    "truncated": {"kind": "truncate"},
    "longer than said": {"kind": "wrong_length", "n": 10},
    "malformed": {"kind": "malformed"},
    "a page of HTML": {"kind": "html"},
    "an empty body": {"kind": "empty"},
    "a slow drip": {"kind": "drip", "seconds": 0.3},
}
PLACES: dict[str, Callable[[int], int]] = {
    "first": lambda requests: 0,
    "middle": lambda requests: requests // 2,
    "last": lambda requests: requests - 1,
}


STRUCK: list[tuple[str, LandingName | None]] = [("usgs_earthquake", None), ("nyc_fhv", None)]


def is_slow(run: tuple[str, LandingName | None], fault: str, place: str) -> bool:
    """Every fault strikes a source that merges and one that replaces, each at another place."""
    number = list(FAULTS).index(fault) + RUNS.index(run)
    return run in STRUCK and place == list(PLACES)[number % 3]


def is_quick(run: tuple[str, LandingName | None], fault: str, place: str) -> bool:
    """Every other fault strikes one of the two."""
    number = list(FAULTS).index(fault)
    return is_slow(run, fault, place) and number % 2 == 0 and run == STRUCK[number // 2 % 2]


CASES = only(is_quick, crossed(RUNS, FAULTS, PLACES), is_slow)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries of a hundredth of a second."""
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)


@cache
def requests_of(kit: str, env: tuple[tuple[str, str], ...]) -> int:
    """How many requests an undisturbed first run sends."""
    platform = TestPlatform(f"faults-none-{kit.replace('_', '-')}", dict(env), kit)
    platform.source.start(platform, SIZE)
    platform.run()
    return len(platform.look("control/requests"))


@pytest.mark.parametrize(("run", "fault", "place"), CASES)
def test_an_answer_that_is_broken_once_is_asked_for_again(
    run: tuple[str, LandingName | None],
    fault: str,
    place: str,
    stack_env: dict[str, str],
    make_platform: Callable[..., TestPlatform],
) -> None:
    kit, landing = run
    skip = PLACES[place](requests_of(kit, tuple(stack_env.items())))
    platform = make_platform(kit=kit, landing=landing, size=SIZE)
    platform.control("faults", [{**FAULTS[fault], "skip": skip}])
    platform.run()
    assert [entry["fault"] for entry in platform.look("control/requests")].count(
        FAULTS[fault]["kind"]
    )
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.parametrize(
    ("kit", "kind"),
    only(
        lambda _, kind: kind == "html",
        crossed(KITS, ["malformed", "truncate", "html", "empty", "drop"]),
        lambda kit, _: kit == "usgs_earthquake",
    ),
)
def test_answers_that_stay_broken_fail_the_run_and_leave_nothing(
    kit: str, kind: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=SIZE)
    platform.control("faults", [{"kind": kind, "times": -1}])
    with pytest.raises(SourceError, match=rf"{kit}, .*: .*gave up after \d tries: \w+"):
        platform.run()
    assert platform.ledger() == []
    assert platform.objects() == []
    platform.control("faults", [])
    platform.run()
    platform.assert_equals_truth()
