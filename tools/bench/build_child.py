"""One build of a source's marts in a process of its own; prints where its time went as JSON.

`python -m tools.bench.build_child PLATFORM TARGET_PATH`, in the environment of a running stack with
Prefect, over the marts that an earlier build made. The build is one of those in between and runs in
a flow, as in production. What the flow itself imports is not measured.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow

from runs.build import build
from runs.dbt_build import dbt_environment, window_environment
from testing.platform import TestPlatform

SELECT = "@source:usgs_earthquake"


class Parts:
    """CPU and wall seconds of named parts, each without the parts that it called."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self._inside = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time of this thread; of parts in several threads, the sum."""
        open_parts: list[list[float]] = self._inside.__dict__.setdefault("parts", [])
        open_parts.append([0.0, 0.0])
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            inner = open_parts.pop()
            if open_parts:
                open_parts[-1][0] += cpu
                open_parts[-1][1] += wall
            with self._lock:
                self.cpu[name] += cpu - inner[0]
                self.wall[name] += wall - inner[1]

    def count(self, owner: Any, method: str, name: str) -> None:
        """From now on each call of `owner.method` is a part named `name`."""
        function: Callable[..., Any] = getattr(owner, method)

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, method, counted)


def main() -> None:
    name, target_path = sys.argv[1:]
    platform = TestPlatform(name, dict(os.environ))
    parts = Parts()

    def import_dbt() -> None:
        import dbt.adapters.bigquery  # noqa: F401
        from dbt.compilation import Compiler
        from dbt.parser.manifest import ManifestLoader
        from google.cloud.bigquery import Client

        import tasks.dbt_runner  # noqa: F401

        parts.count(Compiler, "compile", "compile")
        parts.count(Compiler, "compile_node", "compile")
        parts.count(ManifestLoader, "get_full_manifest", "parse")
        parts.count(Client, "_call_api", "queries")

    @flow(name="bench")
    def bench() -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        with parts.part("import"):
            import_dbt()
        with dbt_environment(platform.stores.warehouse, platform.blocks.google) as env:
            build(
                SELECT,
                Path(target_path),
                env | window_environment(None),
                platform.query,
                suite="keys",
            )
        return time.process_time() - cpu, time.perf_counter() - wall

    cpu, wall = bench()
    parts.cpu["rest"] = cpu - sum(parts.cpu.values())
    print(json.dumps({"cpu": parts.cpu, "wall": parts.wall, "cpu_seconds": cpu, "seconds": wall}))


if __name__ == "__main__":
    main()
