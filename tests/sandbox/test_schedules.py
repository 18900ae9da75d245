"""Each cron that prefect.yaml declares produces scheduled runs, unless a demo is at work.

With SQLAlchemy 2.1 the scheduler never inserts one, and everything else looks right.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.findings import Inspection
from blocks.register import register, tidy
from blocks.sources import load_sources
from core.names import source_of
from deploy.apply import declared, of_running
from flows.watch import inspect_runs
from runs.alert_settings import AlertSettings
from runs.settings import ALL_VARIABLES, SOURCES, Settings
from sandbox.demo import crons_paused
from sandbox.identity import ensure_service_account
from sandbox.parts import isolated
from sandbox.stack import ROOT, Stack

SCHEDULED_WITHIN_SECONDS = 600


Ask = Callable[[str, dict[str, Any]], list[dict[str, Any]]]
PLANNED = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server with everything deployed, and nobody who runs it."""
    stack = Stack(tmp_path_factory.mktemp("schedules") / "state", isolated(os.environ))
    stack.up(["prefect"])
    env = {**isolated(os.environ), **stack.env()}
    subprocess.run(
        [sys.executable, "-m", "deploy.apply"], cwd=ROOT, env=env, check=True, capture_output=True
    )
    yield stack
    stack.down()


@pytest.fixture
def ask(stack: Stack) -> Ask:
    def ask(what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        url = f"{stack.env()['PREFECT_API_URL']}/{what}/filter"
        answer = httpx.post(url, json=body, timeout=30)
        answer.raise_for_status()
        return list(answer.json())

    return ask


def planned(ask: Ask, wanted: set[str]) -> set[str]:
    """The deployments with a run to come, as soon as they are those wanted."""
    deadline = time.monotonic() + SCHEDULED_WITHIN_SECONDS
    found: set[str] = set()
    while found != wanted and time.monotonic() < deadline:
        found = {run["deployment_id"] for run in ask("flow_runs", PLANNED)}
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_every_schedule_has_a_run_planned(ask: Ask) -> None:
    deployments = ask("deployments", {})
    assert {one["name"] for one in deployments} == {
        one.name.partition("/")[2] for one in declared()
    }
    wanted = {one["id"] for one in deployments if one["schedules"]}
    assert wanted
    assert planned(ask, wanted) == wanted


def test_while_a_demo_is_at_work_no_cron_starts_a_run_and_afterwards_all_do_but_the_paused(
    stack: Stack, ask: Ask
) -> None:
    everything = {one["id"] for one in ask("deployments", {})}
    # The scheduler is done: what it is about to insert is not deleted by a pause.
    planned(ask, everything)
    by_hand, *others = sorted(everything)
    api = stack.env()["PREFECT_API_URL"]
    httpx.post(f"{api}/deployments/{by_hand}/pause_deployment").raise_for_status()
    file = stack.directory / "paused-crons.json"
    with temporary_settings({PREFECT_API_URL: api}):
        with pytest.raises(KeyboardInterrupt), crons_paused(stack.directory) as pause_new:
            assert ask("flow_runs", PLANNED) == []
            assert all(one["paused"] for one in ask("deployments", {}))
            assert json.loads(file.read_text()) == others
            # One that is deployed meanwhile.
            httpx.post(f"{api}/deployments/{others[0]}/resume_deployment").raise_for_status()
            pause_new()
            raise KeyboardInterrupt
        assert {one["id"] for one in ask("deployments", {}) if one["paused"]} == {by_hand}
        assert not file.exists()
        # One that was killed: its crons are resumed by the next.
        httpx.post(f"{api}/deployments/{others[0]}/pause_deployment").raise_for_status()
        file.write_text(json.dumps([others[0]]))
        with crons_paused(stack.directory):
            pass
        assert {one["id"] for one in ask("deployments", {}) if one["paused"]} == {by_hand}
    assert planned(ask, {*others}) == {*others}


@pytest.mark.slow
@pytest.mark.usefixtures("bare_environment")
def test_a_source_that_is_not_configured_has_neither_block_nor_deployment(
    stack: Stack, ask: Ask, tmp_path: Path
) -> None:
    """Last in this file: it leaves the deployments of two sources."""
    ensure_service_account(tmp_path / "account.json", "p", "http://127.0.0.1:9/token")
    own = {**stack.env(), "GCP_SERVICE_ACCOUNT_FILE": str(tmp_path / "account.json")}
    given = {name: own[name.upper()] for name in ALL_VARIABLES if own.get(name.upper())}
    everything = Settings.from_variables(given)
    google_alone = Settings.from_variables(
        {name: own[name.upper()] for name in ("gcp_project", "gcs_bucket")}
        | {"gcp_service_account_file": own["GCP_SERVICE_ACCOUNT_FILE"]}
    )

    def deployed() -> set[str]:
        return {one["name"] for one in ask("deployments", {})} & SOURCES.keys()

    with temporary_settings({PREFECT_API_URL: own["PREFECT_API_URL"]}):
        register(everything)
        assert tidy(everything) == []
        assert load_sources().keys() == {*map(source_of, SOURCES)}
        assert of_running(declared()) == declared()
        assert deployed() == SOURCES.keys()

        register(google_alone)
        removed = [line for line in tidy(google_alone) if line.startswith("removed ")]
        assert removed == [
            f"removed {what}"
            for source in ("openweather", "ph-news", "finance")
            for what in (f"{source}/{source}", f"deployment elt/{source}")
        ]
        assert load_sources().keys() == {"usgs_earthquake", "nyc_fhv"}
        assert deployed() == {"usgs-earthquake", "nyc-fhv"}
        wanted = {one.source for one in of_running(declared())}
        assert wanted == {"", "usgs-earthquake", "nyc-fhv"}
        with get_client(sync_client=True) as client:
            inspection = Inspection(by="watch", at=datetime.now(UTC))
            alerts = AlertSettings(state_file=str(tmp_path / "alerts"))
            inspect_runs(client, inspection, alerts, load_sources())
        assert inspection.absent == {"openweather", "ph_news", "finance"}

        register(everything)
        assert tidy(everything) == [
            "not deployed elt/openweather, elt/ph-news, elt/finance: run python -m deploy.apply"
        ]
