"""Batches that wait on this machine's disk (stores/spool.py), into the bucket for new batches."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

from core.batch import BATCH_ID, MANIFEST, InvalidManifest, decode_manifest
from core.schema import Table
from core.steps import step
from runs.upload import write_manifest
from stores.errors import STORE_ERRORS, cause_of
from stores.platform import Platform
from stores.spool import locked, remove

logger = logging.getLogger("pipelines.spool")

# A folder without a manifest may be a run at work; when it is older, nobody is.
UNFINISHED_SECONDS = 86_400.0


def commit_kept(platform: Platform, table: Table) -> tuple[int, dict[str, str]]:
    """Put the source's batches that wait on disk into the bucket for new batches.

    How many the bucket has taken, and by folder why others are not committed. Of two runs at once
    one does it. Killed anywhere and repeated, it happens once.
    """
    base = platform.spool / platform.prefix(table.source)
    committed, failures = 0, dict[str, str]()
    if not any(base.glob(f"*/{MANIFEST}")):
        return committed, failures
    with locked(base) as is_ours:
        for folder in sorted(base.iterdir()) if is_ours else ():
            if not BATCH_ID.fullmatch(folder.name):
                continue
            try:
                committed += commit_folder(platform, table, folder)
            except InvalidManifest as error:
                failures[str(folder)] = cause_of(error)
            except STORE_ERRORS as error:
                # The next one would fare no better, and take as long.
                failures[str(folder)] = cause_of(error)
                break
    for where, cause in failures.items():
        logger.error("%s: %s is not committed: %s", table.source, where, cause)
    return committed, failures


def commit_folder(platform: Platform, table: Table, folder: Path) -> bool:
    """Put one batch into the bucket and remove it here; whether it was a batch.

    Raises InvalidManifest when its files are not what was kept.
    """
    if not (folder / MANIFEST).exists():
        if time.time() - folder.stat().st_mtime > UNFINISHED_SECONDS:
            remove(folder)
        return False
    manifest = decode_manifest((folder / MANIFEST).read_bytes(), str(folder))
    prefix = f"{platform.prefix(table.source)}{manifest.batch_id}/"
    standing = {stored.name for stored in platform.landing.list(prefix)}
    for part in manifest.parts:
        content = (folder / part.name).read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 != part.md5:
            raise InvalidManifest(f"{folder / part.name}: its MD5 is {md5}, not {part.md5}")
        # What an earlier try put is compared by its size and MD5 before the manifest is written.
        if f"{prefix}{part.name}" not in standing:
            with step("spool.put"):
                platform.landing.put(f"{prefix}{part.name}", content)
    with step("spool.manifest"):
        write_manifest(platform.landing, prefix, manifest)
    remove(folder)
    return True
