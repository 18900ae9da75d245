"""How fresh every source is: what the deployment `dbt-freshness/hourly` checks.

Two clocks per source, from the ledger: when it was last looked at, and when it last brought
anything. Their thresholds are those of the dbt sources (`meta.freshness`), except where a block has
its own (finance: its newest event).

Requires: the platform's blocks (`python -m blocks.register`). A source without a block does not
run here, and is not expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from alerting.freshness import (
    ARTIFACT,
    WORDS,
    ClockName,
    Reading,
    StaleSource,
    Threshold,
    in_words,
    summary,
)
from alerting.read_freshness import read_freshness
from blocks.platform import load_platform
from blocks.sources import load_sources
from runs.serve import publish_status
from serving.status import FRESHNESS
from sources.settings import SourceSettings
from stores.platform import connect
from tasks.report import failed


@flow(name="dbt-freshness", flow_run_name="dbt-freshness")
def dbt_freshness() -> State:
    """Fail when a source is stale; name those that are late."""
    shared = load_platform()
    platform = connect(shared)
    blocks = load_sources()
    try:
        readings = read_freshness(platform, blocks, thresholds_of(blocks))
    finally:
        platform.warehouse.flush_jobs("freshness")
    publish_status(shared, {FRESHNESS: as_status(readings)})
    message = summary(readings)
    create_table_artifact(as_rows(readings), key=ARTIFACT, description=message)
    if any(reading.status == "error" for reading in readings):
        return failed(StaleSource(message))
    return Completed(message=message)


def thresholds_of(
    blocks: Mapping[str, SourceSettings],
) -> dict[str, dict[ClockName, Threshold]]:
    """The thresholds that blocks have of their own."""
    return {
        source: {"newest_event": Threshold(*(timedelta(hours=span) for span in hours))}
        for source, block in blocks.items()
        if (hours := block.newest_event_hours())
    }


def as_rows(readings: Iterable[Reading]) -> list[dict[str, str]]:
    """The artifact: a row per source and clock, times in UTC. `stale_sources` reads it."""
    return [
        {
            "source": reading.source,
            "clock": WORDS[reading.clock],
            "at (UTC)": f"{reading.at:%Y-%m-%d %H:%M}" if reading.at else "never",
            "age": in_words(reading.age),
            "warn after": in_words(reading.threshold.warn_after),
            "error after": in_words(reading.threshold.error_after),
            "status": reading.status,
            "lateness": reading.lateness,
        }
        for reading in readings
    ]


def as_status(readings: Iterable[Reading]) -> list[dict[str, Any]]:
    """Rows of FRESHNESS: one per source, of both clocks."""
    now, rows = datetime.now(UTC), dict[str, dict[str, Any]]()
    for reading in readings:
        row = rows.setdefault(reading.source, {"source": reading.source, "checked_at": now})
        is_look = reading.clock == "last_look"
        row["last_look_at" if is_look else "newest_event_at"] = reading.at
        row["look_state" if is_look else "event_state"] = reading.status
    return list(rows.values())
