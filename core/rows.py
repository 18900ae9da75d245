"""Records of a source to an Arrow chunk: nothing dropped, nothing guessed.

A value that does not fit its column becomes NULL there, or rounded where the column rounds, and is
kept, as it came, in `_extra`; the row counts as unparsed. A row without a usable key, update stamp
or event time goes to the rejects, whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from core import values
from core.schema import REJECTS, STAGED, Table, arrow_schema
from core.values import as_json


@dataclass(frozen=True)
class Record:
    """One row as its source sent it: `fields` by column name, the rest in `extra`.

    `reason` says why the source's own rules do not let it stand, whatever its fields are.
    """

    fields: Mapping[str, object]
    extra: Mapping[str, object]
    is_deleted: bool
    payload: object
    reason: str | None = None


@dataclass(frozen=True)
class Reject:
    reason: str
    payload: str
    row: int
    # A known habit of the source, kept and counted, which by itself fails no run.
    is_expected: bool = False
    key: str | None = None
    # Of a row of a snapshot that has no key: its other values, JSON of texts by column name.
    content: str | None = None


@dataclass
class Fields:
    """Which fields a source sent: those with no column, those of another type, those present.

    A field is present where it is null or empty, too. `lacking` are those that a part of the source
    says that it does not have, though another may.
    """

    new: set[str] = field(default_factory=set)
    retyped: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)

    def add(self, other: Fields) -> None:
        self.new |= other.new
        self.retyped |= other.retyped
        self.present |= other.present
        self.lacking |= other.lacking

    def missing(self, table: Table) -> set[str]:
        """The declared columns that no row has a field for, or that a part of the source lacks."""
        if not self.present:
            return set()
        wanted = {column.name for column in table.columns if not column.is_optional}
        return (wanted - self.present) | (wanted & self.lacking)

    def changes(self, table: Table) -> tuple[tuple[str, str], ...]:
        """(field, change) of what is not as declared: new, retyped, or missing from every row."""
        found = {"new": self.new, "retyped": self.retyped, "missing": self.missing(table)}
        return tuple(sorted((name, change) for change in found for name in found[change]))


@dataclass
class Chunk:
    """A bounded piece of an extraction, ready to be written as Parquet."""

    rows: pa.Table
    rejects: list[Reject] = field(default_factory=list)
    unparsed: int = 0
    fields: Fields = field(default_factory=lambda: Fields())
    # Why these may not be all rows of the chunk, in words.
    faults: tuple[str, ...] = ()

    @property
    def extracted(self) -> int:
        return int(self.rows.num_rows) + len(self.rejects)


@dataclass(frozen=True)
class EncodedChunk:
    """A chunk as the Parquet objects that it becomes; empty where there is nothing."""

    rows: bytes
    row_count: int
    rejects: bytes
    reject_count: int
    unexpected: int
    unparsed: int
    fields: Fields
    faults: tuple[str, ...]
    # Nulls by column.
    nulls: dict[str, int]


def encode(chunk: Chunk) -> EncodedChunk:
    """Write a chunk's rows and rejects as Parquet (zstd). Threads may do it side by side."""
    rejects = [{"_row": reject.row, **vars(reject)} for reject in chunk.rejects]
    return EncodedChunk(
        rows=_parquet(chunk.rows),
        row_count=chunk.rows.num_rows,
        rejects=_parquet(pa.Table.from_pylist(rejects, schema=arrow_schema(REJECTS))),
        reject_count=len(rejects),
        unexpected=sum(not reject.is_expected for reject in chunk.rejects),
        unparsed=chunk.unparsed,
        fields=chunk.fields,
        faults=chunk.faults,
        nulls={name: chunk.rows[name].null_count for name in chunk.rows.column_names},
    )


def faults_of(
    table: Table, rows: int, nulls: Mapping[str, int], missing: Iterable[str]
) -> list[str]:
    """How a batch of all rows differs from what its table declares: it may be something else."""
    if table.write != "replace":
        return []
    found = [f"no column {name}" for name in sorted(missing)]
    if rows < table.min_rows:
        found.append(f"{rows:,} rows, at least {table.min_rows:,} are expected")
    for name, share in table.max_null_shares:
        if nulls.get(name, 0) > share * rows and name not in missing:
            found.append(f"{name} is null in {nulls[name]:,} of {rows:,} rows")
    return found


def _parquet(table: pa.Table) -> bytes:
    if not table.num_rows:
        return b""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def to_chunk(records: Iterable[Record], table: Table, first_row: int) -> Chunk:
    """Convert records to a chunk whose rows are numbered from `first_row`."""
    schema = arrow_schema((*table.columns, *STAGED))
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    rejects: list[Reject] = []
    unparsed = 0
    fields = Fields()
    for row, record in enumerate(records, start=first_row):
        typed: dict[str, object] = {}
        extra = dict(record.extra)
        is_unparsed = False
        fields.new |= extra.keys()
        if not record.is_deleted:
            fields.present |= record.fields.keys()
        for column in table.columns:
            value = record.fields.get(column.name)
            try:
                typed[column.name] = None if value is None else column.convert(value)
            except ValueError as error:
                nearest = error.nearest if isinstance(error, values.Rounded) else None
                typed[column.name] = nearest
                extra[column.name] = value
                is_unparsed = True
                is_text = column.may_be_text and isinstance(value, str)
                if nearest is None and not is_text:
                    fields.retyped.add(column.name)
        reason = reject_reason(table, record, typed)
        if reason is not None:
            is_expected = reason in table.expected_rejects
            key = typed[table.key[0]] if len(table.key) == 1 else None
            key = key if isinstance(key, str) and key else None
            content = None
            if key is None and table.write == "snapshot":
                content = content_of(table, typed, extra)
            rejects.append(Reject(reason, as_json(record.payload), row, is_expected, key, content))
            continue
        unparsed += is_unparsed
        typed["_is_deleted"], typed["_row"] = record.is_deleted, row
        typed["_extra"] = as_json(extra) if extra else None
        for name, column_values in columns.items():
            column_values.append(typed[name])
    return Chunk(pa.Table.from_pydict(columns, schema=schema), rejects, unparsed, fields)


def reject_reason(table: Table, record: Record, typed: Mapping[str, object]) -> str | None:
    """Why a row cannot stand in its table, or None when it can."""
    kind = "deletion" if record.is_deleted else "row"
    if record.reason is not None:
        return record.reason
    for name in table.key:
        if typed[name] is None or typed[name] == "":
            given = record.fields.get(name)
            state = "blank" if given is None or given == "" else "unusable"
            return f"{kind} with {state} {name}"
    needed = table.required if record.is_deleted else (*table.required, *table.required_when_live)
    for name in needed:
        if typed[name] is None:
            state = "no" if record.fields.get(name) is None else "an unusable"
            return f"{kind} with {state} {name}"
    return None


def content_of(table: Table, typed: Mapping[str, object], extra: Mapping[str, object]) -> str:
    """A row's values but its key, as texts that casting to the columns' types gives back."""
    content = {
        name: f"{value:f}" if isinstance(value, Decimal) else str(value)
        for name, value in typed.items()
        if name not in table.key and value is not None
    }
    return as_json(content | ({"_extra": as_json(extra)} if extra else {}))
