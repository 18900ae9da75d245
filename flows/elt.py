"""A source's flow, then the dbt build that is due: what the deployments `elt/<source>` run.

Requires: the blocks of the source's flow.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, get_state_exception

from blocks.platform import load_blocks
from flows.usgs_earthquake import usgs_earthquake
from tasks.build import BuildFailed, describe
from tasks.due import due_build, run_build
from tasks.platform import connect
from tasks.report import run_name


class EltFailed(Exception):
    """The load, the build or both failed; the message has each cause."""


SOURCES = {"usgs-earthquake": usgs_earthquake}


@flow(name="elt", flow_run_name=run_name, validate_parameters=True)
def elt(
    source: Literal["usgs-earthquake"], start: date | None = None, end: date | None = None
) -> State:
    """Load a source, then build and test its marts if anything is new in them.

    Args:
        source: The source to load.
        start: First day to load again (backfill); leave empty to load what is new.
        end: Last day to load again.
    """
    loaded: State = SOURCES[source](start=start, end=end, return_state=True)
    blocks = load_blocks()
    platform = connect(blocks)
    name = source.replace("-", "_")
    built = "marts up to date"
    failures: list[BaseException] = []
    if not loaded.is_completed():
        failures.append(cast(BaseException, get_state_exception(loaded)))
    try:
        # Also after a failed load: what is good of it is in, and an earlier run may have died here.
        if due := due_build(platform, name):
            built = describe(run_build(platform, blocks, name, due))
    except BuildFailed as failed:
        failures.append(failed)
    finally:
        platform.warehouse.flush_jobs(name)
    if failures:
        raise EltFailed("; ".join(str(failure) for failure in failures)) from failures[0]
    return Completed(message=f"{loaded.message}; {built}")
