"""Makes the build that is due, with the variables of dbt's profile, and notes it in `_builds`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from core.sql import literal
from core.steps import step
from core.version import code_version
from runs.build import BuildFailed, BuildResult, build, describe
from runs.due import BuildWindow, Due
from stores.bigquery import Warehouse
from stores.datasets import dbt_relations
from stores.federation import is_federation
from stores.settings import GoogleAccount


def run_build(warehouse: Warehouse, google: GoogleAccount, source: str, due: Due) -> BuildResult:
    """Build everything downstream of a source, test it, and write the line to `_builds`.

    What those models need besides, a seed for one, is built with them.

    Raises BuildFailed, naming the node, when a model or a test failed; its line is written too.
    Raises NotOurs, before dbt is started, when a dataset or table of its is somebody else's.
    """
    with step("build.ensure_datasets"):
        warehouse.ensure_marts(dbt_relations(warehouse.dataset_prefix))
    with dbt_environment(warehouse, google) as env, step("build.dbt"):
        try:
            result = build(
                f"@source:{source}",
                target_path(warehouse, source),
                env | window_environment(due.window),
                lambda sql: warehouse.query(sql, source=source, purpose="build"),
                suite=due.suite,
                full_refresh=due.full_refresh,
            )
        except BuildFailed as failed:
            record_build(warehouse, source, due, failed.result)
            raise
    record_build(warehouse, source, due, result)
    return result


def record_build(warehouse: Warehouse, source: str, due: Due, result: BuildResult) -> None:
    """Write the build's line. What it billed is asked of the list of jobs, which is free: dbt's own
    results have neither temporary tables nor the queries of macros.
    """
    with step("build.record"):
        billed = warehouse.billed_by_dbt(result.build_id, due.asked_at)
        warehouse.insert_line(
            "_builds",
            {
                "build_id": result.build_id,
                "source": source,
                "state": "failed" if result.failures else "succeeded",
                "code_version": code_version(),
                "dataset_prefix": warehouse.dataset_prefix,
                "suite": due.suite,
                "covers_applied_at": due.covers_applied_at,
                "asked_at": due.asked_at,
                "nodes_passed": result.nodes_passed,
                "nodes_failed": result.nodes_failed,
                "nodes_warned": result.nodes_warned,
                "nodes_skipped": result.nodes_skipped,
                "bytes_billed": billed,
                "message": describe(result)[:2000],
                "started_at": result.started_at,
                "ended_at": result.ended_at,
            },
            source,
        )


def window_environment(window: BuildWindow | None) -> dict[str, str]:
    """The variables of `dbt/macros/build_window.sql`, empty without a window."""
    names = ("AFTER", "UNTIL", "FROM", "TO")
    bounds = astuple(window) if window else [None] * len(names)
    return {
        f"DBT_WINDOW_{name}": literal(bound) if bound else ""
        for name, bound in zip(names, bounds, strict=True)
    }


@contextmanager
def dbt_environment(warehouse: Warehouse, google: GoogleAccount) -> Iterator[dict[str, str]]:
    """The variables of `dbt/profiles.yml`. The key file has mode 0600 and is gone afterwards.

    A federation's file is one that Google's own library finds, and dbt by its method `oauth`.
    """
    env = {
        "GCP_PROJECT": warehouse.project,
        "BIGQUERY_LOCATION": warehouse.location,
        "RAW_DATASET": warehouse.raw_dataset,
        "DBT_DATASET_PREFIX": warehouse.dataset_prefix,
        "DBT_MAXIMUM_BYTES_BILLED": str(warehouse.maximum_bytes_billed),
        "GCP_SERVICE_ACCOUNT_FILE": "",
    }
    info = google.content
    with tempfile.TemporaryDirectory(prefix="dbt-") as directory:
        if info:
            key_file = Path(directory) / "key.json"
            key_file.touch(mode=0o600)
            key_file.write_text(json.dumps(info))
            variable = (
                "GOOGLE_APPLICATION_CREDENTIALS"
                if is_federation(info)
                else "GCP_SERVICE_ACCOUNT_FILE"
            )
            env[variable] = str(key_file)
        yield env


def target_path(warehouse: Warehouse, source: str) -> Path:
    """Where dbt keeps what it parsed: one directory per project, datasets and source."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    datasets = ".".join(filter(None, (warehouse.raw_dataset, warehouse.dataset_prefix)))
    return cache / "data-pipelines" / "dbt" / f"{warehouse.project}.{datasets}" / source
