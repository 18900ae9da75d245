"""The tables that say what happened: `_loads`, `_rejects`, `_jobs`, `_builds`, `_requests`,
`_fields`. All append-only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from core.batch import Count, Counts, Extraction, count
from core.ownership import LABELS as OWNER
from core.schema import Column, fingerprint
from core.sql import literal
from core.values import as_json

# applied: the batch's rows are in. superseded: a newer full snapshot was there first.
# held: a list that would have replaced many more rows than it has, or is not what its table
# declares; nothing was changed.
# parked: given up after repeated failures. failed: one failure.
# no_change: the source had nothing new.
# undone: an applied batch was taken out again; its line stays, so it is not applied again.
State = Literal["applied", "superseded", "held", "parked", "failed", "no_change", "undone"]

# Ledger states after which a batch is never applied again by itself.
FINAL_STATES = ("applied", "superseded", "held", "parked")

# The states of lines that say that the raw table was changed.
CHANGES: tuple[State, ...] = ("applied", "undone")

# A batch that failed to load in this many runs is parked.
FAILURES_BEFORE_PARKING = 3


@dataclass(frozen=True, kw_only=True)
class Line(Counts):
    """The counts of one line of the ledger, in rows, and what became of its batch."""

    batch_id: str
    state: State
    extracted: int = count("Rows that were staged or rejected.")
    inserted: int = count("Rows new to the table.", "inserted", "outcome")
    updated: int = count("Rows that replaced an older version.", "updated", "outcome")
    deleted: int = count("Rows that the source deleted; marked.", "deleted", "outcome")
    superseded_ids: int = count(
        "Standing rows marked deleted because a newer renamed them.", "renamed away", "effect"
    )
    replaced: int = count(
        "Standing rows whose place others took: a snapshot, or an undo.", "replaced", "effect"
    )
    absent: int = count(
        "Standing rows marked deleted because a snapshot lacks them.", "gone", "effect"
    )
    cleared: int = count(
        "Rows kept that a snapshot has without their key, a cleared id.",
        *("kept whose {key} was cleared", "effect"),
    )
    held: int = count(
        "Standing rows that a snapshot lacks, too many to be given up.",
        *("deletions held back", "effect"),
    )
    unchanged: int = count("Rows that the table already held, equal.", "unchanged", "outcome")
    older: int = count("Rows older than what the table holds; not written.", "older", "outcome")
    duplicate: int = count(
        "Rows that stood twice in the batch; the newest counts.", "duplicate", "outcome"
    )
    rejected: int = count("Rows kept in _rejects, which did not have them.", "rejected", "effect")
    rejected_before: int = count(
        "Rows that _rejects has already, for the same reason.", "rejected as before", "effect"
    )
    size_bytes: int = count("Bytes of the batch's objects.")
    message: str | None = None
    touched_from: datetime | None = None
    touched_to: datetime | None = None
    applied_at: datetime | None = None
    # When the source's last batch before this one was applied or undone; no column of the ledger.
    previous_at: datetime | None = None

    @property
    def written(self) -> int:
        return self.inserted + self.updated + self.deleted + self.superseded_ids + self.absent


# The fields of a line that count, in the order in which a run tells them: its own come first.
_COUNTS = [
    one
    for record in (Line, Counts)
    for one in fields(record)
    if "count" in one.metadata and one.name in record.__annotations__
]
COUNTS: dict[str, Count] = {one.name: one.metadata["count"] for one in _COUNTS}
# Of a line that no rows belong to; null is what only the source can say.
NO_COUNTS: dict[str, Any] = {one.name: one.default for one in _COUNTS}
# What becomes of a staged row; with the rejected, now or before, they add up to those extracted.
ROW_OUTCOMES = tuple(name for name, count in COUNTS.items() if count.kind == "outcome")
# What the apply script counts.
COUNTED = tuple(name for name, count in COUNTS.items() if count.kind != "extracted")

LOADS = (
    Column("batch_id", "STRING", "The batch; of a look that found nothing, the id it would have."),
    Column("source", "STRING", "The source, as in its flow and its dbt source."),
    Column("table_name", "STRING", "The raw table."),
    Column("mode", "STRING", "incremental, backfill or replay."),
    Column("state", "STRING", "applied, superseded, held, parked, failed, no_change or undone."),
    Column("window_start", "TIMESTAMP", "Start of what was asked for, UTC."),
    Column("window_end", "TIMESTAMP", "End of what was asked for, UTC; null when open."),
    Column("watermark", "TIMESTAMP", "Up to when the source's changes are in; incremental only."),
    Column(
        "known_digests",
        "STRING",
        "JSON: key to digest of the rows that the next look will read again.",
    ),
    *(Column(name, "INT64", count.description) for name, count in COUNTS.items()),
    Column("schema_fingerprint", "STRING", "Changes when the staged columns do."),
    Column("code_version", "STRING", "Digest of the code that extracted."),
    Column("message", "STRING", "What went wrong, or what a reader should know, such as a gap."),
    Column("replay_of", "STRING", "Of a replay: the batches it copies, nearest first, by commas."),
    Column("import_id", "STRING", "Of an import: digest of the old table as it was and the plan."),
    Column(
        "undos", "INT64", "Undos that were known when the look began; an undone line's own, too."
    ),
    Column("back_to", "TIMESTAMP", "The moment that an undo took the table back to, UTC."),
    Column("touched_from", "TIMESTAMP", "Rows of a partitioned table were touched from here,"),
    Column("touched_to", "TIMESTAMP", "to here, by the column that partitions it, UTC."),
    Column("observed_at", "TIMESTAMP", "The source server's clock at the first response, UTC."),
    Column("extract_started_at", "TIMESTAMP", "When it began, by the worker's clock, UTC."),
    Column("extract_ended_at", "TIMESTAMP", "When it ended, by the worker's clock, UTC."),
    Column(
        "applied_at",
        "TIMESTAMP",
        "Start of the line's transaction, by BigQuery's clock, UTC.",
    ),
)
REJECTED = (
    Column("batch_id", "STRING", "The batch that brought the row."),
    Column("source", "STRING", "The source that sent the row."),
    Column("table_name", "STRING", "The raw table it was meant for."),
    Column("row_number", "INT64", "The row's place in its batch."),
    Column("reason", "STRING", "Why it cannot stand in its table."),
    Column("is_expected", "BOOL", "True for what the source is known to send."),
    Column("payload", "STRING", "The row as the source sent it, JSON."),
    Column("rejected_at", "TIMESTAMP", "When its batch was applied, UTC."),
)
JOBS = (
    Column("job_id", "STRING", "BigQuery's job id."),
    Column("source", "STRING", "The source; operations for the marts over the ledger."),
    Column("batch_id", "STRING", "Null for jobs that concern no single batch."),
    Column("purpose", "STRING", "stage, apply, undo, ledger, cleanup or build."),
    Column("job_type", "STRING", "load or query."),
    Column("state", "STRING", "succeeded or failed."),
    Column("bytes_processed", "INT64", "Bytes that the job read."),
    Column("bytes_billed", "INT64", "Load jobs are free and have none."),
    Column("slot_ms", "INT64", "Slot time, milliseconds."),
    Column("started_at", "TIMESTAMP", "When it began, UTC."),
    Column("ended_at", "TIMESTAMP", "When it ended, UTC."),
)
BUILDS = (
    Column("build_id", "STRING", "dbt's invocation id."),
    Column("source", "STRING", "The source whose models were built."),
    Column("state", "STRING", "succeeded or failed."),
    Column("code_version", "STRING", "Digest of the code, models included."),
    Column("dataset_prefix", "STRING", "Before the names of the datasets that were built."),
    Column("suite", "STRING", "whole when every test ran, keys when only those of keys did."),
    Column("covers_applied_at", "TIMESTAMP", "Ledger lines up to here were in before it began."),
    Column("asked_at", "TIMESTAMP", "When it was found due, by BigQuery's clock, UTC."),
    Column("nodes_passed", "INT64", "Models, seeds and tests that passed."),
    Column("nodes_failed", "INT64", "Models, seeds and tests that failed."),
    Column("nodes_warned", "INT64", "Tests that warned."),
    Column("nodes_skipped", "INT64", "Nodes that a failure before them kept from running."),
    Column("bytes_billed", "INT64", "Of all jobs of the invocation, those of macros included."),
    Column("message", "STRING", "The failing nodes in one line."),
    Column("started_at", "TIMESTAMP", "When it began, UTC."),
    Column("ended_at", "TIMESTAMP", "When it ended, UTC."),
)
REQUESTS = (
    Column("reservation_id", "STRING", "The reservation: one line reserved, then one settled."),
    Column("source", "STRING", "The source whose plan counts requests."),
    Column("state", "STRING", "reserved or settled; what is never settled counts as spent."),
    Column("requests", "INT64", "Requests granted when reserved, really sent when settled."),
    Column(
        "recorded_at",
        "TIMESTAMP",
        "Start of the line's transaction, by BigQuery's clock, UTC.",
    ),
)
FIELDS = (
    Column("source", "STRING", "The source whose field it is."),
    Column("table_name", "STRING", "The raw table."),
    Column("field", "STRING", "The source's field."),
    Column("change", "STRING", "new, retyped or missing, against the declared columns."),
    Column("batch_id", "STRING", "The first batch that showed it."),
    Column("announced_at", "TIMESTAMP", "When it was announced, once, UTC."),
)
# Table name to columns and the column whose month partitions it.
TABLES: dict[str, tuple[tuple[Column, ...], str]] = {
    "_rejects": (REJECTED, "rejected_at"),
    "_jobs": (JOBS, "started_at"),
    "_builds": (BUILDS, "started_at"),
    "_requests": (REQUESTS, "recorded_at"),
    "_fields": (FIELDS, "announced_at"),
    "_loads": (LOADS, "applied_at"),
}
# The tables carry it as a label, so that one look tells whether a column is missing.
FINGERPRINT = fingerprint(
    [(f"{name}.{c.name}", c.type) for name, (columns, _) in TABLES.items() for c in columns]
)
LABELS = {**OWNER, "layer": "ledger", "columns": FINGERPRINT}


def is_replay_of(line: str, batch_id: str) -> str:
    """SQL: whether a line of the ledger is of a copy of a batch, or of a copy of a copy."""
    named = f"{batch_id} IN UNNEST(SPLIT({line}.replay_of, ','))"
    return f"({named} OR {_replay_by_note(line, batch_id)})"


def is_import(import_id: str, note: str) -> str:
    """SQL: whether a line of the ledger is of this import."""
    return f"(import_id = {literal(import_id)} OR {_import_by_note(note)})"


# Lines that releases before these columns wrote have only a note. Both go in release 0.2.0, whose
# migration fills the columns.
def _replay_by_note(line: str, batch_id: str) -> str:
    says = f"STRPOS({line}.message, CONCAT('replay of ', {batch_id})) > 0"
    return f"({line}.replay_of IS NULL AND {says})"


def _import_by_note(note: str) -> str:
    return f"(import_id IS NULL AND message = {literal(note)})"


@dataclass(frozen=True)
class Cursor:
    """Where the last incremental line of a source left off."""

    watermark: datetime | None = None
    known_digests: dict[str, str] = field(default_factory=dict)
    # Whether the last batch was held, or held deletions back.
    is_held: bool = False
    # Undos so far: a look that began before the last one says nothing of where to go on.
    undos: int = 0


@dataclass(frozen=True)
class Change:
    """A batch that was applied or undone, and where its rows lie and lay."""

    state: State
    applied_at: datetime
    touched_from: datetime | None = None
    touched_to: datetime | None = None


@dataclass(frozen=True)
class Changes:
    """All that was applied or undone of a source after `since`, by BigQuery's clock."""

    since: datetime
    listed: tuple[Change, ...] = ()

    @property
    def last_at(self) -> datetime:
        """`since` when nothing is listed."""
        return max((change.applied_at for change in self.listed), default=self.since)

    def and_this(self, line: Line) -> Changes | None:
        """With a line that this run applied; None when another run's came in between."""
        if line.state != "applied":
            return self
        if line.applied_at is None or (line.previous_at or self.since) > self.last_at:
            return None
        change = Change(line.state, line.applied_at, line.touched_from, line.touched_to)
        return replace(self, listed=(*self.listed, change))


def columns_of(extraction: Extraction) -> dict[str, Any]:
    """Column of `_loads` to value: all that an extraction says before it is loaded."""
    is_incremental = extraction.mode == "incremental"
    names = (column.name for column in LOADS if hasattr(extraction, column.name))
    return {name: getattr(extraction, name) for name in names} | {
        "table_name": extraction.table,
        "window_start": extraction.window.start,
        "window_end": extraction.window.end,
        "watermark": extraction.watermark if is_incremental else None,
        "known_digests": as_json(extraction.known_digests) if is_incremental else None,
        "message": extraction.note,
        "replay_of": ",".join(extraction.replay_of) or None,
    }


def line_of(extraction: Extraction, state: State, **found: Any) -> Line:
    """The line of an extraction in this state; `found` are the counts and times of its load."""
    names = {one.name for one in fields(Line)}
    told = {name: value for name, value in columns_of(extraction).items() if name in names}
    return Line(**told | {"state": state} | found)
