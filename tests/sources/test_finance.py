"""What a tab of cells becomes: header, ids, dates, money."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from core.errors import SourceError
from core.rows import to_page
from sources.finance import TABLE, digest, header, letters, moment_of_read, read_ledger

HEADER = list(TABLE.column_names)
DAY = 45316


def rows_of(*rows: list[Any], names: list[Any] | None = None) -> list[dict[str, Any]]:
    page = to_page(read_ledger([names or HEADER, *rows], "w").records, TABLE, 0)
    return list(page.rows.to_pylist())


def reasons(*rows: list[Any]) -> list[tuple[str, str | None]]:
    page = to_page(read_ledger([HEADER, *rows], "w").records, TABLE, 0)
    return [(reject.reason, reject.key) for reject in page.rejects]


def with_amount(amount: Any) -> dict[str, Any]:
    (row,) = rows_of(["a", DAY, "", "", "", "", amount])
    return row


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (HEADER[1:], "missing: 'id'"),
        (HEADER[:-2], "missing: 'created_at', 'updated_at'"),
        (["ID", *HEADER[1:]], r"missing: 'id' \(not declared: 'ID'\)"),
        ([f"{HEADER[0]} ", *HEADER[1:]], r"missing: 'id' \(not declared: 'id '\)"),
        ([*HEADER, "to"], "twice: 'to'"),
        ([*HEADER, "mood", "mood"], "twice: 'mood'"),
        ([*HEADER[:6], "", *HEADER[6:]], "without a name: column G"),
        ([*HEADER, " ", "mood"], "without a name: column M"),
        ([], "missing: 'id', 'date'"),
        ([7, True], r"not declared: '7', 'TRUE'"),
    ],
)
def test_a_header_that_is_not_the_ledgers_is_named(names: list[Any], problem: str) -> None:
    with pytest.raises(SourceError, match=f"finance, a window: the header .*{problem}"):
        header(names, "a window")


def test_columns_may_stand_in_any_order_and_others_are_kept() -> None:
    names = [*reversed(HEADER), "mood"]
    ledger = read_ledger([names, [*[""] * 10, DAY, "a", "fine", "far out"]], "w")
    assert ledger.note == "columns kept in _extra: mood, column N"
    (row,) = to_page(ledger.records, TABLE, 0).rows.to_pylist()
    assert (row["id"], row["date"]) == ("a", DAY)
    assert row["_extra"] == '{"column N":"far out","mood":"fine"}'
    assert read_ledger([HEADER], "w").note is None


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
        (True, "TRUE"),
        (0, "0"),
    ],
)
def test_an_id_is_its_text(cell: Any, id_: str) -> None:
    assert [row["id"] for row in rows_of([cell, DAY])] == [id_]


def test_every_copy_of_an_id_is_rejected_and_present() -> None:
    found = reasons(["a", DAY], ["b", DAY], ["a", "soon"], [7, DAY], ["7", DAY], ["7 ", DAY])
    assert found == [("duplicate id", "a"), ("duplicate id", "a")] + [("duplicate id", "7")] * 2


def test_rows_without_any_cell_are_none_and_short_ones_are_filled() -> None:
    assert reasons([], ["", ""], [""] * 12) == []
    (row,) = rows_of([], ["a", DAY], [""] * 3)
    assert row["updated_at"] is None and row["notes"] is None
    assert reasons(["", DAY], ["  "], [None, "", "", "EXPENSES"]) == [("blank id", None)] * 3
    assert read_ledger([], "w").records == []


@pytest.mark.parametrize("date", [1, 1.0, DAY, DAY + 0.5, 2958465, 2958465.999])
def test_a_possible_date_stays_as_it_came(date: float) -> None:
    assert [row["date"] for row in rows_of(["a", date])] == [date]


@pytest.mark.parametrize("date", ["", "1/5/2024", "45316", 0, 0.99, -1, 2958466, 3e9, True])
def test_an_impossible_date_is_rejected_and_its_id_present(date: Any) -> None:
    assert reasons(["a", date, 0.5]) == [("impossible date", "a")]


@pytest.mark.parametrize(
    ("amount", "exact"),
    [
        (0.1, "0.1"),
        (99999.99, "99999.99"),
        (1250.5, "1250.5"),
        (1000, "1000"),
        (-0.01, "-0.01"),
        (12345678901.23, "12345678901.23"),
        (0, "0"),
    ],
)
def test_money_is_exact(amount: Any, exact: str) -> None:
    row = with_amount(amount)
    assert (row["amount"], row["_extra"]) == (Decimal(exact), None)


@pytest.mark.parametrize("amount", ["980.00", "1,250.50", "12,000", "#REF!", True, 0.1 + 0.2])
def test_what_is_no_exact_amount_is_kept_and_counted(amount: Any) -> None:
    page = to_page(read_ledger([HEADER, ["a", DAY, *[""] * 4, amount]], "w").records, TABLE, 0)
    (row,) = page.rows.to_pylist()
    assert (row["amount"], page.odd) == (None, 1)
    assert row["_extra"].startswith('{"amount":')


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


def test_a_read_is_later_than_the_last_one_applied() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    later = noon + timedelta(microseconds=1)
    assert moment_of_read(noon, None) == noon
    assert moment_of_read(noon, noon) == moment_of_read(noon - timedelta(hours=1), noon) == later
    assert moment_of_read(later, noon) == later


@pytest.mark.parametrize(
    ("place", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (702, "AAA")]
)
def test_columns_have_the_letters_of_the_sheet(place: int, name: str) -> None:
    assert letters(place) == name
