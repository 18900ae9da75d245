"""The automations on a real server: which ends of runs start `watch`."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.states import Crashed, Failed, Pending, Running

from blocks import automations
from blocks.automations import upsert
from sandbox.parts import POOL, isolated
from sandbox.stack import Stack

pytestmark = pytest.mark.slow


def test_a_run_that_ends_badly_starts_watch_and_a_watch_that_does_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path / "state", isolated(os.environ))
    try:
        stack.up(["prefect"])
        with SyncPrefectClient(api=stack.env()["PREFECT_API_URL"]) as client:
            flows = {name: client.create_flow_from_name(name) for name in ("watch", "elt")}
            watch = client.create_deployment(
                flows["watch"], "alerts", entrypoint="f.py:f", work_pool_name=POOL
            )
            other = client.create_deployment(
                flows["elt"], "a", entrypoint="f.py:f", work_pool_name=POOL
            )
            assert [one.split()[0] for one in upsert(client)] == ["created", "created"]
            assert [one.split()[0] for one in upsert(client)] == ["unchanged", "unchanged"]
            monkeypatch.setattr(automations, "DEAD_AFTER", timedelta(seconds=700))
            assert sorted(one.split()[0] for one in upsert(client)) == ["unchanged", "updated"]

            def watches() -> int:
                of_watch = DeploymentFilter(id=DeploymentFilterId(any_=[watch]))
                return len(client.read_flow_runs(deployment_filter=of_watch))

            # One that died before its code could be imported has the name that the server gave it.
            dead = client.create_flow_run_from_deployment(watch)
            client.set_flow_run_state(dead.id, Pending())
            client.set_flow_run_state(dead.id, Crashed())
            time.sleep(10)
            assert watches() == 1
            bad = client.create_flow_run_from_deployment(other)
            client.set_flow_run_state(bad.id, Pending())
            client.set_flow_run_state(bad.id, Running())
            client.set_flow_run_state(bad.id, Failed())
            deadline = time.monotonic() + 600
            while watches() == 1 and time.monotonic() < deadline:
                time.sleep(0.5)
            assert watches() == 2
    finally:
        stack.down()
