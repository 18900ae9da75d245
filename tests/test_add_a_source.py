"""docs/add-a-source.md, followed as it is written, in a copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.parts import isolated
from sources import SOURCES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "add-a-source.md"
NAME = "frankfurter"
# What stands before a block says what it is: a file, an end of one, a line in place of another one,
# or one after it.
FENCE = r":\n\n```\w*\n(?P<content>.*?)```\n"
FILE = re.compile(r"^`(?P<path>[\w./]+)`" + FENCE, re.MULTILINE | re.DOTALL)
END = re.compile(r"^At the end of `(?P<path>[\w./-]+)`" + FENCE, re.MULTILINE | re.DOTALL)
LINE = re.compile(
    r"^In `(?P<path>[\w./-]+)`, (?P<where>in place of|after) the line that begins with "
    r"(?P<ticks>`+) ?(?P<begins>.+?) ?(?P=ticks)" + FENCE,
    re.MULTILINE | re.DOTALL,
)
# Where a sixth source changes what is there.
PLACES = {
    *("sources/__init__.py", "prefect.yaml", ".env.example"),
    *("docs/sources.md", "docs/catalog.md"),
}


def follow(root: Path) -> tuple[set[str], set[str]]:
    """The page's steps are done in a checkout: the files that are new, and those that differ."""
    page = PAGE.read_text()
    written, changed = set[str](), set[str]()
    for step in FILE.finditer(page):
        path = root / step["path"]
        assert not path.exists(), step["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step["content"])
        written.add(step["path"])
    for step in END.finditer(page):
        path = root / step["path"]
        path.write_text(f"{path.read_text().rstrip()}\n\n{step['content']}")
        changed.add(step["path"])
    for step in LINE.finditer(page):
        path = root / step["path"]
        lines = path.read_text().splitlines(keepends=True)
        (at,) = (n for n, line in enumerate(lines) if line.startswith(step["begins"]))
        lines[at : at + 1] = [*([] if step["where"] == "in place of" else [lines[at]])]
        lines.insert(at + (step["where"] == "after"), step["content"])
        path.write_text("".join(lines))
        changed.add(step["path"])
    return written, changed


def command(root: Path, *arguments: str) -> str:
    """What a command of Python says in the copy, which must end well."""
    env = {**isolated(os.environ), "PIPELINES_ENV_FILE": ""}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-8000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it is, with the page's source."""
    root = tmp_path_factory.mktemp("copy") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.endswith(".png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    written, changed = follow(root)
    assert changed == PLACES
    # Everything else is the source's own, found by its name.
    assert len(written) == 11
    assert all(NAME in path for path in written)
    return root


@pytest.fixture(scope="module")
def found(copy: Path) -> dict[str, Any]:
    """What the platform did with the source (testing/sixth_source.py)."""
    said: dict[str, Any] = json.loads(command(copy, "-m", "testing.sixth_source", NAME))
    return said


def test_the_pages_files_are_in_the_style_of_the_others(copy: Path) -> None:
    command(copy, "-m", "ruff", "check", ".")
    command(copy, "-m", "ruff", "format", "--check", ".")


def test_every_list_has_the_sixth_source(copy: Path) -> None:
    """What is saved, deployed, checked for freshness, shown and documented."""
    lists = ["tests/blocks/test_sources.py", "tests/deploy/test_prefect_yaml.py"]
    limits = "tests/tasks/test_freshness.py::test_the_documentation_has_the_thresholds"
    assert " passed" in command(copy, "-m", "pytest", "-q", *lists, limits)


def test_it_is_deployed_and_its_run_ends_with_its_rows_in_the_warehouse(
    found: dict[str, Any],
) -> None:
    assert f"{NAME}/{NAME}" in found["saved"]
    assert found["deployed"] == [f"elt/{NAME}"]
    assert found["run"] == "Completed"
    assert found["rows"] > 100
    assert [one["state"] for one in found["builds"]] == ["succeeded"]
    assert found["builds"][0]["nodes_passed"] >= 2
    assert found["tests"] == ["test_a_run_loads_what_is_new_and_nothing_else"]


def test_it_is_watched(found: dict[str, Any]) -> None:
    assert found["watch"] == "Completed"
    assert ["unloaded-batch", NAME] in found["incidents"]


def test_it_is_swept(found: dict[str, Any]) -> None:
    assert found["cleanup"] == "Completed"
    (row,) = (line for line in found["artifacts"]["cleanup"].splitlines() if f"| {NAME} |" in line)
    _, _, _, _, kept, _, rows, _, _ = (cell.strip() for cell in row.split("|"))
    assert (kept, rows) == ("2", f"{found['rows']:,}")


def test_it_is_checked_for_freshness(found: dict[str, Any]) -> None:
    assert found["freshness"] == "Completed"
    rows = [one for one in json.loads(found["artifacts"]["freshness"]) if one["source"] == NAME]
    assert [one["status"] for one in rows] == ["fresh", "fresh"]


def test_it_has_a_card_on_the_start_page(found: dict[str, Any]) -> None:
    assert '<a href="operations.html">Exchange rates</a>' in found["start"]
    assert "Exchange rates of central banks, from Frankfurter." in found["start"]


def test_the_page_names_every_source_that_there_is() -> None:
    """The tuple that it writes is today's and one more."""
    (line,) = re.findall(r"^SOURCES = .*$", PAGE.read_text(), flags=re.MULTILINE)
    assert tuple(re.findall(r'"(\w+)"', line)) == (*SOURCES, NAME)
