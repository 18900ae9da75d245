"""The tests find what they are for: with each mutation a case of it fails.

Not here: a script without its fence. The emulator runs queries one at a time, so two transactions
never meet on it; tests/core/test_script.py reads every script for its fence, and has a test of its
own that it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from core import merging
from stores import http
from testing.matrix import or_slow
from testing.mutations import MUTATIONS
from testing.platform import TestPlatform
from tests.reliability.test_kill import kill_and_rerun
from tests.reliability.test_races import older_after_newer
from tests.reliability.test_retries import WRONG_KEY, asked_once


def test_a_manifest_that_is_written_first_is_found(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = replace(make_platform(kit="openweather"), mutation="manifest first")
    events = platform.run_in_child()
    at = events.index(("commit.manifest", "before")) + 1
    assert events[at] == ("upload.part", "before")
    platform.control("advance")
    platform.run_in_child(kill_at=at)
    platform.control("advance")
    platform.run_in_child()
    with pytest.raises(AssertionError):
        platform.assert_settled()
    with pytest.raises(AssertionError):
        platform.assert_equals_truth()


def test_a_cleanup_before_the_ledger_is_found(make_platform: Callable[..., TestPlatform]) -> None:
    platform = replace(make_platform(kit="openweather"), mutation="clean before the ledger")
    kill_and_rerun(platform, ("load.apply", "before"), ("load.apply", "before"))
    with pytest.raises(AssertionError):
        platform.assert_equals_truth()


@pytest.mark.parametrize(
    "kit", or_slow(lambda kit: kit == "ph_news", [("ph_news",), ("usgs_earthquake",)])
)
def test_a_dropped_order_rule_is_found(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = replace(make_platform(kit=kit, size=30), mutation="no order")
    ranked_rows = merging.ranked_rows
    MUTATIONS["no order"]()
    try:
        with pytest.raises(AssertionError) as found:
            older_after_newer(platform)
        assert "assert_equals_truth" in [entry.name for entry in found.traceback]
    finally:
        merging.ranked_rows = ranked_rows


@pytest.mark.parametrize(
    "kit", or_slow(lambda kit: kit == "finance", [("usgs_earthquake",), ("finance",)])
)
def test_a_401_that_is_repeated_is_found(
    kit: str, make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)
    MUTATIONS["retry 401"]()
    try:
        with pytest.raises(AssertionError):
            asked_once(make_platform(kit=kit, size=20), 401, WRONG_KEY[kit])
    finally:
        http.REPEATABLE.remove(401)
