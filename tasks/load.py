"""Committed batches into BigQuery: whatever is in a landing bucket and unknown to the ledger."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

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
from tasks.ledger import is_known, read_known, read_lines, record_failure
from tasks.merge import merged
from tasks.platform import Platform
from tasks.verb import verb
from tasks.warehouse import Warehouse

logger = logging.getLogger("pipelines.load")

# Tries for one batch when others abort its transaction or take its staging table away.
TRIES = 8
# Errors that are the batch's own, so that the next batch may fare better.
OF_THE_BATCH = (InvalidManifest, FileNotFoundError, BadRequest, NotFound)


@dataclass(frozen=True)
class Loaded:
    """What a load did: a ledger line per batch, and what failed by batch or bucket."""

    lines: list[Line] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@verb(name="load", task_run_name="load {table.name}", retries=2, retry_delay_seconds=[5, 30])
def load(platform: Platform, table: Table, skip: Collection[str] = ()) -> Loaded:
    """Bring every committed batch that the ledger does not know into its table, oldest first.

    Afterwards each is in the ledger, or in `failures` with its cause. A failure that is the batch's
    own is recorded, and the third parks the batch; any other error is raised. Where a bucket could
    not be looked into, the others are loaded and `failures` says so.
    """
    with step("load.list"):
        committed, failures = find_committed(platform, table)
    if not committed:
        return Loaded(failures=failures)
    with step("load.read_ledger"):
        known = read_known(platform.warehouse, table.source, committed)
    waiting = sorted(set(committed) - known.final.keys() - set(skip))
    if not waiting:
        return Loaded(failures=failures)
    platform.warehouse.ensure_source(table)
    for batch_id in waiting:
        try:
            load_batch(platform, table, committed[batch_id], batch_id)
        except OF_THE_BATCH as error:
            cause = first_line(str(error), 500)
            parked = known.failures.get(batch_id, 0) + 1 >= FAILURES_BEFORE_PARKING
            failures[batch_id] = f"{cause} (parked)" if parked else cause
            logger.error("%s batch %s: %s", table.source, batch_id, failures[batch_id])
            record_failure(platform.warehouse, table, batch_id, cause, is_parked=parked)
    done = [batch_id for batch_id in waiting if batch_id not in failures]
    return Loaded(read_lines(platform.warehouse, table.source, done), failures)


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


def load_batch(platform: Platform, table: Table, landing: Landing, batch_id: str) -> None:
    """Stage one batch and apply it; returns when the ledger knows it, whoever did it."""
    prefix = f"{platform.prefix(table.source)}{batch_id}/"
    where = f"{landing.address}/{prefix}{MANIFEST}"
    try:
        manifest = decode_manifest(landing.get(f"{prefix}{MANIFEST}"), where)
    except FileNotFoundError:
        if batch_id in read_known(platform.warehouse, table.source, [batch_id]).final:
            return
        raise
    if (manifest.batch_id, manifest.table) != (batch_id, table.name):
        raise InvalidManifest(f"{where}: is of batch {manifest.batch_id} for {manifest.table}")

    def stage_and_apply() -> None:
        stage(platform.warehouse, landing, prefix, manifest)
        apply(platform.warehouse, table, manifest)

    insist(stage_and_apply, lambda: is_known(platform.warehouse, manifest), f"batch {batch_id}")
    with step("load.drop_staging"):
        platform.warehouse.drop_staging(manifest)


def insist(attempt: Callable[[], None], is_done: Callable[[], bool], what: str) -> None:
    """Repeat what ends in a fenced script until the ledger says that it is done, whoever did it."""
    for number in range(1, TRIES + 1):
        try:
            attempt()
            return
        except (GoogleAPIError, FileNotFoundError, TimeoutError) as error:
            # Whatever it was, it may be done: by this script, or by another process's.
            if is_done():
                return
            if number == TRIES or not may_pass(error):
                raise
            wait = random.uniform(0.5, 1.5) * min(2.0**number, 20.0)
            logger.warning("%s: %s; again in %.1f s", what, first_line(str(error)), wait)
            time.sleep(wait)


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


def apply(warehouse: Warehouse, table: Table, manifest: Manifest) -> None:
    """Run the fenced script: afterwards the batch is in its table and in the ledger, once."""
    script = apply_script(table, manifest, warehouse.names)
    with step("load.apply"):
        job = warehouse.submit(script, source=manifest.source, purpose="apply")
        with step("load.wait"):
            warehouse.finish(
                job, source=manifest.source, purpose="apply", batch_id=manifest.batch_id
            )
