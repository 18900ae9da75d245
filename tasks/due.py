"""The build that is due: dbt runs when an applied batch is not yet in the marts, and once per local
day where they run up to today. The first one of a day runs every test, the others those of keys."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from blocks.platform import PlatformBlocks
from core.sql import literal
from core.steps import step
from core.version import code_version
from tasks.build import PROJECT_DIR, BuildFailed, BuildResult, Suite, build, describe
from tasks.platform import Platform

logger = logging.getLogger("pipelines.build")

# The owner's day, which dbt/macros/manila_today.sql ends with.
DAY_OF = "Asia/Manila"


# From the clock's being asked to dbt's start, at most: a query and the parsing of a manifest.
BEFORE_BUILD = timedelta(minutes=5)


@dataclass(frozen=True)
class BuildWindow:
    """What a build has to take in: rows applied after `after` and not after `until`.

    They lie and lay between `earliest` and `latest`, by the time by which their table is
    partitioned.
    """

    after: datetime
    until: datetime
    earliest: datetime
    latest: datetime


@dataclass(frozen=True)
class Due:
    """A build to run. Lines of the ledger up to `covers_applied_at` will be in it.

    `asked_at` is BigQuery's clock before it begins. `full_refresh` is for what increments would not
    notice: other models, and rows that an undo took away. Without a `window` the models ask their
    tables what is new in them.
    """

    covers_applied_at: datetime
    asked_at: datetime
    suite: Suite = "whole"
    full_refresh: bool = False
    window: BuildWindow | None = None


def due_build(platform: Platform, source: str, *, on_schedule: bool = False) -> Due | None:
    """The build that the source's marts are waiting for, if any.

    One is due when the last batch applied or undone is not covered by a successful build of this
    code: so a run that died between load and dbt is made good by the next, and so is a changed
    model. Models that follow the calendar are also due when none was built on the current day in
    Manila, by BigQuery's clock: a quiet source's marts end today all the same.

    Every test is due once per day in Manila: until such a build succeeded, and for a batch that
    only the tests of keys have seen, on the next day also when nothing is new.

    To a run that came `on_schedule` a new batch alone is no reason before the source's
    `build_every_hours` have passed since the last build was asked for. It waits for the next run,
    also for one that finds nothing new.
    """
    state = _builds_so_far(platform, source)
    last, covered, proved = (
        state[name] for name in ("last_applied_at", "covered_at", "whole_covered_at")
    )
    if last is None:
        return None
    is_covered = covered is not None and covered >= last
    is_proved = state["is_whole_of_today"] or (proved is not None and proved >= last)
    is_current = state["is_of_today"] or not follows_calendar(source)
    if is_covered and is_proved and is_current:
        return None
    undone = state["last_undone_at"]
    is_other = covered is None or (undone is not None and undone > covered)
    suite: Suite = "keys" if state["is_whole_of_today"] and not is_other else "whole"
    if on_schedule and suite == "keys" and is_current and _may_wait(source, state):
        return None
    window = None if is_other else _window(state)
    return Due(last, state["asked_at"], suite, full_refresh=is_other, window=window)


def operations_due(platform: Platform) -> Due:
    """The build of the marts over the ledger: due whenever it is asked for, as every run writes."""
    state = _builds_so_far(platform, "operations")
    suite: Suite = "keys" if state["is_whole_of_today"] else "whole"
    return Due(state["asked_at"], state["asked_at"], suite)


def _may_wait(source: str, state: Mapping[str, Any]) -> bool:
    """Whether the last build succeeded, fewer hours ago than the source's builds lie apart."""
    asked, last, failed = (state[name] for name in ("asked_at", "last_asked_at", "last_failed_at"))
    every = timedelta(hours=declared(source).get("build_every_hours", 0))
    return clock_hour(asked) - clock_hour(last) < every and (failed is None or failed < last)


def _window(state: Mapping[str, Any]) -> BuildWindow | None:
    """What the lines of the ledger that wait for a build tell together; None if one tells nothing.

    Also None when a batch was applied while the last build ran: of a row that both wrote, the build
    saw the later state, left it to the next one, and the model still has it where it lay before.
    """
    bounds = [state[name] for name in ("covered_at", "last_applied_at", "earliest", "latest")]
    if None in bounds or state["is_one_unbounded"] or state["is_one_overtaken"]:
        return None
    return BuildWindow(*bounds)


