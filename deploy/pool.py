"""The work pool of this project's deployments, of the type that WORK_POOL_TYPE names.

    python -m deploy.pool vm

`process`, the default, runs flows on the worker's own machine; `cloud-run-v2` has the worker start
a Cloud Run job for each. Only the pool differs: the deployments, the code and the worker's command
stay. Variables of the second: CLOUD_RUN_IMAGE, CLOUD_RUN_REGION, CLOUD_RUN_SERVICE_ACCOUNT,
CLOUD_RUN_API_URL (where a job finds the Prefect API), CLOUD_RUN_AUTH_SECRET (the secret in Secret
Manager that holds its PREFECT_API_AUTH_STRING; no secret is in the pool itself).

`prefect work-pool create` would let the server ask GitHub for the registry of worker types.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.process import ProcessWorker

from tasks.server import server_url

# The heaviest run, a dbt build, takes about 400 MiB; Cloud Run gives half a core at least with it.
MEMORY, CPU, TIMEOUT_SECONDS = "1Gi", "1000m", 3600


class PoolError(ValueError):
    """The variables do not describe a pool; the message names them."""


def pool(name: str, variables: Mapping[str, str]) -> WorkPoolCreate:
    """The pool that the variables describe. Raises PoolError."""
    kind = variables.get("WORK_POOL_TYPE") or "process"
    if kind == "process":
        template = process_template(variables)
    elif kind == "cloud-run-v2":
        template = cloud_run_template(variables)
    else:
        raise PoolError(f"WORK_POOL_TYPE={kind}: it must be process or cloud-run-v2")
    return WorkPoolCreate(name=name, type=kind, base_job_template=template)


def process_template(variables: Mapping[str, str]) -> dict[str, Any]:
    """The installed version's template, whose runs are one process each.

    Without a command, Prefect 3.8.8 starts a second process for each run that prepares its folder,
    takes 1.5 s for it, and stays with its 85 MB until the run ends. Nothing is to be prepared here:
    the flow's own process goes to PIPELINES_HOME.
    """
    home = variables.get("PIPELINES_HOME")
    python = f"{home}/.venv/bin/python" if home else sys.executable
    template: dict[str, Any] = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["command"]["default"] = f"{python} -m prefect.engine"
    return template


def cloud_run_template(variables: Mapping[str, str]) -> dict[str, Any]:
    """The installed version's template with this project's defaults. Raises PoolError."""
    # Google's discovery client takes a second to import, which the other type need not pay.
    from prefect_gcp.workers.cloud_run_v2 import CloudRunWorkerV2

    wanted = ("IMAGE", "REGION", "SERVICE_ACCOUNT", "API_URL", "AUTH_SECRET")
    given = {name: variables.get(f"CLOUD_RUN_{name}", "") for name in wanted}
    if missing := [f"CLOUD_RUN_{name}" for name, value in given.items() if not value]:
        raise PoolError(f"WORK_POOL_TYPE=cloud-run-v2 needs {', '.join(missing)}")
    defaults = {
        "image": given["IMAGE"],
        "region": given["REGION"],
        "service_account_name": given["SERVICE_ACCOUNT"],
        "env": {"PREFECT_API_URL": given["API_URL"], "PREFECT_LOGGING_EXTRA_LOGGERS": "pipelines"},
        "prefect_api_auth_string_secret": {"secret": given["AUTH_SECRET"], "version": "latest"},
        "cpu": CPU,
        "memory": MEMORY,
        "timeout": TIMEOUT_SECONDS,
        "max_retries": 0,  # a run that failed is the next schedule's, as on the VM
        "launch_stage": "GA",
    }
    template: dict[str, Any] = CloudRunWorkerV2.get_default_base_job_template()
    properties = template["variables"]["properties"]
    for name, value in defaults.items():
        properties[name]["default"] = value
    return template


def create(name: str, variables: Mapping[str, str]) -> str:
    """The pool exists as the variables describe it; its type. Raises PoolError.

    A pool of the other type must be deleted first, which deletes its queues: the message says so.
    """
    wanted = pool(name, variables)
    with get_client(sync_client=True) as client:
        standing = next((one for one in client.read_work_pools() if one.name == name), None)
        if standing and standing.type != wanted.type:
            raise PoolError(
                f"work pool {name!r} is of type {standing.type}, not {wanted.type}: stop its"
                f" worker, then prefect work-pool delete {name}, then repeat this"
            )
        client.create_work_pool(wanted, overwrite=True)
    return wanted.type


def main() -> int:
    if not server_url():
        return 1
    try:
        kind = create(sys.argv[1], os.environ)
    except PoolError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"work pool {sys.argv[1]!r} is of type {kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
