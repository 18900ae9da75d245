"""The steps of a run, named where they happen: what a run's timings and its log are made of.

`step("load.stage")` brackets one step. Observers learn when it begins and when it has ended; the
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


@contextmanager
def timings() -> Iterator[dict[str, float]]:
    """Collect the seconds per step of everything inside; of steps in several threads, the sum."""
    seconds: dict[str, float] = defaultdict(float)
    started: dict[tuple[int, str], float] = {}

    def observe(name: str, phase: Phase) -> None:
        key = (threading.get_ident(), name)
        if phase == "before":
            started[key] = time.perf_counter()
        else:
            seconds[name] += time.perf_counter() - started.pop(key)
            logger.debug("%s done", name)

    observers.append(observe)
    try:
        yield seconds
    finally:
        observers.remove(observe)
