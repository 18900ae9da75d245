"""The two clocks of every source, by the ledger, against the thresholds of the dbt project."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import yaml

from alerting.freshness import WORDS, ClockName, LastSeen, Reading, Threshold, read_clocks
from core.steps import step
from core.task import task
from runs.build import PROJECT_DIR
from stores.bigquery import Warehouse
from stores.cursor import RECENT_DAYS
from stores.platform import Platform

# Rows that a line brought: whatever it changed in the raw table.
WRITTEN = "inserted + updated + deleted + superseded_ids + absent + replaced"


def declared_thresholds() -> dict[str, dict[ClockName, Threshold]]:
    """`freshness` in the meta of every dbt source that has one.

    Raises ValueError that names the source when a clock is missing or makes no sense.
    """
    found: dict[str, dict[ClockName, Threshold]] = {}
    for file in sorted((PROJECT_DIR / "models" / "staging").rglob("_*__sources.yml")):
        for source in yaml.safe_load(file.read_text())["sources"]:
            declared = source.get("config", {}).get("meta", {}).get("freshness")
            if declared is None:
                continue
            try:
                found[source["name"]] = {clock: _threshold(declared[clock]) for clock in WORDS}
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{file.name}: freshness of {source['name']}: {error}") from error
    return found


def _threshold(hours: Mapping[str, float]) -> Threshold:
    return Threshold(
        warn_after=timedelta(hours=hours["warn_after_hours"]),
        error_after=timedelta(hours=hours["error_after_hours"]),
    )


@task(name="read-freshness", retries=2, retry_delay_seconds=[5, 30])
def read_freshness(
    platform: Platform,
    sources: Collection[str],
    configured: Mapping[str, Mapping[ClockName, Threshold]] | None = None,
) -> list[Reading]:
    """Both clocks of each of these sources, by BigQuery's time; one small query for all.

    It is asked of recent lines, and once more, of all, when a clock is older than these.

    Thresholds that are `configured` win over those that the dbt sources declare.

    Only looks for what is new count: a backfill or an import of old rows makes nothing fresh. What
    was observed in the future by its source's clock is the newest event until the next one, also
    when that was stamped, in whole seconds, within the second in which it was written down.
    Raises ValueError when a source has no thresholds.
    """
    thresholds = declared_thresholds()
    if missing := sorted(set(sources) - thresholds.keys()):
        raise ValueError(f"no freshness thresholds for {', '.join(missing)}")
    warehouse = platform.warehouse
    warehouse.ensure_ledger()
    with step("freshness.read_ledger"):
        born_at = warehouse.table(warehouse.raw_id("_loads")).created
        for recent in (True, False):
            now, last_seen = read_last_seen(warehouse, is_recent=recent)
            oldest = now - timedelta(days=RECENT_DAYS)
            newest = [last_seen.get(one, {}).get(clock) for one in sources for clock in WORDS]
            if all(at and at > oldest for at in newest):
                break  # no older line can say anything else
    own = configured or {}
    wanted = {source: {**thresholds[source], **own.get(source, {})} for source in sources}
    return read_clocks(wanted, last_seen, born_at, now)


def read_last_seen(
    warehouse: Warehouse, *, is_recent: bool
) -> tuple[datetime, dict[str, LastSeen]]:
    """BigQuery's time, and the clocks of every source; `is_recent` leaves out older lines."""
    bound = (
        f"AND applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {RECENT_DAYS} DAY)"
        if is_recent
        else ""
    )
    rows = warehouse.query(
        f"""
        SELECT
            CURRENT_TIMESTAMP() AS now, CAST(NULL AS STRING) AS source,
            CAST(NULL AS TIMESTAMP) AS last_look, CAST(NULL AS TIMESTAMP) AS newest_event
        UNION ALL
        SELECT
            CURRENT_TIMESTAMP(), looks.source, MAX(looks.applied_at),
            MAX_BY(
                looks.event_at,
                IF(
                    looks.event_at <= looks.applied_at,
                    looks.event_at,
                    TIMESTAMP_SUB(
                        TIMESTAMP_TRUNC(looks.applied_at, SECOND), INTERVAL 1 MICROSECOND
                    )
                )
            )
        FROM (
            SELECT
                source, applied_at,
                IF(state = 'applied' AND {WRITTEN} > 0, observed_at, NULL) AS event_at
            FROM {warehouse.names.raw("_loads")}
            WHERE
                mode = 'incremental' AND state IN ('applied', 'no_change', 'superseded', 'held')
                {bound}
        ) AS looks
        GROUP BY looks.source
        """,
        source="freshness",
        purpose="ledger",
    )
    return rows[0]["now"], {row["source"]: {clock: row[clock] for clock in WORDS} for row in rows}
