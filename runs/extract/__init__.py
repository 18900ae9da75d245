"""One file per source: how it is read, and what a run of it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from runs.outcome import Outcome


def run_of(source: str) -> Callable[..., Outcome]:
    """The source's `run(platform, settings, request)`; only its own module is imported."""
    run: Callable[..., Any] = import_module(f"runs.extract.{source}").run
    return run
