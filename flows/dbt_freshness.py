"""How fresh every source is: what the deployment `dbt-freshness/hourly` checks.

Two clocks per source, from the ledger: when it was last looked at, and when it last brought
anything. Their thresholds stand with the dbt sources (`meta.freshness`).

Requires: the platform's blocks (`python -m blocks.register`). A source without a block is not
configured, and not expected.
"""

from __future__ import annotations

from collections.abc import Iterable

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.finance import Finance
from blocks.nyc_fhv import NycFhv
from blocks.openweather import OpenWeather
from blocks.ph_news import PhNews
from blocks.platform import load_blocks, load_if_saved
from blocks.source import SourceBlock
from blocks.usgs_earthquake import UsgsEarthquake
from core.freshness import WORDS, Reading, StaleSource, in_words, summary
from tasks.freshness import read_freshness
from tasks.platform import connect

SOURCES: dict[str, type[SourceBlock]] = {
    "usgs_earthquake": UsgsEarthquake,
    "openweather": OpenWeather,
    "ph_news": PhNews,
    "nyc_fhv": NycFhv,
    "finance": Finance,
}


@flow(name="dbt-freshness", flow_run_name="dbt-freshness")
def dbt_freshness() -> State:
    """Fail when a source is stale; name those that are late."""
    platform = connect(load_blocks())
    configured = [
        source
        for source, block_type in SOURCES.items()
        if load_if_saved(block_type, source.replace("_", "-"))
    ]
    try:
        readings = read_freshness(platform, configured)
    finally:
        platform.warehouse.flush_jobs("freshness")
    message = summary(readings)
    create_table_artifact(as_rows(readings), key="freshness", description=message)
    if any(reading.status == "error" for reading in readings):
        raise StaleSource(message)
    return Completed(message=message)


def as_rows(readings: Iterable[Reading]) -> list[dict[str, str]]:
    """The artifact: a row per source and clock, times in UTC."""
    return [
        {
            "source": reading.source,
            "clock": WORDS[reading.clock],
            "at (UTC)": f"{reading.at:%Y-%m-%d %H:%M}" if reading.at else "never",
            "age": in_words(reading.age),
            "warn after": in_words(reading.threshold.warn_after),
            "error after": in_words(reading.threshold.error_after),
            "status": reading.status,
        }
        for reading in readings
    ]
