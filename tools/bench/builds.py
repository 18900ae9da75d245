"""Where the time of one source's build goes, beside dbt's own command of the same selection."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runs.build import PARSED, PROJECT_DIR, command, environment
from runs.dbt_build import dbt_environment, target_path
from sandbox.stack import ROOT, Stack
from testing.platform import TestPlatform
from tools.bench.build_child import SELECT
from tools.bench.process import measured

PARTS = ("import", "parse", "compile", "queries", "rest")


def builds(stack: Stack, directory: Path, rounds: int, say: Callable[..., None]) -> None:
    say("\n## A build\n")
    say(
        "One of those between the daily builds, of USGS, in a flow: CPU seconds of each part, "
        "median. Cold has nothing parsed, the ratio is to `dbt build` of the same nodes.\n"
    )
    say("| parsed before | " + " | ".join(PARTS) + " | all, CPU s | dbt alone, CPU s | ratio |")
    say("|" + "---|" * (len(PARTS) + 4))
    with environment({**stack.env(), "XDG_CACHE_HOME": str(directory / "cache")}):
        platform = TestPlatform("builds", stack.env())
        platform.source.start(platform, 120)
        platform.run()
        assert platform.build()
        target = target_path(platform.stores.warehouse, "usgs_earthquake")
        for parsed in ("nothing", "all"):
            spent: list[dict[str, Any]] = []
            alone: list[float] = []
            for _ in range(rounds):
                if parsed == "nothing":
                    (target / PARSED).unlink()
                spent.append(measured("tools.bench.build_child", "builds", target))
                if parsed == "nothing":
                    (target / PARSED).unlink()
                alone.append(dbt_alone(platform, target))
            cpu = [statistics.median(one["cpu"][part] for one in spent) for part in PARTS]
            whole = statistics.median(one["cpu_seconds"] for one in spent)
            floor = statistics.median(alone)
            cells = " | ".join(f"{seconds:.2f}" for seconds in (*cpu, whole, floor))
            say(f"| {parsed} | {cells} | {whole / floor:.2f} |")


def dbt_alone(platform: TestPlatform, target: Path) -> float:
    """CPU seconds of dbt's own command in a process of its own, all imports included."""
    arguments = command([SELECT], "keys", full_refresh=False)
    for name, path in (
        ("project-dir", PROJECT_DIR),
        ("profiles-dir", PROJECT_DIR),
        ("target-path", target),
        ("log-path", target / "logs"),
    ):
        arguments += [f"--{name}", str(path)]
    with dbt_environment(platform.stores.warehouse, platform.blocks.google) as env:
        process = subprocess.Popen(
            [sys.executable, "-m", "dbt.cli.main", *arguments],
            cwd=ROOT,
            env=os.environ | env,
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime
