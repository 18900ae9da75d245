"""NYC for-hire vehicles: how they load, and what a page of CSV becomes.

Facts from Socrata's SODA 2.1 documentation, https://dev.socrata.com/docs/, and the dataset "For
Hire Vehicles (FHV) - Active", https://data.cityofnewyork.us/d/8wbx-tsch, whose fields and types
every answer names in its headers.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from core.errors import SourceError
from core.rows import Chunk, Fields, Reject
from core.schema import STAGED, Column, Table, arrow_schema
from core.values import as_json

SOURCE = "nyc_fhv"
# Every column with Socrata's type of it. What is sent is kept as text, whatever the type says.
FIELDS = (
    ("active", "text", "YES for every vehicle that is listed."),
    ("vehicle_license_number", "text", "The vehicle's TLC licence."),
    ("name", "text", "Who holds the licence: a person or a company."),
    ("license_type", "text", "For Hire Vehicle, in changing spellings."),
    ("expiration_date", "floating_timestamp", "When the licence ends, New York time."),
    ("permit_license_number", "text", "Permit of the vehicle for street hails; mostly null."),
    ("dmv_license_plate_number", "text", "Plate."),
    ("vehicle_vin_number", "text", "Vehicle identification number."),
    ("wheelchair_accessible", "text", "PILOT, WAV or null."),
    ("certification_date", "floating_timestamp", "New York time."),
    ("hack_up_date", "floating_timestamp", "When it was fitted out for hire, New York time."),
    ("vehicle_year", "number", "Model year."),
    ("base_number", "text", "The base it is affiliated with."),
    ("base_name", "text", "Name of the base."),
    ("base_type", "text", "BLACK CAR, LIVERY or LUXURY, in changing spellings."),
    ("veh", "text", "HYB, BEV, WAV, CNG or null."),
    ("base_telephone_number", "text", "The base's telephone, in changing formats."),
    ("website", "text", "The base's website, often an e-mail address."),
    ("base_address", "text", "Address of the base."),
    ("reason", "text", "Code of the vehicle's status."),
    ("order_date", "floating_timestamp", "Null in every row seen so far."),
    ("last_date_updated", "floating_timestamp", "New York's day of the list."),
    ("last_time_updated", "text", "Time of day at which TLC wrote the list, New York time."),
)
TYPES = {name: type_ for name, type_, _ in FIELDS}
TABLE = Table(
    source=SOURCE,
    name="nyc_fhv__vehicles",
    title="Vehicles",
    about="For-hire vehicles of New York City.",
    is_public=True,
    # A licence that is listed twice stays twice; dbt warns of it.
    key=(),
    known_by=("vehicle_license_number",),
    write="replace",
    # Some 100,000 vehicles are listed. Socrata gives 1,000 rows to who does not say how many he
    # wants, so that no more than those are a piece of a list.
    min_rows=1_001,
    # The marts tell vehicles, licences and bases apart by these. None of them was ever seen null.
    max_null_shares=(
        ("vehicle_license_number", 0.01),
        ("expiration_date", 0.1),
        ("dmv_license_plate_number", 0.1),
        ("vehicle_vin_number", 0.1),
        ("base_number", 0.1),
    ),
    columns=tuple(Column(name, "STRING", description) for name, _, description in FIELDS),
)
NOT_UTF8 = "row with a byte that is not UTF-8"
# The parser is fastest on blocks that fit a cache; no row is as long as one.
BLOCK_BYTES = 2**20


def updated_at_of(body: object, dataset: str) -> datetime:
    """When the dataset's rows last changed, out of its metadata. Raises SourceError."""
    seconds = body.get("rowsUpdatedAt") if isinstance(body, dict) else None
    where = f"dataset {dataset}"
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
        raise SourceError(SOURCE, where, "its metadata has no rowsUpdatedAt")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SourceError(SOURCE, where, f"its rowsUpdatedAt is no time: {seconds}") from error


def read_count(content: bytes, headers: Mapping[str, str]) -> int:
    """The answer to `$select=count(*)`: `[{"count":"104821"}]`.

    Raises ValueError when it is another one, or the replica is out of date.
    """
    check_replica(headers)
    try:
        ((text,),) = ([row["count"]] for row in json.loads(content))
        return int(text)
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError("a body that holds no count") from error


def pages(count: int, size: int) -> Iterator[int]:
    """The offset of every page."""
    return iter(range(0, count, size))


def page_parameters(offset: int, limit: int) -> dict[str, str | int | float]:
    """Rows have no order of their own: pages only meet without `:id` by luck."""
    return {"$order": ":id", "$limit": limit, "$offset": offset}


