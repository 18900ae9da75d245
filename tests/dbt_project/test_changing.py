"""docs/changing.md, followed: its mart is built and its test passes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from runs.build import PROJECT_DIR
from sources.usgs_earthquake.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt
from tests.dbt_project.test_earthquake_marts import FIRST, STAMP, event

PAGE = PROJECT_DIR.parent / "docs" / "changing.md"
FILE = re.compile(r"`dbt/(models/\S+)`:?\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_mart_of_the_page_is_built(run_dbt: RunDbt, query: Query, tmp_path: Path) -> None:
    project = tmp_path / "dbt"
    shutil.copytree(PROJECT_DIR, project, ignore=shutil.ignore_patterns("target", "logs"))
    files = FILE.findall(PAGE.read_text())
    assert [Path(name).suffix for name, _ in files] == [".sql", ".yml"]
    for name, text in files:
        (project / name).write_text(text)
    raw.create(query, TABLE, "raw_changing")
    events = [
        event("deep1", "03-01 00:00:30", 6.1, "Fiji", depth=550.0),
        event("flat1", "03-02 12:00:00", 4.4, "Cebu", depth=10.0),
    ]
    raw.insert(query, TABLE, [one | STAMP[FIRST] for one in events], "raw_changing")
    result, _ = run_dbt(
        "build",
        *("--project-dir", str(project), "--target-path", str(tmp_path / "target")),
        # Nothing else of the source is built, as it is in the demo.
        *("--select", "+deep_earthquakes", "--indirect-selection", "buildable"),
        RAW_DATASET="raw_changing",
        DBT_DATASET_PREFIX="changing_",
    )
    assert result.success, [
        (one.node.name, one.message) for one in result.result if one.status in ("error", "fail")
    ]
    rows = query("select event_id, depth_km from changing_gold.deep_earthquakes")
    assert rows == [{"event_id": "deep1", "depth_km": 550.0}]
