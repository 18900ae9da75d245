"""A source's flow, then the dbt build that is due: what the deployments `elt/<source>` run.

Requires: the blocks of the source's flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, get_state_exception
from pydantic import AfterValidator, ValidationInfo

from blocks.platform import load_platform
from core.errors import NamedFailure, StoreFailed, state_name_of
from core.names import flow_of, source_of
from flows.source import Day, source_flow
from runs.build import BuildFailed
from runs.due import due_build
from runs.serve import build_and_serve
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


def only_if(flag: str, told: str) -> AfterValidator:
    """A parameter that only sources have a use for whose table has this flag."""

    def check(value: T, info: ValidationInfo) -> T:
        source = info.data.get("source")
        if value and source and not getattr(table_of(source_of(source)), flag):
            raise ValueError(f"{source} {told}")
        return value

    return AfterValidator(check)


DayOfRange = Annotated[Day, only_if("takes_days", "cannot be asked for a range of days")]
Deletions = Annotated[bool, only_if("is_whole", "has no deletions to allow")]


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
        allow_deletions: Accept any number of deletions, of a source that is read whole.
    """
    name = source_of(source)
    loaded: State[Any] = source_flow(name)(start, end, allow_deletions, return_state=True)
    blocks = load_platform()
    platform = connect(blocks)
    failures: list[BaseException] = []
    if not loaded.is_completed():
        failures.append(cast(BaseException, get_state_exception(loaded)))
    try:
        # Also after a failed load: what is good of it is in, and an earlier run may have died here.
        with store_failures(name, "build"):
            # The run knows what was applied of late, which is not asked for twice.
            changes = loaded.result() if loaded.is_completed() else None
            on_schedule = is_on_schedule()
            due = due_build(platform.warehouse, name, on_schedule=on_schedule, changes=changes)
            built = build_and_serve(platform, blocks, name, due)
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
