"""The logs of finished runs, copied to the bucket: what the deployment `run-logs/weekly` runs.

From 60 days after a run's end on its log is in `<project>.<raw dataset>/_logs/` of the landing
bucket, by days, private as all of that bucket is. Prefect keeps the run for 90 days, and for longer
while there is no copy: a run is removed only when it was found in one.

Requires: the platform's blocks (`python -m blocks.register`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed

from alerting.run_logs import Copied, copy_logs, expire_logs, remove_runs
from blocks.platform import load_platform
from stores.platform import connect


class LogsNotCopied(Exception):
    """Some day's logs could not be copied, or read again; their runs stay in Prefect."""


@flow(name="run-logs", flow_run_name="run logs")
def run_logs() -> State:
    """Copy the logs of finished runs, and remove runs and copies that are past their retention.

    Raises LandingError when the bucket cannot be listed, LogsNotCopied after all else was done.
    """
    platform = connect(load_platform())
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        copied = copy_logs(platform, client, now)
        removed = remove_runs(platform, client, now, copied)
    expired = expire_logs(platform, now)
    message = describe(copied, removed, expired)
    if copied.failed:
        reasons = "; ".join(f"{day}: {reason}" for day, reason in copied.failed.items())
        raise LogsNotCopied(f"{reasons} ({message})")
    return Completed(message=message)


def describe(copied: Copied, removed: int, expired: int) -> str:
    return (
        f"{copied.lines:,} lines of {copied.runs:,} runs copied in {copied.days:,} objects"
        f" ({copied.bytes / 1e6:,.1f} MB); {removed:,} runs removed from Prefect,"
        f" {expired:,} copies expired"
    )
