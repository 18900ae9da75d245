"""New York City's for-hire vehicles into `raw.nyc_fhv__vehicles`.

How it is read: runs/extract/nyc_fhv.py.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and nyc-fhv/nyc-fhv (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from core.request import Request
from flows.source import by_its_old_name, run_flow
from tasks.report import run_name


@flow(name="nyc-fhv", flow_run_name=run_name, validate_parameters=True)
def nyc_fhv(allow_deletions: bool = False) -> State:
    """Load the list if it was written anew.

    Args:
        allow_deletions: Replace the table although many of its rows are gone from the list, or it
            is not what the table declares.
    """
    return run_flow("nyc_fhv", Request(allow_deletions=allow_deletions))


if __name__ == "__main__":
    by_its_old_name("nyc_fhv", "repair", "nyc-fhv")
