"""The rules of the dbt project as a whole, read from its manifest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import ownership
from core.ledger import TABLES
from core.sql import fence_table
from runs.build import ONCE_A_DAY, PROJECT_DIR, command
from runs.due import follows_calendar
from stores.datasets import dbt_datasets, dbt_relations, raw_tables
from testing.recording import reach
from tests.dbt_project.conftest import RunDbt
from tools.cost.month import is_daily

# What reads the clock, dbt's own macro aside, and the only files that may.
CLOCK = re.compile(r"(?<!\{\{ )\bcurrent_(date|datetime|time|timestamp)\b", re.IGNORECASE)
CLOCKS = {"manila_today.sql", "now_utc.sql"}
# The list of vehicles has lines; which one of a licence counts is decided in silver.
WITHOUT_KEY = ("stg_nyc_fhv__vehicles",)
# A failure and a look may come again: only an outcome is one per batch.
OUTCOMES = ["source", "batch_id"]


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


def test_what_dbt_makes_is_known_without_dbt_and_has_our_label(manifest: dict[str, Any]) -> None:
    made: dict[str, set[str]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] in ("model", "seed", "snapshot"):
            made.setdefault(node["schema"], set()).add(node["alias"])
            assert ownership.is_labelled(node["config"]["labels"]), node["unique_id"]
    assert dbt_relations("") == made
    assert dbt_datasets("") == sorted(made)
    read = {table["identifier"] for table in manifest["sources"].values()}
    fences = {fence_table(source) for source in sources_of(manifest)}
    assert raw_tables() == read | fences | set(TABLES)


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


def test_every_table_of_gold_fails_when_it_is_empty_unless_it_says_that_it_may_be(
    manifest: dict[str, Any],
) -> None:
    gold = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["schema"] == "gold"
    ]
    assert len(gold) > 25
    hooks = [[hook["sql"] for hook in node["config"]["post-hook"]] for node in gold]
    assert hooks == [["{{ not_empty() }}"]] * len(gold)
    rare = {node["name"] for node in gold if node["config"]["meta"].get("may_be_empty")}
    views = {node["name"] for node in gold if node["config"]["materialized"] == "view"}
    assert views == {name for name in rare if name.startswith("uncounted")} - {"uncounted_entries"}
    assert {node["name"] for node in gold if node["group"] == "finance"} - rare == {"monthly_pnl"}


def data_tests_of(manifest: dict[str, Any], node: str) -> list[dict[str, Any]]:
    return [
        manifest["nodes"][test]
        for test in manifest["child_map"][node]
        if test.startswith("test.") and manifest["nodes"][test].get("test_metadata")
    ]


def unique_columns(test: dict[str, Any]) -> list[str]:
    """The columns that a test of a key finds unique together; none for any other test."""
    arguments = test["test_metadata"]["kwargs"]
    named = {"unique": [arguments.get("column_name")], "unique_grain": arguments.get("columns")}
    return list(named.get(test["test_metadata"]["name"]) or [])


def test_every_model_and_snapshot_is_tested_for_its_grain(manifest: dict[str, Any]) -> None:
    nodes = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "snapshot") and node["name"] not in WITHOUT_KEY
    ]
    assert len(nodes) > 50
    for node in nodes:
        keys = [unique_columns(test) for test in data_tests_of(manifest, node["unique_id"])]
        grain = (
            OUTCOMES if node["name"] == "stg_operations__loads" else node["config"]["meta"]["grain"]
        )
        assert grain in keys, node["name"]


def test_a_model_is_named_after_its_layer_and_stands_in_the_folder_of_it(
    manifest: dict[str, Any],
) -> None:
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert models
    for model in models:
        _, layer, *folders, file = Path(model["original_file_path"]).parts
        assert layer == model["config"]["schema"], model["name"]
        assert file == f"{model['name']}.sql"
        staged = re.fullmatch(r"stg_([a-z]+(?:_[a-z]+)*)__[a-z_]+", model["name"])
        assert bool(staged) == (layer == "staging"), model["name"]
        # The folder is the source's; USGS's has the longer name of its flow.
        assert not staged or folders[0].startswith(staged[1]), model["name"]


def test_only_staging_reads_sources_and_every_source_is_staged(manifest: dict[str, Any]) -> None:
    """Tests of raw tables aside. A staging model reads one raw table and no other model."""
    staged = []
    for node in manifest["nodes"].values():
        if node["resource_type"] in ("model", "snapshot"):
            read = [
                parent for parent in node["depends_on"]["nodes"] if parent.startswith("source.")
            ]
            if node["config"]["schema"] == "staging":
                assert len(node["depends_on"]["nodes"]) == len(read) == 1, node["name"]
                staged += read
            else:
                assert not read, node["name"]
    assert sorted(staged) == sorted(manifest["sources"])


def test_no_private_layer_reads_gold(manifest: dict[str, Any]) -> None:
    layer = {
        name: node["config"]["schema"]
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
    }
    assert set(layer.values()) == {"staging", "silver", "gold"}
    for name in layer:
        if layer[name] != "gold":
            parents = manifest["nodes"][name]["depends_on"]["nodes"]
            assert "gold" not in {layer.get(parent) for parent in parents}, name


def test_every_mart_has_a_row_in_the_documentation(manifest: dict[str, Any]) -> None:
    text = (PROJECT_DIR.parent / "docs" / "models.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["schema"] == "gold"
    )


def test_the_pages_are_exposures_of_marts_that_no_build_makes(
    manifest: dict[str, Any], run_dbt: RunDbt
) -> None:
    pages = {node["name"]: node for node in manifest["exposures"].values()}
    assert {"start", "money", "news"} <= pages.keys()
    for page in pages.values():
        marts = [manifest["nodes"][parent] for parent in page["depends_on"]["nodes"]]
        assert {mart["config"]["schema"] for mart in marts} == {"gold"}, page["name"]
    result, _ = run_dbt("ls", *command(["@source:finance"], "whole", False)[1:], "--output", "name")
    assert "monthly_pnl" in result.result
    assert not pages.keys() & set(result.result)


def test_the_overview_leads_to_every_source_and_to_pages(manifest: dict[str, Any]) -> None:
    overview = manifest["docs"]["doc.data_pipelines.__overview__"]["block_contents"]
    links = re.findall(r"\]\(#!/(\w+)/([\w.]+)\)", overview)
    assert {name for kind, name in links if kind == "source_list"} == sources_of(manifest).keys()
    pages = {name for kind, name in links if kind == "exposure"}
    assert pages
    assert pages <= manifest["exposures"].keys()
    assert len(links) == overview.count("](")


def may_stand_twice(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is merged or snapshotted, and the tables of silver that are made straight of staging."""
    nodes = manifest["nodes"]

    def made_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for parent in node["depends_on"].get("nodes", []):
            if parent in nodes:
                yield nodes[parent]
                if nodes[parent]["config"]["materialized"] == "view":
                    yield from made_of(nodes[parent])

    for node in nodes.values():
        kind = node["config"]["materialized"]
        schemas = {parent["config"]["schema"] for parent in made_of(node)}
        if kind in ("incremental", "snapshot") or (
            (kind, node["config"]["schema"]) == ("table", "silver") and "staging" in schemas
        ):
            yield node


