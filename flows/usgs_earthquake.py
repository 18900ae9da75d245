"""USGS earthquakes into `raw.usgs_earthquake__events`.

How it is read: runs/extract/usgs_earthquake.py.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and usgs-earthquake/usgs-earthquake (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from core.request import Request, days
from flows.days import Day
from flows.source import by_its_old_name, run_flow
from tasks.report import run_name


@flow(name="usgs-earthquake", flow_run_name=run_name, validate_parameters=True)
def usgs_earthquake(start: Day = None, end: Day = None) -> State:
    """Load what changed, or backfill a range of event days (UTC).

    Args:
        start: First day of events to read again; leave empty to load what changed.
        end: Last day of events to read again.
    """
    return run_flow("usgs_earthquake", Request(*days(start, end)))


if __name__ == "__main__":
    by_its_old_name("usgs_earthquake", "repair", "usgs-earthquake")
