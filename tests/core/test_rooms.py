"""The house: what each room may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from sources import SOURCES

ROOT = Path(__file__).resolve().parents[2]
PREFECT = {"prefect", "prefect_gcp", "prefect_aws", "prefect_dbt"}
OUTSIDE = PREFECT | {"google", "boto3", "httpx"}
FORBIDDEN = {
    "core": OUTSIDE
    | {
        "stores",
        "runs",
        "alerting",
        "serving",
        "dashboards",
        "sources",
        "tasks",
        "flows",
        "blocks",
        "sandbox",
        "deploy",
        "tests",
    },
    "stores": PREFECT
    | {"sources", "runs", "alerting", "serving", "dashboards", "tasks", "flows", "blocks"}
    | {"sandbox", "deploy", "tests"},
    "sources": PREFECT
    | {"runs", "alerting", "serving", "dashboards", "tasks", "flows", "blocks"}
    | {"sandbox", "deploy", "tests"},
    "runs": PREFECT
    | {"alerting", "serving", "dashboards", "tasks", "flows", "blocks", "sandbox", "deploy"}
    | {"tests"},
    "alerting": PREFECT
    | {"sources", "serving", "dashboards", "tasks", "flows", "blocks", "sandbox", "deploy"}
    | {"tests"},
    "serving": OUTSIDE | {"dashboards", "blocks", "tasks", "flows", "sandbox", "deploy", "tests"},
    "dashboards": OUTSIDE | {"blocks", "tasks", "flows", "sandbox", "deploy", "tests"},
    "blocks": {"serving", "dashboards", "tasks", "flows", "sandbox", "deploy", "tests"},
    "tasks": {"sources", "flows", "sandbox", "deploy", "tests"},
    "flows": {"sandbox", "deploy", "tests"},
    "deploy": {"sandbox", "tests"},
}
# Who has only the list of sources, or what each declares, and no source's own module by its name.
OF_SOURCES = {
    "serving": {"sources.tables"},
    "dashboards": {"sources", "sources.tables"},
    "blocks": {"sources", "sources.settings"},
    "stores": set[str](),
    "runs": {"sources", "sources.settings"},
    "alerting": set[str](),
    "deploy": set[str](),
    "sandbox": {"sources"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) & FORBIDDEN[room] == set(), path.relative_to(ROOT)


@pytest.mark.parametrize("room", OF_SOURCES)
def test_a_room_that_serves_every_source_names_none(room: str) -> None:
    found = set[str]()
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name.startswith("sources.")}
            elif isinstance(node, ast.ImportFrom) and node.module == "sources":
                names = {alias.name for alias in node.names}
                found |= {"sources" if name == "SOURCES" else f"sources.{name}" for name in names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sources."):
                found.add(str(node.module))
    assert found == OF_SOURCES[room]


# What a run imports only when it needs it, by time and memory (docs/performance.md).
LATER = {"altair", "boto3", "botocore", "dbt", "gspread", "pandas", "prefect_aws", "prefect_dbt"}


@pytest.mark.parametrize("module", ["flows.elt", "flows.usgs_earthquake", "deploy.watchdog"])
def test_a_run_imports_no_cloud_and_no_tool_that_it_may_not_need(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = set(done.stdout.split())
    assert module in names
    assert names & LATER == set()


def test_a_run_imports_no_other_source() -> None:
    code = (
        "import sys; from flows.elt import elt\n"
        "elt.validate_parameters({'source': 'nyc-fhv', 'allow_deletions': True})\n"
        "import flows.nyc_fhv; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = set(done.stdout.split())
    rooms = ("sources", "flows")
    found = {name for room in rooms for source in SOURCES if (name := f"{room}.{source}") in names}
    assert found == {"sources.nyc_fhv", "flows.nyc_fhv"}


@pytest.mark.parametrize("module", ["build", "due"])
def test_a_build_is_decided_and_made_without_an_orchestrator(module: str) -> None:
    names = imported(ROOT / "tasks" / f"{module}.py")
    assert "tasks" in names
    assert names & {"prefect", "prefect_dbt", "blocks"} == set()


def test_no_code_asks_whether_it_runs_against_an_emulator() -> None:
    for room in FORBIDDEN:
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text().lower()
            assert "emulator_host" not in text, path
            assert "pytest" not in text, path


def test_dbt_has_no_package_that_would_shadow_the_installed_one() -> None:
    assert not (ROOT / "dbt" / "__init__.py").exists()
    assert not (ROOT / "flows" / "dbt.py").exists()
