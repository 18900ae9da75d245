"""A tab of a spreadsheet as the Sheets API sees it: cells, ranges in A1 notation, rendering.

Facts: Google's Sheets v4 reference (ValueRenderOption, DateTimeRenderOption, A1 notation, serial
numbers) and error sentences that were published with real replies.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Cell = str | int | float | bool | None
Row = list[Cell]
Render = Literal["FORMATTED_VALUE", "UNFORMATTED_VALUE", "FORMULA"]
DateRender = Literal["SERIAL_NUMBER", "FORMATTED_STRING"]

SERIAL_ZERO = datetime(1899, 12, 30, tzinfo=UTC)
SERIAL_END = 2_958_466  # 10000-01-01
DAY_SECONDS = 86_400
EXACT = 2**53
# A new tab has this grid; it grows with its content.
GRID_ROWS, GRID_COLUMNS = 1000, 26
ERRORS = ("#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#ERROR!")
QUOTED = re.compile(r"'((?:[^']|'')*)'(?:!(.*))?", re.DOTALL)
AREA = re.compile(r"([A-Z]{0,3})([0-9]*)(?:(:)([A-Z]{0,3})([0-9]*))?", re.IGNORECASE)
PLAIN_TITLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RangeError(Exception):
    """A range that the API refuses; the message is its sentence."""


@dataclass
class Tab:
    """A sheet of a spreadsheet. `formats` says how a column shows its numbers, by its index."""

    title: str
    sheet_id: int
    rows: list[Row]
    formats: dict[int, str]

    @property
    def row_count(self) -> int:
        """Rows of the grid."""
        return max(GRID_ROWS, len(self.rows))

    @property
    def column_count(self) -> int:
        """Columns of the grid."""
        return max(GRID_COLUMNS, *(len(row) for row in self.rows), 0)


@dataclass(frozen=True)
class Area:
    """A rectangle of a tab, 0-based, ends excluded."""

    tab: Tab
    top: int
    left: int
    bottom: int
    right: int

    def label(self) -> str:
        """The range as a reply names it; the title is quoted where it has to be."""
        title = self.tab.title
        if not PLAIN_TITLE.fullmatch(title):
            title = "'" + title.replace("'", "''") + "'"
        first = f"{letters(self.left)}{self.top + 1}"
        last = f"{letters(self.right - 1)}{self.bottom}"
        return f"{title}!{first}" if first == last else f"{title}!{first}:{last}"

    def values(self, render: Render, dates: DateRender) -> list[list[Any]]:
        """The rows as a reply lists them: blanks at the end of a row and of the area are cut."""
        rows = [
            trimmed(row[self.left : self.right]) for row in self.tab.rows[self.top : self.bottom]
        ]
        while rows and not rows[-1]:
            rows.pop()
        formats = self.tab.formats
        return [
            [show(cell, formats.get(i, ""), render, dates) for i, cell in enumerate(row, self.left)]
            for row in rows
        ]


def parse_range(text: str, tabs: list[Tab]) -> Area:
    """The area that a range names; without a title it lies in the first tab. Raises RangeError."""
    refusal = RangeError(f"Unable to parse range: {text}")
    titles = {tab.title: tab for tab in tabs}
    if quoted := QUOTED.fullmatch(text):
        title, cells = quoted[1].replace("''", "'"), quoted[2]
    elif "!" in text:
        title, _, cells = text.rpartition("!")
    else:
        title, cells = (text, None) if text in titles else (tabs[0].title, text)
    if title not in titles:
        raise refusal
    tab = titles[title]
    if cells is None:
        return Area(tab, 0, 0, tab.row_count, tab.column_count)
    found = AREA.fullmatch(cells)
    if found is None:
        raise refusal
    left, top, colon, right, bottom = found.groups(default="")
    if not (left + top and right + bottom if colon else left and top):
        raise refusal
    if not colon:
        right, bottom = left, top
    first_column, first_row = _index(left, 0), int(top or 1) - 1
    # An open end reaches the end of the grid, never back before the start.
    last_column = _index(right, max(tab.column_count - 1, first_column))
    last_row = int(bottom) - 1 if bottom else max(tab.row_count - 1, first_row)
    columns = sorted([first_column, last_column])
    rows = sorted([first_row, last_row])
    if rows[0] < 0:
        raise refusal
    # A range may end outside of the grid (unverified for reads), but not begin there.
    if rows[0] >= tab.row_count or columns[0] >= tab.column_count:
        raise RangeError(
            f"Range ({title}!{cells}) exceeds grid limits. "
            f"Max rows: {tab.row_count}, max columns: {tab.column_count}"
        )
    bottom_end = min(rows[1] + 1, tab.row_count)
    return Area(tab, rows[0], columns[0], bottom_end, min(columns[1] + 1, tab.column_count))


def kept_rows(rows: list[Row]) -> list[Row]:
    """Rows as the sheet keeps them. Raises ValueError."""
    return [kept_row(row) for row in rows]


def kept_row(row: Row) -> Row:
    """A row as the sheet keeps it. Raises ValueError."""
    return trimmed([kept_cell(cell) for cell in row])


def kept_cell(value: Cell) -> Cell:
    """A cell as the sheet keeps it: an empty text is a blank, 7.0 is 7. Raises ValueError.

    A number beyond what a float counts by ones stays one: 1e300 has no 301 digits.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a cell cannot hold {value}")
        return int(value) if value.is_integer() and abs(value) < EXACT else value
    return None if value == "" else value


def trimmed(row: Row) -> Row:
    """The row without the blanks at its end."""
    end = len(row)
    while end and row[end - 1] is None:
        end -= 1
    return row[:end]


def text_of(cell: Cell) -> str:
    """The cell as text without a format; a blank is empty."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    return f"{cell:.10g}" if isinstance(cell, float) else str(cell)


def show(cell: Cell, form: str, render: Render, dates: DateRender) -> Any:
    """The cell in a reply; `form` is "datetime", "money" or "" for a plain number.

    A date option counts where values are not formatted anyway.
    """
    if cell is None:
        return ""
    if render == "FORMULA" and cell in ERRORS:
        return f"={cell}"
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
    is_text = render == "FORMATTED_VALUE" or (
        is_number and form == "datetime" and dates == "FORMATTED_STRING"
    )
    if not is_text:
        return cell
    return _formatted(float(cell), form) or text_of(cell) if is_number else text_of(cell)


def _formatted(number: float, form: str) -> str:
    """A number in the way of the locale en_US; empty where the format does not apply."""
    if form == "money":
        return f"{number:,.2f}"
    if not form or not 0 <= number < SERIAL_END:
        return ""
    moment = SERIAL_ZERO + timedelta(seconds=round(number * DAY_SECONDS))
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour}:{moment:%M:%S}"


def letters(column: int) -> str:
    name = ""
    column += 1
    while column:
        column, digit = divmod(column - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _index(letters: str, default: int) -> int:
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - ord("A") + 1
    return column - 1 if letters else default
