"""The work pool of the worker, as `prefect work-pool create NAME --type process` makes it.

The command itself lets the server ask GitHub for the registry of worker types.
"""

import sys

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.process import ProcessWorker


def create(name: str) -> None:
    """The pool exists, is of type process and has the installed version's job template."""
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
    with get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=True)


if __name__ == "__main__":
    create(sys.argv[1])
