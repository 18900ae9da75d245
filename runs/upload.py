"""A batch in the making: parts as they come, the manifest last."""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypedDict, Unpack

import pyarrow.parquet as pq

from core.batch import (
    MANIFEST,
    Extracted,
    InvalidManifest,
    Manifest,
    NoChange,
    Part,
    Window,
    check_parts,
    decode_manifest,
    encode_manifest,
    new_batch_id,
    notes,
)
from core.errors import CountMismatch, StoreFailed
from core.ledger import Cursor
from core.rows import Chunk, EncodedChunk, Fields, Record, encode, faults_of, to_chunk
from core.schema import REJECTS, STAGED, Column, Mode, Table, fingerprint
from core.stamps import is_ahead
from core.steps import step
from core.task import task
from core.version import code_version
from stores.clock import Moment
from stores.errors import STORE_ERRORS, cause_of, reason_of
from stores.landing import Landing
from stores.platform import Platform
from stores.spool import keep

logger = logging.getLogger("pipelines.upload")


class Asked(Protocol):
    """What a source was asked through, such as an Http: it counts the requests that it sent."""

    @property
    def requests(self) -> int: ...


class Facts(TypedDict, total=False):
    """What only the flow knows of an extraction.

    `known_digests`: key to digest of the rows that the next one will read again. `already_seen`:
    rows read once more and left out, because nothing about them changed. `source_count`: the
    source's own count of all rows. `total`, `depth`: of a listing, how many rows it has by its own
    count, and how far down it was read. `note`: what a reader should know. `failures`: what could
    not be had.
    """

    known_digests: dict[str, str]
    already_seen: int
    source_count: int | None
    total: int | None
    depth: int | None
    note: str | None
    failures: tuple[str, ...]


