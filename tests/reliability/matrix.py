"""Which cases `make test` runs, and which only `make matrix` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest


def only(is_quick: Callable[..., bool], cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The cases as parameters; all but the quick ones are of the matrix."""
    listed = list(cases)
    assert any(is_quick(*case) for case in listed)
    return [
        pytest.param(*case, marks=() if is_quick(*case) else pytest.mark.matrix) for case in listed
    ]


def some_kits(kits: Iterable[str]) -> list[Any]:
    """Every source; only one that merges and the one that replaces are not of the matrix."""
    return only(lambda kit: kit in ("usgs_earthquake", "nyc_fhv"), [(kit,) for kit in kits])


def crossed(*axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(product(*axes))
