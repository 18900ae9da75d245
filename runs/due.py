"""The build that is due: dbt runs when an applied batch is not yet in the marts, and once per local
day where they run up to today. The first one of a day runs every test, the others those of keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import yaml

from core.ledger import Changes
from core.sql import literal
from core.steps import step
from core.version import code_version
from runs.build import PROJECT_DIR, Suite
from stores.bigquery import Warehouse
from stores.ledger import read_changes

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
    warehouse: Warehouse,
    source: str,
    *,
    on_schedule: bool = False,
    changes: Changes | None = None,
) -> Due | None:
    """The build that the source's marts are waiting for, if any.

    One is due when the last batch applied or undone is not covered by a successful build of this
    code: so a run that died between load and dbt is completed by the next, and so is a changed
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
    built = _builds_so_far(warehouse, source)
    since = built.known_until
    if changes is None or since is None or changes.since > since:
        with step("build.read_ledger"):
            changes = read_changes(warehouse, source, since)
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


def operations_due(warehouse: Warehouse) -> Due:
    """The build of the marts over the ledger: due whenever it is asked for, as every run writes."""
    built = _builds_so_far(warehouse, "operations")
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


def _builds_so_far(warehouse: Warehouse, source: str) -> Built:
    """One question of `_builds`: a row for all of them, and one for each that is late."""
    with step("build.read_ledger"):
        rows = warehouse.query(
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
                FROM {warehouse.names.raw("_builds")}
                WHERE
                    source = {literal(source)} AND code_version = {literal(code_version())}
                    AND IFNULL(dataset_prefix, '')
                        = {literal(warehouse.dataset_prefix)}
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
