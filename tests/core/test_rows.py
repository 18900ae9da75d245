"""Records to chunks: every record is a row or a reject, and what fits no column is kept."""

from __future__ import annotations

import json
from dataclasses import replace

from core.rows import Record, Reject, to_chunk
from core.schema import Column, Table

TABLE = Table(
    source="s",
    name="s__t",
    key=("id",),
    order_by="stamp",
    partition_by="at",
    required=("stamp",),
    required_when_live=("at",),
    columns=(
        Column("id", "STRING"),
        Column("stamp", "INT64"),
        Column("at", "INT64"),
        Column("size", "FLOAT64"),
    ),
)
GOOD = {"id": "a", "stamp": 1, "at": 2, "size": 0.5}


def record(is_deleted: bool = False, **fields: object) -> Record:
    return Record({**GOOD, **fields}, {}, is_deleted, {**GOOD, **fields})


def test_an_odd_value_becomes_null_and_stays_in_extra() -> None:
    chunk = to_chunk([record(size="big"), record(size=None)], TABLE, first_row=5)
    assert chunk.unparsed == 1
    odd, plain = chunk.rows.to_pylist()
    assert (odd["size"], json.loads(odd["_extra"])) == (None, {"size": "big"})
    assert (plain["size"], plain["_extra"]) == (None, None)
    assert [odd["_row"], plain["_row"]] == [5, 6]


def test_fields_without_a_column_stay_in_extra() -> None:
    chunk = to_chunk([Record(GOOD, {"new": [1, "ü"]}, False, GOOD)], TABLE, 0)
    assert json.loads(chunk.rows.to_pylist()[0]["_extra"]) == {"new": [1, "ü"]}
    assert chunk.unparsed == 0


def test_a_row_without_what_its_table_needs_is_rejected_whole() -> None:
    chunk = to_chunk(
        [
            record(id=""),
            record(id=None),
            record(id=7),
            record(stamp=None),
            record(stamp="soon"),
            record(at=None),
            record(is_deleted=True, at=None),
        ],
        TABLE,
        0,
    )
    assert [reject.reason for reject in chunk.rejects] == [
        "row with blank id",
        "row with blank id",
        "row with unusable id",
        "row with no stamp",
        "row with an unusable stamp",
        "row with no at",
    ]
    assert chunk.rows.num_rows == 1
    assert chunk.extracted == 7
    assert json.loads(chunk.rejects[2].payload) == {**GOOD, "id": 7}


def test_a_reject_that_the_source_is_known_for_is_expected() -> None:
    chunk = to_chunk(
        [record(is_deleted=True, id=""), record(id="")],
        replace(TABLE, expected_rejects=("deletion with blank id",)),
        0,
    )
    assert chunk.rejects == [
        Reject("deletion with blank id", chunk.rejects[0].payload, 0, True),
        Reject("row with blank id", chunk.rejects[1].payload, 1, False),
    ]


def test_text_that_is_no_unicode_is_kept_escaped() -> None:
    chunk = to_chunk([record(id="\ud800")], TABLE, 0)
    assert "\\ud800" in chunk.rejects[0].payload
