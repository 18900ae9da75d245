"""A cron that is deployed produces scheduled runs.

With SQLAlchemy 2.1 the scheduler never inserts one, and everything else looks right.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

from sandbox.parts import POOL, isolated
from sandbox.stack import Stack

SCHEDULED_WITHIN_SECONDS = 30


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SyncPrefectClient]:
    stack = Stack(tmp_path / "state", isolated(os.environ))
    stack.up(["prefect"])
    try:
        with SyncPrefectClient(api=stack.env()["PREFECT_API_URL"]) as client:
            yield client
    finally:
        stack.down()


@pytest.mark.timeout(120)
def test_a_deployed_cron_yields_scheduled_runs(client: SyncPrefectClient) -> None:
    deployment_id = client.create_deployment(
        flow_id=client.create_flow_from_name("hourly"),
        name="cron",
        entrypoint="flows.py:hourly",
        work_pool_name=POOL,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron="15 * * * *", timezone="Asia/Manila"), active=True
            )
        ],
    )
    wanted = {
        "deployments": {"id": {"any_": [str(deployment_id)]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    deadline = time.monotonic() + SCHEDULED_WITHIN_SECONDS
    runs: list[dict[str, str]] = []
    while not runs and time.monotonic() < deadline:
        runs = client.request("POST", "/flow_runs/filter", json=wanted).json()
        time.sleep(0.2)
    assert runs, f"no scheduled run within {SCHEDULED_WITHIN_SECONDS} s"
    assert {run["expected_start_time"][14:16] for run in runs} == {"15"}
