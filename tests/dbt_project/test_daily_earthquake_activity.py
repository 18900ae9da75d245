"""The dbt project on the emulator: a few events in, hand-computed answers out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.testing.utilities import prefect_test_harness

from runs.build import PROJECT_DIR, BuildFailed, BuildResult, build, describe
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt, TokenEndpoint

SELECT = "source:usgs_earthquake+"
RAW = "raw.usgs_earthquake__events"
COLUMNS = """
    id STRING, mag FLOAT64, place STRING, time TIMESTAMP, updated TIMESTAMP, tz INT64, url STRING,
    detail STRING, felt INT64, cdi FLOAT64, mmi FLOAT64, alert STRING, status STRING,
    tsunami INT64, sig INT64, net STRING, code STRING, ids STRING, sources STRING, types STRING,
    nst INT64, dmin FLOAT64, rms FLOAT64, gap FLOAT64, magType STRING, type STRING, title STRING,
    longitude FLOAT64, latitude FLOAT64, depth FLOAT64, _batch_id STRING, _inserted_at TIMESTAMP,
    _is_deleted BOOL, _extra STRING
"""
# Time, magnitude, type, depth, felt, significance, deleted. us1 and us2 lie around midnight in
# Manila, us2 and us3 in two months of UTC.
EVENTS = {
    "us1": "'2026-01-31 15:59:59.999+00', 3.9, 'earthquake', 10.0, 2, 234, false",
    "us2": "'2026-01-31 16:00:00+00', 4.0, 'earthquake', 35.5, null, 601, false",
    "us3": "'2026-02-01 00:00:00+00', 4.9, 'quarry blast', -1.2, null, 369, false",
    "us4": "'2026-02-01 00:00:01+00', null, 'explosion', 0.0, null, null, false",
    "us5": "'2026-02-01 12:00:00+00', -0.5, 'earthquake', 5.0, 0, 600, false",
    "us6": "'2026-02-01 12:00:00+00', 8.1, 'earthquake', 20.0, 900, 2000, true",
    "us7": "null, null, null, null, null, null, true",
}


def insert(query: Query, event_id: str, values: str, batch_id: str) -> None:
    time, rest = values.split(",", 1)
    query(f"""
        insert into {RAW} (id, time, mag, type, depth, felt, sig, _is_deleted, _batch_id,
            _inserted_at)
        values ('{event_id}', cast({time} as timestamp), {rest}, '{batch_id}',
            timestamp '2026-02-02 00:00:0{batch_id[1:]}+00')
    """)


@pytest.fixture(scope="module")
def raw(query: Query) -> None:
    query("create schema if not exists raw")
    query(f"create table {RAW} ({COLUMNS}) partition by timestamp_trunc(time, month) cluster by id")
    for event_id, values in EVENTS.items():
        insert(query, event_id, values, "b1")


@pytest.fixture(scope="module")
def built(
    raw: None, dbt_env: dict[str, str], query: Query, target_path: Path
) -> tuple[BuildResult, dict[str, Any]]:
    """The first build, outside a flow run, and its manifest."""
    result = build(SELECT, target_path, dbt_env, query)
    return result, json.loads((target_path / "manifest.json").read_text())


def mart(query: Query) -> list[tuple[Any, ...]]:
    rows = query("""
        select calendar, activity_date, magnitude_class, event_count, earthquake_count,
            other_event_count, felt_event_count, significant_event_count, max_magnitude,
            shallowest_depth_km, deepest_depth_km
        from gold.daily_earthquake_activity
        order by calendar, activity_date, magnitude_class
    """)
    return [tuple(row.values()) for row in rows]


JANUARY_31, FEBRUARY_1 = date(2026, 1, 31), date(2026, 2, 1)
ANSWERS: list[tuple[Any, ...]] = [
    ("Asia/Manila", JANUARY_31, "minor", 1, 1, 0, 1, 0, 3.9, 10.0, 10.0),
    ("Asia/Manila", FEBRUARY_1, "light", 2, 1, 1, 0, 1, 4.9, -1.2, 35.5),
    ("Asia/Manila", FEBRUARY_1, "micro", 1, 1, 0, 0, 0, -0.5, 5.0, 5.0),
    ("Asia/Manila", FEBRUARY_1, "unknown", 1, 0, 1, 0, 0, None, 0.0, 0.0),
    ("UTC", JANUARY_31, "light", 1, 1, 0, 0, 1, 4.0, 35.5, 35.5),
    ("UTC", JANUARY_31, "minor", 1, 1, 0, 1, 0, 3.9, 10.0, 10.0),
    ("UTC", FEBRUARY_1, "light", 1, 0, 1, 0, 0, 4.9, -1.2, -1.2),
    ("UTC", FEBRUARY_1, "micro", 1, 1, 0, 0, 0, -0.5, 5.0, 5.0),
    ("UTC", FEBRUARY_1, "unknown", 1, 0, 1, 0, 0, None, 0.0, 0.0),
]


def test_the_mart_counts_each_live_event_once_per_calendar(
    built: tuple[BuildResult, dict[str, Any]], query: Query
) -> None:
    assert mart(query) == ANSWERS


def nodes_below_the_source(manifest: dict[str, Any]) -> set[str]:
    """What a build runs: a unit test is none of it."""
    (source,) = (name for name in manifest["sources"] if ".usgs_earthquake." in name)
    below: list[str] = [source]
    found: set[str] = set()
    while below:
        children = set(manifest["child_map"][below.pop()]) - found
        found |= children
        below += children
    return {name for name in found if name.startswith(("model.", "snapshot.", "test."))}


def test_source_tests_staging_snapshot_and_marts_are_all_selected(
    built: tuple[BuildResult, dict[str, Any]],
) -> None:
    result, manifest = built
    nodes = nodes_below_the_source(manifest)
    assert {node.split(".")[0] for node in nodes} == {"model", "snapshot", "test"}
    assert result.nodes_passed == len(nodes) > 30
    assert describe(result) == f"dbt: {len(nodes)} passed"
    assert result.started_at < result.ended_at


def test_a_build_writes_to_its_target_path_only_(
    built: tuple[BuildResult, dict[str, Any]], target_path: Path
) -> None:
    written = {path.name for path in PROJECT_DIR.iterdir()}
    assert written == {
        *("dbt_project.yml", "profiles.yml", ".sqlfluffignore"),
        *("macros", "models", "seeds", "snapshots", "tests"),
    }
    assert not list(PROJECT_DIR.rglob("__init__.py"))  # it would shadow the installed dbt
    assert (target_path / "logs" / "dbt.log").exists()


def test_only_staging_reads_sources_and_gold_is_described_public_and_under_contract(
    built: tuple[BuildResult, dict[str, Any]],
) -> None:
    _, manifest = built
    models = [n for n in manifest["nodes"].values() if n["resource_type"] == "model"]
    assert {model["name"] for model in models} >= {"stg_usgs__events", "daily_earthquake_activity"}
    for model in models:
        reads_source = any(node.startswith("source.") for node in model["depends_on"]["nodes"])
        assert reads_source == (model["schema"] == "staging")
        assert model["access"] == ("public" if model["schema"] == "gold" else "private")
        assert model["config"]["contract"]["enforced"] == (model["schema"] == "gold")
        assert model["group"] and model["description"] and model["columns"]
        assert all(column["description"] for column in model["columns"].values())


@pytest.fixture
def duplicated(built: object, query: Query) -> Iterator[None]:
    insert(query, "us2", EVENTS["us2"], "b2")
    yield
    query(f"delete from {RAW} where _batch_id = 'b2'")


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=600):
        yield


def task_runs_of(flow_run_ids: list[Any]) -> dict[str, str | None]:
    """Task run name to state, once the server, which learns of them by events, has them all."""
    run = FlowRunFilter(id=FlowRunFilterId(any_=flow_run_ids))
    deadline = time.monotonic() + 600
    with get_client(sync_client=True) as client:
        while True:
            task_runs = client.read_task_runs(flow_run_filter=run)
            done = task_runs and all(run.state and run.state.is_final() for run in task_runs)
            if (done and len(task_runs) >= 2) or time.monotonic() > deadline:
                return {task_run.name: task_run.state_name for task_run in task_runs}
            time.sleep(0.1)


def test_a_duplicate_id_fails_the_run_by_name_count_and_key(
    duplicated: None,
    built: tuple[BuildResult, dict[str, Any]],
    prefect_server: None,
    dbt_env: dict[str, str],
    query: Query,
    target_path: Path,
) -> None:
    run_ids = []

    @flow
    def elt() -> None:
        from prefect.runtime import flow_run

        run_ids.append(flow_run.id)
        build(SELECT, target_path, dbt_env, query)

    state = elt(return_state=True)

    assert state.is_failed()
    skipped = len(nodes_below_the_source(built[1])) - 2
    assert state.message and state.message.endswith(
        f"dbt: 1 passed, 1 failed, {skipped} skipped: "
        "source_unique_usgs_earthquake_events_id (1 row: us2)"
    )
    # Nodes are task runs. Those skipped have none: they would end Completed.
    assert task_runs_of(run_ids) == {
        "test source_unique_usgs_earthquake_events_id": "Failed",
        "test source_not_null_usgs_earthquake_events_id": "Completed",
    }
    assert mart(query) == ANSWERS  # readers keep the last good table


@pytest.mark.slow
def test_a_live_event_without_time_warns_and_is_counted_without_a_day(
    built: tuple[BuildResult, dict[str, Any]],
    dbt_env: dict[str, str],
    query: Query,
    target_path: Path,
) -> None:
    insert(query, "us8", "null, 2.0, 'earthquake', 7.0, null, 62, false", "b3")
    given = TokenEndpoint.given
    try:
        result = build(SELECT, target_path, dbt_env, query)
        passed = len(nodes_below_the_source(built[1])) - 1
        warned = "1 warned: stg_usgs__events_live_without_time (1 row: us8)"
        assert describe(result) == f"dbt: {passed} passed, {warned}"
        # One login for all nodes, for which each of the four threads may ask at first.
        assert 1 <= TokenEndpoint.given - given <= 4
        undated = [row for row in mart(query) if row[1] is None]
        assert undated == [
            ("Asia/Manila", None, "minor", 1, 1, 0, 0, 0, 2.0, 7.0, 7.0),
            ("UTC", None, "minor", 1, 1, 0, 0, 0, 2.0, 7.0, 7.0),
        ]
    finally:
        query(f"delete from {RAW} where _batch_id = 'b3'")


def test_a_selection_without_nodes_is_a_failure(
    built: object, dbt_env: dict[str, str], query: Query, target_path: Path
) -> None:
    with pytest.raises(BuildFailed, match=r"1 failed: dbt \(nothing is selected\)"):
        build("source:no_such_source+", target_path, dbt_env, query)


def test_dbt_that_cannot_start_is_a_failure_with_its_cause(
    dbt_env: dict[str, str], query: Query, target_path: Path
) -> None:
    with pytest.raises(BuildFailed, match=r"1 failed: dbt \(.*lots"):
        build(SELECT, target_path, dbt_env | {"DBT_MAXIMUM_BYTES_BILLED": "lots"}, query)


def test_the_unit_tests_pass_and_nothing_is_deprecated(
    built: object, run_dbt: RunDbt, tmp_path: Path
) -> None:
    # Not in the tests' target path: what is parsed already is not looked at for deprecations.
    select = f"{SELECT},test_type:unit"
    result, events = run_dbt("test", "--select", select, "--target-path", str(tmp_path))
    assert result.success
    assert {str(outcome.status) for outcome in result.result.results} == {"pass"}
    names = {event.info.name for event in events}
    assert "MainReportVersion" in names
    assert not [name for name in names if "Deprecat" in name]


@pytest.mark.parametrize(
    ("env", "datasets"),
    [
        ({"DBT_TARGET": "prod"}, {"staging", "silver", "gold"}),
        ({"DBT_TARGET": "dev"}, {"dbt_dev"}),
        (
            {"DBT_TARGET": "prod", "DBT_DATASET_PREFIX": "pr7_"},
            {"pr7_staging", "pr7_silver", "pr7_gold"},
        ),
    ],
)
def test_target_and_prefix_decide_the_datasets(
    run_dbt: RunDbt,
    tmp_path_factory: pytest.TempPathFactory,
    env: dict[str, str],
    datasets: set[str],
) -> None:
    target_path = tmp_path_factory.getbasetemp() / "ls"
    result, _ = run_dbt(
        *("ls", "--resource-type", "model", "--output", "json", "--output-keys", "schema"),
        *("--target-path", str(target_path)),
        **env,
    )
    assert {json.loads(line)["schema"] for line in result.result} == datasets


def test_the_emulator_still_refuses_a_query_in_parentheses_under_a_column_list(
    query: Query, raw: None
) -> None:
    """When this fails, dbt/macros/create_table_as.sql has no reason left."""
    with pytest.raises(BadRequest, match='syntax error at or near "AS"'):
        query("create table raw.healed (a string) as (select 'b' as a)")
