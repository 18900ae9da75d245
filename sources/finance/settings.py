"""What a run of the finance ledger is configured with."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar

from google.auth.exceptions import GoogleAuthError
from pydantic import AfterValidator, HttpUrl, ValidationInfo, field_validator
from requests import RequestException

from sources.settings import SourceSettings, base_url, landing
from stores.asking import SECONDS, Check, Fault, name_of
from stores.google import GoogleSession, credentials_for
from stores.settings import GoogleAccount, LandingName
from stores.variables import variable

SHEETS_SCOPE = "https://www.googleapis.com/auth/spreadsheets.readonly"


def _sheet(text: str) -> str:
    # As gspread finds the id in it, which takes half a second to import.
    if text and not re.search(r"/spreadsheets/d/[a-zA-Z0-9-_]+|key=[^&#]+", text):
        raise ValueError(
            "is not the address of a Google sheet, which a browser shows as "
            "https://docs.google.com/spreadsheets/d/..."
        )
    return text


class Finance(SourceSettings):
    """Where the ledger is kept. The sheet is shared with the service account for reading."""

    title: ClassVar[str] = "Finance ledger"
    about: ClassVar[str] = "A tab of a Google sheet, read by the flow finance."
    needs_google: ClassVar[bool] = True

    base_url: HttpUrl = base_url("GOOGLE_SHEETS_BASE_URL", "https://sheets.googleapis.com")
    landing: LandingName = landing("FINANCE_LANDING")
    sheet_url: Annotated[str, AfterValidator(_sheet)] = variable(
        "FINANCE_SHEET_URL", "Address of the sheet, as a browser shows it."
    )
    worksheet: str = variable("FINANCE_WORKSHEET", "Title of the tab.", default="data")
    newest_event_fail_hours: float = variable(
        "FINANCE_NEWEST_EVENT_FAIL_HOURS",
        "Without one for so long, it is stale: an alert.",
        default=24,
        gt=0,
        le=87_600,
    )
    newest_event_warn_hours: float = variable(
        "FINANCE_NEWEST_EVENT_WARN_HOURS",
        "Without a new or changed entry for so long, it is late.",
        default=12,
        gt=0,
        le=87_600,
        validate_default=True,
    )

    @field_validator("newest_event_warn_hours")
    @classmethod
    def _late_before_stale(cls, warn: float, info: ValidationInfo) -> float:
        if warn >= (fail := info.data.get("newest_event_fail_hours", math.inf)):
            raise ValueError(
                f"must be less than FINANCE_NEWEST_EVENT_FAIL_HOURS, which is {fail:g}"
            )
        return warn

    def checks(self, google: GoogleAccount) -> list[tuple[str, Check]]:
        return [("the sheet", lambda: self.try_sheet(google))]

    def newest_event_hours(self) -> tuple[float, float]:
        return self.newest_event_warn_hours, self.newest_event_fail_hours

    def try_sheet(self, google: GoogleAccount) -> None:
        """Raises Fault when the account may not read the tab, or there is none."""
        # Half a second that no run pays.
        from gspread.exceptions import NoValidUrlKeyFound
        from gspread.utils import absolute_range_name, extract_id_from_url

        try:
            key = extract_id_from_url(self.sheet_url)
        except NoValidUrlKeyFound as error:
            raise Fault("FINANCE_SHEET_URL is not the address of a Google sheet") from error
        who = name_of(google)
        try:
            credentials = credentials_for(google)
            if hasattr(credentials, "with_scopes"):
                credentials = credentials.with_scopes([SHEETS_SCOPE])
            first_row = f"{absolute_range_name(self.worksheet)}!1:1"
            with GoogleSession(credentials) as session:
                book = self.address(f"v4/spreadsheets/{key}")
                response = session.get(f"{book}/values/{first_row}", timeout=SECONDS)
                there = ""
                if response.status_code == 400:
                    there = titles(session.get(book, timeout=SECONDS))
        except (GoogleAuthError, RequestException) as error:
            raise Fault(f"Google does not answer {who} ({type(error).__name__})") from error
        status = response.status_code
        if status == 403:
            raise Fault(
                f"share the sheet with {who} as a viewer, and let the Google Sheets API be on"
            )
        if status == 404:
            raise Fault("FINANCE_SHEET_URL: there is no such sheet")
        if status == 400:
            raise Fault(
                f"FINANCE_WORKSHEET={self.worksheet}: the sheet has no tab of this title{there}"
            )
        if not response.ok:
            raise Fault(f"Google Sheets answers HTTP {status}")


def titles(response: Any) -> str:
    """The titles of a spreadsheet's tabs, as a remedy; empty where Google does not tell them."""
    if not response.ok:
        return ""
    sheets = response.json().get("sheets", [])
    return f"; it has {', '.join(repr(sheet['properties']['title']) for sheet in sheets)}"


SETTINGS = Finance