def test_every_build_tests_the_keys_of_what_could_come_to_stand_twice(
    manifest: dict[str, Any], run_dbt: RunDbt
) -> None:
    """dbt's own selection. All else is made of these, and is tested once a day."""
    keyed = {
        test["name"]
        for node in may_stand_twice(manifest)
        for test in data_tests_of(manifest, node["unique_id"])
        if unique_columns(test) == node["config"]["meta"]["grain"]
    }
    assert len(keyed) == len(list(may_stand_twice(manifest))) > 6
    selections = [
        command([f"@source:{source}"], "keys", full_refresh=False)[1:]
        for source in sources_of(manifest)
    ]
    selected = []
    for selection in selections:
        result, _ = run_dbt("ls", *selection, "--output", "name")
        assert result.success
        selected += result.result
    built = [node for node in manifest["nodes"].values() if node["resource_type"] != "test"]
    assert len(built) > 50
    daily = {node["name"] for node in built if ONCE_A_DAY in node["tags"]}
    assert daily
    assert sorted(selected) == sorted({*keyed, *(node["name"] for node in built)} - daily)
    # The price of a month goes by the same.
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    assert {node["name"] for node in tests if not is_daily(node)} == keyed


def test_nothing_is_deprecated(parsed: list[Any]) -> None:
    names = {event.info.name for event in parsed[1]}
    assert "MainReportVersion" in names
    assert not [name for name in names if "Deprecat" in name]
