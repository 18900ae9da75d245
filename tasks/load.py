"""Committed batches into BigQuery: whatever is in a landing bucket and unknown to the ledger."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from google.api_core.exceptions import BadRequest, GoogleAPIError, NotFound

from core.batch import (
    MANIFEST,
    InvalidManifest,
    Manifest,
    batch_of,
    decode_manifest,
)
from core.errors import first_line
from core.ledger import FAILURES_BEFORE_PARKING, Line
from core.schema import REJECTS, Column, Table
from core.script import apply_script
from core.steps import step
from tasks.landing import Landing
from tasks.ledger import (
    Known,
    is_known,
    line_of_load,
    read_announced,
    read_known,
    read_lines,
    record_failure,
)
from tasks.merge import merged
from tasks.platform import Platform
from tasks.verb import verb
from tasks.warehouse import Warehouse

logger = logging.getLogger("pipelines.load")

T = TypeVar("T")

# Tries for one batch when others abort its transaction or take its staging table away.
TRIES = 8
# Errors that are the batch's own, so that the next batch may fare better.
OF_THE_BATCH = (InvalidManifest, FileNotFoundError, BadRequest, NotFound)


@dataclass(frozen=True)
class Loaded:
    """What a load did: a ledger line per batch, and what failed by batch or bucket.

    `announced` are the changed fields that these batches were the first to show, `known` is what
    the ledger knows by then; None when nothing had to be asked.
    """

    lines: list[Line] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    announced: tuple[str, ...] = ()
    known: Known | None = None


@verb(name="load", task_run_name="load {table.name}", retries=2, retry_delay_seconds=[5, 30])
def load(
    platform: Platform, table: Table, skip: Collection[str] = (), known: Known | None = None
) -> Loaded:
    """Bring every committed batch that the ledger does not know into its table, oldest first.

    Afterwards each is in the ledger, or in `failures` with its cause. A failure that is the batch's
    own is recorded, and the third parks the batch; any other error is raised. Where a bucket could
    not be looked into, the others are loaded and `failures` says so. With `known`, what this run
    was told before, the ledger is not asked once more: a batch that another run has loaded since is
    found out by its script.
    """
    with step("load.list"):
        committed, failures = find_committed(platform, table)
    if not committed:
        return Loaded(failures=failures, known=known)
    if known is None:
        with step("load.read_ledger"):
            known = read_known(platform.warehouse, table.source, committed)
    waiting = sorted(set(committed) - known.final.keys() - set(skip))
    if not waiting:
        return Loaded(failures=failures, known=known)
    platform.warehouse.ensure_source(table)
    lines: dict[str, Line] = {}
    changed = []
    for batch_id in waiting:
        try:
            manifest, line = load_batch(platform, table, committed[batch_id], batch_id)
        except OF_THE_BATCH as error:
            cause = first_line(str(error), 500)
            parked = known.failures.get(batch_id, 0) + 1 >= FAILURES_BEFORE_PARKING
            failures[batch_id] = f"{cause} (parked)" if parked else cause
            logger.error("%s batch %s: %s", table.source, batch_id, failures[batch_id])
            record_failure(platform.warehouse, table, batch_id, cause, is_parked=parked)
            continue
        if line:
            lines[batch_id] = line
        if manifest is None or manifest.fields:
            changed.append(batch_id)
    by_others = [one for one in waiting if one not in failures and one not in lines]
    for line in read_lines(platform.warehouse, table.source, by_others):
        lines[line.batch_id] = line
    done = [lines[batch_id] for batch_id in sorted(lines)]
    announced = read_announced(platform.warehouse, table.source, changed)
    return Loaded(done, failures, announced, known.and_these(done))


def find_committed(platform: Platform, table: Table) -> tuple[dict[str, Landing], dict[str, str]]:
    """The batches of a source that have a manifest, the bucket where each stands, and by address
    why a bucket could not be listed."""
    prefix = platform.prefix(table.source)
    found, unlisted = platform.stored(table.source)
    committed = {
        batch_id: landing
        for landing, stored in found
        if stored.name.endswith(f"/{MANIFEST}") and (batch_id := batch_of(stored.name, prefix))
    }
    return committed, unlisted


def load_batch(
    platform: Platform, table: Table, landing: Landing, batch_id: str
) -> tuple[Manifest | None, Line | None]:
    """Stage one batch and apply it; returns when the ledger knows it, whoever did it.

    The line is None when it was another's doing, the manifest when that one has removed it, too.
    """
    prefix = f"{platform.prefix(table.source)}{batch_id}/"
    where = f"{landing.address}/{prefix}{MANIFEST}"
    try:
        manifest = decode_manifest(landing.get(f"{prefix}{MANIFEST}"), where)
    except FileNotFoundError:
        if batch_id in read_known(platform.warehouse, table.source, [batch_id]).final:
            return None, None
        raise
    if (manifest.batch_id, manifest.table) != (batch_id, table.name):
        raise InvalidManifest(f"{where}: is of batch {manifest.batch_id} for {manifest.table}")

    def stage_and_apply() -> Line | None:
        stage(platform.warehouse, landing, prefix, manifest)
        return apply(platform.warehouse, table, manifest)

    line = insist(
        stage_and_apply, lambda: is_known(platform.warehouse, manifest), f"batch {batch_id}"
    )
    with step("load.drop_staging"):
        platform.warehouse.drop_staging(manifest)
    return manifest, line


def insist(attempt: Callable[[], T], is_done: Callable[[], bool], what: str) -> T | None:
    """Repeat what ends in a fenced script until the ledger says that it is done, whoever did it.

    None when it was done although the attempt failed.
    """
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except (GoogleAPIError, FileNotFoundError, TimeoutError) as error:
            # Whatever it was, it may be done: by this script, or by another process's.
            if is_done():
                return None
            if number == TRIES or not may_pass(error):
                raise
            wait = random.uniform(0.5, 1.5) * min(2.0**number, 20.0)
            logger.warning("%s: %s; again in %.1f s", what, first_line(str(error)), wait)
            time.sleep(wait)
    raise AssertionError("the last try either returns or raises")


def may_pass(error: Exception) -> bool:
    """Whether another try can succeed: a lost race, or a staging table that another loader took."""
    message = str(error)
    if "concurrent update" in message or "due to a conflict" in message:
        return True
    return isinstance(error, NotFound) and "_staging" in message


def stage(warehouse: Warehouse, landing: Landing, prefix: str, manifest: Manifest) -> None:
    """Make the staging tables hold exactly the batch's parts; repeating it changes nothing."""
    rows = tuple(Column(name, type_) for name, type_ in manifest.columns)
    kinds = (("rows", rows), ("rejects", REJECTS)) if manifest.rejected else (("rows", rows),)
    for kind, columns in kinds:
        with step("load.create_staging"):
            table_id = warehouse.create_staging(manifest, kind, columns)
        parts = [part for part in manifest.parts if part.kind == kind]
        if not parts:
            continue
        with step("load.stage"):
            if landing.is_read_by_bigquery:
                uris = [f"{landing.address}/{prefix}{part.name}" for part in parts]
                job = warehouse.load_uris(table_id, columns, uris, manifest.source)
            else:
                with merged(landing, prefix, parts) as file:
                    job = warehouse.load_file(table_id, columns, file, manifest.source)
            warehouse.finish(
                job, source=manifest.source, purpose="stage", batch_id=manifest.batch_id
            )
        expected = manifest.rows if kind == "rows" else manifest.rejected
        if job.output_rows != expected:
            raise InvalidManifest(
                f"{landing.address}/{prefix}: {job.output_rows} {kind} staged, "
                f"{expected} in the manifest"
            )


def apply(warehouse: Warehouse, table: Table, manifest: Manifest) -> Line | None:
    """Run the fenced script: afterwards the batch is in its table and in the ledger, once.

    None when the ledger knew the batch before.
    """
    script = apply_script(table, manifest, warehouse.names)
    with step("load.apply"):
        job = warehouse.submit(script, source=manifest.source, purpose="apply")
        with step("load.wait"):
            (found,) = warehouse.finish(
                job, source=manifest.source, purpose="apply", batch_id=manifest.batch_id
            )
    return None if found["known"] else line_of_load(manifest, found)
