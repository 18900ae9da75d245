"""A range of days, as a flow's parameters name it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from core.batch import check_range


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
