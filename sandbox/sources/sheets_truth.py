"""What the raw table should have of a row of the tab, worked out without the product's code.

Facts: the ledger's own sheet, and a NUMERIC of 38 digits, nine of them after the point.
"""

from fractions import Fraction
from typing import Any

from sandbox.sources.sheets_grid import Cell, Row, letters

TEXTS = ("id", "item", "type", "to", "store", "source", "created_at", "updated_at")
OPTIONAL = ("posted_date", "receipt", "solo_part")
NUMBERS = ("year", "month", "day")
BILLION = 10**9


def as_loaded(names: list[str], row: Row) -> dict[str, Any]:
    """The row by column of the raw table, cost as decimal text, and `_extra` as an object.

    `names` are the header's, without outer blanks; a cell without one is called by its letters.
    """
    given = {
        (names[place] if place < len(names) and names[place] else f"column {letters(place)}"): cell
        for place, cell in enumerate(row)
        if cell is not None
    }
    loaded: dict[str, Any] = dict.fromkeys((*TEXTS, *OPTIONAL, *NUMBERS, "cost"))
    extra: dict[str, Cell] = {}
    for name, cell in given.items():
        if name in TEXTS or name in OPTIONAL:
            loaded[name] = cell_text(cell)
        elif name in NUMBERS:
            loaded[name] = whole(cell)
            if loaded[name] is None:
                extra[name] = cell
        elif name == "cost":
            loaded[name], is_kept = pesos(cell)
            if is_kept:
                extra[name] = cell
        else:
            extra[name] = cell
    return {**loaded, "_extra": extra}


def is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def whole(cell: Cell) -> int | None:
    """An integer of 64 bits, also where it is written as 3.0."""
    if not isinstance(cell, int | float) or isinstance(cell, bool) or cell % 1:
        return None
    return int(cell) if -(1 << 63) <= cell < 1 << 63 else None


def pesos(cell: Cell) -> tuple[str | None, bool]:
    """An amount as a decimal text, and whether the cell is to be kept as it came."""
    if not is_number(cell):
        return None, True
    exact = Fraction(repr(cell))
    units = round(exact * BILLION)  # half even
    if abs(units) >= 10**38:
        return None, True
    sign = "-" if units < 0 else ""
    text = f"{sign}{abs(units) // BILLION}.{abs(units) % BILLION:09d}"
    return text, abs(Fraction(units, BILLION) - exact) * BILLION > abs(exact)


def cell_text(cell: Cell) -> str:
    """A text as it is, a number as its digits, without any exponent."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if not isinstance(cell, float):
        return str(cell)
    if not cell % 1:
        return str(int(cell))
    digits, _, power = repr(cell).partition("e")
    if not power:
        return digits
    # Only tiny numbers are left: whatever is large is whole.
    sign, plain = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    return f"{sign}0.{'0' * (-int(power) - 1)}{plain.replace('.', '')}"
