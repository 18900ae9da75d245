"""The parts of the build that read dbt's artifacts, on small literal ones."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from runs.build import (
    BuildFailed,
    BuildResult,
    NodeFailure,
    compiled_tests,
    describe,
    environment,
    failing_key,
    summarise,
    with_keys,
)

STARTED_AT = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)
ENDED_AT = datetime(2026, 3, 1, 0, 1, tzinfo=UTC)
MANIFEST = {
    "nodes": {
        "model.p.stg_events": {"name": "stg_events"},
        "test.p.unique_id.abc": {"name": "unique_id"},
        "test.p.late.def": {"name": "late"},
    }
}
RUN_RESULTS: dict[str, Any] = {
    "metadata": {"invocation_id": "run-1"},
    "results": [
        {
            "unique_id": "model.p.stg_events",
            "status": "success",
            "message": "CREATE VIEW",
            "failures": None,
            "compiled_code": "select 1",
        },
        {
            "unique_id": "test.p.unique_id.abc",
            "status": "fail",
            "message": "Got 2 results,\n configured to fail if != 0",
            "failures": 2,
            "compiled_code": "select id from t",
        },
        {
            "unique_id": "test.p.late.def",
            "status": "warn",
            "message": "Got 1 result",
            "failures": 1,
            "compiled_code": "select 1",
        },
        {
            "unique_id": "model.p.mart",
            "status": "skipped",
            "message": None,
            "failures": None,
            "compiled_code": None,
        },
    ],
}


def result_of(
    *failures: NodeFailure, passed: int = 14, warnings: tuple[NodeFailure, ...] = ()
) -> BuildResult:
    return BuildResult(
        build_id="run-1",
        started_at=STARTED_AT,
        ended_at=ENDED_AT,
        nodes_passed=passed,
        nodes_failed=len(failures),
        nodes_warned=len(warnings),
        nodes_skipped=0,
        failures=failures,
        warnings=warnings,
    )


def test_artifacts_become_counts_and_named_failures() -> None:
    assert summarise(RUN_RESULTS, MANIFEST, STARTED_AT, ENDED_AT) == BuildResult(
        build_id="run-1",
        started_at=STARTED_AT,
        ended_at=ENDED_AT,
        nodes_passed=1,
        nodes_failed=1,
        nodes_warned=1,
        nodes_skipped=1,
        failures=(
            NodeFailure("unique_id", "fail", 2, "Got 2 results, configured to fail if != 0"),
        ),
        warnings=(NodeFailure("late", "warn", 1, "Got 1 result"),),
    )


@pytest.mark.parametrize(
    ("run_results", "cause", "message"),
    [
        ({}, "Parsing\n Error", "Parsing Error"),
        ({"metadata": {"invocation_id": "run-1"}, "results": []}, None, "nothing is selected"),
        ({"results": RUN_RESULTS["results"][:1]}, "Killed by a hook", "Killed by a hook"),
    ],
)
def test_a_build_that_failed_outside_its_nodes_is_a_failure_of_dbt(
    run_results: dict[str, Any], cause: str | None, message: str
) -> None:
    result = summarise(run_results, {}, STARTED_AT, ENDED_AT, cause)
    assert result.failures == (NodeFailure("dbt", "error", None, message),)
    assert result.nodes_failed == 1
    assert result.build_id


def test_keys_are_asked_of_failed_tests_with_the_sql_that_dbt_compiled() -> None:
    asked: list[str] = []

    def query(sql: str) -> list[dict[str, Any]]:
        asked.append(sql)
        return [{"unique_field": "us1", "n_records": 2}, {"unique_field": "us2", "n_records": 3}]

    failed_test = NodeFailure("unique_id", "fail", 2, "Got 2 results")
    failed_model = NodeFailure("stg_events", "error", None, "Syntax error")
    failures = with_keys((failed_test, failed_model), compiled_tests(RUN_RESULTS, MANIFEST), query)
    assert [failure.keys for failure in failures] == [("us1", "us2"), ()]
    assert asked == ["select *\nfrom (\nselect id from t\n) as failing_rows\nlimit 3"]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"unique_field": "us1", "n_records": 2}, "us1"),
        ({"calendar": "UTC", "activity_date": None, "n_records": 2}, "UTC/null"),
        ({"event_id": "us1", "occurred_at": None}, "us1"),
        ({"event_id": None, "magnitude": 4.5}, "4.5"),
        ({"event_id": None}, "null"),
        ({"event_id": "x" * 200}, "x" * 80),
    ],
)
def test_a_failing_row_is_named_by_its_key(row: dict[str, Any], key: str) -> None:
    assert failing_key(row) == key


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (result_of(), "dbt: 14 passed"),
        (
            result_of(NodeFailure("unique_id", "fail", 2, "Got 2 results", ("us1", "us2"))),
            "dbt: 14 passed, 1 failed: unique_id (2 rows: us1, us2)",
        ),
        (
            result_of(NodeFailure("mart", "error", None, "Syntax error at [1:2]"), passed=0),
            "dbt: 0 passed, 1 failed: mart (Syntax error at [1:2])",
        ),
        (
            result_of(*(NodeFailure(f"test_{n}", "fail", 1, "") for n in range(5))),
            "dbt: 14 passed, 5 failed: test_0 (1 row); test_1 (1 row); test_2 (1 row); 2 more",
        ),
        (
            result_of(warnings=(NodeFailure("late", "warn", 1, "Got 1 result", ("us1",)),)),
            "dbt: 14 passed, 1 warned: late (1 row: us1)",
        ),
        (
            result_of(
                NodeFailure("unique_id", "fail", 1, ""),
                warnings=(NodeFailure("late", "warn", 1, ""),),
            ),
            "dbt: 14 passed, 1 failed, 1 warned: unique_id (1 row); warned: late (1 row)",
        ),
    ],
)
def test_a_build_is_described_in_one_line(result: BuildResult, line: str) -> None:
    assert describe(result) == line
    assert str(BuildFailed(result)) == line


def test_the_environment_is_as_before_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCP_PROJECT", "before")
    monkeypatch.delenv("RAW_DATASET", raising=False)
    with (
        pytest.raises(RuntimeError),
        environment({"GCP_PROJECT": "during", "RAW_DATASET": "raw_during"}),
    ):
        assert (os.environ["GCP_PROJECT"], os.environ["RAW_DATASET"]) == ("during", "raw_during")
        raise RuntimeError
    assert os.environ["GCP_PROJECT"] == "before"
    assert "RAW_DATASET" not in os.environ
