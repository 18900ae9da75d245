"""How a raw table is declared, and what follows from it for Parquet and BigQuery."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import pyarrow as pa

from core import values

Type = Literal["STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "TIMESTAMP"]
Mode = Literal["incremental", "backfill", "replay"]

ARROW: dict[Type, pa.DataType] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOL": pa.bool_(),
    # BigQuery reads microseconds as TIMESTAMP; nanoseconds have no counterpart there.
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
CONVERTERS: dict[Type, values.Converter] = {
    "STRING": values.text,
    "INT64": values.integer,
    "FLOAT64": values.floating,
    "NUMERIC": values.numeric,
    "BOOL": values.boolean,
}


@dataclass(frozen=True)
class Column:
    """One column of a source. `converter` defaults to that of the type."""

    name: str
    type: Type
    description: str = ""
    converter: values.Converter | None = None
    # Of all versions of a row the least or the greatest value wins, whatever order they come in.
    keep: Literal["min", "max"] | None = None
    # The source leaves it out when there is nothing to say; otherwise its absence is announced.
    is_optional: bool = False
    # A person types it, and a text may be there in place of a number: it is kept, not announced.
    may_be_text: bool = False

    def convert(self, value: object) -> object:
        """The value in this column's type; ValueError when it does not fit without loss."""
        return (self.converter or CONVERTERS[self.type])(value)


@dataclass(frozen=True)
class Table:
    """How a source loads: one raw table, its key, its order and its write mode.

    merge: the newest version of a row wins. insert: a row whose key exists is left alone.
    snapshot: each batch is all there is, so rows whose key it does not have are marked deleted.
    replace: each batch is all there is, and takes the place of what exists; it needs no key.

    `order_by` names the source's own trustworthy update stamp, if it has one; without it, the order
    of batches decides. `aliases` names a comma-separated column of all the ids that a row goes by:
    a row whose key is there in a not older row is marked deleted. Such rows are looked for
    within `alias_slack` of the batch's event times. A table without `partition_by` is small.

    `title` and `about` are the source's card on the dashboards' start page.
    """

    source: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    write: Literal["merge", "insert", "snapshot", "replace"] = "merge"
    order_by: str | None = None
    partition_by: str | None = None
    aliases: str | None = None
    alias_slack: timedelta = timedelta(days=1)
    required: tuple[str, ...] = ()
    # Where there is no key: the columns by which a person asks for a row.
    known_by: tuple[str, ...] = ()
    # Columns that a deletion may lack.
    required_when_live: tuple[str, ...] = ()
    title: str = ""
    about: str = ""
    # Whether anybody may see what is loaded, or its owner alone.
    is_public: bool = False
    # A run may be asked for a range of days instead of what is new.
    takes_days: bool = False
    # A run reads what changed so long before the last one again, for what appeared late.
    overlap: timedelta = timedelta(0)
    # A look at a source that cannot be asked again is taken though BigQuery does not answer.
    is_replayable: bool = True
    # Why the source is known to send rows that are rejected: kept and counted, they fail no run.
    expected_rejects: tuple[str, ...] = ()
    # A run whose other rejects are more than this share of the rows extracted ends Failed, after
    # loading.
    max_reject_share: float = 0.01
    # A snapshot that lacks more than this share of the live rows marks none of them, and one that
    # is to replace them leaves them all.
    max_absent_share: float = 0.2
    # A batch that is to replace all rows is held when it has fewer than `min_rows`, a larger share
    # of nulls in one of these columns than is said here, or lacks any column.
    min_rows: int = 0
    max_null_shares: tuple[tuple[str, float], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether each batch is all there is, so that an older one has nothing to add."""
        return self.write in ("snapshot", "replace")

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


# What every staged row carries besides its source's columns; `_row` numbers the rows of a batch.
STAGED = (Column("_is_deleted", "BOOL"), Column("_extra", "STRING"), Column("_row", "INT64"))
# What every raw table carries besides its source's columns.
META = (
    Column("_batch_id", "STRING", "The batch that wrote this version of the row."),
    Column("_inserted_at", "TIMESTAMP", "Start of the transaction that wrote it, UTC."),
    Column("_is_deleted", "BOOL", "True when the source deleted or renamed the row."),
    Column("_extra", "STRING", "JSON of what fits no column, null when there is nothing."),
)
REJECTS = (
    Column("_row", "INT64"),
    Column("reason", "STRING"),
    Column("is_expected", "BOOL"),
    Column("payload", "STRING"),
    # The rejected row's key where it has one: a snapshot that rejects a row still has it.
    Column("key", "STRING"),
    # Of a row without a key: what else it has. An entry that lost its id is known by it.
    Column("content", "STRING"),
)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([pa.field(column.name, ARROW[column.type]) for column in columns])


def fingerprint(columns: Sequence[tuple[str, str]]) -> str:
    """Twelve hex digits that change when a column's name, type or place does."""
    text = ",".join(f"{name}:{type_}" for name, type_ in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
