"""Dead runs end and free their slot, whatever was killed and when."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psutil
import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
    FlowRun,
    State,
    StateType,
)
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Completed, Pending, Running, Scheduled

from deploy.reap import MESSAGE, LiveWorkerError, reap
from sandbox.parts import POOL, isolated
from sandbox.processes import marked
from sandbox.stack import ROOT, Stack

FLOWS = """
    import time
    from pathlib import Path

    from prefect import flow, task

    HERE = Path(__file__).parent


    @task
    def wait() -> None:
        (HERE / "entered").touch()
        while not (HERE / "go").exists():
            time.sleep(0.05)


    @flow
    def inner() -> None:
        wait()


    @flow
    def outer() -> None:
        inner()
"""
STATE_WITHIN_SECONDS = 600
T = TypeVar("T")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("reap") / "state", isolated(os.environ), say=print)
    stack.up(["prefect"])
    yield stack
    stack.down()


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with SyncPrefectClient(api=stack.env()["PREFECT_API_URL"]) as client:
        yield client


def until(what: str, look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + STATE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {STATE_WITHIN_SECONDS} s: {what}")


def deploy(
    client: SyncPrefectClient, directory: Path, *, pool: str = POOL, held_in_pending: bool = False
) -> UUID:
    """A deployment of `outer` with one slot. Its runs end once the file `go` is there."""
    (directory / "flows.py").write_text(textwrap.dedent(FLOWS))
    steps: list[dict[str, object]] = [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(directory)}}
    ]
    if held_in_pending:  # pull steps run in the run's process, before it is Running
        script = (
            f"bash -c 'touch {directory}/entered; until [ -e {directory}/go ]; do sleep .1; done'"
        )
        steps.append({"prefect.deployments.steps.run_shell_script": {"script": script}})
    return client.create_deployment(
        flow_id=client.create_flow_from_name("outer"),
        name=directory.name,
        entrypoint="flows.py:outer",
        work_pool_name=pool,
        pull_steps=steps,
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
    )


def start_runs(client: SyncPrefectClient, deployments: dict[UUID, Path]) -> dict[UUID, FlowRun]:
    """A run per deployment, each standing still where it wrote the file `entered`."""
    runs = {
        deployment: client.create_flow_run_from_deployment(deployment) for deployment in deployments
    }
    for deployment, directory in deployments.items():
        entered = directory / "entered"
        until(f"run of {deployment} was entered", entered.exists)
    return {deployment: client.read_flow_run(run.id) for deployment, run in runs.items()}


def kill_together(stack: Stack) -> int:
    """SIGKILL for the server, the worker and its flow runs; the server first, so that none of them
    can tell it anything. How many processes there were."""
    victims = [
        process for part in ("prefect", "worker") for process in marked(f"{part}@{stack.directory}")
    ]
    for process in victims:
        with suppress(psutil.NoSuchProcess):  # a short-lived child, as `sleep` in a pull step
            process.kill()
    psutil.wait_procs(victims, timeout=600)
    return len(victims)


def slots_taken(client: SyncPrefectClient, deployment: UUID) -> int:
    limit = client.read_deployment(deployment).global_concurrency_limit
    assert limit is not None
    return limit.active_slots


def leases(stack: Stack, client: SyncPrefectClient, deployment: UUID) -> list[Path]:
    """The files of the leases on the deployment's slot."""
    limit = client.read_deployment(deployment).global_concurrency_limit
    assert limit is not None
    directory = Path(stack.env()["PREFECT_HOME"]) / "concurrency_leases"
    return [path for path in directory.glob("*.json") if str(limit.id) in path.read_text()]


def end_of(client: SyncPrefectClient, run: FlowRun) -> tuple[StateType, str | None]:
    state = client.read_flow_run(run.id).state
    assert state is not None
    return state.type, state.message


def is_final(client: SyncPrefectClient, run: FlowRun) -> bool:
    state = client.read_flow_run(run.id).state
    return state is not None and state.is_final()


