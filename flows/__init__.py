"""One file per source and per job, each read top to bottom. Tasks are Prefect's in a flow run."""

import tasks.prefect_tasks  # noqa: F401
