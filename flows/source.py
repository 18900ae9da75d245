"""The flow of a source: one run of it, as its saved blocks say.

Requires: the platform's blocks and the source's (`python -m blocks.register`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from pydantic import AfterValidator, Field, ValidationInfo

from blocks.platform import load_platform
from blocks.sources import load_settings
from core.batch import check_range
from core.names import flow_of
from core.request import Request, days
from runs.extract import run
from sources.settings import settings_of
from stores.platform import connect
from tasks.report import final_state, run_name


def in_order(day: date | None, info: ValidationInfo) -> date | None:
    """The first or the last day of a range that can be. Raises ValueError."""
    start = day if info.field_name == "start" else info.data.get("start")
    end = day if info.field_name == "end" else None
    check_range(start, end, datetime.now(UTC).date())
    return day


# A day of a flow's range. By the pattern the server refuses a run of anything else at once.
Day = Annotated[
    date | None,
    AfterValidator(in_order),
    Field(json_schema_extra={"pattern": r"^\d{4}-\d{2}-\d{2}$"}),
]


@cache
def source_flow(source: str) -> Flow[..., State]:
    """The flow of this name. It imports what its own source needs, not what the others do."""

    @flow(name=flow_of(source), flow_run_name=run_name, validate_parameters=True)
    def load(start: Day = None, end: Day = None, allow_deletions: bool = False) -> State:
        """Load what is new in a source, or a range of days again.

        Args:
            start: First day (UTC) to load again, of a source that has days.
            end: Last day (UTC) to load again.
            allow_deletions: Accept any number of deletions, of a source that is read whole.
        """
        api = load_settings(settings_of(source), source)
        platform = connect(load_platform(), api.landing)
        request = Request(*days(start, end), allow_deletions=allow_deletions)
        return final_state(run(platform, source, api, request))

    return load
