"""The tasks of a run as tasks of Prefect's, inside a flow run. Importing this makes them so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import prefect
from google.api_core.exceptions import GoogleAPIError
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext

from core.task import Task, call, run_tasks_by


def is_left(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a task may repeat what failed it: what BigQuery answered was repeated already, where
    repeating helps (tasks/repeat.py)."""
    return not isinstance(state.data, GoogleAPIError)


@lru_cache(None)
def of_prefect(declared: Task) -> Any:
    """Nothing is cached or persisted: the effect is in the bucket or the warehouse."""
    return prefect.task(
        name=declared.name,
        task_run_name=declared.run_name,
        retries=declared.retries,
        retry_delay_seconds=list(declared.retry_delay_seconds) or None,
        cache_policy=NO_CACHE,
        persist_result=False,
        retry_condition_fn=is_left,
    )(declared.function)


def run(declared: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if FlowRunContext.get() or TaskRunContext.get():
        return of_prefect(declared)(*args, **kwargs)
    return call(declared, args, kwargs)


run_tasks_by(run)