def read_page(content: bytes, headers: Mapping[str, str], first_row: int) -> Chunk:
    """A page of CSV as it was sent, rows numbered from `first_row`.

    Lines with too many or too few fields are rejected, and rows with a byte that is not UTF-8.
    Fields without a column go to `_extra`. Raises ValueError when the replica is out of date, or
    the body is not the dataset's CSV.
    """
    check_replica(headers)
    names = header_of(content)
    mark = None if is_utf8(content) else unused(content)
    rejects: list[tuple[str, str]] = []

    def keep(row: pa.csv.InvalidRow) -> str:
        reason = f"line with {row.actual_columns} of {row.expected_columns} fields"
        rejects.append((reason, as_json(unmarked(row.text, mark))))
        return "skip"

    try:
        table = pa.csv.read_csv(
            pa.BufferReader(content if mark is None else marked(content, mark)),
            # Pages are read in parallel anyway.
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
            # An empty field is null by Socrata's documentation, however it is quoted.
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"a body that is not CSV ({error})") from error
    if mark:
        table, unreadable = without_marked(table, mark)
        rejects += ((NOT_UTF8, as_json(row)) for row in unreadable)
    if rejects and cut_off(content):
        # Its last line is a piece of one, which would count as a row.
        raise ValueError("a body that is cut off")
    # A line that was skipped has no number of its own: rejects follow the rows.
    after = first_row + table.num_rows
    kept = [Reject(*reject, row) for row, reject in enumerate(rejects, start=after)]
    new = [name for name in names if name not in TYPES]
    fields = Fields(set(new), retyped(headers), set(names), TYPES.keys() - set(names))
    return Chunk(to_rows(table, new, first_row), kept, fields=fields)


def is_utf8(content: bytes) -> bool:
    """Arrow says it of a page in a tenth of the time that decoding it takes."""
    try:
        pa.array([content], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def unused(content: bytes) -> str:
    """A text of private characters that is not in a body."""
    mark = "\ue000"
    while mark.encode() in content:
        mark += "\ue000"
    return mark


def marked(content: bytes, mark: str) -> bytes:
    """A body in UTF-8: each byte that was not is the mark and its two hex digits.

    The parser has no row for a body that is not UTF-8, and none to name in its errors.
    """
    text = content.decode(errors="surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda byte: f"{mark}{ord(byte[0]) - 0xDC00:x}", text).encode()


def unmarked(text: str, mark: str | None) -> str:
    """A text as people read it: a wrong byte is `\\xff`."""
    return text.replace(mark, "\\x") if mark else text


def without_marked(table: pa.Table, mark: str) -> tuple[pa.Table, list[dict[str, str]]]:
    """The rows that have no mark, and the fields of those that have one."""
    has_mark = pa.array([False] * table.num_rows, pa.bool_())
    for column in table.columns:
        found = pc.fill_null(pc.match_substring(column.combine_chunks(), mark), False)
        has_mark = pc.or_(has_mark, found)
    fields = [
        {name: unmarked(field, mark) for name, field in row.items() if field}
        for row in table.filter(has_mark).to_pylist()
    ]
    return table.filter(pc.invert(has_mark)), fields


def cut_off(content: bytes) -> bool:
    """Whether a body may have been cut off within its last row: no line end follows it."""
    return not content.endswith((b"\n", b"\r"))


def check_replica(headers: Mapping[str, str]) -> None:
    """Raise ValueError when the answer comes from a replica that is behind the dataset."""
    if headers.get("x-soda2-data-out-of-date", "false").lower() == "true":
        raise ValueError("a replica that is out of date")


def header_of(content: bytes) -> list[str]:
    """The names in the first line. Raises ValueError when none of them is the dataset's."""
    line = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    try:
        names = next(csv.reader([line.rstrip("\r")]), [])
    except csv.Error as error:
        raise ValueError("a body that is not CSV") from error
    if not TYPES.keys() & set(names) or len(set(names)) < len(names):
        raise ValueError("a body that is not the dataset's CSV")
    return names


def to_rows(table: pa.Table, new: list[str], first_row: int) -> pa.Table:
    """The declared columns and what every staged row carries."""
    size = table.num_rows
    nulls = pa.nulls(size, pa.string())
    columns = {name: table[name] if name in table.column_names else nulls for name in TYPES}
    extra = nulls
    if new:
        rows = table.select(new).to_pylist()
        present = ({k: v for k, v in row.items() if v is not None} for row in rows)
        extra = pa.array([as_json(row) if row else None for row in present], pa.string())
    columns |= {
        "_is_deleted": pa.repeat(pa.scalar(False), size),
        "_extra": extra,
        "_row": pa.array(range(first_row, first_row + size), pa.int64()),
    }
    return pa.table(columns, schema=arrow_schema((*TABLE.columns, *STAGED)))


def retyped(headers: Mapping[str, str]) -> set[str]:
    """The fields whose type, by the answer's headers, is not the one that is declared."""
    try:
        names = json.loads(headers["x-soda2-fields"])
        types = json.loads(headers["x-soda2-types"])
        told = dict(zip(names, types, strict=True))
    except (KeyError, ValueError, TypeError):
        return set()
    return {name for name, type_ in told.items() if TYPES.get(name, type_) != type_}
