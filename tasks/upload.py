"""A batch in the making: parts as they come, the manifest last."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from core.batch import (
    MANIFEST,
    InvalidManifest,
    Manifest,
    Part,
    Window,
    check_parts,
    decode_manifest,
    encode_manifest,
    new_batch_id,
    notes,
)
from core.errors import StoreFailed
from core.ledger import Cursor
from core.rows import Fields, Packed, Page, faults_of, pack
from core.schema import REJECTS, STAGED, Column, Mode, Table, fingerprint
from core.stamps import is_ahead
from core.steps import step
from core.version import code_version
from tasks.landing import Landing
from tasks.platform import Platform
from tasks.spool import keep
from tasks.stores import STORE_ERRORS, cause_of, reason_of
from tasks.verb import verb


@dataclass
class Draft:
    """A batch that does not exist yet: objects without a manifest. Fresh for every attempt."""

    table: Table
    mode: Mode
    window: Window
    observed_at: datetime
    batch_id: str
    prefix: str
    landing: Landing
    # Where the batch goes when it may not be lost and its bucket does not take it.
    folder: Path
    # Those that were known when the look began.
    undos: int
    started_at: datetime
    parts: list[Part] = field(default_factory=list)
    rows: int = 0
    rejected: int = 0
    rejected_unexpected: int = 0
    odd: int = 0
    fields: Fields = field(default_factory=Fields)
    faults: list[str] = field(default_factory=list)
    nulls: Counter[str] = field(default_factory=Counter)
    # Rows whose update stamp is from the future.
    ahead: int = 0
    # Of a source that cannot be asked again: what was put so far, and why the bucket took no more.
    contents: dict[str, bytes] = field(default_factory=dict)
    failure: Exception | None = None

    @property
    def next_row(self) -> int:
        return self.rows + self.rejected

    @property
    def doubt(self) -> str | None:
        """What is not believed of the rows, in words."""
        if not self.ahead:
            return None
        rows = "1 row has" if self.ahead == 1 else f"{self.ahead:,} rows have"
        return (
            f"{rows} `{self.table.order_by}` in the future, which counts as the moment of this read"
        )


def new_draft(
    platform: Platform,
    table: Table,
    mode: Mode,
    window: Window,
    observed_at: datetime,
    cursor: Cursor,
) -> Draft:
    """A batch to be made of what is read after `cursor`, which says how many undos were known."""
    batch_id = new_batch_id(observed_at)
    prefix = f"{platform.prefix(table.source)}{batch_id}/"
    return Draft(
        table=table,
        mode=mode,
        window=window,
        observed_at=observed_at,
        batch_id=batch_id,
        prefix=prefix,
        landing=platform.landing,
        folder=platform.spool / prefix,
        undos=cursor.undos,
        started_at=datetime.now(UTC),
    )


def add_page(draft: Draft, page: Page | Packed) -> None:
    """Write a page's rows and rejects as parts of the draft."""
    if isinstance(page, Page):
        draft.ahead += count_ahead(draft, page)
    packed = page if isinstance(page, Packed) else pack(page)
    if packed.row_count:
        number = len([part for part in draft.parts if part.kind == "rows"]) + 1
        name = f"part-{number:04}.parquet"
        check_columns(packed.rows, (*draft.table.columns, *STAGED), name)
        draft.parts.append(put_part(draft, "rows", name, packed.rows, packed.row_count))
    if packed.reject_count:
        number = len([part for part in draft.parts if part.kind == "rejects"]) + 1
        name = f"rejects-{number:04}.parquet"
        check_columns(packed.rejects, REJECTS, name)
        draft.parts.append(put_part(draft, "rejects", name, packed.rejects, packed.reject_count))
    draft.rows += packed.row_count
    draft.rejected += packed.reject_count
    draft.rejected_unexpected += packed.unexpected
    draft.odd += packed.odd
    draft.fields.add(packed.fields)
    draft.faults += packed.faults
    draft.nulls.update(packed.nulls)


def check_columns(content: bytes, columns: Iterable[Column], name: str) -> None:
    """Raise ValueError unless a part's columns are those that the manifest will name: BigQuery
    loads Parquet by the names of its columns."""
    names = [column.name for column in columns]
    if content and (present := pq.read_schema(io.BytesIO(content)).names) != names:
        raise ValueError(f"{name}: its columns are {present}, and {names} in the manifest")


