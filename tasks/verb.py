"""A verb: a Prefect task inside a flow run, a plain function outside one.

So that a flow's body runs the same with and without an orchestrator on top.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from google.api_core.exceptions import GoogleAPIError
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext

P = ParamSpec("P")
R = TypeVar("R")


def is_left(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a task may repeat what failed it: what BigQuery answered was repeated already, where
    repeating helps (tasks/repeat.py)."""
    return not isinstance(state.data, GoogleAPIError)


def verb(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function as a verb; `options` are those of `prefect.task`.

    Nothing is cached and no result is persisted: a verb's effect is in the bucket or the warehouse.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        as_task = task(
            cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=is_left, **options
        )(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            inside = FlowRunContext.get() or TaskRunContext.get()
            return as_task(*args, **kwargs) if inside else function(*args, **kwargs)

        return call

    return decorate
