"""A batch: one extraction of one source over one window, an immutable set of objects in a bucket.

    <project>.<raw dataset>/<source>/<batch_id>/part-0001.parquet
    <project>.<raw dataset>/<source>/<batch_id>/rejects-0001.parquet
    <project>.<raw dataset>/<source>/<batch_id>/manifest.json       written last, and only if absent

A batch without a manifest does not exist. A laptop and a VM on one bucket never meet, because the
prefix names the project and the dataset that the batch is for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import msgspec

from core.schema import Mode, Type

MANIFEST = "manifest.json"
BATCH_ID = re.compile(r"\d{8}T\d{12}_[0-9a-f]{8}")
STAMP = "%Y%m%dT%H%M%S%f"
# What release 0.1 calls a field, in the ledger and in version 1 of manifest.json. A manifest
# keeps them: a batch that waits in a bucket is read by the release before, too, when one goes back.
EARLIER_NAMES = {"unparsed": "odd", "already_seen": "met_again", "known_digests": "seen"}


class InvalidManifest(ValueError):
    """A manifest that cannot be read, or that does not agree with the objects beside it."""


@dataclass(frozen=True)
class Part:
    """One Parquet object of a batch. `md5` of its content, in hex."""

    name: str
    kind: Literal["rows", "rejects"]
    rows: int
    size_bytes: int
    md5: str


@dataclass(frozen=True)
class Window:
    """What an extraction asked for: changes since `start`, or event times from `start` to `end`."""

    start: datetime | None = None
    end: datetime | None = None

    def __str__(self) -> str:
        start = f"{self.start:%Y-%m-%dT%H:%M:%SZ}" if self.start else None
        end = f"{self.end:%Y-%m-%dT%H:%M:%SZ}" if self.end else None
        if start and end:
            return f"{start} to {end}"
        if end:
            return f"up to {end}"
        return f"since {start}" if start else "first load"


def asked_for(start: object, end: object) -> str:
    """What a run was asked for by these parameters, in words."""
    return f"{start or 'first'} to {end or 'now'}" if start or end else "what changed"


def check_range(start: date | None, end: date | None, today: date) -> None:
    """Raise ValueError for a range of days (UTC) in which nothing can have happened.

    A day of grace, for a local clock that is a little slow.
    """
    if start and end and end < start:
        raise ValueError(f"the range ends on {end}, before it begins on {start}")
    if start and start > today + timedelta(days=1):
        raise ValueError(f"the range begins on {start}, and today is {today} (UTC)")


@dataclass(frozen=True)
class Count:
    """What a column of the ledger counts; `word` is what a run's message calls it, if it tells it.

    The apply script counts what becomes of each staged row (an outcome) and of all else that it
    touches (an effect).
    """

    description: str
    word: str | None = None
    kind: Literal["extracted", "outcome", "effect"] = "extracted"


def count(*described: Any, default: int | None = 0) -> Any:
    """The field of a count, described as in Count."""
    return field(default=default, metadata={"count": Count(*described)})


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What an extraction counts: the same names in its manifest and in its line of the ledger.

    The rows and the rejects of a batch and those already seen are `source_count`, the source's own
    number, where it has one.
    """

    unparsed: int = count(
        "Rows with a value that fitted no column and is kept in _extra.", "unparsed"
    )
    rejected_unexpected: int = count("Of both, those that the source is not known for.")
    already_seen: int = count("Rows read once more and equal to before; not staged again.")
    source_count: int | None = count(
        "How many rows the source said it has; null if it cannot say.", default=None
    )
    total: int | None = count(
        "Rows the source lists, by its count; of news 10,000 means at least.", default=None
    )
    depth: int | None = count(
        "Rows from the top of the listing down to where the look read.", default=None
    )
    requests: int = count("Requests sent to the source.")


@dataclass(frozen=True, kw_only=True)
class Extraction(Counts):
    """What any extraction knows of itself, in counts of rows and in UTC.

    `known_digests` maps the key of each row that the next one will read again to a digest of its
    content.
    """

    batch_id: str
    source: str
    table: str
    mode: Mode
    window: Window
    observed_at: datetime
    code_version: str
    watermark: datetime | None = None
    known_digests: dict[str, str] = field(default_factory=dict)
    # Undos that the ledger knew when the extraction began.
    undos: int = 0
    # What a reader of the ledger should know, such as a gap.
    note: str | None = None
    # Of a replay: the batch that it is a copy of, then the one that that was a copy of.
    replay_of: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NoChange(Extraction):
    """An extraction that found nothing new: a line of the ledger, and no object. `batch_id` is the
    id that its batch would have."""


