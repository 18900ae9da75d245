"""The finance ledger, a tab of a Google sheet, as a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from google.auth.exceptions import GoogleAuthError
from prefect_gcp import GcpCredentials
from pydantic import Field, HttpUrl
from requests import RequestException

from blocks.asking import SECONDS, Check, Fault, account
from blocks.google import GoogleSession
from blocks.source import SourceBlock
from blocks.urls import join

if TYPE_CHECKING:
    from blocks.variables.finance import Variables

SHEETS_SCOPE = "https://www.googleapis.com/auth/spreadsheets.readonly"


class Finance(SourceBlock):
    """Where the ledger is kept. The sheet is shared with the service account for reading."""

    _block_type_name = "Finance ledger"
    _block_type_slug = "finance"
    _description = "A tab of a Google sheet, read by the flow finance."

    base_url: HttpUrl = Field(
        default=HttpUrl("https://sheets.googleapis.com"),
        description="Address of the Sheets API; a path prefix is kept.",
    )
    sheet_url: str = Field(description="Address of the sheet, as a browser shows it.")
    worksheet: str = Field(default="data", description="Title of the tab.")
    newest_event_warn_hours: float = Field(
        default=12, gt=0, description="Without a new or changed entry for so long, it is late."
    )
    newest_event_fail_hours: float = Field(
        default=24, gt=0, description="Without one for so long, it is stale: an alert."
    )
    gcp_credentials: GcpCredentials = Field(description="The service account that reads it.")

    @classmethod
    def from_settings(cls, settings: Variables, google: GcpCredentials) -> Self:
        return cls(
            base_url=settings.google_sheets_base_url,
            sheet_url=settings.finance_sheet_url,
            worksheet=settings.finance_worksheet,
            newest_event_warn_hours=settings.finance_newest_event_warn_hours,
            newest_event_fail_hours=settings.finance_newest_event_fail_hours,
            gcp_credentials=google,
            landing=settings.finance_landing,
        )

    def checks(self) -> list[tuple[str, Check]]:
        return [("the sheet", self.try_sheet)]

    def newest_event_hours(self) -> tuple[float, float]:
        return self.newest_event_warn_hours, self.newest_event_fail_hours

    def try_sheet(self) -> None:
        """Raises Fault when the account may not read the tab, or there is none."""
        # Half a second that no run pays.
        from gspread.exceptions import NoValidUrlKeyFound
        from gspread.utils import absolute_range_name, extract_id_from_url

        try:
            key = extract_id_from_url(self.sheet_url)
        except NoValidUrlKeyFound as error:
            raise Fault("FINANCE_SHEET_URL is not the address of a Google sheet") from error
        who = account(self.gcp_credentials)
        try:
            credentials: Any = self.gcp_credentials.get_credentials_from_service_account()
            if hasattr(credentials, "with_scopes"):
                credentials = credentials.with_scopes([SHEETS_SCOPE])
            first_row = f"{absolute_range_name(self.worksheet)}!1:1"
            with GoogleSession(credentials) as session:
                book = join(self.base_url, f"v4/spreadsheets/{key}")
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


BLOCK = Finance
