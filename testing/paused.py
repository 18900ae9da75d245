"""A run in another process that stands still at a step until it is told to go on."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core import steps
from testing.mutations import MUTATIONS
from testing.platform import Event, TestPlatform


@dataclass
class Paused:
    """`reached` is whether it came to the step at all; it has ended when it did not."""

    reached: bool
    _failure: str
    _process: Any
    _pipe: Any

    def go_on(self) -> str:
        """Let it finish; what went wrong in it, empty when nothing did."""
        if self.reached:
            self._pipe.send(None)
            try:
                self._failure = str(self._pipe.recv())
            except EOFError:
                self._failure = "died"
        self._process.join()
        return self._failure


@contextmanager
def paused(platform: TestPlatform, at: Event, **window: Any) -> Iterator[Paused]:
    """A run that has come to `at` for the first time and waits there."""
    context = multiprocessing.get_context("forkserver")
    pipe, other = context.Pipe()
    process = context.Process(target=_run, args=(platform, at, window, other))
    process.start()
    other.close()
    # "paused" at the step, or how a run ended that never came to it.
    said = str(pipe.recv())
    reached = said == "paused"
    try:
        yield Paused(reached, "" if reached else said, process, pipe)
    finally:
        if process.is_alive():
            process.kill()
            process.join()


def _run(platform: TestPlatform, at: Event, window: dict[str, Any], pipe: Any) -> None:
    os.environ.update(platform.env)
    if platform.mutation:
        MUTATIONS[platform.mutation]()
    waited = False

    def observe(name: str, phase: steps.Phase) -> None:
        nonlocal waited
        if (name, phase) == at and not waited:
            waited = True
            pipe.send("paused")
            pipe.recv()

    steps.observers.append(observe)
    failure = ""
    try:
        platform.run(**window)
    except Exception as error:  # noqa: BLE001 — told to the test, which raises it
        failure = f"{type(error).__name__}: {error}"
    pipe.send(failure)
