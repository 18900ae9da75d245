"""Each cron that prefect.yaml declares produces scheduled runs.

With SQLAlchemy 2.1 the scheduler never inserts one, and everything else looks right.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.apply import declared
from sandbox.parts import isolated
from sandbox.stack import ROOT, Stack

SCHEDULED_WITHIN_SECONDS = 60


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "state", isolated(os.environ))
    stack.up(["prefect"])
    yield stack
    stack.down()


@pytest.mark.timeout(240)
def test_every_schedule_has_a_run_planned(stack: Stack) -> None:
    env = {**isolated(os.environ), **stack.env()}
    subprocess.run(
        [sys.executable, "-m", "deploy.apply"], cwd=ROOT, env=env, check=True, capture_output=True
    )

    def ask(what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = httpx.post(f"{env['PREFECT_API_URL']}/{what}/filter", json=body, timeout=30)
        answer.raise_for_status()
        return list(answer.json())

    deployments = ask("deployments", {})
    assert {one["name"] for one in deployments} == {
        one.name.partition("/")[2] for one in declared()
    }
    wanted = {one["id"] for one in deployments if one["schedules"]}
    assert wanted
    planned = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    deadline = time.monotonic() + SCHEDULED_WITHIN_SECONDS
    found: set[str] = set()
    while found != wanted and time.monotonic() < deadline:
        found = {run["deployment_id"] for run in ask("flow_runs", planned)}
        time.sleep(0.2)
    assert found == wanted
