"""The house: what each room may import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"prefect", "prefect_gcp", "prefect_aws", "prefect_dbt", "google", "boto3", "httpx"}
FORBIDDEN = {
    "core": OUTSIDE | {"sources", "tasks", "flows", "blocks", "sandbox", "deploy", "tests"},
    "sources": OUTSIDE | {"tasks", "flows", "blocks", "sandbox", "deploy", "tests"},
    "blocks": {"sources", "tasks", "flows", "sandbox", "deploy", "tests"},
    "tasks": {"sources", "flows", "sandbox", "deploy", "tests"},
    "flows": {"sandbox", "deploy", "tests"},
    "deploy": {"sandbox", "tests"},
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
    files = sorted((ROOT / room).glob("*.py"))
    assert files
    for path in files:
        assert imported(path) & FORBIDDEN[room] == set(), path.relative_to(ROOT)


def test_no_code_asks_whether_it_runs_against_an_emulator() -> None:
    for room in FORBIDDEN:
        for path in (ROOT / room).glob("*.py"):
            text = path.read_text().lower()
            assert "emulator_host" not in text, path
            assert "pytest" not in text, path


def test_dbt_has_no_package_that_would_shadow_the_installed_one() -> None:
    assert not (ROOT / "dbt" / "__init__.py").exists()
    assert not (ROOT / "flows" / "dbt.py").exists()
