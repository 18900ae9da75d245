"""The finance ledger into `raw.finance__ledger`.

How it is read: runs/extract/finance.py.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and finance/finance (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from core.request import Request
from flows.source import by_its_old_name, run_flow
from tasks.report import run_name


@flow(name="finance", flow_run_name=run_name, validate_parameters=True)
def finance(allow_deletions: bool = False) -> State:
    """Load the ledger as it stands.

    Args:
        allow_deletions: Mark entries deleted that are gone from the sheet, however many they are.
    """
    return run_flow("finance", Request(allow_deletions=allow_deletions))


if __name__ == "__main__":
    by_its_old_name("finance", "repair", "finance")
