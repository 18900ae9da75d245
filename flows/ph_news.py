"""PH news into `raw.ph_news__articles`.

How it is read: runs/extract/ph_news.py.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and ph-news/ph-news (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from core.request import Request
from flows.source import by_its_old_name, run_flow
from tasks.report import run_name


@flow(name="ph-news", flow_run_name=run_name, validate_parameters=True)
def ph_news() -> State:
    """Load what is new, within the plan's requests."""
    return run_flow("ph_news", Request())


if __name__ == "__main__":
    by_its_old_name("ph_news", "repair", "ph-news")
