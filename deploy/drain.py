"""No new run starts in a pool, and those at work have ended.

    python -m deploy.drain vm --seconds 300
    python -m deploy.drain vm --resume

Pausing a pool keeps its scheduled runs: they start, late, when it is resumed.
"""

from __future__ import annotations

import argparse
import sys
import time

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from deploy.reap import unfinished_runs
from tasks.server import server_url

POLL_SECONDS = 1.0


def drain(client: SyncPrefectClient, pool: str, seconds: float) -> list[str]:
    """Pause the pool and wait; the names of the runs that still had not ended then."""
    client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
    deadline = time.monotonic() + seconds
    while runs := unfinished_runs(client, pool):
        if time.monotonic() > deadline:
            return [run.name for run in runs]
        time.sleep(POLL_SECONDS)
    return []


def main() -> int:
    """1 when runs were left, or the server or the pool was missing."""
    parser = argparse.ArgumentParser(prog="python -m deploy.drain", description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--resume", action="store_true", help="let runs start again")
    options = parser.parse_args()
    if not (api := server_url()):
        return 1
    try:
        with get_client(sync_client=True) as client:
            if options.resume:
                client.update_work_pool(options.pool, WorkPoolUpdate(is_paused=False))
                return 0
            left = drain(client, options.pool, options.seconds)
    except ObjectNotFound:
        print(f"there is no work pool {options.pool!r}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"{api}: {error}", file=sys.stderr)
        return 1
    if left:
        print(f"still at work after {options.seconds:.0f} s: {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
