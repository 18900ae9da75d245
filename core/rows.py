"""Records of a source to an Arrow page: nothing dropped, nothing guessed.

A value that does not fit its column becomes NULL there and is kept, as it came, in `_extra`, and
the row counts as odd. A row without a usable key, update stamp or event time goes to the rejects,
whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

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


@dataclass
class Fields:
    """Which fields a source sent: those with no column, those of another type, those present."""

    new: set[str] = field(default_factory=set)
    retyped: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)

    def add(self, other: Fields) -> None:
        self.new |= other.new
        self.retyped |= other.retyped
        self.present |= other.present

    def changes(self, table: Table) -> tuple[tuple[str, str], ...]:
        """(field, change) of what is not as declared: new, retyped, or missing from every row."""
        found = [(name, "new") for name in self.new]
        found += [(name, "retyped") for name in self.retyped]
        if self.present:
            wanted = {column.name for column in table.columns if not column.is_optional}
            found += [(name, "missing") for name in wanted - self.present]
        return tuple(sorted(found))


@dataclass
class Page:
    """A bounded piece of an extraction, ready to be written as Parquet."""

    rows: pa.Table
    rejects: list[Reject] = field(default_factory=list)
    odd: int = 0
    fields: Fields = field(default_factory=lambda: Fields())

    @property
    def extracted(self) -> int:
        return int(self.rows.num_rows) + len(self.rejects)


@dataclass(frozen=True)
class Packed:
    """A page as the Parquet objects that it becomes; empty where there is nothing."""

    rows: bytes
    row_count: int
    rejects: bytes
    reject_count: int
    unexpected: int
    odd: int
    fields: Fields

    @property
    def extracted(self) -> int:
        return self.row_count + self.reject_count


def pack(page: Page) -> Packed:
    """Write a page's rows and rejects as Parquet (zstd). Threads may do it side by side."""
    return Packed(
        rows=_parquet(page.rows),
        row_count=page.rows.num_rows,
        rejects=_parquet(rejects_table(page.rejects)),
        reject_count=len(page.rejects),
        unexpected=sum(not reject.is_expected for reject in page.rejects),
        odd=page.odd,
        fields=page.fields,
    )


def _parquet(table: pa.Table) -> bytes:
    if not table.num_rows:
        return b""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def to_page(
    records: Iterable[Record],
    table: Table,
    first_row: int,
    expected: Mapping[str, str] | None = None,
) -> Page:
    """Convert records to a page whose rows are numbered from `first_row`.

    `expected` maps a reject reason to itself when the source is known to send such rows.
    """
    columns: dict[str, list[object]] = {name: [] for name in table.column_names}
    staged: dict[str, list[object]] = {column.name: [] for column in STAGED}
    rejects: list[Reject] = []
    odd = 0
    fields = Fields()
    for row, record in enumerate(records, start=first_row):
        typed: dict[str, object] = {}
        extra = dict(record.extra)
        is_odd = False
        fields.new |= extra.keys()
        if not record.is_deleted:
            fields.present |= record.fields.keys()
        for column in table.columns:
            value = record.fields.get(column.name)
            if value is None:
                typed[column.name] = None
                continue
            try:
                typed[column.name] = column.convert(value)
            except ValueError:
                typed[column.name] = None
                extra[column.name] = value
                is_odd = True
                fields.retyped.add(column.name)
        reason = reject_reason(table, record, typed)
        if reason is not None:
            is_expected = reason in (expected or {})
            key = typed[table.key[0]] if len(table.key) == 1 else None
            rejects.append(
                Reject(
                    reason,
                    as_json(record.payload),
                    row,
                    is_expected,
                    key if isinstance(key, str) and key else None,
                )
            )
            continue
        odd += is_odd
        for name, values_ in columns.items():
            values_.append(typed[name])
        staged["_is_deleted"].append(record.is_deleted)
        staged["_extra"].append(as_json(extra) if extra else None)
        staged["_row"].append(row)
    arrays = {**columns, **staged}
    schema = arrow_schema((*table.columns, *STAGED))
    return Page(pa.Table.from_pydict(arrays, schema=schema), rejects, odd, fields)


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


def rejects_table(rejects: Iterable[Reject]) -> pa.Table:
    listed = list(rejects)
    return pa.Table.from_pydict(
        {
            "_row": [reject.row for reject in listed],
            "reason": [reject.reason for reject in listed],
            "is_expected": [reject.is_expected for reject in listed],
            "payload": [reject.payload for reject in listed],
            "key": [reject.key for reject in listed],
        },
        schema=arrow_schema(REJECTS),
    )
