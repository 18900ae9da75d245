"""A task: a step of a run that whoever orchestrates it may show, repeat and give a name.

So that a run goes the same way with and without an orchestrator. By itself a task is its function;
tasks/prefect_tasks.py makes it a task of Prefect's inside a flow run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Task:
    """`run_name` may have parameters of the function in braces; `retries` are beside the first try,
    after so many seconds each."""

    function: Callable[..., Any]
    name: str
    run_name: str | None
    retries: int
    retry_delay_seconds: tuple[float, ...]


# Runs a task with its arguments.
Runner = Callable[[Task, Sequence[Any], Mapping[str, Any]], Any]


def call(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return task.function(*args, **kwargs)


_runner: Runner = call


def run_tasks_by(runner: Runner) -> None:
    """From now on every task of this process is run so."""
    global _runner
    _runner = runner


def task(
    name: str,
    *,
    run_name: str | None = None,
    retries: int = 0,
    retry_delay_seconds: Sequence[float] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function as a task."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        declared = Task(function, name, run_name, retries, tuple(retry_delay_seconds))

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = _runner(declared, args, kwargs)
            return result

        return run

    return decorate
