"""The build that is due: dbt runs when an applied batch is not yet in the marts, and once per local
day where they run up to today. The first one of a day runs every test, the others those of keys."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from core.ledger import Changes
from core.sql import literal
from core.steps import step
from core.version import code_version
from stores.datasets import dbt_relations
from stores.federation import is_federation
from stores.settings import PlatformSettings
from tasks.build import PROJECT_DIR, BuildFailed, BuildResult, Suite, build, describe
from tasks.ledger import read_changes
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


@dataclass(frozen=True)
class Built:
    """What the ledger says of the builds of this code, into these datasets; None for never.

    `late` are those that were running when the last one that succeeded was asked for, or later: up
    to when lines of the ledger were in before each began, and when it was over.
    """

    asked_at: datetime
    covered_at: datetime | None
    whole_covered_at: datetime | None
    last_asked_at: datetime | None
    last_failed_at: datetime | None
    is_of_today: bool
    is_whole_of_today: bool
    late: tuple[tuple[datetime, datetime], ...] = ()

    @property
    def known_until(self) -> datetime | None:
        """From when on the ledger has to be known; None when only its last line counts."""
        if self.covered_at is None:
            return None
        return min(self.covered_at, *(covered_at for covered_at, _ in self.late))


def due_build(
    platform: Platform,
    source: str,
    *,
    on_schedule: bool = False,
    changes: Changes | None = None,
) -> Due | None:
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

    `changes` is what the run knows of the source's batches; where it does not reach back to the
    last build, the ledger is asked.
    """
    built = _builds_so_far(platform, source)
    since = built.known_until
    if changes is None or since is None or changes.since > since:
        with step("build.read_ledger"):
            changes = read_changes(platform.warehouse, source, since)
    covered, proved = built.covered_at, built.whole_covered_at
    if covered is None and not changes.listed:
        return None
    last = changes.last_at if covered is None else max(covered, changes.last_at)
    is_covered = covered is not None and covered >= last
    is_proved = built.is_whole_of_today or (proved is not None and proved >= last)
    is_current = built.is_of_today or not follows_calendar(source)
    if is_covered and is_proved and is_current:
        return None
    is_other = covered is None or any(
        change.state == "undone" and change.applied_at > covered for change in changes.listed
    )
    suite: Suite = "keys" if built.is_whole_of_today and not is_other else "whole"
    if on_schedule and suite == "keys" and is_current and _may_wait(source, built):
        return None
    window = None if is_other else _window(built, changes)
    return Due(last, built.asked_at, suite, full_refresh=is_other, window=window)


def operations_due(platform: Platform) -> Due:
    """The build of the marts over the ledger: due whenever it is asked for, as every run writes."""
    built = _builds_so_far(platform, "operations")
    suite: Suite = "keys" if built.is_whole_of_today else "whole"
    return Due(built.asked_at, built.asked_at, suite)


def _may_wait(source: str, built: Built) -> bool:
    """Whether the last build succeeded, fewer hours ago than the source's builds lie apart."""
    last, failed = built.last_asked_at, built.last_failed_at
    every = timedelta(hours=declared(source).get("build_every_hours", 0))
    return (
        last is not None
        and clock_hour(built.asked_at) - clock_hour(last) < every
        and (failed is None or failed < last)
    )


def _window(built: Built, changes: Changes) -> BuildWindow | None:
    """What the lines of the ledger that wait for a build tell together; None if one tells nothing.

    Also None when a batch was applied while the last build ran: of a row that both wrote, the build
    saw the later state, left it to the next one, and the model still has it where it lay before.
    """
    covered = built.covered_at
    waiting = [one for one in changes.listed if covered and one.applied_at > covered]
    is_overtaken = any(
        covered_at < change.applied_at <= over_at
        for covered_at, over_at in built.late
        for change in changes.listed
    )
    starts = [one.touched_from for one in waiting if one.touched_from]
    ends = [one.touched_to for one in waiting if one.touched_to]
    is_unbounded = min(len(starts), len(ends)) < len(waiting)
    if covered is None or not waiting or is_unbounded or is_overtaken:
        return None
    return BuildWindow(covered, changes.last_at, min(starts), max(ends))


