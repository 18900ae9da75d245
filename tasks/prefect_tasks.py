"""Tasks and the nodes of a build are Prefect's inside a flow run, once this is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import prefect
from google.api_core.exceptions import GoogleAPIError
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext

from core.task import Task, call, run_tasks_by
from runs.build import invoke_dbt, run_dbt_by


def is_left(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a task may repeat what failed it: what BigQuery answered was repeated already, where
    repeating helps (stores/retry.py)."""
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


def is_in_flow() -> bool:
    return bool(FlowRunContext.get() or TaskRunContext.get())


def run(declared: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if is_in_flow():
        return of_prefect(declared)(*args, **kwargs)
    return call(declared, args, kwargs)


def run_dbt(arguments: list[str]) -> str | None:
    """dbt with a task run of Prefect's for each node."""
    if not is_in_flow():
        return invoke_dbt(arguments)
    # dbt and its adapter take 2 s of CPU to import: runs that build nothing do not pay for it.
    from tasks.dbt_runner import invoke

    return invoke(arguments)


run_tasks_by(run)
run_dbt_by(run_dbt)
