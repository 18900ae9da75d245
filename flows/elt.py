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
from flows.finance import finance
from flows.nyc_fhv import nyc_fhv
from flows.openweather import openweather
from flows.ph_news import ph_news
from flows.usgs_earthquake import usgs_earthquake
from tasks.build import BuildFailed, describe
from tasks.due import due_build, run_build
from tasks.platform import connect
from tasks.report import is_on_schedule, run_name

Source = Literal["usgs-earthquake", "openweather", "ph-news", "nyc-fhv", "finance"]


class EltFailed(Exception):
    """The load, the build or both failed; the message has each cause."""


@flow(name="elt", flow_run_name=run_name, validate_parameters=True)
def elt(
    source: Source,
    start: date | None = None,
    end: date | None = None,
    allow_deletions: bool = False,
) -> State:
    """Load a source, then build and test its marts if anything is new in them.

    Args:
        source: The source to load.
        start: First day to load again (usgs-earthquake only); leave empty to load what is new.
        end: Last day to load again.
        allow_deletions: Give up as many rows as are gone from the source (finance and nyc-fhv).
    """
    loaded = load_source(source, start, end, allow_deletions)
    blocks = load_blocks()
    platform = connect(blocks)
    name = source.replace("-", "_")
    built = "marts up to date"
    failures: list[BaseException] = []
    if not loaded.is_completed():
        failures.append(cast(BaseException, get_state_exception(loaded)))
    try:
        # Also after a failed load: what is good of it is in, and an earlier run may have died here.
        if due := due_build(platform, name, on_schedule=is_on_schedule()):
            built = describe(run_build(platform, blocks, name, due))
    except BuildFailed as failed:
        failures.append(failed)
    finally:
        platform.warehouse.flush_jobs(name)
    if failures:
        causes = [f"{type(failure).__name__}: {failure}" for failure in failures]
        raise EltFailed("; ".join(causes)) from failures[0]
    return Completed(message=f"{loaded.message}; {built}")


def load_source(
    source: Source, start: date | None, end: date | None, allow_deletions: bool
) -> State:
    """Run a source's flow and return its final state.

    Raises ValueError for a range or a permission that the source has no use for.
    """
    if (start or end) and source != "usgs-earthquake":
        raise ValueError(f"{source} cannot be asked for a range of days")
    if allow_deletions and source not in ("finance", "nyc-fhv"):
        raise ValueError(f"{source} has no deletions to allow")
    state: State
    match source:
        case "usgs-earthquake":
            state = usgs_earthquake(start=start, end=end, return_state=True)
        case "openweather":
            state = openweather(return_state=True)
        case "ph-news":
            state = ph_news(return_state=True)
        case "nyc-fhv":
            state = nyc_fhv(allow_deletions=allow_deletions, return_state=True)
        case "finance":
            state = finance(allow_deletions=allow_deletions, return_state=True)
    return state
