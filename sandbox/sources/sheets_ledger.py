"""The tab `ledger`: its columns, its rows, what is true of them and what was ever served."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from sandbox.sources.sheets_grid import SERIAL_END, Cell, Row, text_of, trimmed

COLUMNS = (
    "id",
    "date",
    "time",
    "type",
    "item",
    "to",
    "amount",
    "currency",
    "source",
    "notes",
    "created_at",
    "updated_at",
)
# A format belongs to a column's place, whatever its header says.
FORMATS = {1: "date", 2: "time", 6: "money", 10: "datetime", 11: "datetime"}


@dataclass
class Ledger:
    """Rows below a header. `serial` is the last number given to a generated id.

    `served` are the ids of valid rows that a read has shown, in the order of their first showing.
    """

    header: Row
    rows: list[Row]
    serial: int = 0
    served: dict[str, None] = field(default_factory=dict)

    def copy(self) -> "Ledger":
        """One that can be changed without a trace in this one."""
        rows = [list(row) for row in self.rows]
        return Ledger(list(self.header), rows, self.serial, dict(self.served))

    def place(self, column: str) -> int:
        """Where the header has the column. Raises ValueError."""
        if column not in self.header:
            raise ValueError(f"the header has no column {column!r}")
        return self.header.index(column)

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

        A row without any value is no row: it says "blank row". A date is possible as a serial
        number from 1 (1899-12-31) to 9999-12-31, with or without a time of day; a text is not one.
        """
        copies = Counter(self.id_of(row) for row in self.rows)
        return [self._fault(row, copies) for row in self.rows]

    def _fault(self, row: Row, copies: Counter[str]) -> str:
        name = self.id_of(row)
        if not row:
            return "blank row"
        if not name:
            return "blank id"
        if copies[name] > 1:
            return "duplicate id"
        return "" if is_possible_date(self.get(row, "date")) else "impossible date"

    def valid(self) -> list[Row]:
        """Rows with a unique id and a possible date. Raises ValueError without those columns."""
        return [row for row, fault in zip(self.rows, self.faults(), strict=True) if not fault]

    def note_read(self) -> None:
        """The ids of valid rows count as served; none do while the header lacks id or date."""
        if {"id", "date"} <= set(self.header):
            self.served |= dict.fromkeys(self.id_of(row) for row in self.valid())

    def truth(self) -> dict[str, Any]:
        """Valid rows, refused rows with their sheet row and reason, and ids served and now gone.

        An id that stands in a refused row is present. Cells beyond the header are left out.
        Raises ValueError when the header lacks id or date.
        """
        present = {self.id_of(row) for row in self.rows}
        faults = self.faults()
        numbered = list(enumerate(zip(self.rows, faults, strict=True), start=2))
        return {
            "header": self.header,
            "rows": [self._record(row) for _, (row, fault) in numbered if not fault],
            "rejected": [
                {"row": number, "id": self.get(row, "id"), "reason": fault, "values": row}
                for number, (row, fault) in numbered
                if fault and fault != "blank row"
            ],
            "deleted": [name for name in self.served if name not in present],
        }

    def _record(self, row: Row) -> dict[str, Cell]:
        cells = row + [None] * (len(self.header) - len(row))
        return {text_of(name): cell for name, cell in zip(self.header, cells, strict=False) if name}


def is_possible_date(cell: Cell) -> TypeGuard[int | float]:
    """Whether the cell is a serial number of a day that exists; see Ledger.faults."""
    return isinstance(cell, int | float) and not isinstance(cell, bool) and 1 <= cell < SERIAL_END