def called_by(client: SyncPrefectClient, run: FlowRun) -> list[FlowRun]:
    """The runs of its subflows."""
    parent = FlowRunFilterParentFlowRunId(any_=[run.id])
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))


def in_state(client: SyncPrefectClient, deployment: UUID, *states: State[None]) -> FlowRun:
    """A run of the deployment that went through the states as a worker and a run propose them."""
    run = client.create_flow_run_from_deployment(deployment)
    for state in states:
        client.set_flow_run_state(run.id, state)
    return client.read_flow_run(run.id)


def test_runs_in_every_state_end_as_they_should(client: SyncPrefectClient, tmp_path: Path) -> None:
    client.create_work_pool(WorkPoolCreate(name="other", type="process"))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, theirs = deploy(client, tmp_path / "a"), deploy(client, tmp_path / "b", pool="other")
    done = in_state(client, ours, Pending(), Running(), Completed())
    later = in_state(client, ours, Scheduled())
    foreign = in_state(client, theirs, Pending(), Running())

    paths: list[tuple[list[State[None]], StateType]] = [
        ([Pending()], StateType.CRASHED),
        ([Pending(), Pending(name="Submitting")], StateType.CRASHED),
        ([Pending(), Running()], StateType.CRASHED),
        ([Pending(), Running(), Cancelling()], StateType.CANCELLED),
    ]
    for states, end in paths:
        run = in_state(client, ours, *states)
        assert run.state_type == states[-1].type
        assert slots_taken(client, ours) == 1
        ended, refused = reap(client, POOL, force=False)
        assert ([one.id for one in ended], refused) == ([run.id], [])
        assert end_of(client, run) == (end, MESSAGE)
        assert slots_taken(client, ours) == 0

    assert client.read_flow_run(done.id).state_type == StateType.COMPLETED
    assert client.read_flow_run(later.id).state_type == StateType.SCHEDULED
    client.delete_flow_run(later.id)
    assert client.read_flow_run(foreign.id).state_type == StateType.RUNNING