def count_ahead(draft: Draft, page: Page) -> int:
    """How many rows have an update stamp that is later than the source's clock and this one's."""
    if draft.table.order_by is None:
        return 0
    clocks = draft.observed_at, datetime.now(UTC)
    stamps = page.rows[draft.table.order_by].to_pylist()
    return sum(stamp is not None and is_ahead(stamp, *clocks) for stamp in stamps)


def put_part(
    draft: Draft, kind: Literal["rows", "rejects"], name: str, content: bytes, rows: int
) -> Part:
    """Upload a part; one of a source that cannot be asked again is kept until it is committed."""
    if draft.table.is_replayable:
        return upload_part(draft, kind, name, content, rows)
    draft.contents[name] = content
    if draft.failure is None:
        try:
            return upload_part(draft, kind, name, content, rows)
        except STORE_ERRORS as error:
            draft.failure = error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Part(name, kind, rows, len(content), md5)


@verb(
    name="upload-to-bucket", task_run_name="upload {name}", retries=2, retry_delay_seconds=[2, 10]
)
def upload_part(
    draft: Draft, kind: Literal["rows", "rejects"], name: str, content: bytes, rows: int
) -> Part:
    """Write one object of so many rows and return what the manifest says of it."""
    with step("upload.part"):
        md5 = draft.landing.put(f"{draft.prefix}{name}", content)
    return Part(name, kind, rows, len(content), md5)


def commit(
    draft: Draft,
    *,
    requests: int,
    source_count: int | None,
    met_again: int = 0,
    watermark: datetime | None = None,
    seen: dict[str, str] | None = None,
    note: str | None = None,
    import_id: str | None = None,
    total: int | None = None,
    depth: int | None = None,
    allow_absent: bool = False,
) -> Manifest:
    """Make the batch exist: list its parts once more, then write the manifest if there is none.

    Raises InvalidManifest when the bucket does not hold exactly what was uploaded, or when another
    manifest stands there. What cannot be asked again is kept on disk when its bucket fails, for the
    next run to commit: StoreFailed says so.
    """
    columns = tuple((column.name, column.type) for column in (*draft.table.columns, *STAGED))
    missing = draft.fields.missing(draft.table)
    faults = (*draft.faults, *faults_of(draft.table, draft.rows, draft.nulls, missing))
    manifest = Manifest(
        batch_id=draft.batch_id,
        source=draft.table.source,
        table=draft.table.name,
        mode=draft.mode,
        window=draft.window,
        observed_at=draft.observed_at,
        columns=columns,
        parts=tuple(draft.parts),
        rows=draft.rows,
        rejected=draft.rejected,
        rejected_unexpected=draft.rejected_unexpected,
        odd=draft.odd,
        met_again=met_again,
        source_count=source_count,
        requests=requests,
        schema_fingerprint=fingerprint(columns),
        code_version=code_version(),
        extract_started_at=draft.started_at,
        extract_ended_at=datetime.now(UTC),
        watermark=watermark,
        seen=seen or {},
        undos=draft.undos,
        note=notes(note, *faults),
        import_id=import_id,
        total=total,
        depth=depth,
        fields=draft.fields.changes(draft.table),
        faults=faults,
        allow_absent=allow_absent,
    )
    try:
        if draft.failure:
            raise draft.failure
        return write_manifest(draft, manifest)
    except (*STORE_ERRORS, InvalidManifest) as error:
        if draft.table.is_replayable:
            raise
        raise kept(draft, manifest, error) from error


@verb(name="commit", retries=2, retry_delay_seconds=[2, 10])
def write_manifest(draft: Draft, manifest: Manifest) -> Manifest:
    """The manifest of an uploaded batch, as `seal` leaves it."""
    return seal(draft.landing, draft.prefix, manifest)


def kept(draft: Draft, manifest: Manifest, error: Exception) -> StoreFailed:
    """The failure of a run whose answers are on disk now, or are lost if that fails as well."""
    said = f"{manifest.extracted:,} answers are"
    try:
        keep(draft.folder, manifest, draft.contents)
        said = f"{said} kept in {draft.folder}, the next run commits them"
    except OSError as full:
        said = f"{said} lost, since the disk failed as well: {cause_of(full)}"
    if manifest.note:
        said = f"{said}; {manifest.note}"
    source, window = draft.table.source, draft.window
    return StoreFailed(source, window, f"{cause_of(error)}; {said}", reason_of(error))


def seal(landing: Landing, prefix: str, manifest: Manifest) -> Manifest:
    """Write the manifest of a batch whose parts are in the bucket, and return what stands there.

    Raises InvalidManifest when the bucket does not hold exactly its parts, or when another manifest
    stands there.
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