@dataclass
class BatchWriter:
    """A batch that does not exist yet: objects without a manifest. Fresh for every attempt."""

    platform: Platform
    table: Table
    mode: Mode
    window: Window
    cursor: Cursor
    moment: Moment
    asked: Asked | None
    import_id: str | None
    allow_absent: bool
    batch_id: str
    landing: Landing
    # Where the next extraction goes on from; None leaves that as it is.
    watermark: datetime | None
    started_at: datetime
    parts: list[Part] = field(default_factory=list)
    rejected_unexpected: int = 0
    unparsed: int = 0
    fields: Fields = field(default_factory=Fields)
    faults: list[str] = field(default_factory=list)
    nulls: Counter[str] = field(default_factory=Counter)
    # Rows whose update stamp is from the future.
    ahead: int = 0
    # Of a source that cannot be asked again: what was put so far, and why the bucket took no more.
    contents: dict[str, bytes] = field(default_factory=dict)
    failure: Exception | None = None
    is_ended: bool = False

    @property
    def prefix(self) -> str:
        return f"{self.platform.prefix(self.table.source)}{self.batch_id}/"

    @property
    def next_row(self) -> int:
        """The number of the next row; as many rows and rejects were added."""
        return self.count("rows") + self.count("rejects")

    def count(self, kind: Literal["rows", "rejects"]) -> int:
        return sum(part.rows for part in self.parts if part.kind == kind)

    def add(self, chunk: Chunk | EncodedChunk | Iterable[Record]) -> None:
        """Write a chunk's rows and rejects as parts of the batch; of none, nothing is written."""
        with step("extract.page"):
            if not isinstance(chunk, Chunk | EncodedChunk):
                chunk = to_chunk(chunk, self.table, self.next_row)
            if isinstance(chunk, Chunk):
                self.ahead += self.count_ahead(chunk)
                chunk = encode(chunk)
            self.put("rows", "part", chunk.rows, chunk.row_count, (*self.table.columns, *STAGED))
            self.put("rejects", "rejects", chunk.rejects, chunk.reject_count, REJECTS)
        self.rejected_unexpected += chunk.unexpected
        self.unparsed += chunk.unparsed
        self.fields.add(chunk.fields)
        self.faults += chunk.faults
        self.nulls.update(chunk.nulls)

    def count_ahead(self, chunk: Chunk) -> int:
        """How many rows have an update stamp later than the source's clock and this one's."""
        if self.table.order_by is None:
            return 0
        clocks = self.moment.at, datetime.now(UTC)
        stamps = chunk.rows[self.table.order_by].to_pylist()
        return sum(stamp is not None and is_ahead(stamp, *clocks) for stamp in stamps)

    def put(
        self,
        kind: Literal["rows", "rejects"],
        stem: str,
        content: bytes,
        rows: int,
        columns: Iterable[Column],
    ) -> None:
        """Upload a part of so many rows, if it has any.

        One of a source that cannot be asked again is kept until it is committed.
        """
        if not rows:
            return
        name = f"{stem}-{1 + sum(part.kind == kind for part in self.parts):04}.parquet"
        check_columns(content, columns, name)
        if not self.table.is_replayable:
            self.contents[name] = content
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if self.failure is None:
            try:
                md5 = upload_part(self.landing, self.prefix, name, content)
            except STORE_ERRORS as error:
                if self.table.is_replayable:
                    raise
                self.failure = error
        self.parts.append(Part(name, kind, rows, len(content), md5))

    def unchanged(self, **facts: Unpack[Facts]) -> Extracted:
        """The source had nothing new: no object, and later a line of the ledger.

        Raises CountMismatch as commit does, and ValueError when a chunk was added.
        """
        if self.parts:
            raise ValueError(f"batch {self.batch_id} has rows: it is to be committed")
        note = notes(self.moment.doubt, facts.get("note"))
        return self.end(NoChange(**self.extraction(facts, note)), facts, note)

    def commit(self, **facts: Unpack[Facts]) -> Extracted:
        """Make the batch exist: list its parts once more, then write the manifest if there is none.

        Raises CountMismatch when the source counts more or fewer rows, and InvalidManifest when the
        bucket does not hold exactly what was uploaded, or when another manifest is there. What
        cannot be asked again is kept on disk when its bucket fails, for the next run to commit:
        StoreFailed says so.
        """
        columns = tuple((column.name, column.type) for column in (*self.table.columns, *STAGED))
        rows, missing = self.count("rows"), self.fields.missing(self.table)
        faults = (*self.faults, *faults_of(self.table, rows, self.nulls, missing))
        note = notes(self.moment.doubt, self.doubt_of_rows, facts.get("note"), *faults)
        manifest = Manifest(
            **self.extraction(facts, note),
            columns=columns,
            parts=tuple(self.parts),
            rows=rows,
            rejected=self.count("rejects"),
            rejected_unexpected=self.rejected_unexpected,
            unparsed=self.unparsed,
            schema_fingerprint=fingerprint(columns),
            extract_started_at=self.started_at,
            extract_ended_at=datetime.now(UTC),
            import_id=self.import_id,
            fields=self.fields.changes(self.table),
            faults=faults,
            allow_absent=self.allow_absent,
        )
        try:
            if self.failure:
                raise self.failure
            manifest = write_in_a_task(self.landing, self.prefix, manifest)
        except (*STORE_ERRORS, InvalidManifest) as error:
            if self.table.is_replayable:
                raise
            raise self.kept(manifest, error) from error
        return self.end(manifest, facts, note)

    def end(self, batch: Manifest | NoChange, facts: Facts, note: str | None) -> Extracted:
        self.is_ended = True
        return Extracted(batch, note, facts.get("failures", ()))

    def extraction(self, facts: Facts, note: str | None) -> dict[str, Any]:
        """What a batch and one without news have in common. Raises CountMismatch."""
        source_count, already_seen = facts.get("source_count"), facts.get("already_seen", 0)
        landed = self.next_row + already_seen
        if source_count is not None and source_count != landed:
            raise CountMismatch(self.table.source, self.window, source_count, landed)
        # A flow with a note of its own says there what could not be had.
        failures = () if facts.get("note") else facts.get("failures", ())
        return {
            "batch_id": self.batch_id,
            "source": self.table.source,
            "table": self.table.name,
            "mode": self.mode,
            "window": self.window,
            "observed_at": self.moment.at,
            "watermark": self.watermark,
            "known_digests": facts.get("known_digests", {}),
            "undos": self.cursor.undos,
            "already_seen": already_seen,
            "source_count": source_count,
            "total": facts.get("total"),
            "depth": facts.get("depth"),
            "requests": self.asked.requests if self.asked else 0,
            "code_version": code_version(),
            "note": notes(note, f"not had: {'; '.join(failures)}" if failures else None),
        }

    @property
    def doubt_of_rows(self) -> str | None:
        """What is not believed of the rows, in words."""
        if not self.ahead:
            return None
        rows = "1 row has" if self.ahead == 1 else f"{self.ahead:,} rows have"
        return (
            f"{rows} `{self.table.order_by}` in the future, which counts as the moment of this read"
        )

    def kept(self, manifest: Manifest, error: Exception) -> StoreFailed:
        """The failure of a run whose answers are on disk now, or are lost if that fails as well."""
        self.is_ended = True
        said = f"{manifest.extracted:,} answers are"
        folder = self.platform.spool / self.prefix
        try:
            keep(folder, manifest, self.contents)
            said = f"{said} kept in {folder}, the next run commits them"
        except OSError as full:
            said = f"{said} lost, since the disk failed as well: {cause_of(full)}"
        if manifest.note:
            said = f"{said}; {manifest.note}"
        cause = f"{cause_of(error)}; {said}"
        return StoreFailed(self.table.source, self.window, cause, reason_of(error))


