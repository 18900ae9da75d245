"""Answers that no bucket took and no source gives again: on this machine's disk until one does.

    <spool>/<project>.<raw dataset>/<source>/<batch_id>/part-0001.parquet
    <spool>/<project>.<raw dataset>/<source>/<batch_id>/manifest.json       written last

A batch has the same id and the same bytes here and in its bucket. So whoever commits it, and
however often, the ledger knows it once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.batch import MANIFEST, Manifest, encode_manifest
from core.steps import step

LOCK = ".lock"


def keep(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """The batch is in `folder`, on disk, the manifest last; nobody else may read it."""
    make_private(folder)
    for name, content in (*contents.items(), (MANIFEST, encode_manifest(manifest))):
        with step("spool.keep"):
            write(folder / name, content)


def remove(folder: Path) -> None:
    """The batch is gone from the disk; the manifest first, since what has none does not exist."""
    with step("spool.remove"):
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)


def make_private(folder: Path) -> None:
    """The folder is there; what has to be made for it is the user's own."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(0o700, exist_ok=True)
        sync(folder.parent)


def write(path: Path, content: bytes) -> None:
    """The file has this content, all of it or none, and after a power cut, too."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(base: Path) -> Iterator[bool]:
    """Whether this process has the folder for itself; a process that dies gives it up."""
    with (base / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