@dataclass(frozen=True, kw_only=True)
class Manifest(Extraction):
    """All that a load needs to know of a batch, whose rows and rejects are what was extracted."""

    columns: tuple[tuple[str, Type], ...]
    parts: tuple[Part, ...]
    rows: int
    rejected: int
    schema_fingerprint: str
    extract_started_at: datetime
    extract_ended_at: datetime
    # Of an import: a digest of the old table as it was and of the plan.
    import_id: str | None = None
    # (field, change) of what the source sent otherwise than declared.
    fields: tuple[tuple[str, str], ...] = ()
    # Why all rows may not be replaced by these, in words.
    faults: tuple[str, ...] = ()
    # Lets a snapshot mark as many rows deleted as it lacks, and replace rows in spite of faults.
    allow_absent: bool = False
    version: Literal[1] = 1

    @property
    def extracted(self) -> int:
        return self.rows + self.rejected

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)

    def of_kind(self, kind: Literal["rows", "rejects"]) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.kind == kind)


@dataclass(frozen=True)
class Extracted:
    """What an extraction came to: a committed batch, one without news, or neither.

    `note` tells what a reader should know; `failures` what could not be had, although the rest was.
    """

    batch: Manifest | NoChange | None = None
    note: str | None = None
    failures: tuple[str, ...] = ()


def new_batch_id(observed_at: datetime) -> str:
    """A fresh id that sorts by the source server's clock and is fit for a BigQuery table name."""
    return f"{observed_at.astimezone(UTC).strftime(STAMP)}_{secrets.token_hex(4)}"


def replay_id(batch_id: str) -> str:
    """A fresh id for a copy of a batch: it sorts right after it, by the same clock."""
    stamp, _, suffix = batch_id.partition("_")
    number = int(suffix, 16) + 1 + secrets.randbelow(2**16)
    if number < 2**32:
        return f"{stamp}_{number:08x}"
    observed_at = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    return new_batch_id(observed_at + timedelta(microseconds=1))


def source_prefix(project: str, raw_dataset: str, source: str) -> str:
    return f"{project}.{raw_dataset}/{source}/"


def batch_of(object_name: str, prefix: str) -> str | None:
    """The batch that an object below a source's prefix belongs to; None for anything else."""
    head, _, rest = object_name.removeprefix(prefix).partition("/")
    return head if rest and BATCH_ID.fullmatch(head) else None


def notes(*told: str | None) -> str | None:
    """One note of several; None when there is none."""
    return "; ".join(one for one in told if one) or None


def encode_manifest(manifest: Manifest) -> bytes:
    told = {
        EARLIER_NAMES.get(name, name): value
        for name, value in msgspec.to_builtins(manifest).items()
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=1)


def decode_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in `content`; InvalidManifest, naming `where`, when it is not one."""
    names = {earlier: name for name, earlier in EARLIER_NAMES.items()}
    try:
        told = msgspec.json.decode(content, type=dict[str, Any])
        told = {names.get(given, given): value for given, value in told.items()}
        manifest = msgspec.convert(told, Manifest)
    except msgspec.MsgspecError as error:
        raise InvalidManifest(f"{where}: {error}") from error
    if sum(part.rows for part in manifest.of_kind("rows")) != manifest.rows:
        raise InvalidManifest(f"{where}: the parts do not add up to {manifest.rows} rows")
    counted = manifest.extracted + manifest.already_seen
    if manifest.source_count not in (None, counted):
        raise InvalidManifest(f"{where}: source {manifest.source_count}, landed {counted}")
    if sum(part.rows for part in manifest.of_kind("rejects")) != manifest.rejected:
        raise InvalidManifest(f"{where}: the parts do not add up to {manifest.rejected} rejects")
    return manifest


def check_parts(parts: Iterable[Part], listed: Iterable[Part], where: str) -> None:
    """Raise InvalidManifest unless the bucket holds exactly these parts.

    Sizes must be equal, and MD5s where the bucket tells one: a composite object on GCS and any
    object under SSE-KMS on S3 has none, but each was compared when it was written.
    """
    expected = {part.name: (part.size_bytes, part.md5) for part in parts}
    found = {
        part.name: (part.size_bytes, part.md5 or expected.get(part.name, (0, ""))[1])
        for part in listed
    }
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise InvalidManifest(
                f"{where}: {name} is {found.get(name, 'missing')} in the bucket, "
                f"{expected.get(name, 'unknown')} by the upload"
            )