def test_a_subflow_left_under_an_ended_run_is_reaped_and_a_foreign_one_is_not(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    parent = in_state(client, deploy(client, tmp_path), Pending(), Running())

    @task
    def call() -> None: ...

    @flow
    def below() -> None: ...

    def call_from(run: FlowRun) -> FlowRun:
        task_run = client.create_task_run(call, run.id, dynamic_key="0")
        return client.create_flow_run(below, parent_task_run_id=task_run.id, state=Running())

    child = call_from(parent)
    grandchild = call_from(child)
    laptop_child = call_from(client.create_flow_run(below, state=Running()))
    client.set_flow_run_state(parent.id, Completed())

    ended, _ = reap(client, POOL, force=False)
    assert [run.id for run in ended] == [grandchild.id, child.id]
    assert client.read_flow_run(laptop_child.id).state_type == StateType.RUNNING


def test_it_refuses_while_a_worker_may_be_alive_and_obeys_force(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    client.create_work_pool(WorkPoolCreate(name="watched", type="process"))
    client.send_worker_heartbeat("watched", "someone", heartbeat_interval_seconds=30)
    assert reap(client, "watched", force=False) == ([], [])

    run = in_state(client, deploy(client, tmp_path, pool="watched"), Pending(), Running())
    with pytest.raises(LiveWorkerError, match=r"1 unfinished run.*someone.*--force"):
        reap(client, "watched", force=False)
    assert client.read_flow_run(run.id).state_type == StateType.RUNNING
    assert [one.id for one in reap(client, "watched", force=True)[0]] == [run.id]


def test_runs_that_outlive_their_worker_are_left_alone(
    stack: Stack, client: SyncPrefectClient, tmp_path: Path
) -> None:
    """As the jobs of a pool on Cloud Run: a worker that restarts is no reason to end them."""
    client.create_work_pool(WorkPoolCreate(name="elsewhere", type="cloud-run-v2"))
    run = in_state(client, deploy(client, tmp_path, pool="elsewhere"), Pending(), Running())
    command = [sys.executable, "-m", "deploy.reap", "elsewhere", "--force"]
    environment = {**os.environ, **stack.env()}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "is of type cloud-run-v2: its runs outlive a worker" in done.stdout
    assert client.read_flow_run(run.id).state_type == StateType.RUNNING


def test_an_unknown_pool_is_an_error(stack: Stack, client: SyncPrefectClient) -> None:
    with pytest.raises(ObjectNotFound):
        reap(client, "no-such-pool", force=True)
    command = [sys.executable, "-m", "deploy.reap", "no-such-pool"]
    environment = {**os.environ, **stack.env()}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "there is no work pool 'no-such-pool'\n")


@pytest.mark.slow
def test_flow_runs_worker_and_server_killed_together(
    stack: Stack, client: SyncPrefectClient, tmp_path: Path
) -> None:
    stack.up(["prefect", "worker"])
    killed_in = {"running": StateType.RUNNING, "pending": StateType.PENDING}
    directories = {name: tmp_path / name for name in killed_in}
    for directory in directories.values():
        directory.mkdir()
    deployments = {
        name: deploy(client, directory, held_in_pending=name == "pending")
        for name, directory in directories.items()
    }
    runs = start_runs(client, {deployments[name]: directories[name] for name in killed_in})
    assert {name: runs[deployments[name]].state_type for name in killed_in} == killed_in
    assert kill_together(stack) >= 4
    assert {line.name: line.condition for line in stack.status()}["worker"] == "dead"

    stack.up(["prefect"])
    for name, deployment in deployments.items():
        assert client.read_flow_run(runs[deployment].id).state_type == killed_in[name]
        assert slots_taken(client, deployment) == 1
        assert len(leases(stack, client, deployment)) == 1, "the lease died with the server"

    stack.up(["prefect", "worker"])
    for deployment, run in runs.items():
        assert end_of(client, run) == (StateType.CRASHED, MESSAGE)
        assert slots_taken(client, deployment) == 0
        assert leases(stack, client, deployment) == []
    [called] = called_by(client, runs[deployments["running"]])
    assert end_of(client, called) == (StateType.CRASHED, MESSAGE)

    new = {}
    for name, deployment in deployments.items():
        (directories[name] / "go").touch()
        new[name] = client.create_flow_run_from_deployment(deployment)
    for run in new.values():
        until("the new run has ended", partial(is_final, client, run))
        assert client.read_flow_run(run.id).state_type == StateType.COMPLETED
        # Task runs are recorded through a websocket, which the proxy variables must not break.
        [called] = called_by(client, run)
        of_called = FlowRunFilter(id=FlowRunFilterId(any_=[called.id]))
        until("its task run", partial(client.read_task_runs, flow_run_filter=of_called))


@pytest.mark.slow
def test_a_run_that_outlived_its_killed_worker_is_stopped_before_it_is_reaped(
    stack: Stack, client: SyncPrefectClient, tmp_path: Path
) -> None:
    stack.up(["prefect", "worker"])
    deployment = deploy(client, tmp_path)
    [run] = start_runs(client, {deployment: tmp_path}).values()
    pid = next(line.pid for line in stack.status() if line.name == "worker")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    orphans = marked(f"worker@{stack.directory}")
    assert orphans, "the flow run did not outlive its worker"
    with pytest.raises(LiveWorkerError):
        reap(client, POOL, force=False)

    stack.up(["prefect", "worker"])
    assert set(orphans).isdisjoint(marked(f"worker@{stack.directory}"))
    state, message = end_of(client, run)
    assert state == StateType.CRASHED
    assert message != MESSAGE, "it could not report itself"


@pytest.mark.slow
def test_a_worker_is_restarted_when_the_variables_it_hands_on_have_changed(stack: Stack) -> None:
    stack.up(["prefect", "worker"])
    before = {line.name: line.pid for line in stack.status()}
    changed = Stack(
        stack.directory, {**isolated(os.environ), "RAW_DATASET": "raw_of_mine"}, say=print
    )
    changed.up(["prefect", "worker"])
    after = {line.name: line.pid for line in stack.status()}
    assert {name for name, pid in after.items() if pid != before[name]} == {"worker"}
