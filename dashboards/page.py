"""What a page is made of, before it is HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# How a cell is written: dashboards/formats.py.
Kind = Literal[
    "text",
    "prose",
    "state",
    "count",
    "number",
    "money",
    "share",
    "day",
    "month",
    "time",
    "bytes",
]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A number at the top of a page, as it is written, with what it is of."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table. `link` names the field with a cell's address."""

    name: str
    label: str
    kind: Kind = "text"
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Rows as they are written in HTML. `filters` are fields by which controls choose rows;
    `left_out` says which rows a reader does not see, and why; `empty` what it means that there are
    none; `title` is for a table beside others."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    filters: Sequence[str] = ()
    left_out: str = ""
    empty: str = "There is nothing to show yet."
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of Altair over named data of the page (dashboards/charts.py), what it shows in words,
    and the table of the numbers behind it."""

    id: str
    title: str
    description: str
    drawn: Any
    table: Table
    # Height by width; a map is wider than high.
    aspect: float = 0.5
    # How many lying bars it has, each with its label: its height is theirs then.
    rows: int = 0
    # Of six columns on a wide screen.
    span: Literal[2, 3, 4, 6] = 3


@dataclass(frozen=True)
class Control:
    """What a reader may choose. It sets the parameter `name` of every chart of its section that has
    one, and shows the rows of every table whose `field` fits: equal to, at least, at most, or with
    the word somewhere in the row. `choices` are values, each with how it is written."""

    name: str
    label: str
    field: str
    kind: Literal["select", "least", "most", "search"]
    choices: Sequence[tuple[str, str]] = ()
    low: float = 0
    high: float = 0
    step: float = 1
    value: float | str = ""


SEARCH = Control("word", "Search", "", "search")
# The choice that leaves nothing out, as static/app.js knows it too.
ALL = "all"


def select(
    name: str, label: str, field: str, everything: str, values: Sequence[str], value: str = ALL
) -> Control:
    """A choice of one of these values, or of all; `value` is chosen at first."""
    choices = [(ALL, everything), *((one, one) for one in values)]
    return Control(name, label, field, "select", choices, value=value)


def left_out(rows: Sequence[Row], most: int, which: str = "newest", among: str = "") -> str:
    """What a table of the first `most` rows says of the others; empty where there are none."""
    return f"The {which} {most:,} of {len(rows):,}{among}." if len(rows) > most else ""


@dataclass(frozen=True)
class Card:
    """A way to another page: what is there, its state in a word, and facts as they are written."""

    title: str
    link: str
    text: str
    state: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading. `data` are rows by the name under which charts have them;
    `empty` says why there is nothing else."""

    id: str
    title: str
    text: str = ""
    cards: Sequence[Card] = ()
    controls: Sequence[Control] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    data: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    empty: str = ""


@dataclass(frozen=True)
class Page:
    """A page. `outlines` are files of dashboards/vendor on which its maps are drawn."""

    title: str
    lead: str
    figures: Sequence[Figure]
    sections: Sequence[Section]
    credits: Sequence[str] = ()
    outlines: Sequence[str] = ()