def _builds_so_far(platform: Platform, source: str) -> dict[str, Any]:
    """What the ledger says of the source's batches and of the builds of this code."""
    names = platform.warehouse.names
    with step("build.read_ledger"):
        (row,) = platform.warehouse.query(
            f"""
            WITH batches AS (
                SELECT state, applied_at, touched_from, touched_to
                FROM {names.raw("_loads")}
                WHERE source = {literal(source)} AND state IN ('applied', 'undone')
            ),
            tried AS (
                SELECT
                    state, suite, covers_applied_at, asked_at,
                    -- By BigQuery's clock, and not too early; of the worker's only the length.
                    TIMESTAMP_ADD(
                        asked_at,
                        INTERVAL IFNULL(TIMESTAMP_DIFF(ended_at, started_at, SECOND), 0)
                            + {int(BEFORE_BUILD.total_seconds())} SECOND
                    ) AS over_at
                FROM {names.raw("_builds")}
                WHERE source = {literal(source)} AND code_version = {literal(code_version())}
            ),
            applied AS (
                SELECT
                    MAX(applied_at) AS last_applied_at,
                    MAX(IF(state = 'undone', applied_at, NULL)) AS last_undone_at
                FROM batches
            ),
            builds AS (
                SELECT
                    MAX(covers_applied_at) AS covered_at,
                    MAX(asked_at) AS last_asked_at,
                    MAX(IF(suite = 'whole', covers_applied_at, NULL)) AS whole_covered_at,
                    MAX(IF(suite = 'whole', asked_at, NULL)) AS whole_asked_at
                FROM tried
                WHERE state = 'succeeded'
            ),
            failed AS (
                SELECT MAX(asked_at) AS last_failed_at FROM tried WHERE state = 'failed'
            ),
            waiting AS (
                SELECT
                    MIN(touched_from) AS earliest,
                    MAX(touched_to) AS latest,
                    COUNTIF(touched_from IS NULL OR touched_to IS NULL) > 0 AS is_one_unbounded
                FROM batches CROSS JOIN builds
                WHERE applied_at > covered_at
            ),
            overtaken AS (
                SELECT COUNT(*) > 0 AS is_one_overtaken
                FROM tried CROSS JOIN builds CROSS JOIN batches
                WHERE
                    over_at >= last_asked_at
                    AND applied_at > covers_applied_at AND applied_at <= over_at
            )
            SELECT
                CURRENT_TIMESTAMP() AS asked_at,
                last_applied_at,
                last_undone_at,
                covered_at,
                last_asked_at,
                last_failed_at,
                whole_covered_at,
                IFNULL(
                    DATE(last_asked_at, '{DAY_OF}') = CURRENT_DATE('{DAY_OF}'), FALSE
                ) AS is_of_today,
                IFNULL(
                    DATE(whole_asked_at, '{DAY_OF}') = CURRENT_DATE('{DAY_OF}'), FALSE
                ) AS is_whole_of_today,
                earliest,
                latest,
                is_one_unbounded,
                is_one_overtaken
            FROM
                applied CROSS JOIN builds CROSS JOIN failed CROSS JOIN waiting CROSS JOIN overtaken
            """,
            source=source,
            purpose="ledger",
        )
    return row


def clock_hour(moment: datetime) -> datetime:
    """So that a run that starts some minutes late does not put off the next one by an hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def follows_calendar(source: str) -> bool:
    """Whether models run up to today: `follows_calendar` in the meta of the dbt source.

    Declared, since dbt takes seconds to tell; tests/dbt_project compares it with the graph.
    """
    return bool(declared(source).get("follows_calendar"))


def declared(source: str) -> dict[str, Any]:
    """The meta of the dbt source; empty when there is no such source."""
    for file in (PROJECT_DIR / "models" / "staging").rglob(f"_{source}__sources.yml"):
        for one in yaml.safe_load(file.read_text())["sources"]:
            return dict(one.get("config", {}).get("meta", {}))
    return {}


def build_to_continue(platform: Platform, source: str, due: Due) -> str | None:
    """The id of the failed build that only has to be taken up where it failed, if there is one.

    It must be the source's last, of this code, of the same day in Manila, and over the same rows:
    then what passed would come out the same. One that was itself taken up is not taken up again,
    so that somebody who mends a table by hand gets it built anew by the second run at the latest.
    """
    rows = platform.warehouse.query(
        f"""
        SELECT
            build_id, state, code_version, covers_applied_at, continues,
            IFNULL(
                DATE(asked_at, '{DAY_OF}') = CURRENT_DATE('{DAY_OF}'), FALSE
            ) AS is_of_today
        FROM {platform.warehouse.names.raw("_builds")}
        WHERE source = {literal(source)}
        ORDER BY asked_at DESC, started_at DESC
        LIMIT 1
        """,
        source=source,
        purpose="ledger",
    )
    if not rows:
        return None
    (last,) = rows
    is_same = (
        last["state"] == "failed"
        and last["continues"] is None
        and last["is_of_today"]
        and last["code_version"] == code_version()
        and last["covers_applied_at"] == due.covers_applied_at
    )
    return str(last["build_id"]) if is_same else None


def run_build(platform: Platform, blocks: PlatformBlocks, source: str, due: Due) -> BuildResult:
    """Build everything downstream of a source, test it, and write the line to `_builds`.

    What those models need besides, a seed for one, is built with them. After a build that failed,
    over the same rows, it goes on with the nodes that failed or were skipped.

    Raises BuildFailed, naming the node, when a model or a test failed; its line is written too.
    """
    with step("build.read_ledger"):
        continues = build_to_continue(platform, source, due)
    with dbt_environment(blocks) as env, step("build.dbt"):
        try:
            result = build(
                f"@source:{source}",
                target_path(blocks, source),
                env | window_environment(due.window),
                lambda sql: platform.warehouse.query(sql, source=source, purpose="build"),
                suite=due.suite,
                full_refresh=due.full_refresh,
                continues=continues,
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
                "suite": due.suite,
                "covers_applied_at": due.covers_applied_at,
                "asked_at": due.asked_at,
                "nodes_passed": result.nodes_passed,
                "nodes_failed": result.nodes_failed,
                "nodes_warned": result.nodes_warned,
                "nodes_skipped": result.nodes_skipped,
                "bytes_billed": result.bytes_billed,
                "continues": result.continues,
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
