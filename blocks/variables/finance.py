"""What `.env` says of the finance ledger."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, HttpUrl

from blocks.source import LANDING_GCS, LandingName
from blocks.variables import SourceVariables, Wrong


def _sheet(text: str) -> str:
    # As gspread finds the id in it, which takes half a second to import.
    if text and not re.search(r"/spreadsheets/d/[a-zA-Z0-9-_]+|key=[^&#]+", text):
        raise ValueError(
            "is not the address of a Google sheet, which a browser shows as "
            "https://docs.google.com/spreadsheets/d/..."
        )
    return text


class Variables(SourceVariables):
    """The credentials that read the sheet are those of BigQuery."""

    needs: ClassVar[tuple[str, ...]] = ("finance_sheet_url",)

    google_sheets_base_url: HttpUrl = HttpUrl("https://sheets.googleapis.com")
    finance_sheet_url: Annotated[str, AfterValidator(_sheet)] = ""
    finance_worksheet: str = "data"
    finance_landing: LandingName = LANDING_GCS
    finance_newest_event_warn_hours: float = Field(default=12, gt=0, le=87_600)
    finance_newest_event_fail_hours: float = Field(default=24, gt=0, le=87_600)

    def faults(self) -> list[Wrong]:
        warn, fail = self.finance_newest_event_warn_hours, self.finance_newest_event_fail_hours
        if warn < fail:
            return []
        told = f"must be less than FINANCE_NEWEST_EVENT_FAIL_HOURS, which is {fail:g}"
        return [("finance_newest_event_warn_hours", told)]