@contextmanager
def new_batch(
    platform: Platform,
    table: Table,
    window: Window,
    cursor: Cursor,
    moment: Moment,
    asked: Asked | None = None,
    *,
    mode: Mode = "incremental",
    import_id: str | None = None,
    allow_absent: bool = False,
) -> Iterator[BatchWriter]:
    """A batch to be made of what is read after `cursor`, as it was at `moment`.

    It exists once it is committed. What was uploaded of one that is not is left to cleanup.
    """
    batch = BatchWriter(
        *(platform, table, mode, window, cursor, moment, asked, import_id, allow_absent),
        batch_id=new_batch_id(moment.at),
        landing=platform.landing,
        watermark=moment.at if mode == "incremental" else None,
        started_at=datetime.now(UTC),
    )
    try:
        yield batch
    finally:
        if batch.parts and not batch.is_ended:
            left = f"{len(batch.parts)} objects without a manifest in {batch.landing.address}"
            logger.info("%s: %s/%s; cleanup removes them", table.source, left, batch.prefix)


def check_columns(content: bytes, columns: Iterable[Column], name: str) -> None:
    """Raise ValueError unless a part's columns are those that the manifest will name: BigQuery
    loads Parquet by the names of its columns."""
    names = [column.name for column in columns]
    if content and (present := pq.read_schema(io.BytesIO(content)).names) != names:
        raise ValueError(f"{name}: its columns are {present}, and {names} in the manifest")


@task(name="upload-to-bucket", run_name="upload {name}", retries=2, retry_delay_seconds=[2, 10])
def upload_part(landing: Landing, prefix: str, name: str, content: bytes) -> str:
    """Write one object and return the MD5 of its content."""
    with step("upload.part"):
        return landing.put(f"{prefix}{name}", content)


def write_manifest(landing: Landing, prefix: str, manifest: Manifest) -> Manifest:
    """Write the manifest of a batch whose parts are in the bucket, and return what is there.

    Raises InvalidManifest when the bucket does not hold exactly its parts, or when another manifest
    is there.
    """
    name, uri = f"{prefix}{MANIFEST}", f"{landing.address}/{prefix}"
    with step("commit.list"):
        listed = [
            Part(stored.name.removeprefix(prefix), "rows", 0, stored.size_bytes, stored.md5)
            for stored in landing.list(prefix)
            if stored.name != name
        ]
    check_parts(manifest.parts, listed, uri)
    with step("commit.manifest"):
        written = landing.put_if_absent(name, encode_manifest(manifest))
    if not written:
        # The answer to an earlier try was lost, or somebody else wrote here; only the first is
        # fine.
        standing = decode_manifest(landing.get(name), f"{uri}{MANIFEST}")
        check_parts(standing.parts, manifest.parts, uri)
        return standing
    return manifest


write_in_a_task = task("commit", retries=2, retry_delay_seconds=[2, 10])(write_manifest)
