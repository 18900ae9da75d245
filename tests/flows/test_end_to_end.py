"""The whole platform as its user runs it: real server, worker and deployment, `make demo` after
`make demo`, and a dbt test that fails."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws.s3 import S3Bucket

from blocks.platform import load_if_saved
from deploy.apply import declared
from sandbox.parts import POOL, isolated
from sandbox.stack import ROOT, Stack
from stores.settings import LANDING_S3
from testing.platform import KITS, TestPlatform

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Without cron, which would take what a demo is to find (tests/sandbox/test_schedules.py)."""
    scheduler = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    stack = Stack(tmp_path_factory.mktemp("platform"), isolated(os.environ) | scheduler)
    stack.up()
    yield stack
    stack.down()


@pytest.fixture(scope="module")
def platforms(stack: Stack) -> Iterator[list[TestPlatform]]:
    """The demo's own worlds and raw dataset, through this process's clients."""
    before = dict(os.environ)
    os.environ.update(stack.env())
    yield [TestPlatform("demo", stack.env(), kit, raw_dataset="raw") for kit in KITS]
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def platform(platforms: list[TestPlatform]) -> TestPlatform:
    """USGS in the demo."""
    return next(platform for platform in platforms if platform.kit == "usgs_earthquake")


def demo(stack: Stack, *sources: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox.demo", "--state", str(stack.directory), *sources],
        cwd=ROOT,
        env=isolated(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def table_row(output: str, source: str = "usgs-earthquake") -> list[str]:
    """A source's line of the table: state, extracted, written, rejected, nodes, seconds."""
    (line,) = re.findall(rf"^{source} {{2,}}(.*)$", output, flags=re.MULTILINE)
    return re.split(r" {2,}", line.replace(",", ""))


def name_of(platform: TestPlatform) -> str:
    return platform.kit.replace("_", "-")


def ask(stack: Stack, what: str, body: Any) -> list[dict[str, Any]]:
    api = stack.env()["PREFECT_API_URL"]
    answer = httpx.post(f"{api}/{what}/filter", json=body, timeout=30)
    answer.raise_for_status()
    return list(answer.json())


@pytest.fixture(scope="module")
def first_demo(stack: Stack, platforms: list[TestPlatform]) -> subprocess.CompletedProcess[str]:
    """Every source's first request fails, so that what a failure tells is told."""
    for platform in platforms:
        platform.control("faults", [{"kind": "status", "status": 503, "times": 1}])
    return demo(stack)


def test_the_first_demo_loads_and_builds(
    first_demo: subprocess.CompletedProcess[str], platforms: list[TestPlatform]
) -> None:
    done = first_demo
    assert done.returncode == 0, done.stdout + done.stderr
    for platform in platforms:
        state, extracted, written, rejected, nodes, _ = table_row(done.stdout, name_of(platform))
        assert state == "Completed"
        assert int(nodes) > 2
        assert int(extracted) >= int(written) + int(rejected) > 0
        platform.assert_equals_truth()


@pytest.fixture(scope="module")
def second_demo(first_demo: object, stack: Stack) -> subprocess.CompletedProcess[str]:
    return demo(stack)


def test_the_second_demo_brings_what_changed(
    second_demo: subprocess.CompletedProcess[str],
    platforms: list[TestPlatform],
    platform: TestPlatform,
) -> None:
    done = second_demo
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has moved on: 15 new, 15 revised, 2 revised across month, 2 reid" in done.stdout
    for platform in platforms:
        assert int(table_row(done.stdout, name_of(platform))[2]) > 0
        platform.assert_equals_truth()
    live = sum(not row["_is_deleted"] for row in platform.rows().values())
    marts = platform.query(
        "SELECT calendar, SUM(event_count) AS n FROM gold.daily_earthquake_activity GROUP BY 1"
    )
    assert {row["calendar"]: int(row["n"]) for row in marts} == {"UTC": live, "Asia/Manila": live}


def test_no_secret_is_anywhere_after_a_run_in_which_every_request_failed_once(
    first_demo: subprocess.CompletedProcess[str], stack: Stack, platforms: list[TestPlatform]
) -> None:
    for platform in platforms:
        assert any(entry["fault"] for entry in platform.look("control/requests"))
    done = first_demo
    env = stack.env()
    account = json.loads((stack.directory / "service-account.json").read_text())
    secrets = [
        env["OPENWEATHER_API_KEY"],
        env["MEDIASTACK_ACCESS_KEY"],
        env["AWS_SECRET_ACCESS_KEY"],
        env["SOCRATA_APP_TOKEN"],
        account["private_key"],
        *account["private_key"].splitlines()[1:4],
    ]
    tables = platforms[0].query("SELECT * FROM {raw}._loads")
    tables += platforms[0].query("SELECT * FROM {raw}._rejects")
    processes = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    told = {
        "stdout of the demo": (done.stdout + done.stderr).encode(),
        "ledger": str(tables).encode(),
        "process list": "\n".join(processes).encode(),
        **{
            str(path.relative_to(stack.directory)): path.read_bytes()
            for room in ("prefect", "logs", "gcs", "cache")
            for path in (stack.directory / room).rglob("*")
            if path.is_file()
        },
    }
    assert any(name.endswith("prefect.db") for name in told)
    assert any("manifest.json" in name for name in told)
    assert found(secrets, told) == []
    # And what it looks for it would find, in any form.
    planted = "an-only-here/planted+secret key"
    for form in forms(planted):
        assert found([planted], {**told, "log": b"x" + form + b"y"}) == ["log"]


def test_the_third_demo_finds_nothing_new(
    second_demo: object, stack: Stack, platforms: list[TestPlatform]
) -> None:
    """Nothing but the weather, whose stand-in's clock may have passed another ten minutes."""
    quiet = [platform for platform in platforms if platform.kit != "openweather"]
    before = [platform.rows() for platform in quiet]
    lines = len(platforms[0].ledger())
    done = demo(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    for platform, rows in zip(quiet, before, strict=True):
        assert table_row(done.stdout, name_of(platform))[:5] == [
            "Completed",
            "0",
            "0",
            "0",
            "not due",
        ]
        assert platform.rows() == rows
    added = platforms[0].ledger()[lines:]
    assert sorted(line["source"] for line in added) == sorted(
        platform.kit for platform in platforms
    )
    assert {line["state"] for line in added if line["source"] != "openweather"} == {"no_change"}
    # Each run left one.
    assert len(ask(stack, "artifacts", {})) >= 3 * len(KITS)


def test_every_deployment_runs_from_the_command_line(
    first_demo: object, stack: Stack, platforms: list[TestPlatform]
) -> None:
    """Each ends Completed on the worker, as the sources' have in the demos.

    One after another: on SQLite the server answers 503 when all are asked for at once.
    """
    of_sources = {f"elt/{name_of(platform)}" for platform in platforms}
    names = [one.name for one in declared() if one.name not in of_sources]
    assert len(names) > 3
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "deployment", "run", "--watch", name],
            cwd=ROOT,
            env={**isolated(os.environ), **stack.env()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "Completed" in done.stdout
    rows = platforms[0].query(
        "SELECT source, SUM(run_count) AS runs, SUM(build_count) AS builds "
        "FROM gold.daily_source_operations GROUP BY source"
    )
    sources = platforms[0].query("SELECT DISTINCT source FROM {raw}._loads")
    assert sources
    assert {row["source"] for row in rows if row["runs"] and row["builds"]} >= {
        row["source"] for row in sources
    }
    # The demo's own run left one, too.
    freshness, *_ = ask(stack, "artifacts", {"artifacts": {"key": {"any_": ["freshness"]}}})
    assert len(json.loads(freshness["data"])) == 2 * len(platforms)
    (catalog,) = ask(stack, "artifacts", {"artifacts": {"key": {"any_": ["data-catalog"]}}})
    assert "monthly_pnl" in (Path(stack.env()["CATALOG_DIRECTORY"]) / "index.html").read_text()
    assert "not built yet" not in catalog["description"]


def test_a_run_explains_itself(first_demo: object, stack: Stack) -> None:
    runs = ask(stack, "flow_runs", {"sort": "START_TIME_ASC"})
    names = {run["name"] for run in runs if run["state"]["name"] == "Completed"}
    assert {"elt usgs-earthquake, what changed", "usgs-earthquake, what changed"} <= names
    messages = [run["state"]["message"] for run in runs if run["name"].startswith("elt usgs")]
    assert re.fullmatch(
        r"1,5\d\d rows into raw\.usgs_earthquake__events \(1,5\d\d inserted, .*\); "
        r"dbt: \d+ passed; \d+ marts exported \([\d,]+ rows\)",
        messages[0],
    )
    artifacts = ask(stack, "artifacts", {})
    assert len(artifacts) >= len(KITS)
    keys = {f"load-{kit.replace('_', '-')}" for kit in KITS}
    assert {artifact["key"] for artifact in artifacts} >= keys
    for part in ("| batch |", "| bytes |", "| step | seconds |", "applied"):
        assert any(part in artifact["data"] for artifact in artifacts)


def test_a_failed_test_fails_the_run_and_the_next_run_makes_the_marts_good(
    second_demo: object, stack: Stack, platform: TestPlatform
) -> None:
    id_ = min(
        id_ for (id_,), row in platform.rows().items() if row["time"] and row["time"].year < 1970
    )
    # Whatever is not of a day's first build has the tests of keys.
    platform.query(
        "INSERT INTO silver.earthquake_events (event_id, occurred_at, inserted_at, is_deleted) "
        "SELECT event_id, occurred_at, inserted_at, TRUE FROM silver.earthquake_events "
        f"WHERE event_id = '{id_}' AND occurred_at < '1970-01-01'"
    )
    platform.control("advance")
    done = demo(stack, "usgs-earthquake")
    assert done.returncode == 1
    assert table_row(done.stdout)[0] == "Failed"
    failed = next(
        run
        for run in ask(stack, "flow_runs", {"sort": "START_TIME_DESC"})
        if run["state"]["name"] == "Failed"
    )
    assert "unique_earthquake_events_event_id" in failed["state"]["message"]
    assert f"(1 row: {id_})" in failed["state"]["message"]
    platform.query(
        "DELETE FROM silver.earthquake_events "
        f"WHERE event_id = '{id_}' AND updated_at IS NULL AND occurred_at < '1970-01-01'"
    )
    done = demo(stack, "usgs-earthquake")
    assert done.returncode == 0, done.stdout + done.stderr
    *row, passed = table_row(done.stdout)[:5]
    assert row == ["Completed", "0", "0", "0"] and int(passed) > 2
    last = ask(stack, "flow_runs", {"sort": "START_TIME_DESC"})
    told = next(run["state"]["message"] for run in last if run["name"].startswith("elt usgs"))
    # All of it, not only what failed.
    assert re.search(rf"; dbt: {passed} passed", told)
    # Every node is a task run.
    names = [run["name"] for run in ask(stack, "task_runs", {"sort": "END_TIME_DESC"})]
    assert "model stg_usgs__events" in names
    assert any(name.startswith("test ") for name in names)


def forms(secret: str) -> set[bytes]:
    """A secret as it is, url-encoded, JSON-escaped, and in base64 at each of its three places."""
    raw = secret.encode()
    encoded = {raw, quote(secret, safe="").encode(), quote_plus(secret).encode()}
    encoded.add(json.dumps(secret)[1:-1].encode())
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw)
        # The ends depend on the neighbours.
        encoded.add(text[4 if shift else 0 : len(text) // 4 * 4 - 4])
    return encoded


def found(secrets: list[str], told: dict[str, bytes]) -> list[str]:
    wanted = [form for secret in secrets for form in forms(secret)]
    return sorted(name for name, text in told.items() if any(form in text for form in wanted))


def test_registering_and_deploying_again_changes_nothing_but_what_is_not_in_the_file(
    first_demo: object, stack: Stack
) -> None:
    """A paused schedule stays paused; a deployment and a schedule that nobody declared are gone."""
    env = {**isolated(os.environ), **stack.env()}

    def told() -> tuple[Any, Any]:
        blocks = ask(stack, "block_documents", {"include_secrets": False})
        deployments = ask(stack, "deployments", {})
        kept = [
            {name: item[name] for name in ("id", "name", "schedules", "parameters", "tags")}
            for item in deployments
        ]
        return sorted((block["id"], block["updated"]) for block in blocks), kept

    with SyncPrefectClient(api=env["PREFECT_API_URL"]) as client:
        finance = client.read_deployment_by_name("elt/finance")
        client.update_deployment_schedule(finance.id, finance.schedules[0].id, active=False)
        before = told()
        cron = CronSchedule(cron="0 0 1 1 *", timezone="UTC")
        added = DeploymentScheduleCreate(schedule=cron, active=True, slug="old")
        client.create_deployment_schedules(finance.id, [added])
        client.create_deployment(
            flow_id=finance.flow_id, name="old", entrypoint="old.py:old", work_pool_name=POOL
        )
    for module in ("blocks.register", "deploy.apply"):
        done = subprocess.run(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=env,
            check=True,
            capture_output=True,
            text=True,
        )
        assert "saved " not in done.stdout
    assert "removed deployment elt/old" in done.stdout
    assert len(re.findall("^removed ", done.stdout, flags=re.MULTILINE)) == 2
    after = told()
    assert before[0] == after[0]
    for one, two in zip(before[1], after[1], strict=True):
        for schedule in (*one["schedules"], *two["schedules"]):
            schedule.pop("updated")
        assert one == two
    paused = [one["active"] for item in after[1] for one in item["schedules"] if not one["active"]]
    assert paused == [False]


def test_a_block_that_is_not_saved_is_told_from_one_that_is(
    first_demo: object, stack: Stack
) -> None:
    with temporary_settings({PREFECT_API_URL: stack.env()["PREFECT_API_URL"]}):
        saved = load_if_saved(S3Bucket, LANDING_S3)
        assert saved is not None
        assert saved.bucket_name == stack.env()["S3_BUCKET"]
        assert load_if_saved(S3Bucket, "never-saved") is None


def test_a_run_loads_its_blocks_without_what_it_does_not_need(
    first_demo: object, stack: Stack
) -> None:
    """Prefect's own `load` imports every integration for a block within another."""
    code = """
import sys
from blocks.platform import load_platform
from blocks.sources import load_settings
from sources.finance.settings import Finance
shared, finance = load_platform(), load_settings(Finance, "finance")
assert shared.google.info.get_secret_value() and shared.gcs_bucket and finance.sheet_url
assert shared.s3.secret_access_key.get_secret_value()
print(*sorted({"altair", "dbt", "pandas", "prefect_dbt"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**isolated(os.environ), **stack.env()},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []


def test_the_readme_names_no_machine() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        assert not re.search(r"/(root|home|tmp|work)/", path.read_text()), path


def test_paths_in_prefect_yaml_exist() -> None:
    text = (ROOT / "prefect.yaml").read_text()
    entrypoints = re.findall(r"entrypoint: (\S+):", text)
    assert entrypoints
    assert all(Path(ROOT / entrypoint).is_file() for entrypoint in entrypoints)
