"""A batch in the making: parts as they come, the manifest last."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from core.batch import (
    MANIFEST,
    Manifest,
    Part,
    Window,
    check_parts,
    decode_manifest,
    encode_manifest,
    new_batch_id,
)
from core.rows import Fields, Packed, Page, pack
from core.schema import STAGED, Mode, Table, fingerprint
from core.steps import step
from core.version import code_version
from tasks.landing import Landing
from tasks.platform import Platform
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
    started_at: datetime
    parts: list[Part] = field(default_factory=list)
    rows: int = 0
    rejected: int = 0
    rejected_unexpected: int = 0
    odd: int = 0
    fields: Fields = field(default_factory=Fields)

    @property
    def next_row(self) -> int:
        return self.rows + self.rejected


def new_draft(
    platform: Platform, table: Table, mode: Mode, window: Window, observed_at: datetime
) -> Draft:
    batch_id = new_batch_id(observed_at)
    return Draft(
        table=table,
        mode=mode,
        window=window,
        observed_at=observed_at,
        batch_id=batch_id,
        prefix=f"{platform.prefix(table.source)}{batch_id}/",
        landing=platform.landing,
        started_at=datetime.now(UTC),
    )


def add_page(draft: Draft, page: Page | Packed) -> None:
    """Write a page's rows and rejects as parts of the draft."""
    packed = page if isinstance(page, Packed) else pack(page)
    if packed.row_count:
        number = len([part for part in draft.parts if part.kind == "rows"]) + 1
        name = f"part-{number:04}.parquet"
        draft.parts.append(upload_part(draft, "rows", name, packed.rows, packed.row_count))
    if packed.reject_count:
        number = len([part for part in draft.parts if part.kind == "rejects"]) + 1
        name = f"rejects-{number:04}.parquet"
        draft.parts.append(upload_part(draft, "rejects", name, packed.rejects, packed.reject_count))
    draft.rows += packed.row_count
    draft.rejected += packed.reject_count
    draft.rejected_unexpected += packed.unexpected
    draft.odd += packed.odd
    draft.fields.add(packed.fields)


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


@verb(name="commit", retries=2, retry_delay_seconds=[2, 10])
def commit(
    draft: Draft,
    *,
    requests: int,
    source_count: int | None,
    met_again: int = 0,
    undos: int = 0,
    watermark: datetime | None = None,
    seen: dict[str, str] | None = None,
    note: str | None = None,
    allow_absent: bool = False,
) -> Manifest:
    """Make the batch exist: list its parts once more, then write the manifest if there is none.

    Raises InvalidManifest when the bucket does not hold exactly what was uploaded, or when another
    manifest stands there.
    """
    columns = tuple((column.name, column.type) for column in (*draft.table.columns, *STAGED))
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
        undos=undos,
        note=note,
        fields=draft.fields.changes(draft.table),
        allow_absent=allow_absent,
    )
    return seal(draft.landing, draft.prefix, manifest)


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
