"""The tables that say what happened: `_loads`, `_rejects`, `_jobs`, `_builds`, `_requests`,
`_fields`. All append-only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from core.batch import Window
from core.ownership import LABELS as OWNER
from core.schema import Column, Mode, fingerprint
from core.sql import literal

# applied: the batch's rows are in. superseded: a newer full snapshot was there first.
# held: a list that would have replaced many more rows than it has, or is not what its table
# declares; nothing was changed.
# parked: given up after repeated failures. failed: one failure. looked: the source had nothing new.
# undone: an applied batch was taken out again; its applied line stays, so it is never applied anew.
State = Literal["applied", "superseded", "held", "parked", "failed", "looked", "undone"]

# The verdicts on a staged row; with the rejected, now or before, they add up to those extracted.
VERDICTS = ("inserted", "updated", "unchanged", "older", "duplicate", "deleted")
# What becomes of standing rows that the batch does not hold itself.
MARKS = ("superseded_ids", "absent", "cleared", "held", "replaced")
# What the apply script counts.
COUNTED = (*VERDICTS, *MARKS, "rejected", "rejected_before")
COUNTS = ("extracted", *COUNTED, "rejected_unexpected", "odd")
# Ledger states after which a batch is never applied again by itself.
FINAL_STATES = ("applied", "superseded", "held", "parked")

# The states of lines that say that the raw table was changed.
CHANGES: tuple[State, ...] = ("applied", "undone")

# A batch that failed to load in this many runs is parked.
FAILURES_BEFORE_PARKING = 3

LOADS = (
    Column("batch_id", "STRING", "The batch; of a look that found nothing, the id it would have."),
    Column("source", "STRING", "The source, as in its flow and its dbt source."),
    Column("table_name", "STRING", "The raw table."),
    Column("mode", "STRING", "incremental, backfill or replay."),
    Column("state", "STRING", "applied, superseded, held, parked, failed, looked or undone."),
    Column("window_start", "TIMESTAMP", "Start of what was asked for, UTC."),
    Column("window_end", "TIMESTAMP", "End of what was asked for, UTC; null when open."),
    Column("watermark", "TIMESTAMP", "Up to when the source's changes are in; incremental only."),
    Column("seen", "STRING", "JSON: key to digest of the rows that the next look will meet again."),
    Column("extracted", "INT64", "Rows that were staged or rejected."),
    Column("met_again", "INT64", "Rows read once more and equal to before; not staged again."),
    Column("inserted", "INT64", "Rows new to the table."),
    Column("updated", "INT64", "Rows that replaced an older version."),
    Column("unchanged", "INT64", "Rows that the table already held, equal."),
    Column("older", "INT64", "Rows older than what the table holds; not written."),
    Column("duplicate", "INT64", "Rows that stood twice in the batch; the newest counts."),
    Column("deleted", "INT64", "Rows that the source deleted; marked."),
    Column("rejected", "INT64", "Rows kept in _rejects, which did not have them."),
    Column("rejected_before", "INT64", "Rows that _rejects has already, for the same reason."),
    Column("rejected_unexpected", "INT64", "Of both, those that the source is not known for."),
    Column("odd", "INT64", "Rows with a value that fitted no column and is kept in _extra."),
    Column("superseded_ids", "INT64", "Standing rows marked deleted because a newer renamed them."),
    Column("absent", "INT64", "Standing rows marked deleted because a snapshot lacks them."),
    Column("cleared", "INT64", "Rows kept that a snapshot has without their key, a cleared id."),
    Column("held", "INT64", "Standing rows that a snapshot lacks, too many to be given up."),
    Column("replaced", "INT64", "Standing rows whose place others took: a snapshot, or an undo."),
    Column("source_count", "INT64", "How many rows the source said it has; null if it cannot say."),
    Column("total", "INT64", "Rows the source lists, by its count; of news 10,000 means at least."),
    Column("depth", "INT64", "Rows from the top of the listing down to where the look read."),
    Column("requests", "INT64", "Requests sent to the source."),
    Column("size_bytes", "INT64", "Bytes of the batch's objects."),
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
    Column("extract_started_at", "TIMESTAMP", "UTC."),
    Column("extract_ended_at", "TIMESTAMP", "UTC."),
    Column(
        "applied_at",
        "TIMESTAMP",
        "Start of the line's transaction, by BigQuery's clock, UTC.",
    ),
)
REJECTED = (
    Column("batch_id", "STRING", "The batch that brought the row."),
    Column("source", "STRING"),
    Column("table_name", "STRING", "The raw table it was meant for."),
    Column("row_number", "INT64", "The row's place in its batch."),
    Column("reason", "STRING", "Why it cannot stand in its table."),
    Column("is_expected", "BOOL", "True for what the source is known to send."),
    Column("payload", "STRING", "The row as the source sent it, JSON."),
    Column("rejected_at", "TIMESTAMP", "UTC."),
)
JOBS = (
    Column("job_id", "STRING", "BigQuery's job id."),
    Column("source", "STRING"),
    Column("batch_id", "STRING", "Null for jobs that concern no single batch."),
    Column("purpose", "STRING", "stage, apply, undo, ledger, cleanup or build."),
    Column("job_type", "STRING", "load or query."),
    Column("state", "STRING", "succeeded or failed."),
    Column("bytes_processed", "INT64"),
    Column("bytes_billed", "INT64", "Load jobs are free and have none."),
    Column("slot_ms", "INT64", "Slot time, milliseconds."),
    Column("started_at", "TIMESTAMP", "UTC."),
    Column("ended_at", "TIMESTAMP", "UTC."),
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
    Column("nodes_passed", "INT64"),
    Column("nodes_failed", "INT64"),
    Column("nodes_warned", "INT64"),
    Column("nodes_skipped", "INT64"),
    Column("bytes_billed", "INT64", "Of all jobs of the invocation, those of macros included."),
    Column("message", "STRING", "The failing nodes in one line."),
    Column("started_at", "TIMESTAMP", "UTC."),
    Column("ended_at", "TIMESTAMP", "UTC."),
    Column(
        "continues", "STRING", "The failed build whose rest this one ran; null for a whole one."
    ),
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
    Column("source", "STRING"),
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
    seen: dict[str, str] = field(default_factory=dict)
    # Whether the last batch was held, or held deletions back.
    is_held: bool = False
    # Undos so far: a look that began before the last one says nothing of where to go on.
    undos: int = 0

    def updated_after(self, overlap: timedelta) -> datetime | None:
        return self.watermark - overlap if self.watermark else None


@dataclass(frozen=True)
class Look:
    """A look at a source that had nothing new. `observed_at` by the source's own clock."""

    batch_id: str
    window: Window
    observed_at: datetime
    seen: dict[str, str]
    met_again: int
    requests: int
    source_count: int | None = None
    total: int | None = None
    depth: int | None = None
    mode: Mode = "incremental"
    note: str | None = None


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


@dataclass(frozen=True)
class Line:
    """The counts of one line of a batch or a look, in rows."""

    batch_id: str
    state: State
    extracted: int = 0
    met_again: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    older: int = 0
    duplicate: int = 0
    deleted: int = 0
    rejected: int = 0
    rejected_before: int = 0
    rejected_unexpected: int = 0
    odd: int = 0
    superseded_ids: int = 0
    absent: int = 0
    cleared: int = 0
    held: int = 0
    replaced: int = 0
    source_count: int | None = None
    requests: int = 0
    size_bytes: int = 0
    message: str | None = None
    touched_from: datetime | None = None
    touched_to: datetime | None = None
    applied_at: datetime | None = None
    # When the source's last batch before this one was applied or undone; no column of the ledger.
    previous_at: datetime | None = None

    @property
    def written(self) -> int:
        return self.inserted + self.updated + self.deleted + self.superseded_ids + self.absent
