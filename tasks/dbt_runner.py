"""prefect-dbt's runner with repairs: importing this imports dbt, its adapter and prefect-dbt.

Its PrefectDbtOrchestrator does not serve: by waves one test that fails skips what does not depend
on it, by nodes it starts a process for each. What this is for fails without it in
tests/dbt_project/test_daily_earthquake_activity.py,
`test_a_duplicate_id_fails_the_run_by_name_count_and_key`.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import dbt.parser.manifest
import dbt.task.runnable
from dbt_common.events.base_types import EventLevel
from prefect.client.orchestration import PrefectClient
from prefect.context import hydrated_context
from prefect.task_engine import run_task_sync
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

from runs.build import PROJECT_DIR

TASK_RUNS_SECONDS = 30.0


class Settings(PrefectDbtSettings):
    @contextlib.contextmanager
    def resolve_profiles_yml(self) -> Iterator[str]:
        """The profile as it is: looking for Prefect blocks in it takes a server."""
        yield str(self.profiles_dir)


class Entered(dict[str, Any]):
    """A serialized context that the thread is in already, so that there is nothing to hydrate."""

    def __bool__(self) -> bool:
        return False


class Runner(PrefectDbtRunner):
    """Repairs to prefect-dbt 0.7.25."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.started: list[tuple[Any, str]] = []
        # What threads of a build run in, entered once: prefect-dbt makes all settings and several
        # clients for each node and for each line of the log, which took seconds of CPU.
        self.context = contextvars.copy_context()
        self.entered = contextlib.ExitStack()

    def invoke(self, args: list[str], **kwargs: Any) -> Any:
        try:
            with manifest_kept(self):
                return super().invoke(args, **kwargs)
        finally:
            self.wait_for_task_runs()
            self.context.run(self.entered.close)

    def _create_unified_callback(
        self, task_state: Any, log_level: Any, context: dict[str, Any], **kwargs: Any
    ) -> Any:
        of_here = {name: value for name, value in context.items() if name != "settings_context"}
        self.context.run(self.entered.enter_context, hydrated_context(of_here))
        task_state.run_task_in_thread = self._run_task_in_thread(task_state)
        return super()._create_unified_callback(task_state, log_level, Entered(context), **kwargs)

    def _callback_worker(self) -> None:
        self.context.copy().run(super()._callback_worker)

    def _run_task_in_thread(self, task_state: Any) -> Callable[..., None]:
        def run(node_id: str, task: Any, *, context: Any, **kwargs: Any) -> None:
            def work() -> None:
                results = map(task_state.get_task_result, task_state.get_node_dependencies(node_id))
                state = run_task_sync(
                    task, wait_for=[one for one in results if one], return_type="state", **kwargs
                )
                task_state.set_task_result(node_id, state)

            threading.Thread(target=self.context.copy().run, args=(work,), daemon=True).start()

        return run

    def _queue_callback(self, callback_func: Any, event: Any, priority: Any = None) -> None:
        # In dbt's own order. With starts first, a node that is about to be skipped gets a task
        # run, which ends Completed and reports its table as made.
        super()._queue_callback(callback_func, event, priority=0)

    def _call_task(self, task_state: Any, manifest_node: Any, *args: Any) -> None:
        # Else its log lines are headed "Task run None".
        name = f"{manifest_node.resource_type.lower()} {manifest_node.name}"
        task_state.set_task_run_name(manifest_node.unique_id, name)
        self.started.append((task_state, manifest_node.unique_id))
        super()._call_task(task_state, manifest_node, *args)

    def wait_for_task_runs(self) -> None:
        # They end in daemon threads, which a process that ends would leave Running for ever.
        deadline = time.monotonic() + TASK_RUNS_SECONDS
        while time.monotonic() < deadline and any(
            tracker.get_task_result(node_id) is None for tracker, node_id in self.started
        ):
            time.sleep(0.02)


def invoke(arguments: list[str]) -> str | None:
    """dbt with a task run for each node. None when all went well, else its cause."""
    runner = Runner(
        settings=Settings(profiles_dir=PROJECT_DIR, log_level=EventLevel.INFO),
        raise_on_failure=False,
        # The runner keeps a client and never calls it.
        client=cast(PrefectClient, object()),
    )
    try:
        return None if runner.invoke(arguments).success else "dbt did not succeed"
    except ValueError as error:
        # prefect-dbt has dbt's own words in its message only: "Failed to invoke ... '...': cause".
        return str(error).partition("': ")[2] or str(error)


@contextlib.contextmanager
def manifest_kept(runner: Runner) -> Iterator[None]:
    """The runner has the manifest that dbt parsed, which is written when parsing changed it.

    dbt writes it twice per build, with what it compiled, and prefect-dbt reads it again.
    """
    write = dbt.parser.manifest.write_manifest

    def keep(manifest: Any, target_path: str, which: str | None = None) -> None:
        runner._manifest = manifest
        written = Path(target_path, dbt.parser.manifest.MANIFEST_FILE_NAME)
        parsed = Path(target_path, dbt.parser.manifest.PARTIAL_PARSE_FILE_NAME)
        if not written.exists() or written.stat().st_mtime_ns <= parsed.stat().st_mtime_ns:
            write(manifest, target_path, which)

    modules = (dbt.parser.manifest, dbt.task.runnable)
    for module in modules:
        module.write_manifest = keep
    try:
        yield
    finally:
        for module in modules:
            module.write_manifest = write
