"""The build that is due: dbt runs when an applied batch is not yet in the marts."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.platform import PlatformBlocks
from core.sql import literal
from core.steps import step
from core.version import code_version
from tasks.build import BuildFailed, BuildResult, build, describe
from tasks.platform import Platform

logger = logging.getLogger("pipelines.build")


@dataclass(frozen=True)
class Due:
    """A build to run. Lines of the ledger up to `covers_applied_at` will be in it."""

    covers_applied_at: datetime


def due_build(platform: Platform, source: str) -> Due | None:
    """The build that the source's marts are waiting for, if any.

    One is due when the last batch applied or undone is not covered by a successful build of this
    code: so a run that died between load and dbt is made good by the next, and so is a changed
    model.
    """
    names = platform.warehouse.names
    with step("build.read_ledger"):
        rows = platform.warehouse.query(
            f"""
            SELECT
                (
                    SELECT MAX(applied_at) FROM {names.raw("_loads")}
                    WHERE source = {literal(source)} AND state IN ('applied', 'undone')
                ) AS last_applied_at,
                (
                    SELECT MAX(covers_applied_at) FROM {names.raw("_builds")}
                    WHERE
                        source = {literal(source)} AND state = 'succeeded'
                        AND code_version = {literal(code_version())}
                ) AS covered_at
            """,
            source=source,
            purpose="ledger",
        )
    last, covered = rows[0]["last_applied_at"], rows[0]["covered_at"]
    return Due(last) if last and (covered is None or covered < last) else None


def run_build(platform: Platform, blocks: PlatformBlocks, source: str, due: Due) -> BuildResult:
    """Build and test everything downstream of a source, and write the line to `_builds`.

    Raises BuildFailed, naming the node, when a model or a test failed; its line is written too.
    """
    with dbt_environment(blocks) as env, step("build.dbt"):
        try:
            result = build(
                f"source:{source}+",
                target_path(blocks, source),
                env,
                lambda sql: platform.warehouse.query(sql, source=source, purpose="build"),
            )
        except BuildFailed as failed:
            record_build(platform, source, due, failed.result)
            raise
    record_build(platform, source, due, result)
    return result


def record_build(platform: Platform, source: str, due: Due, result: BuildResult) -> None:
    with step("build.record"):
        platform.warehouse.insert_line(
            "_builds",
            {
                "build_id": result.build_id,
                "source": source,
                "state": "failed" if result.failures else "succeeded",
                "code_version": code_version(),
                "covers_applied_at": due.covers_applied_at,
                "nodes_passed": result.nodes_passed,
                "nodes_failed": result.nodes_failed,
                "nodes_warned": result.nodes_warned,
                "nodes_skipped": result.nodes_skipped,
                "bytes_billed": result.bytes_billed,
                "message": describe(result)[:2000],
                "started_at": result.started_at,
                "ended_at": result.ended_at,
            },
            source,
        )


@contextmanager
def dbt_environment(blocks: PlatformBlocks) -> Iterator[dict[str, str]]:
    """The variables of `dbt/profiles.yml`. The key file has mode 0600 and is gone afterwards."""
    settings = blocks.warehouse
    env = {
        "GCP_PROJECT": settings.project,
        "BIGQUERY_LOCATION": settings.location,
        "RAW_DATASET": settings.raw_dataset,
        "DBT_MAXIMUM_BYTES_BILLED": str(settings.maximum_bytes_billed),
        "GCP_SERVICE_ACCOUNT_FILE": "",
    }
    info: dict[str, Any] | None = None
    if blocks.gcp.service_account_info:
        info = blocks.gcp.service_account_info.get_secret_value()
    with tempfile.TemporaryDirectory(prefix="dbt-") as directory:
        if info:
            key_file = Path(directory) / "key.json"
            key_file.touch(mode=0o600)
            key_file.write_text(json.dumps(info))
            env["GCP_SERVICE_ACCOUNT_FILE"] = str(key_file)
        yield env


def target_path(blocks: PlatformBlocks, source: str) -> Path:
    """Where dbt keeps what it parsed: one directory per project, raw dataset and source."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings = blocks.warehouse
    return cache / "data-pipelines" / "dbt" / f"{settings.project}.{settings.raw_dataset}" / source
