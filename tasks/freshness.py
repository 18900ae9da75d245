"""The two clocks of every source, by the ledger, against the thresholds of the dbt project."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

import yaml

from core.freshness import CLOCKS, ClockName, Reading, Stroke, Threshold, read_clocks
from core.steps import step
from tasks.build import PROJECT_DIR
from tasks.platform import Platform
from tasks.verb import verb
from tasks.warehouse import CALL_TIMEOUT_SECONDS, RETRY

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
                found[source["name"]] = {clock: _threshold(declared[clock]) for clock in CLOCKS}
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{file.name}: freshness of {source['name']}: {error}") from error
    return found


def _threshold(hours: Mapping[str, float]) -> Threshold:
    return Threshold(
        warn_after=timedelta(hours=hours["warn_after_hours"]),
        error_after=timedelta(hours=hours["error_after_hours"]),
    )


@verb(name="read-freshness", retries=2, retry_delay_seconds=[5, 30])
def read_freshness(platform: Platform, sources: Collection[str]) -> list[Reading]:
    """Both clocks of each of these sources, by BigQuery's time; one small query for all.

    Only looks for what is new count: a backfill or an import of old rows makes nothing fresh.
    Raises ValueError when a source has no thresholds.
    """
    thresholds = declared_thresholds()
    if missing := sorted(set(sources) - thresholds.keys()):
        raise ValueError(f"no freshness thresholds for {', '.join(missing)}")
    warehouse = platform.warehouse
    warehouse.ensure_ledger()
    with step("freshness.read_ledger"):
        born_at = warehouse.client.get_table(
            f"{warehouse.project}.{warehouse.raw_dataset}._loads",
            retry=RETRY,
            timeout=CALL_TIMEOUT_SECONDS,
        ).created
        rows = warehouse.query(
            f"""
            SELECT clock.now, l.source, l.last_look, l.newest_event
            FROM (SELECT CURRENT_TIMESTAMP() AS now) AS clock
            LEFT JOIN (
                SELECT
                    source, MAX(applied_at) AS last_look,
                    MAX(IF(state = 'applied' AND {WRITTEN} > 0, observed_at, NULL)) AS newest_event
                FROM {warehouse.names.raw("_loads")}
                WHERE
                    mode = 'incremental'
                    AND state IN ('applied', 'looked', 'superseded', 'held')
                GROUP BY source
            ) AS l ON TRUE
            """,
            source="freshness",
            purpose="ledger",
        )
    strokes = {row["source"]: Stroke(row["last_look"], row["newest_event"]) for row in rows}
    wanted = {source: thresholds[source] for source in sources}
    return read_clocks(wanted, strokes, born_at, rows[0]["now"])
