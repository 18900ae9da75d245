"""Pages of CSV, counts and metadata of New York's for-hire vehicles."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import SourceError
from sources.nyc_fhv.mapping import (
    FIELDS,
    NOT_UTF8,
    TABLE,
    page_parameters,
    pages,
    read_count,
    read_page,
    updated_at_of,
)

NAMES = [name for name, _, _ in FIELDS]
HEADERS = {
    "x-soda2-fields": json.dumps(NAMES),
    "x-soda2-types": json.dumps([type_ for _, type_, _ in FIELDS]),
}


def csv_of(*rows: dict[str, str], names: list[str] = NAMES) -> bytes:
    """Every field quoted that is given; the others empty, without quotes."""
    lines = [",".join(f'"{name}"' for name in names)]
    for row in rows:
        fields = (row.get(name) for name in names)
        quoted = ('"' + field.replace('"', '""') + '"' if field else "" for field in fields)
        lines.append(",".join(quoted))
    return ("\n".join(lines) + "\n").encode()


def rows_of(content: bytes, **headers: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_page(content, {**HEADERS, **headers}, 50).rows.to_pylist()
    return rows


def test_values_are_kept_as_they_were_sent() -> None:
    given = {
        "vehicle_license_number": "0060327",
        "name": 'O\'NEIL, "MAC"\nSÖN',
        "vehicle_year": "2022",
        "expiration_date": "2026-06-30T00:00:00.000",
        "reason": "NA",
        "website": " null ",
    }
    (row,) = rows_of(csv_of(given))
    assert {name: row[name] for name in NAMES} == {**dict.fromkeys(NAMES), **given}
    assert (row["_is_deleted"], row["_extra"], row["_row"]) == (False, None, 50)


def test_an_empty_field_is_null_however_it_is_quoted() -> None:
    content = csv_of({"name": "x"}).replace(b",,,", b',"",,')
    assert {value for name, value in rows_of(content)[0].items() if name in NAMES} == {"x", None}


def test_columns_may_come_in_any_order() -> None:
    (row,) = rows_of(csv_of({"name": "x", "active": "YES"}, names=NAMES[::-1]))
    assert (row["name"], row["active"]) == ("x", "YES")


def test_a_column_nobody_declared_is_kept_and_told() -> None:
    content = csv_of({"name": "x", "colour": "red"}, {"name": "y"}, names=[*NAMES, "colour"])
    page = read_page(content, HEADERS, 0)
    assert page.rows["_extra"].to_pylist() == ['{"colour":"red"}', None]
    assert page.fields.changes(TABLE) == (("colour", "new"),)


def test_a_column_that_is_gone_is_null_and_told() -> None:
    page = read_page(csv_of({"name": "x"}, names=NAMES[:-1]), HEADERS, 0)
    assert page.rows["last_time_updated"].to_pylist() == [None]
    assert page.fields.changes(TABLE) == (("last_time_updated", "missing"),)


def test_a_type_that_changed_is_told() -> None:
    types = ["text" if name == "vehicle_year" else type_ for name, type_, _ in FIELDS]
    page = read_page(csv_of({"name": "x"}), {**HEADERS, "x-soda2-types": json.dumps(types)}, 0)
    assert page.fields.changes(TABLE) == (("vehicle_year", "retyped"),)


@pytest.mark.parametrize("headers", [{}, {"x-soda2-fields": "[1", "x-soda2-types": "[]"}])
def test_headers_without_types_tell_nothing(headers: dict[str, str]) -> None:
    assert read_page(csv_of({"name": "x"}), headers, 0).fields.changes(TABLE) == ()


def test_a_line_of_another_length_is_rejected_with_its_text() -> None:
    content = csv_of({"name": "x"}, {"name": "y"}) + b'"YES","1","lost"\n'
    page = read_page(content, HEADERS, 10)
    assert page.rows.num_rows == 2
    (reject,) = page.rejects
    assert (reject.reason, reject.row) == ("line with 3 of 23 fields", 12)
    assert json.loads(reject.payload) == '"YES","1","lost"'
    assert page.extracted == 3


def test_a_row_with_a_byte_that_is_not_utf_8_is_rejected_and_the_others_are_read() -> None:
    content = csv_of({"name": "FIRST"}, {"name": "PE?A", "active": "YES"}, {"name": "Ōta\n🚕"})
    content = content.replace(b"PE?A", b"PE\xd1A") + b'"\xff","1","lost"\n'
    page = read_page(content, HEADERS, 10)
    assert page.rows["name"].to_pylist() == ["FIRST", "Ōta\n🚕"]
    assert page.rows["_row"].to_pylist() == [10, 11]
    assert [reject.reason for reject in page.rejects] == ["line with 3 of 23 fields", NOT_UTF8]
    assert [reject.row for reject in page.rejects] == [12, 13]
    assert json.loads(page.rejects[1].payload) == {"name": "PE\\xd1A", "active": "YES"}
    assert page.extracted == 4


def test_a_page_without_rows_is_a_page() -> None:
    assert read_page(csv_of(), HEADERS, 0).extracted == 0


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "a body that is not the dataset's CSV"),
        (b"<!DOCTYPE html><html></html>", "a body that is not the dataset's CSV"),
        (b'{"message":"x"}', "a body that is not the dataset's CSV"),
        (b'"name","name"\n"x","y"\n', "a body that is not the dataset's CSV"),
        (b'"name","active"\n"x","YES"\n"y"', "a body that is cut off"),
    ],
    ids=["empty", "html", "json", "twice", "cut off"],
)
def test_another_body_is_named(content: bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        read_page(content, HEADERS, 0)


def test_a_replica_that_is_out_of_date_is_not_read() -> None:
    with pytest.raises(ValueError, match="out of date"):
        rows_of(csv_of({"name": "x"}), **{"x-soda2-data-out-of-date": "true"})


def test_pages_cover_the_count() -> None:
    assert list(pages(7, 3)) == [0, 3, 6]
    assert list(pages(6, 3)) == [0, 3]
    assert page_parameters(3, 3) == {"$order": ":id", "$limit": 3, "$offset": 3}


def test_the_count_is_a_text_in_a_row() -> None:
    assert read_count(b'[{"count":"104821"}]', {}) == 104_821


@pytest.mark.parametrize("body", ["[]", "{}", "", '[{"count":"many"}]', '[{"n":"1"}]', "[{},{}]"])
def test_an_answer_without_a_count_is_an_error(body: str) -> None:
    with pytest.raises(ValueError, match="a body that holds no count"):
        read_count(body.encode(), {})


def test_a_count_of_a_replica_that_is_out_of_date_is_none() -> None:
    with pytest.raises(ValueError, match="out of date"):
        read_count(b'[{"count":"1"}]', {"x-soda2-data-out-of-date": "true"})


def test_the_metadata_tell_when_rows_changed() -> None:
    assert updated_at_of({"rowsUpdatedAt": 1771532235}, "8wbx-tsch") == datetime(
        2026, 2, 19, 20, 17, 15, tzinfo=UTC
    )


@pytest.mark.parametrize("body", [{}, [], {"rowsUpdatedAt": "soon"}, {"rowsUpdatedAt": True}])
def test_metadata_without_it_are_an_error(body: object) -> None:
    with pytest.raises(SourceError, match="dataset 8wbx-tsch: its metadata has no rowsUpdatedAt"):
        updated_at_of(body, "8wbx-tsch")
