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
class TableColumn:
    """A column of a table. `link` names the field with a cell's address."""

    name: str
    label: str
    kind: Kind = "text"
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Rows as they are written in HTML. `filters` are fields by which controls choose rows;
    `left_out` says which rows a reader does not see, and why; `empty` what it means that there are
    none."""

    columns: Sequence[TableColumn]
    rows: Sequence[Row]
    filters: Sequence[str] = ()
    left_out: str = ""
    empty: str = "There is nothing to show yet."


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification over named data of the page, what it shows in words, and the table
    of the numbers behind it."""

    id: str
    title: str
    description: str
    spec: Mapping[str, Any]
    table: Table
    # Height by width; a map is wider than high.
    aspect: float = 0.5
    # How many lying bars it has, each with its label: its height is theirs then.
    rows: int = 0
    # Of six columns on a wide screen.
    span: Literal[2, 3, 4, 6] = 3


@dataclass(frozen=True)
class Choice:
    """One of a control's values, as it is and as it is written."""

    value: str
    label: str


@dataclass(frozen=True)
class Control:
    """What a reader may choose. It sets the parameter `name` of every chart of its section that has
    one, and shows the rows of every table whose `field` fits: equal to, at least, at most, or with
    the word somewhere in the row."""

    name: str
    label: str
    field: str
    kind: Literal["select", "least", "most", "search"]
    choices: Sequence[Choice] = ()
    low: float = 0
    high: float = 0
    step: float = 1
    value: str = ""


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
    """A part of a page under a heading."""

    id: str
    title: str
    text: str = ""
    cards: Sequence[Card] = ()
    controls: Sequence[Control] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[tuple[str, Table]] = ()
    empty: str = ""


@dataclass(frozen=True)
class Page:
    """A page. `data` are the rows that its charts are of, by name; `notice` is what a reader has to
    know first."""

    slug: str
    title: str
    lead: str
    figures: Sequence[Figure]
    sections: Sequence[Section]
    data: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    credits: Sequence[str] = ()
    # Outlines that its maps are drawn on: files of dashboards/vendor.
    outlines: Sequence[str] = ()
    notice: str = ""
