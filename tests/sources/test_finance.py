"""What a tab of cells becomes: header, ids, parts of a date, money."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from core.errors import SourceError
from core.rows import Chunk, to_chunk
from sources.finance.mapping import TABLE, digest, header, letters, read_ledger

HEADER = [
    *("id", "year", "month", "day", "item", "type", "cost", "to", "store", "source"),
    *("created_at", "updated_at"),
]
OPTIONAL = ["posted_date", "receipt", "solo_part"]
DAY = [2026, 1, 31]


def chunk_of(*rows: list[Any], names: list[Any] | None = None) -> Chunk:
    return to_chunk(read_ledger([names or HEADER, *rows], "w"), TABLE, 0)


def rows_of(*rows: list[Any], names: list[Any] | None = None) -> list[dict[str, Any]]:
    return list(chunk_of(*rows, names=names).rows.to_pylist())


def reasons(*rows: list[Any]) -> list[tuple[str, str | None]]:
    return [(reject.reason, reject.key) for reject in chunk_of(*rows).rejects]


def with_cell(name: str, cell: Any) -> dict[str, Any]:
    (row,) = rows_of(["a", cell], names=[*([] if name == "id" else ["id"]), name, *without(name)])
    return row


def without(*names: str) -> list[str]:
    return [column for column in HEADER if column not in ("id", *names)]


def test_the_raw_table_has_the_sheets_columns_in_this_order() -> None:
    assert list(TABLE.column_names) == HEADER + OPTIONAL
    types = {column.name: column.type for column in TABLE.columns}
    assert [types.pop(name) for name in ("year", "month", "day")] == ["INT64"] * 3
    assert types.pop("cost") == "NUMERIC"
    assert set(types.values()) == {"STRING"}


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (HEADER[1:], "missing: 'id'$"),
        (
            HEADER[7:],
            "missing: 'id', 'year', 'month', 'day', 'item', 'type', 'cost'$",
        ),
        (["ID", *HEADER[1:]], r"missing: 'id' \(not declared: 'ID'\)$"),
        ([*HEADER, "to"], "twice: 'to'$"),
        ([*HEADER, " to "], "twice: 'to'$"),
        ([*HEADER, "mood", "mood"], "twice: 'mood'$"),
        ([], "missing: 'id', 'year'"),
        ([7, True], r"not declared: '7', 'TRUE'\)$"),
    ],
)
def test_a_header_that_is_not_the_ledgers_is_named(names: list[Any], problem: str) -> None:
    with pytest.raises(SourceError, match=f"finance, a window: the header .*{problem}"):
        header(names, "a window")


def test_columns_may_have_any_order_and_outer_blanks() -> None:
    names = [f" {name} " for name in reversed(HEADER)]
    row = [None] * 5 + [12.5, "EXPENSES", "FOOD", 31, 1, 2026, "a"]
    (read,) = rows_of(row, names=names)
    assert [read[name] for name in HEADER[:7]] == [
        *("a", 2026, 1, 31, "FOOD", "EXPENSES", Decimal("12.5"))
    ]
    assert read["_extra"] is None


def test_other_columns_and_those_without_a_name_are_kept_and_announced() -> None:
    names = ["mood ", "", *HEADER]
    chunk = chunk_of(["fine", 7, "a", *DAY, *[""] * 8, "far", True], names=names)
    (row,) = chunk.rows.to_pylist()
    assert json.loads(row["_extra"]) == {
        "mood": "fine",
        "column B": 7,
        "column O": "far",
        "column P": True,
    }
    assert chunk.fields.changes(TABLE) == tuple(
        (name, "new") for name in ("column B", "column O", "column P", "mood")
    )


def test_columns_that_may_be_missing_are_null_and_announced_but_for_the_optional_ones() -> None:
    names = ["id", "year", "month", "day", "item", "type", "cost"]
    chunk = chunk_of(["a", *DAY], names=names)
    (row,) = chunk.rows.to_pylist()
    assert {row[name] for name in (*HEADER[7:], *OPTIONAL)} == {None}
    # An empty column is there.
    assert chunk.fields.changes(TABLE) == tuple(
        (name, "missing") for name in ("created_at", "source", "store", "to", "updated_at")
    )
    chunk = chunk_of(["a", *DAY, *[""] * 8, 46024, "r/1.jpg", "1/2"], names=HEADER + OPTIONAL)
    (row,) = chunk.rows.to_pylist()
    assert [row[name] for name in OPTIONAL] == ["46024", "r/1.jpg", "1/2"]
    assert chunk.fields.changes(TABLE) == ()


@pytest.mark.parametrize(
    ("cell", "id_"),
    [
        ("007", "007"),
        ("1e3", "1e3"),
        ("1,5", "1,5"),
        (" x6", " x6"),
        ("nan", "nan"),
        (7, "7"),
        (7.0, "7"),
        (1.5, "1.5"),
        (639171234567, "639171234567"),
        (1e20, "100000000000000000000"),
        (True, "TRUE"),
        (0, "0"),
    ],
)
def test_an_id_is_its_text(cell: Any, id_: str) -> None:
    assert [row["id"] for row in rows_of([cell, *DAY])] == [id_]


def test_every_copy_of_an_id_is_rejected_and_present() -> None:
    found = reasons(["a", *DAY], ["b"], ["a", "soon"], [7, *DAY], ["7", *DAY], ["7 ", *DAY])
    assert found == [("duplicate id", "a"), ("duplicate id", "a")] + [("duplicate id", "7")] * 2


def test_rows_without_any_cell_are_none_and_short_ones_are_filled() -> None:
    assert reasons([], ["", ""], [""] * 12) == []
    (row,) = rows_of([], ["a"], [""] * 3)
    assert {value for name, value in row.items() if name in HEADER[1:]} == {None}
    assert reasons(["", *DAY], ["  "], [None, "", "", "EXPENSES"]) == [("blank id", None)] * 3
    assert read_ledger([], "w") == []


def test_a_row_with_an_id_is_an_entry_whatever_its_date_is() -> None:
    rows = rows_of(["a", 2026, 2, 30], ["b"], ["c", 2026.5, "May", True], ["d", 10**30, -1, 0])
    assert [[row[name] for name in ("year", "month", "day")] for row in rows] == [
        [2026, 2, 30],
        [None] * 3,
        [None] * 3,
        [None, -1, 0],
    ]
    assert [json.loads(row["_extra"] or "{}") for row in rows] == [
        {},
        {},
        {"year": 2026.5, "month": "May", "day": True},
        {"year": 10**30},
    ]


@pytest.mark.parametrize(
    ("cost", "exact"),
    [
        (0.1, "0.1"),
        (99999.99, "99999.99"),
        (1250.5, "1250.5"),
        (1000, "1000"),
        (-0.01, "-0.01"),
        (12345678901.23, "12345678901.23"),
        (0, "0"),
        # A formula's noise: 100/3, 0.1+0.2, 250.25*1.12.
        (33.333333333333336, "33.333333333"),
        (0.30000000000000004, "0.3"),
        (280.28000000000003, "280.28"),
        (-33.333333333333336, "-33.333333333"),
        # Half even.
        (1.0000000005, "1"),
        (1.0000000015, "1.000000002"),
        (1e20, "100000000000000000000"),
        (12345678901234567890123456789, "12345678901234567890123456789"),
    ],
)
def test_money_is_exact_to_nine_places(cost: Any, exact: str) -> None:
    row = with_cell("cost", cost)
    assert (row["cost"], row["_extra"]) == (Decimal(exact), None)


@pytest.mark.parametrize(
    ("cost", "kept", "extra"),
    [
        ("980.00", None, '{"cost":"980.00"}'),
        ("1,250.50", None, '{"cost":"1,250.50"}'),
        ("#REF!", None, '{"cost":"#REF!"}'),
        (True, None, '{"cost":true}'),
        (1e29, None, '{"cost":1e+29}'),
        (1.7e308, None, '{"cost":1.7e+308}'),
        (-(10**40), None, '{"cost":-1' + "0" * 40 + "}"),
        # More than a billionth is rounded away.
        (1e-12, "0", '{"cost":1e-12}'),
        (0.0000001234, "0.000000123", '{"cost":1.234e-07}'),
    ],
)
def test_what_is_no_exact_amount_is_kept_as_it_came_and_counted(
    cost: Any, kept: str | None, extra: str
) -> None:
    chunk = chunk_of(["a", *DAY, "", "", cost])
    (row,) = chunk.rows.to_pylist()
    assert row["cost"] == (None if kept is None else Decimal(kept))
    assert (row["_extra"], chunk.unparsed) == (extra, 1)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("2026-01-31 08:15:00", "2026-01-31 08:15:00"),
        (45316.5, "45316.5"),
        (45316.572916666664, "45316.572916666664"),
        (45316, "45316"),
        (45316.0, "45316"),
        (1e-05, "0.00001"),
        (" soon ", " soon "),
    ],
)
@pytest.mark.parametrize("column", ["created_at", "updated_at", "posted_date"])
def test_a_stamp_is_its_text_or_its_digits(column: str, cell: Any, text: str) -> None:
    row = with_cell(column, cell)
    assert (row[column], row["_extra"]) == (text, None)


def test_a_row_without_an_id_carries_what_else_it_has() -> None:
    chunk = chunk_of(
        ["", 2026, 2.5, 30, "FOOD", "", 100 / 3, "Niño"],
        ["a", *DAY],
        ["a", *DAY],
    )
    blank, *copies = chunk.rejects
    assert json.loads(blank.content or "") == {
        "year": "2026",
        "day": "30",
        "item": "FOOD",
        "cost": "33.333333333",
        "to": "Niño",
        "_extra": '{"month":2.5}',
    }
    assert [copy.content for copy in copies] == [None, None]


def test_the_digest_sees_every_cell_and_its_type() -> None:
    grids: list[list[list[Any]]] = [
        [HEADER, ["a", 1]],
        [HEADER, ["a", 2]],
        [HEADER, ["a", "1"]],
        [HEADER, [], ["a", 1]],
        [HEADER],
        [],
    ]
    assert len({digest(grid) for grid in grids}) == len(grids)
    assert digest([HEADER, ["a", 1]]) == digest([list(HEADER), ["a", 1]])


@pytest.mark.parametrize(
    ("place", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (702, "AAA")]
)
def test_columns_have_the_letters_of_the_sheet(place: int, name: str) -> None:
    assert letters(place) == name
