"""The finance ledger: how it loads, and what a tab of cells becomes.

Every read is the whole tab. Facts on cells (ragged rows, serial numbers, unformatted values) from
Google's Sheets v4 reference, https://developers.google.com/sheets/api/reference/rest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core import values
from core.errors import SourceError
from core.rows import Record
from core.schema import Column, Table, fingerprint
from core.values import as_json

SOURCE = "finance"


def cell_text(value: object) -> str:
    """A cell as text: 7 for 7.0, TRUE for true, every text as it was typed."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else values.text(value)


def money(value: object) -> object:
    """A number cell to the digit; an amount typed as text is not guessed at."""
    if isinstance(value, str):
        raise ValueError("an amount typed as text")
    return values.numeric(value)


TABLE = Table(
    source=SOURCE,
    name="finance__ledger",
    key=("id",),
    write="snapshot",
    columns=(
        Column("id", "STRING", "The entry's id, as typed.", cell_text),
        Column("date", "FLOAT64", "Day of the entry, in days since 1899-12-30."),
        Column("time", "FLOAT64", "Time of day, as a fraction of a day."),
        Column("type", "STRING", "EXPENSES, BILLS, SALARY ...", cell_text),
        Column("item", "STRING", "What it was for.", cell_text),
        Column("to", "STRING", "To whom the money went, or from whom it came.", cell_text),
        Column("amount", "NUMERIC", "Amount in the entry's currency.", money),
        Column("currency", "STRING", "ISO 4217 code.", cell_text),
        Column("source", "STRING", "Account or wallet.", cell_text),
        Column("notes", "STRING", "Free text.", cell_text),
        Column("created_at", "FLOAT64", "When it was typed in, in days since 1899-12-30."),
        Column("updated_at", "FLOAT64", "When it was last changed, if somebody wrote it down."),
    ),
)

# Serial numbers of 1899-12-31 and of the day after 9999-12-31.
FIRST_DAY, END_OF_DAYS = 1, 2_958_466


@dataclass(frozen=True)
class Ledger:
    """A tab as records. `undeclared` names the columns that have no place but `_extra`."""

    records: list[Record]
    undeclared: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        if not self.undeclared:
            return None
        return f"columns kept in _extra: {', '.join(self.undeclared)}"


def read_ledger(grid: Sequence[Sequence[object]], window: object) -> Ledger:
    """The rows of a tab under their header. Without any cell there are none.

    Raises SourceError when the header is not what the table declares.
    """
    if not grid:
        return Ledger([])
    names = header(grid[0], window)
    rows = [row for row in grid[1:] if not all(map(is_blank, row))]
    cells = [
        {
            name: cell
            for name, cell in zip(_reach(names, row), row, strict=False)
            if not is_blank(cell)
        }
        for row in rows
    ]
    ids = Counter(id_of(row) for row in cells)
    declared = set(TABLE.column_names)
    records = [
        Record(
            fields={name: row[name] for name in TABLE.column_names if name in row}
            | {"id": id_of(row) or None},
            extra={name: cell for name, cell in row.items() if name not in declared},
            is_deleted=False,
            payload=row,
            reason=fault(row, ids),
        )
        for row in cells
    ]
    beyond = {name for row in cells for name in row} - set(names)
    undeclared = [name for name in names if name not in declared]
    return Ledger(records, (*undeclared, *sorted(beyond)))


def header(cells: Sequence[object], window: object) -> list[str]:
    """The names of the columns, in the sheet's order.

    Raises SourceError that names every column which is missing, stands twice or has no name.
    """
    names = ["" if is_blank(cell) else cell_text(cell) for cell in cells]
    problems = []
    missing = [name for name in TABLE.column_names if name not in names]
    unknown = [name for name in names if name.strip() and name not in TABLE.column_names]
    if missing:
        renamed = f" (not declared: {', '.join(map(repr, unknown))})" if unknown else ""
        problems.append(f"missing: {', '.join(map(repr, missing))}{renamed}")
    if twice := [name for name, count in Counter(names).items() if name.strip() and count > 1]:
        problems.append(f"twice: {', '.join(map(repr, twice))}")
    if nameless := [letters(place) for place, name in enumerate(names) if not name.strip()]:
        problems.append(f"without a name: column {', '.join(nameless)}")
    if problems:
        raise SourceError(SOURCE, window, f"the header is not the ledger's; {'; '.join(problems)}")
    return names


def fault(row: dict[str, object], ids: Counter[str]) -> str | None:
    """Why a row cannot stand, by the ledger's own rules; `ids` counts all ids of the tab."""
    id_ = id_of(row)
    if not id_:
        return "blank id"
    if ids[id_] > 1:
        return "duplicate id"
    date = row.get("date")
    is_number = isinstance(date, int | float) and not isinstance(date, bool)
    if not is_number or not FIRST_DAY <= date < END_OF_DAYS:  # type: ignore[operator]
        return "impossible date"
    return None


def id_of(row: dict[str, object]) -> str:
    """A row's id as text, nothing stripped; empty when it is blank or white space."""
    text = cell_text(row.get("id", ""))
    return text if text.strip() else ""


def is_blank(cell: object) -> bool:
    return cell is None or cell == ""


def letters(place: int) -> str:
    """A column's letters in the sheet; 0 is A."""
    name = ""
    place += 1
    while place:
        place, digit = divmod(place - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _reach(names: list[str], row: Sequence[object]) -> list[str]:
    """Names for every cell of a row; those right of the header go by their letters."""
    return names + [f"column {letters(place)}" for place in range(len(names), len(row))]


def digest(grid: Sequence[Sequence[object]]) -> str:
    """Sixteen hex digits of all cells, and of the columns by which they are read."""
    columns = fingerprint([(column.name, column.type) for column in TABLE.columns])
    return hashlib.sha256(as_json([columns, grid]).encode()).hexdigest()[:16]


def moment_of_read(served_at: datetime, last: datetime | None) -> datetime:
    """When a snapshot was read: after the last one that was applied, whatever the clock says.

    The server's Date has whole seconds, and two reads in one would have no order.
    """
    return served_at if last is None else max(served_at, last + timedelta(microseconds=1))
