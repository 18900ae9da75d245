"""The harness finds what it is for: with each fault planted, a case of it fails.

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
from testing.mutations import PLANTS
from testing.platform import Lab
from tests.reliability.test_kill import kill_and_rerun
from tests.reliability.test_races import older_after_newer
from tests.reliability.test_retries import WRONG_KEY, asked_once


def test_a_manifest_that_is_written_first_is_found(make_lab: Callable[..., Lab]) -> None:
    lab = replace(make_lab(kit="openweather"), planted="manifest first")
    events = lab.run_in_child()
    at = events.index(("commit.manifest", "before")) + 1
    assert events[at] == ("upload.part", "before")
    lab.control("advance")
    lab.run_in_child(kill_at=at)
    lab.control("advance")
    lab.run_in_child()
    with pytest.raises(AssertionError):
        lab.assert_settled()
    with pytest.raises(AssertionError):
        lab.assert_equals_truth()


def test_a_cleanup_before_the_ledger_is_found(make_lab: Callable[..., Lab]) -> None:
    lab = replace(make_lab(kit="openweather"), planted="clean before the ledger")
    kill_and_rerun(lab, ("load.apply", "before"), ("load.apply", "before"))
    with pytest.raises(AssertionError):
        lab.assert_equals_truth()


@pytest.mark.parametrize(
    "kit", or_slow(lambda kit: kit == "ph_news", [("ph_news",), ("usgs_earthquake",)])
)
def test_a_dropped_order_rule_is_found(kit: str, make_lab: Callable[..., Lab]) -> None:
    lab = replace(make_lab(kit=kit, size=30), planted="no order")
    ranked_rows = merging.ranked_rows
    PLANTS["no order"]()
    try:
        with pytest.raises(AssertionError) as found:
            older_after_newer(lab)
        assert "assert_equals_truth" in [entry.name for entry in found.traceback]
    finally:
        merging.ranked_rows = ranked_rows


@pytest.mark.parametrize(
    "kit", or_slow(lambda kit: kit == "finance", [("usgs_earthquake",), ("finance",)])
)
def test_a_401_that_is_repeated_is_found(
    kit: str, make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)
    PLANTS["retry 401"]()
    try:
        with pytest.raises(AssertionError):
            asked_once(make_lab(kit=kit, size=20), 401, WRONG_KEY[kit])
    finally:
        http.REPEATABLE.remove(401)
