"""The finance ledger, a tab of a Google sheet, as a block."""

from __future__ import annotations

from prefect_gcp import GcpCredentials
from pydantic import Field, HttpUrl

from blocks.source import SourceBlock


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
