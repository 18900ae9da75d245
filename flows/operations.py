"""The marts over the platform's own ledger: what the deployment `elt/operations` runs.

There is nothing to extract: `_loads`, `_rejects`, `_jobs`, `_builds`, `_requests` and `_fields` are
written by the runs of the sources, and each build reads all of them. So its cron alone decides
how often.

Requires: the platform's blocks (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.platform import load_platform
from runs.due import operations_due
from runs.serve import build_and_serve
from stores.platform import connect

SOURCE = "operations"


@flow(name="elt", flow_run_name="elt operations")
def operations() -> State:
    """Build and test the marts over the ledger."""
    blocks = load_platform()
    platform = connect(blocks)
    platform.warehouse.ensure_ledger()
    try:
        due = operations_due(platform.warehouse)
        built = build_and_serve(platform, blocks, SOURCE, due)
    finally:
        platform.warehouse.flush_jobs(SOURCE)
    return Completed(message=built)
