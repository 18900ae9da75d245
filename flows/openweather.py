"""Current weather of OpenWeather into `raw.openweather__observations`.

How it is read: runs/extract/openweather.py.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and openweather/openweather (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from core.request import Request
from flows.source import by_its_old_name, run_flow
from tasks.report import run_name


@flow(name="openweather", flow_run_name=run_name, validate_parameters=True)
def openweather() -> State:
    """Load the current weather of every configured location."""
    return run_flow("openweather", Request())


if __name__ == "__main__":
    by_its_old_name("openweather", "repair", "openweather")
