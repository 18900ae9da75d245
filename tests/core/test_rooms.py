"""The house: what each room may import, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from core.version import CODE
from sources import SOURCES
from testing.rooms import ORDER, PRODUCT, ROOMS, ROOT

# Packages that no room knows, in the order in which they know each other.
BESIDE = ("testing", "tools", "tests")
PREFECT = {"prefect", "prefect_gcp", "prefect_aws", "prefect_dbt"}
CLOUDS = {"google", "boto3", "botocore", "httpx", "requests", "gspread"}
# Who has only the list of sources, or what each declares, and no source's own module by its name.
OF_SOURCES = {
    "stores": set[str](),
    "serving": {"sources.tables"},
    "dashboards": {"sources", "sources.tables"},
    "repair": {"sources", "sources.tables"},
    "tasks": set[str](),
    "alerting": set[str](),
    "blocks": {"sources", "sources.settings"},
    "deploy": set[str](),
    "sandbox": {"sources"},
}


def modules(room: str) -> dict[str, Path]:
    """A room's modules by their dotted names."""
    found = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, and every name that it imports from one."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def test_the_table_has_every_room() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {*BESIDE} == set(ORDER)
    assert len(ORDER) <= 14


@pytest.mark.parametrize("package", ["testing", "tools"])
def test_what_tests_stand_on_imports_no_test(package: str) -> None:
    below = {*BESIDE[BESIDE.index(package) + 1 :]}
    for path in modules(package).values():
        assert tops(path) & below == set(), path.relative_to(ROOT)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_from_rooms_above_it(room: str) -> None:
    found = modules(room)
    assert found
    for path in found.values():
        below = {*BESIDE, *ORDER[ORDER.index(room) + 1 :]}
        assert tops(path) & below == set(), path.relative_to(ROOT)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_knows_what_the_table_says(room: str) -> None:
    names = set[str]().union(*(tops(path) for path in modules(room).values()))
    assert bool(names & PREFECT) == ("Prefect" in ROOMS[room])
    if ORDER.index(room) <= ORDER.index("stores"):
        assert bool(names & CLOUDS) == ("clouds" in ROOMS[room])


def test_no_module_needs_one_that_needs_it() -> None:
    every = {name: path for room in ORDER for name, path in modules(room).items()}
    needs = {name: imported(path) & every.keys() - {name} for name, path in every.items()}
    done, under_way = set[str](), list[str]()

    def visit(name: str) -> None:
        assert name not in under_way, [*under_way, name]
        if name not in done:
            under_way.append(name)
            for other in sorted(needs[name]):
                visit(other)
            done.add(under_way.pop())

    for name in needs:
        visit(name)


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_record_becomes_is_told_by_pure_functions(source: str) -> None:
    for path in (ROOT / "sources" / source).glob("*.py"):
        if path.name != "settings.py":
            assert tops(path) & (CLOUDS | PREFECT | {"stores"}) == set(), path.relative_to(ROOT)


@pytest.mark.parametrize("room", OF_SOURCES)
def test_a_room_that_serves_every_source_names_none(room: str) -> None:
    found = set[str]()
    for path in modules(room).values():
        for name in imported(path):
            if name == "sources.SOURCES":
                found.add("sources")
            elif name.startswith("sources.") and (ROOT / f"{name.replace('.', '/')}.py").exists():
                found.add(name)
    assert found == OF_SOURCES[room]


def test_what_makes_a_batch_or_a_build_is_in_the_version() -> None:
    makes = (*ORDER[: ORDER.index("alerting")], "blocks", "flows")
    assert {*CODE} == {*makes, "dbt"} - {"serving", "dashboards"}


# What a run imports only when it needs it, by time and memory (docs/performance.md).
LATER = {"altair", "boto3", "botocore", "dbt", "gspread", "pandas", "prefect_aws", "prefect_dbt"}


@pytest.mark.parametrize("module", ["flows.elt", "flows.source", "deploy.watchdog"])
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
        "import flows.source, runs.extract.nyc_fhv; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = set(done.stdout.split())
    rooms = ("sources", "runs.extract")
    found = {name for room in rooms for source in SOURCES if (name := f"{room}.{source}") in names}
    assert found == {"sources.nyc_fhv", "runs.extract.nyc_fhv"}


def test_no_code_asks_whether_it_runs_against_an_emulator() -> None:
    for room in PRODUCT:
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text().lower()
            assert "emulator_host" not in text, path
            assert "pytest" not in text, path


def test_dbt_has_no_package_that_would_shadow_the_installed_one() -> None:
    assert not (ROOT / "dbt" / "__init__.py").exists()
    assert not (ROOT / "flows" / "dbt.py").exists()
