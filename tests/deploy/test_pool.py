"""The pool's two types, and draining it, on a real server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running

from deploy.drain import drain
from deploy.pool import PoolError, create, pool
from sandbox.parts import isolated
from sandbox.stack import Stack

CLOUD_RUN = {
    "WORK_POOL_TYPE": "cloud-run-v2",
    "CLOUD_RUN_IMAGE": "us-docker.pkg.dev/p/data-pipelines/runs:1",
    "CLOUD_RUN_REGION": "us-central1",
    "CLOUD_RUN_SERVICE_ACCOUNT": "pipelines@p.iam.gserviceaccount.com",
    "CLOUD_RUN_API_URL": "https://platform.example/api",
    "CLOUD_RUN_AUTH_SECRET": "prefect-api-auth-string",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    stack = Stack(tmp_path_factory.mktemp("pool") / "state", isolated(os.environ))
    stack.up(["prefect"])
    url = stack.env()["PREFECT_API_URL"]
    with SyncPrefectClient(api=url) as client, temporary_settings({PREFECT_API_URL: url}):
        yield client
    stack.down()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(PoolError, match="needs CLOUD_RUN_IMAGE, CLOUD_RUN_REGION"):
        pool("vm", {"WORK_POOL_TYPE": "cloud-run-v2"})
    with pytest.raises(PoolError, match="process or cloud-run-v2"):
        pool("vm", {"WORK_POOL_TYPE": "kubernetes"})


def test_a_run_on_the_machine_is_one_process_of_the_pipelines_home() -> None:
    """tests/sandbox/test_schedules.py has a worker run one."""

    def command(variables: dict[str, str]) -> str:
        template = pool("vm", variables).base_job_template
        return str(template["variables"]["properties"]["command"]["default"])

    assert command({}) == f"{sys.executable} -m prefect.engine"
    home = "/opt/data-pipelines/current"
    assert command({"PIPELINES_HOME": home}) == f"{home}/.venv/bin/python -m prefect.engine"


def test_the_server_checks_job_variables_against_the_pool_on_cloud_run(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    assert create("cloud", CLOUD_RUN) == create("cloud", CLOUD_RUN) == "cloud-run-v2"
    standing = client.read_work_pool("cloud")
    told = standing.base_job_template["variables"]["properties"]
    assert told["image"]["default"] == CLOUD_RUN["CLOUD_RUN_IMAGE"]
    assert told["prefect_api_auth_string_secret"]["default"] == {
        "secret": "prefect-api-auth-string",
        "version": "latest",
    }
    flow_id = client.create_flow_from_name("any")

    def deploy(**job_variables: object) -> None:
        client.create_deployment(
            flow_id=flow_id,
            name="any",
            entrypoint="flows.py:any",
            work_pool_name="cloud",
            job_variables=dict(job_variables),
        )

    deploy()
    deploy(memory="2Gi", timeout=7200)
    for wrong in ({"memory": "much"}, {"timeout": 0}, {"launch_stage": "NEVER"}):
        with pytest.raises(PrefectHTTPStatusError, match=r"422|409|400"):
            deploy(**wrong)


def test_a_pool_of_the_other_type_is_not_overwritten(client: SyncPrefectClient) -> None:
    create("either", {})
    with pytest.raises(PoolError, match="prefect work-pool delete either"):
        create("either", CLOUD_RUN)
    assert client.read_work_pool("either").type == "process"


def test_a_drained_pool_is_paused_and_its_runs_have_ended(client: SyncPrefectClient) -> None:
    create("drained", {})

    @flow
    def work() -> None: ...

    deployment = client.create_deployment(
        flow_id=client.create_flow(work),
        name="work",
        entrypoint="flows.py:work",
        work_pool_name="drained",
    )
    run = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(run.id, Running(), force=True)
    assert drain(client, "drained", 0) == [run.name]
    assert client.read_work_pool("drained").is_paused
    timer = Timer(1, lambda: client.set_flow_run_state(run.id, Completed()))
    timer.start()
    assert drain(client, "drained", 30) == []
    timer.join()
