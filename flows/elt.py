"""A source's flow, then the dbt build that is due: what the deployments `elt/<source>` run.

Requires: the blocks of the source's flow.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, get_state_exception
from pydantic import AfterValidator, ValidationInfo

from blocks.platform import load_platform
from core.errors import NamedFailure, StoreFailed, state_name_of
from core.names import flow_of, source_of
from core.schema import Table
from flows.days import Day
from runs.build import BuildFailed, describe
from runs.dbt_build import run_build
from runs.due import due_build
from runs.serve import announce_build, serve_marts
from sources import SOURCES
from sources.tables import table_of
from stores.errors import store_failures
from stores.platform import connect
from tasks.report import failed, is_on_schedule, run_name

if TYPE_CHECKING:
    Source = str
else:
    # The form in Prefect's UI has a list of them.
    Source = Literal[*map(flow_of, SOURCES)]
T = TypeVar("T")


def takes_days(table: Table) -> bool:
    return table.takes_days


def may_lose_rows(table: Table) -> bool:
    return table.is_whole


def only_of(takes: Callable[[Table], bool], told: str) -> Any:
    """A parameter that sources of other tables have no use for."""

    def check(value: T, info: ValidationInfo) -> T:
        source = info.data.get("source")
        if value and source and not takes(table_of(source_of(source))):
            raise ValueError(f"{source} {told}")
        return value

    return AfterValidator(check)


DayOfRange = Annotated[Day, only_of(takes_days, "cannot be asked for a range of days")]
Deletions = Annotated[bool, only_of(may_lose_rows, "has no deletions to allow")]


class EltFailed(NamedFailure):
    """The load, the build or both failed; the message has each cause."""


@flow(name="elt", flow_run_name=run_name, validate_parameters=True)
def elt(
    source: Source,
    start: DayOfRange = None,
    end: DayOfRange = None,
    allow_deletions: Deletions = False,
) -> State:
    """Load a source, then build and test its marts if anything is new in them.

    Args:
        source: The source to load.
        start: First day to load again, of a source that has days; empty: what is new.
        end: Last day to load again.
        allow_deletions: Give up as many rows as are gone from a source that is read whole.
    """
    loaded = load_source(source, start, end, allow_deletions)
    blocks = load_platform()
    platform = connect(blocks)
    name = source_of(source)
    built = "marts up to date"
    failures: list[BaseException] = []
    if not loaded.is_completed():
        failures.append(cast(BaseException, get_state_exception(loaded)))
    try:
        # Also after a failed load: what is good of it is in, and an earlier run may have died here.
        with store_failures(name, "build"):
            # The run knows what was applied of late, which is not asked for twice.
            changes = loaded.result() if loaded.is_completed() else None
            if due := due_build(
                platform.warehouse, name, on_schedule=is_on_schedule(), changes=changes
            ):
                announce_build(blocks, name)
                built = describe(run_build(platform.warehouse, blocks.google, name, due))
        if shown := serve_marts(platform, blocks, name):
            built = f"{built}; {shown}"
    except (BuildFailed, StoreFailed) as failure:
        failures.append(failure)
    try:
        with store_failures(name, "account of jobs"):
            platform.warehouse.flush_jobs(name)
    except StoreFailed as failure:
        failures.append(failure)
    if failures:
        causes = "; ".join(f"{type(failure).__name__}: {failure}" for failure in failures)
        failed_elt = EltFailed(causes, state_name_of(failures))
        failed_elt.__cause__ = failures[0]
        return failed(failed_elt)
    return Completed(message=f"{loaded.message}; {built}")


def load_source(
    source: Source, start: date | None, end: date | None, allow_deletions: bool
) -> State:
    """Run a source's flow and return its final state.

    Only its own module is imported: what the others need takes time and memory.
    """
    name, parameters = source_of(source), dict[str, Any]()
    table = table_of(name)
    if takes_days(table):
        parameters |= {"start": start, "end": end}
    if may_lose_rows(table):
        parameters |= {"allow_deletions": allow_deletions}
    load: Flow[..., State] = getattr(import_module(f"flows.{name}"), name)
    return load(**parameters, return_state=True)
