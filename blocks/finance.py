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
    worksheet: str = Field(default="ledger", description="Title of the tab.")
    gcp_credentials: GcpCredentials = Field(description="The service account that reads it.")
