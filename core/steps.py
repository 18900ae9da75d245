"""The steps of a run, named where they happen: what a run's timings and its log are made of.

`step("load.stage")` brackets one step. Observers are told when it begins and when it has ended; the
timings in a run's artifact come from one, and whoever wants to follow a run adds another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

logger = logging.getLogger("pipelines.steps")

Phase = Literal["before", "after"]
Observer = Callable[[str, Phase], None]
observers: list[Observer] = []
_telling = threading.Lock()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Bracket one step. A step that raises has no "after"."""
    _tell(name, "before")
    yield
    _tell(name, "after")


def _tell(name: str, phase: Phase) -> None:
    """Tell every observer, of one step at a time, whatever thread it is in."""
    with _telling:
        for observe in observers:
            observe(name, phase)


class Timings:
    """Seconds per step of one run; of steps in several threads, the sum."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._started: dict[tuple[int, str], float] = {}

    def __call__(self, name: str, phase: Phase) -> None:
        key = (threading.get_ident(), name)
        if phase == "before":
            self._started[key] = time.perf_counter()
        else:
            self.seconds[name] += time.perf_counter() - self._started.pop(key)
            logger.debug("%s done", name)


@contextmanager
def timings() -> Iterator[Timings]:
    """Collect the seconds per step of everything inside."""
    collected = Timings()
    observers.append(collected)
    try:
        yield collected
    finally:
        observers.remove(collected)
