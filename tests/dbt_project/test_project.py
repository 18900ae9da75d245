"""The rules of the dbt project as a whole, read from its manifest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tasks.build import PROJECT_DIR
from tasks.due import follows_calendar
from tests.dbt_project.conftest import RunDbt

# What reads the clock, dbt's own macro aside, and the only files that may.
CLOCK = re.compile(r"(?<!\{\{ )\bcurrent_(date|datetime|time|timestamp)\b", re.IGNORECASE)
CLOCKS = {"manila_today.sql", "now_utc.sql"}


@pytest.fixture(scope="module")
def parsed(run_dbt: RunDbt, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The manifest, and the events of parsing the project afresh."""
    target_path = tmp_path_factory.mktemp("parsed")
    result, events = run_dbt("parse", "--no-partial-parse", "--target-path", str(target_path))
    assert result.success
    return [json.loads((target_path / "manifest.json").read_text()), events]


@pytest.fixture(scope="module")
def manifest(parsed: list[Any]) -> dict[str, Any]:
    return dict(parsed[0])


def reach(starts: Iterable[str], edges: dict[str, list[str]]) -> set[str]:
    """Everything that is reached from these nodes, themselves included."""
    found, waiting = set(starts), list(starts)
    while waiting:
        new = set(edges.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def sources_of(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """The dbt sources, each with its tables."""
    tables: dict[str, list[str]] = {}
    for node_id, node in manifest["sources"].items():
        tables.setdefault(node["source_name"], []).append(node_id)
    return tables


def built_with(manifest: dict[str, Any], tables: list[str]) -> set[str]:
    """What `@source:...` builds: all that is below the source, and what that needs."""
    below = reach(tables, manifest["child_map"])
    needed = reach(below, manifest["parent_map"])
    return {node for node in needed if node.startswith(("model.", "seed.", "snapshot."))}


def test_each_model_is_built_by_exactly_one_deployment(manifest: dict[str, Any]) -> None:
    sources = sources_of(manifest)
    assert {"finance", "operations", "usgs_earthquake"} <= sources.keys()
    built = Counter(node for tables in sources.values() for node in built_with(manifest, tables))
    everything = {
        node
        for node, properties in manifest["nodes"].items()
        if properties["resource_type"] in ("model", "seed", "snapshot")
    }
    assert set(built) == everything
    assert [node for node, count in built.items() if count > 1] == []


def test_a_source_declares_it_when_models_run_up_to_today(manifest: dict[str, Any]) -> None:
    macros = manifest["macros"]
    calls = {name: macro["depends_on"]["macros"] for name, macro in macros.items()}
    clocks = {f"macro.data_pipelines.{Path(name).stem}" for name in CLOCKS}
    assert clocks <= macros.keys()
    by_clock = {
        node
        for node, properties in manifest["nodes"].items()
        if reach(properties.get("depends_on", {}).get("macros", []), calls) & clocks
    }
    sources = sources_of(manifest)
    following = {
        name for name, tables in sources.items() if built_with(manifest, tables) & by_clock
    }
    assert following >= {"finance", "operations"}
    assert following == {name for name in sources if follows_calendar(name)}


def test_only_two_macros_read_the_clock() -> None:
    files = [
        path
        for room in ("macros", "models", "tests")
        for path in (PROJECT_DIR / room).rglob("*.sql")
    ]
    assert {path.name for path in files if CLOCK.search(path.read_text())} == CLOCKS


def test_gold_is_public_under_contract_and_described_and_the_rest_is_private(
    manifest: dict[str, Any],
) -> None:
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert {model["config"]["schema"] for model in models} == {"staging", "silver", "gold"}
    for model in models:
        is_gold = model["config"]["schema"] == "gold"
        assert model["access"] == ("public" if is_gold else "private"), model["name"]
        assert model["config"]["contract"]["enforced"] == is_gold, model["name"]
        grain = model["config"]["meta"]["grain"]
        # The list of vehicles has lines and no key.
        assert model["group"] and (grain or model["name"] == "stg_nyc_fhv__vehicles")
        assert re.match("One row per ", model["description"]), model["name"]
        assert all(column["description"] for column in model["columns"].values()), model["name"]
        tests = [node for node in manifest["child_map"][model["unique_id"]] if "test." in node]
        assert tests or not is_gold, model["name"]
    owners = {group["name"]: group["owner"] for group in manifest["groups"].values()}
    assert owners.keys() == {model["group"] for model in models}


def test_nothing_is_deprecated(parsed: list[Any]) -> None:
    names = {event.info.name for event in parsed[1]}
    assert "MainReportVersion" in names
    assert not [name for name in names if "Deprecat" in name]
