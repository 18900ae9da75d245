"""Which cases `make test` runs, which `make test-slow`, and which only `make matrix` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest


def only(
    is_quick: Callable[..., bool],
    cases: Iterable[tuple[Any, ...]],
    is_slow: Callable[..., bool] = lambda *_: False,
    rest: pytest.MarkDecorator = pytest.mark.matrix,
) -> list[Any]:
    """The cases as parameters: the quick ones, the slow ones, and the `rest`."""
    listed = list(cases)
    assert any(is_quick(*case) for case in listed)
    slow = pytest.mark.slow
    return [
        pytest.param(*case, marks=() if is_quick(*case) else slow if is_slow(*case) else rest)
        for case in listed
    ]


def or_slow(is_quick: Callable[..., bool], cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The cases as parameters; all but the quick ones are slow."""
    return only(is_quick, cases, rest=pytest.mark.slow)


def some_kits(kits: Iterable[str]) -> list[Any]:
    """Every source: one that merges; the one that replaces is slow, others are of the matrix."""
    listed = [(kit,) for kit in kits]
    return only(lambda kit: kit == "usgs_earthquake", listed, lambda kit: kit == "nyc_fhv")


def crossed(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(product(*axes))
