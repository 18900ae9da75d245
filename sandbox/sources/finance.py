"""The Google Sheets stand-in: one world with its control and its truth."""

from typing import Any

from pydantic import Field

from sandbox.sources import sheets_api
from sandbox.sources.faults import Response
from sandbox.sources.sheets_changes import apply
from sandbox.sources.sheets_generator import generate
from sandbox.sources.sheets_grid import Cell, Row, Tab
from sandbox.sources.sheets_ledger import COLUMNS, Ledger
from sandbox.sources.world import Change, ControlError, Recipe, Request, World

# The service in the addresses of its worlds.
SERVICE = "sheets"
MINUTE_MS = 60_000
NOTES: list[Row] = [
    ["How this ledger is kept"],
    [],
    ["CASH IN", "the fee, not the money"],
    ["updated_at", "changes when somebody thinks of it"],
]


class SheetsRecipe(Recipe):
    """What a world is a function of. A read of changed content stands among the changes."""

    size: int = Field(default=400, ge=0, le=50_000)
    columns: list[Cell] = Field(default=list(COLUMNS))
    # All that the tab has, its header first, in place of what is generated.
    rows: list[Row] | None = None
    untidy: bool = False
    reads_per_minute: int | None = None
    is_shared: bool = True


class SheetsWorld(World[SheetsRecipe, Ledger]):
    """A spreadsheet with a ledger that people edit."""

    recipe_type = SheetsRecipe

    def start(self) -> Ledger:
        one = self.recipe
        size = one.size if one.rows is None else 0
        ledger = generate(one.seed, size, one.anchor_ms, one.columns, one.untidy)
        if one.rows is not None:
            ledger.set(one.rows)
        return ledger

    def apply(self, content: Ledger, change: Change) -> dict[str, Any]:
        return apply(content, self.recipe.seed, change)

    def forget(self) -> None:
        self.read_minute = self.reads = 0

    def answer(self, request: Request) -> Response:
        """The API's answer. Ids that it shows count as served, whatever a fault makes of it."""
        ledger = self.content
        tabs = [
            Tab(sheets_api.LEDGER, 0, [ledger.header, *ledger.rows], ledger.formats),
            Tab("notes", 1_234_567_890, NOTES, {}),
        ]
        response, shows_ledger = sheets_api.answer(
            request, tabs, is_shared=self.recipe.is_shared, count_read=self._count_read
        )
        if shows_ledger and [change.action for change in self.recipe.changes[-1:]] != ["read"]:
            self.change("read")
        return response

    def truth(self) -> dict[str, Any]:
        """What a perfect copy must say now. Raises ControlError while the id is missing."""
        try:
            return self.content.truth()
        except ValueError as error:
            raise ControlError(409, str(error)) from None

    def state(self) -> dict[str, Any]:
        """The recipe, and the numbers of the ledger's rows and of what was changed in it."""
        changes = sum(change.action != "read" for change in self.recipe.changes)
        return {**super().state(), "changes": changes, "rows": len(self.content.rows)}

    def do_set(self, rows: list[Row]) -> dict[str, Any]:
        """The whole tab, its first row being the header."""
        return self.change("set", {"rows": rows})

    def do_append(self, rows: list[Row]) -> dict[str, Any]:
        return self.change("append", {"rows": rows})

    def do_edit(self, id: Cell, column: str, value: Cell) -> dict[str, Any]:
        """The first row with the id; `updated_at` stays as it is."""
        return self.change("edit", {"id": id, "column": column, "value": value})

    def do_delete(self, ids: list[Cell]) -> dict[str, Any]:
        """Every row with one of the ids."""
        return self.change("delete", {"ids": ids})

    def do_header(self, values: Row) -> dict[str, Any]:
        return self.change("header", {"values": values})

    def do_duplicate(self, id: Cell) -> dict[str, Any]:
        """A copy of the first row with the id, at the end."""
        return self.change("duplicate", {"id": id})

    def do_share(self, shared: bool = True) -> None:
        """Whether the service account may read the spreadsheet."""
        self.recipe.is_shared = shared

    def _count_read(self) -> None:
        """One more read in this minute of the world's clock. Raises Refusal beyond the quota.

        Refused reads do not count; a restart forgets the count.
        """
        quota, minute = self.recipe.reads_per_minute, self.now_ms() // MINUTE_MS
        if minute != self.read_minute:
            self.read_minute, self.reads = minute, 0
        if quota is not None and self.reads >= quota:
            raise sheets_api.quota_error(quota)
        self.reads += 1


WORLD = SheetsWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "GOOGLE_SHEETS_BASE_URL": url,
        "FINANCE_SHEET_URL": "https://docs.google.com/spreadsheets/d/sandbox-ledger/edit",
        "FINANCE_WORKSHEET": "data",
    }
