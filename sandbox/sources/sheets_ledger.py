"""The tab `data`: its columns, its rows, what is true of them and what was ever served."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox.sources.sheets_grid import Cell, Row, kept_rows, text_of, trimmed
from sandbox.sources.sheets_truth import as_loaded

COLUMNS = (
    "id",
    "year",
    "month",
    "day",
    "item",
    "type",
    "cost",
    "to",
    "store",
    "source",
    "created_at",
    "updated_at",
)
# How a column shows its numbers.
FORMATS = {"cost": "money", "created_at": "datetime", "updated_at": "datetime"}


def formats_of(columns: Iterable[Cell]) -> dict[int, str]:
    """A format belongs to a column's place, whatever its header says later."""
    names = [text_of(name).strip() for name in columns]
    return {place: FORMATS[name] for place, name in enumerate(names) if name in FORMATS}


@dataclass
class Ledger:
    """Rows below a header. `serial` is the last number given to a generated id.

    `served` are the ids of valid rows that a read has shown, in the order of their first showing.
    """

    header: Row
    rows: list[Row]
    formats: dict[int, str]
    serial: int = 0
    served: dict[str, None] = field(default_factory=dict)

    def set(self, rows: list[Row]) -> None:
        """The whole tab, its first row being the header. Raises ValueError."""
        self.header, *self.rows = kept_rows(rows) or [[]]

    def names(self) -> list[str]:
        """The header as a reader sees it, without outer blanks."""
        return [text_of(name).strip() for name in self.header]

    def place(self, column: str) -> int:
        """Where the header has the column. Raises ValueError."""
        names = self.names()
        if column not in names:
            raise ValueError(f"the header has no column {column!r}")
        return names.index(column)

    def get(self, row: Row, column: str) -> Cell:
        """A cell of a row; a row may be shorter than the header. Raises ValueError."""
        place = self.place(column)
        return row[place] if place < len(row) else None

    def put(self, row: Row, column: str, value: Cell) -> None:
        """Change a cell of a row. Raises ValueError."""
        place = self.place(column)
        row += [None] * (place + 1 - len(row))
        row[place] = value
        row[:] = trimmed(row)

    def row_of(self, entry: dict[str, Cell]) -> Row:
        """An entry's cells in the order of the header."""
        return trimmed([entry.get(name) for name in self.names()])

    def id_of(self, row: Row) -> str:
        """The row's id as text; empty when it is blank or white space. Raises ValueError."""
        text = text_of(self.get(row, "id"))
        return text if text.strip() else ""

    def with_id(self, name: str) -> list[Row]:
        """The rows with this id, in sheet order. Raises ValueError when there is none."""
        found = [row for row in self.rows if self.id_of(row) == name]
        if not found:
            raise ValueError(f"no row has the id {name!r}")
        return found

    def faults(self) -> list[str]:
        """Why each row is not to be loaded, empty when it is valid; in sheet order.

        A row without any value is no row: it says "blank row".
        """
        copies = Counter(self.id_of(row) for row in self.rows)
        return [self._fault(row, copies) for row in self.rows]

    def _fault(self, row: Row, copies: Counter[str]) -> str:
        name = self.id_of(row)
        if not row:
            return "blank row"
        if not name:
            return "blank id"
        return "duplicate id" if copies[name] > 1 else ""

    def valid(self) -> list[Row]:
        """Rows with a unique id. Raises ValueError without that column."""
        return [row for row, fault in zip(self.rows, self.faults(), strict=True) if not fault]

    def note_read(self) -> None:
        """The ids of valid rows count as served; none do while the header lacks id."""
        if "id" in self.names():
            self.served |= dict.fromkeys(self.id_of(row) for row in self.valid())

    def truth(self) -> dict[str, Any]:
        """Valid rows, refused rows with their sheet row and reason, and ids served and now gone.

        `loaded` are both as the raw table should have them. An id of a refused row is present.
        Raises ValueError when the header lacks id.
        """
        present = {self.id_of(row) for row in self.rows}
        numbered = list(enumerate(zip(self.rows, self.faults(), strict=True), start=2))
        names = self.names()
        return {
            "header": self.header,
            "rows": [self._record(row) for _, (row, fault) in numbered if not fault],
            "loaded": [as_loaded(names, row) for _, (row, fault) in numbered if not fault],
            "rejected": [
                {
                    "row": number,
                    "id": self.get(row, "id"),
                    "reason": fault,
                    "values": row,
                    "loaded": as_loaded(names, row),
                }
                for number, (row, fault) in numbered
                if fault and fault != "blank row"
            ],
            "deleted": [name for name in self.served if name not in present],
        }

    def _record(self, row: Row) -> dict[str, Cell]:
        """Cells by the header's names; those without a name are left out."""
        cells = row + [None] * (len(self.header) - len(row))
        return {name: cell for name, cell in zip(self.names(), cells, strict=False) if name}
