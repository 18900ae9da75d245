"""The whole platform as its user runs it: real server, worker and deployment, `make demo` after
`make demo`, and a dbt test that fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.parts import isolated
from sandbox.stack import ROOT, Stack
from tests.lab import Lab

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("platform"), isolated(os.environ))
    stack.up()
    yield stack
    stack.down()


@pytest.fixture(scope="module")
def platform(stack: Stack) -> Iterator[Lab]:
    """The demo's own world and raw dataset, through this process's clients."""
    before = dict(os.environ)
    os.environ.update(stack.env())
    yield Lab("demo", stack.env(), raw_dataset="raw")
    os.environ.clear()
    os.environ.update(before)


def demo(stack: Stack) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox.demo", "--state", str(stack.directory)],
        cwd=ROOT,
        env=isolated(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def table_row(output: str) -> list[str]:
    """The line of the table for usgs-earthquake: source, state, extracted, written, ..."""
    (line,) = re.findall(r"^usgs-earthquake +(.*)$", output, flags=re.MULTILINE)
    return re.split(r" {2,}", line)


def ask(stack: Stack, what: str, body: Any) -> list[dict[str, Any]]:
    api = stack.env()["PREFECT_API_URL"]
    answer = httpx.post(f"{api}/{what}/filter", json=body, timeout=30)
    answer.raise_for_status()
    return list(answer.json())


def test_the_first_demo_loads_and_builds(stack: Stack, platform: Lab) -> None:
    done = demo(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    state, extracted, written, rejected, nodes, _ = table_row(done.stdout)
    assert (state, nodes) == ("Completed", "13")
    assert int(extracted.replace(",", "")) == int(written.replace(",", "")) + int(rejected)
    platform.assert_equals_truth()


def test_the_second_demo_brings_what_changed(stack: Stack, platform: Lab) -> None:
    done = demo(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has moved on: 15 new, 15 revised, 2 revised across month, 2 reid" in done.stdout
    platform.assert_equals_truth()
    live = sum(not row["_is_deleted"] for row in platform.rows().values())
    marts = platform.query(
        "SELECT calendar, SUM(event_count) AS n FROM gold.daily_earthquake_activity GROUP BY 1"
    )
    assert {row["calendar"]: int(row["n"]) for row in marts} == {"UTC": live, "Asia/Manila": live}


def test_the_third_demo_finds_nothing_new(stack: Stack, platform: Lab) -> None:
    before = platform.rows(), len(platform.ledger())
    done = demo(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table_row(done.stdout)[:5] == ["Completed", "0", "0", "0", "not due"]
    assert platform.rows() == before[0]
    # One line a look; the hourly schedule may have looked as well.
    added = platform.ledger()[before[1] :]
    assert added
    assert {line["state"] for line in added} == {"looked"}


def test_a_run_explains_itself(stack: Stack) -> None:
    runs = ask(stack, "flow_runs", {"sort": "START_TIME_ASC"})
    names = {run["name"] for run in runs if run["state"]["name"] == "Completed"}
    assert names == {"elt usgs-earthquake, what changed", "usgs-earthquake, what changed"}
    messages = [run["state"]["message"] for run in runs if run["name"].startswith("elt")]
    assert re.fullmatch(
        r"1,5\d\d rows into raw\.usgs_earthquake__events \(1,5\d\d inserted, .*\); dbt: 13 passed",
        messages[0],
    )
    artifacts = ask(stack, "artifacts", {})
    assert len(artifacts) >= 3
    assert {artifact["key"] for artifact in artifacts} == {"load-usgs-earthquake"}
    for part in ("| batch |", "| bytes |", "| step | seconds |", "applied"):
        assert any(part in artifact["data"] for artifact in artifacts)


def test_a_failed_test_fails_the_run_and_the_next_run_makes_the_marts_good(
    stack: Stack, platform: Lab
) -> None:
    id_ = min(
        id_ for id_, row in platform.rows().items() if row["time"] and row["time"].year < 1970
    )
    platform.query(
        "INSERT INTO {raw}.usgs_earthquake__events (id, time, updated, _is_deleted) "
        f"SELECT id, time, updated, _is_deleted FROM {{raw}}.usgs_earthquake__events "
        f"WHERE id = '{id_}'"
    )
    platform.control("advance")
    done = demo(stack)
    assert done.returncode == 1
    assert table_row(done.stdout)[0] == "Failed"
    failed = next(
        run
        for run in ask(stack, "flow_runs", {"sort": "START_TIME_DESC"})
        if run["state"]["name"] == "Failed"
    )
    assert "source_unique_usgs_earthquake_events_id" in failed["state"]["message"]
    assert f"(1 row: {id_})" in failed["state"]["message"]
    platform.query(
        f"DELETE FROM {{raw}}.usgs_earthquake__events WHERE id = '{id_}' AND mag IS NULL"
    )
    done = demo(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table_row(done.stdout)[:5] == ["Completed", "0", "0", "0", "13"]


def test_no_secret_is_in_logs_states_or_artifacts(stack: Stack) -> None:
    account = json.loads((stack.directory / "service-account.json").read_text())
    body = account["private_key"].splitlines()[5]
    logs = [path.read_text(errors="replace") for path in (stack.directory / "logs").iterdir()]
    told = [str(ask(stack, what, {})) for what in ("flow_runs", "artifacts", "logs", "deployments")]
    assert len(logs) > 4
    assert not [text for text in (*logs, *told) if body in text]
    # What the scan looks for is there to be found.
    assert body in (stack.directory / "service-account.json").read_text()


def test_registering_and_deploying_again_changes_nothing(stack: Stack) -> None:
    env = {**isolated(os.environ), **stack.env()}

    def told() -> tuple[Any, Any]:
        blocks = ask(stack, "block_documents", {"include_secrets": False})
        deployments = ask(stack, "deployments", {})
        kept = [
            {name: item[name] for name in ("id", "name", "schedules", "parameters", "tags")}
            for item in deployments
        ]
        return sorted(block["id"] for block in blocks), kept

    before = told()
    for command in (["-m", "blocks.register"], ["-m", "prefect", "--no-prompt", "deploy", "--all"]):
        subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=env, check=True, capture_output=True
        )
    after = told()
    assert before[0] == after[0]
    for one, two in zip(before[1], after[1], strict=True):
        for schedule in (*one["schedules"], *two["schedules"]):
            schedule.pop("updated")
        assert one == two


def test_the_readme_names_no_machine() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert not re.search(r"/(root|home|tmp|work)/", path.read_text()), path


def test_paths_in_prefect_yaml_exist() -> None:
    text = (ROOT / "prefect.yaml").read_text()
    entrypoints = re.findall(r"entrypoint: (\S+):", text)
    assert entrypoints
    assert all(Path(ROOT / entrypoint).is_file() for entrypoint in entrypoints)
