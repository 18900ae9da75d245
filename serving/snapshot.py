"""A snapshot on disk: immutable versions, and one link that says which of them is current.

    <root>/versions/<version>/<mart>.parquet
    <root>/versions/<version>/manifest.json     written last
    <root>/current -> versions/<version>        replaced in one step
    <root>/lock                                 held by whoever writes

A reader resolves `current` once (`Snapshot.open`) and reads everything else below the version's own
folder, so it never sees two versions at once. A version stays for at least KEPT_FOR after it was
replaced by others. A folder without a manifest is a writer's that was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = "manifest.json"
VERSIONS = "versions"
CURRENT = "current"
LOCK = "lock"
# Readers may be slow: a version that was current is kept for so long, and the last two for ever.
KEPT_FOR = timedelta(hours=1)
KEPT_VERSIONS = 2


class NoSnapshot(Exception):
    """There is no complete version yet; the message names the folder."""


@dataclass(frozen=True)
class Column:
    """A column of a mart: its name, BigQuery type and description."""

    name: str
    type: str
    description: str = ""


@dataclass(frozen=True)
class Mart:
    """One table of a version. `file` is its name in the version's folder; times are UTC.

    `exported_at` is when it was read from the warehouse, `built_at` when the warehouse last wrote
    it.
    """

    name: str
    file: str
    group: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: int
    size_bytes: int
    sha256: str
    built_at: datetime
    exported_at: datetime


@dataclass(frozen=True)
class Manifest:
    """What a version holds. `not_built` names marts that the warehouse does not have yet."""

    version: str
    made_at: datetime
    marts: dict[str, Mart] = field(default_factory=dict)
    not_built: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """A mart's file before it is in a version, and what the manifest will say of it."""

    path: Path
    mart: Mart


@dataclass(frozen=True)
class Snapshot:
    """One version, resolved. Every read is of this version, whatever is published meanwhile."""

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: Path) -> Snapshot:
        """The current version. Raises NoSnapshot when none was published."""
        try:
            directory = (root / CURRENT).resolve(strict=True)
            return cls(directory, read_manifest(directory))
        except FileNotFoundError as error:
            raise NoSnapshot(f"{root}: no snapshot was published yet") from error

    def table(self, mart: str) -> pa.Table:
        """All rows of a mart. Raises KeyError when the version does not have it."""
        return pq.read_table(self.directory / self.manifest.marts[mart].file)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a version's folder. Raises FileNotFoundError when it has none."""
    raw = json.loads((directory / MANIFEST).read_text())
    marts = {
        name: Mart(
            **{
                **one,
                "grain": tuple(one["grain"]),
                "columns": tuple(Column(**column) for column in one["columns"]),
                "built_at": datetime.fromisoformat(one["built_at"]),
                "exported_at": datetime.fromisoformat(one["exported_at"]),
            }
        )
        for name, one in raw["marts"].items()
    }
    made_at = datetime.fromisoformat(raw["made_at"])
    return Manifest(raw["version"], made_at, marts, tuple(raw["not_built"]))


def write_mart(
    folder: Path,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    **told: Any,
) -> Written:
    """Write a mart's rows to a Parquet file of its own, batch by batch, synced to disk.

    `told` are the other fields of Mart. The file's name has its digest, so that equal content has
    an equal name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}-{uuid.uuid4().hex}.partial"
    rows = 0
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    content = hashlib.sha256()
    with partial.open("rb") as file:
        while piece := file.read(2**20):
            content.update(piece)
        os.fsync(file.fileno())
    digest = content.hexdigest()
    mart = Mart(
        name=name,
        file=f"{name}-{digest[:12]}.parquet",
        rows=rows,
        size_bytes=partial.stat().st_size,
        sha256=digest,
        **told,
    )
    return Written(partial, mart)


def publish(
    root: Path,
    written: Iterable[Written],
    *,
    not_built: Iterable[str] = (),
    gone: Iterable[str] = (),
    now: datetime | None = None,
) -> Snapshot:
    """A new version with these marts in place of their older selves, and all others as they were.

    Marts named in `not_built` and `gone` are left out. Unchanged marts are hard links. Killed at
    any moment, the version before stays current and complete. Writers wait for each other.
    """
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        now = now or datetime.now(UTC)
        try:
            before = Snapshot.open(root)
            marts, missing = dict(before.manifest.marts), set(before.manifest.not_built)
        except NoSnapshot:
            before, marts, missing = None, {}, set()
        changed = {one.mart.name: one for one in written}
        for name in (*not_built, *gone):
            marts.pop(name, None)
        missing = (missing | set(not_built)) - set(gone) - changed.keys()
        version = f"{now:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:6]}"
        directory = root / VERSIONS / version
        directory.mkdir(parents=True)
        for name, mart in marts.items():
            if before and name not in changed:
                os.link(before.directory / mart.file, directory / mart.file)
        for name, one in changed.items():
            one.path.replace(directory / one.mart.file)
            marts[name] = one.mart
        manifest = Manifest(version, now, dict(sorted(marts.items())), tuple(sorted(missing)))
        _sync(directory)
        write_durably(directory / MANIFEST, encode(manifest))
        _sync(directory.parent)
        _switch(root, version)
        _prune(root, version, now)
        return Snapshot(directory, manifest)


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON."""
    return json.dumps(asdict(manifest), default=_as_text, indent=1, sort_keys=True).encode()


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


def write_durably(path: Path, content: bytes, mode: int | None = None) -> None:
    """The file has this content or, after a kill, its old one; never a part of it.

    It never has another mode than `mode`, where one is given, whatever the umask.
    """
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    partial.replace(path)
    _sync(path.parent)


def _switch(root: Path, version: str) -> None:
    link = root / f".{CURRENT}-{uuid.uuid4().hex}"
    link.symlink_to(Path(VERSIONS) / version)
    link.replace(root / CURRENT)
    _sync(root)


def _prune(root: Path, current: str, now: datetime) -> None:
    """Remove versions that nobody can be reading any more, and what killed writers left."""
    folders = sorted(one for one in (root / VERSIONS).iterdir() if one.is_dir())
    complete = [one for one in folders if (one / MANIFEST).exists()]
    kept = {one.name for one in complete[-KEPT_VERSIONS:]} | {current}
    for place, folder in enumerate(folders):
        # It was current until the next one was made, so its age is that of its successor.
        later = folders[place + 1] if place + 1 < len(folders) else folder
        age = now.timestamp() - later.stat().st_mtime
        if folder.name not in kept and age > KEPT_FOR.total_seconds():
            shutil.rmtree(folder, ignore_errors=True)
    for leftover in root.rglob(".*"):
        is_ours = leftover.name.endswith(".partial") or leftover.name.startswith(f".{CURRENT}-")
        if is_ours and now.timestamp() - leftover.lstat().st_mtime > KEPT_FOR.total_seconds():
            leftover.unlink(missing_ok=True)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    with (root / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(folder: Path) -> None:
    """So that what was created in it is there after a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
