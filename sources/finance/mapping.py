"""The finance ledger: how it loads, and what a tab of cells becomes.

Every read is the whole tab. Facts on cells (ragged rows, serial numbers, unformatted values) from
Google's Sheets v4 reference, https://developers.google.com/sheets/api/reference/rest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from core import values
from core.errors import SourceError
from core.rows import Record
from core.schema import Column, Table, fingerprint

SOURCE = "finance"


def cell_text(value: object) -> str:
    """A cell as text: 7 for 7.0, TRUE for true, a number as its digits, every text as typed."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
    return str(value) if isinstance(value, int | float) else values.text(value)


def money(value: object) -> object:
    """A number cell to nine places; an amount typed as text is not guessed at.

    A formula gives a float, whose noise (100/3, 0.1+0.2) lies beyond them.
    """
    if isinstance(value, str):
        raise ValueError("an amount typed as text")
    return values.numeric_rounded(value)


TABLE = Table(
    source=SOURCE,
    name="finance__ledger",
    title="Money",
    about="The owner's ledger.",
    key=("id",),
    write="snapshot",
    columns=(
        Column("id", "STRING", "The entry's id, as typed.", cell_text),
        Column("year", "INT64", "Year of the entry's Philippine day."),
        Column("month", "INT64", "Month of that day; 1 is January."),
        Column("day", "INT64", "That day of the month, as typed: 30 February occurs."),
        Column("item", "STRING", "What it was for: WATER, FOOD ...", cell_text),
        Column("type", "STRING", "EXPENSES, BILLS, SALARY ...", cell_text),
        Column("cost", "NUMERIC", "Pesos, to nine decimals.", money, may_be_text=True),
        Column("to", "STRING", "To whom it went, or from whom it came.", cell_text),
        Column("store", "STRING", "The shop, where the other party is one.", cell_text),
        Column("source", "STRING", "The account or wallet that paid or received.", cell_text),
        Column("created_at", "STRING", "Philippine time, or days since 1899-12-30.", cell_text),
        Column("updated_at", "STRING", "The same, of the last change.", cell_text),
        Column("posted_date", "STRING", "When the bank posted it.", cell_text, is_optional=True),
        Column("receipt", "STRING", "Where its receipt is.", cell_text, is_optional=True),
        Column("solo_part", "STRING", "The personal share, n/m.", cell_text, is_optional=True),
    ),
)
# Without these no sheet is the ledger's; any other column may be missing.
NEEDED = ("id", "year", "month", "day", "item", "type", "cost")


def read_ledger(grid: Sequence[Sequence[object]], window: object) -> list[Record]:
    """The rows of a tab under their header. Without any cell there are none.

    Columns that are not declared go to `_extra` under their names, those without a name, or right
    of the header, under their letters. Raises SourceError when a needed column is missing.
    """
    if not grid:
        return []
    names = header(grid[0], window)
    # Those right of the header go by their letters.
    widest = max(map(len, grid))
    reach = names + [f"column {letters(place)}" for place in range(len(names), widest)]
    declared = [name for name in TABLE.column_names if name in names]
    cells = [
        {name: cell for name, cell in zip(reach, row, strict=False) if not is_blank(cell)}
        for row in grid[1:]
        if not all(map(is_blank, row))
    ]
    ids = Counter(id_of(row) for row in cells)
    return [
        Record(
            fields={name: row.get(name) for name in declared} | {"id": id_of(row) or None},
            extra={name: cell for name, cell in row.items() if name not in declared},
            is_deleted=False,
            payload=row,
            reason=fault(row, ids),
        )
        for row in cells
    ]


def header(cells: Sequence[object], window: object) -> list[str]:
    """The names of the columns without outer blanks, in the sheet's order; else their letters.

    Raises SourceError that names every needed column which is missing, and every one that the sheet
    has twice.
    """
    given = ["" if is_blank(cell) else cell_text(cell).strip() for cell in cells]
    names = [name or f"column {letters(place)}" for place, name in enumerate(given)]
    problems = []
    if missing := [name for name in NEEDED if name not in names]:
        unknown = [name for name in given if name and name not in TABLE.column_names]
        renamed = f" (not declared: {', '.join(map(repr, unknown))})" if unknown else ""
        problems.append(f"missing: {', '.join(map(repr, missing))}{renamed}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        problems.append(f"twice: {', '.join(map(repr, twice))}")
    if problems:
        raise SourceError(SOURCE, window, f"the header is not the ledger's; {'; '.join(problems)}")
    return names


def fault(row: Mapping[str, object], ids: Mapping[str, int]) -> str | None:
    """Why a row cannot be an entry, by its id alone; `ids` counts all ids of the tab."""
    id_ = id_of(row)
    if not id_:
        return "blank id"
    return "duplicate id" if ids[id_] > 1 else None


def id_of(row: Mapping[str, object]) -> str:
    """A row's id as text, nothing stripped; empty when it is blank or white space."""
    cell = row.get("id")
    text = "" if is_blank(cell) else cell_text(cell)
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


def digest(grid: Sequence[Sequence[object]]) -> str:
    """Of all cells, and of the columns by which they are read."""
    columns = fingerprint([(column.name, column.type) for column in TABLE.columns])
    return values.digest([columns, grid])