def _builds_so_far(platform: Platform, source: str) -> Built:
    """One question of `_builds`: a row for all of them, and one for each that is late."""
    with step("build.read_ledger"):
        rows = platform.warehouse.query(
            f"""
            WITH tried AS (
                SELECT
                    state, suite, covers_applied_at, asked_at,
                    -- By BigQuery's clock, and not too early; of the worker's only the length.
                    TIMESTAMP_ADD(
                        asked_at,
                        INTERVAL IFNULL(TIMESTAMP_DIFF(ended_at, started_at, SECOND), 0)
                            + {int(BEFORE_BUILD.total_seconds())} SECOND
                    ) AS over_at
                FROM {platform.warehouse.names.raw("_builds")}
                WHERE
                    source = {literal(source)} AND code_version = {literal(code_version())}
                    AND IFNULL(dataset_prefix, '')
                        = {literal(platform.warehouse.dataset_prefix)}
            ),
            builds AS (
                SELECT
                    MAX(IF(state = 'succeeded', covers_applied_at, NULL)) AS covered_at,
                    MAX(IF(state = 'succeeded', asked_at, NULL)) AS last_asked_at,
                    MAX(IF(state = 'failed', asked_at, NULL)) AS last_failed_at,
                    MAX(
                        IF(state = 'succeeded' AND suite = 'whole', covers_applied_at, NULL)
                    ) AS whole_covered_at,
                    MAX(
                        IF(state = 'succeeded' AND suite = 'whole', asked_at, NULL)
                    ) AS whole_asked_at
                FROM tried
            )
            SELECT
                CURRENT_TIMESTAMP() AS asked_at,
                covered_at,
                whole_covered_at,
                last_asked_at,
                last_failed_at,
                IFNULL(
                    DATE(last_asked_at, '{DAY_OF}') = CURRENT_DATE('{DAY_OF}'), FALSE
                ) AS is_of_today,
                IFNULL(
                    DATE(whole_asked_at, '{DAY_OF}') = CURRENT_DATE('{DAY_OF}'), FALSE
                ) AS is_whole_of_today,
                CAST(NULL AS TIMESTAMP) AS late_covered_at,
                CAST(NULL AS TIMESTAMP) AS late_over_at
            FROM builds
            UNION ALL
            SELECT
                CURRENT_TIMESTAMP(), covered_at, whole_covered_at, last_asked_at, last_failed_at,
                FALSE, FALSE, tried.covers_applied_at, tried.over_at
            FROM tried CROSS JOIN builds
            WHERE tried.over_at >= last_asked_at
            """,
            source=source,
            purpose="ledger",
        )
    late = [(row.pop("late_covered_at"), row.pop("late_over_at")) for row in rows]
    (summary,) = (row for row, (_, over_at) in zip(rows, late, strict=True) if over_at is None)
    return Built(**summary, late=tuple(one for one in late if None not in one))


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
            IFNULL(dataset_prefix, '') AS dataset_prefix,
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
        and last["dataset_prefix"] == platform.warehouse.dataset_prefix
        and last["covers_applied_at"] == due.covers_applied_at
    )
    return str(last["build_id"]) if is_same else None


def run_build(platform: Platform, blocks: PlatformSettings, source: str, due: Due) -> BuildResult:
    """Build everything downstream of a source, test it, and write the line to `_builds`.

    What those models need besides, a seed for one, is built with them. After a build that failed,
    over the same rows, it goes on with the nodes that failed or were skipped.

    Raises BuildFailed, naming the node, when a model or a test failed; its line is written too.
    Raises NotOurs, before dbt is started, when a dataset or table of its is somebody else's.
    """
    with step("build.ensure_datasets"):
        platform.warehouse.ensure_marts(dbt_relations(platform.warehouse.dataset_prefix))
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
    """Write the build's line. What it billed is asked of the list of jobs, which is free: dbt's own
    results have neither temporary tables nor the queries of macros.
    """
    with step("build.record"):
        billed = platform.warehouse.billed_by_dbt(result.build_id, due.asked_at)
        platform.warehouse.insert_line(
            "_builds",
            {
                "build_id": result.build_id,
                "source": source,
                "state": "failed" if result.failures else "succeeded",
                "code_version": code_version(),
                "dataset_prefix": platform.warehouse.dataset_prefix,
                "suite": due.suite,
                "covers_applied_at": due.covers_applied_at,
                "asked_at": due.asked_at,
                "nodes_passed": result.nodes_passed,
                "nodes_failed": result.nodes_failed,
                "nodes_warned": result.nodes_warned,
                "nodes_skipped": result.nodes_skipped,
                "bytes_billed": billed,
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
def dbt_environment(blocks: PlatformSettings) -> Iterator[dict[str, str]]:
    """The variables of `dbt/profiles.yml`. The key file has mode 0600 and is gone afterwards.

    A federation's file is one that Google's own library finds, and dbt by its method `oauth`.
    """
    settings = blocks.warehouse
    env = {
        "GCP_PROJECT": settings.project,
        "BIGQUERY_LOCATION": settings.location,
        "RAW_DATASET": settings.raw_dataset,
        "DBT_DATASET_PREFIX": settings.dataset_prefix,
        "DBT_MAXIMUM_BYTES_BILLED": str(settings.maximum_bytes_billed),
        "GCP_SERVICE_ACCOUNT_FILE": "",
    }
    info: dict[str, Any] | None = None
    if blocks.google.info:
        info = json.loads(blocks.google.info.get_secret_value())
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


def target_path(blocks: PlatformSettings, source: str) -> Path:
    """Where dbt keeps what it parsed: one directory per project, datasets and source."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings = blocks.warehouse
    datasets = ".".join(filter(None, (settings.raw_dataset, settings.dataset_prefix)))
    return cache / "data-pipelines" / "dbt" / f"{settings.project}.{datasets}" / source
