"""Committed batches into BigQuery: whatever is in a landing bucket and unknown to the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError

from core.batch import (
    MANIFEST,
    InvalidManifest,
    Manifest,
    Part,
    batch_of,
    decode_manifest,
)
from core.errors import first_line
from core.ledger import FAILURES_BEFORE_PARKING, Line
from core.schema import REJECTS, Column, Table
from core.script import apply_script
from core.steps import step
from core.task import task
from stores.bigquery import Warehouse
from stores.cursor import read_position
from stores.landing import Landing, LandingError, MissingObject
from stores.ledger import (
    Known,
    is_known,
    line_of_load,
    read_announced,
    read_known,
    read_lines,
    record_failure,
)
from stores.merge import merged
from stores.platform import Platform
from stores.retry import is_conflict, is_own_fault, is_staging_gone, is_transient

logger = logging.getLogger("pipelines.load")

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """What a load did: a ledger line per batch, what failed by batch, which of these are parked,
    and by address why a bucket could not be listed.

    `announced` are the changed fields that these batches were the first to show. `position` is what
    the ledger says of the source, where it was asked and nothing was left to load.
    """

    lines: list[Line] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    unlisted: dict[str, LandingError] = field(default_factory=dict)
    announced: tuple[str, ...] = ()
    position: Known | None = None
    parked: tuple[str, ...] = ()


@task(name="load", run_name="load {table.name}", retries=2, retry_delay_seconds=[5, 30])
def load(platform: Platform, table: Table, batch: Manifest | None = None) -> Loaded:
    """Bring every committed batch that the ledger does not know into its table, oldest first; with
    `batch`, which this run has just committed, only that one, and nothing is asked before.

    Afterwards each is in the ledger, or in `failures` with its cause. A failure that is the batch's
    own by its reason is recorded, and the third parks the batch; any other error is raised. Where a
    bucket could not be looked into, the others are loaded and `unlisted` says so.
    """
    unlisted, failed_before = dict[str, LandingError](), dict[str, int]()
    if batch:
        committed, waiting = {batch.batch_id: platform.landing}, [batch.batch_id]
    else:
        with step("load.list"):
            prefix = platform.prefix(table.source)
            found, unlisted = platform.stored(table.source)
            committed = {
                batch_id: landing
                for landing, stored in found
                if stored.name.endswith(f"/{MANIFEST}")
                and (batch_id := batch_of(stored.name, prefix))
            }
        if not committed:
            return Loaded(unlisted=unlisted)
        with step("load.read_ledger"):
            position = read_position(platform.warehouse, table, committed)
        waiting, failed_before = sorted(committed.keys() - position.final), position.failures
        if not waiting:
            return Loaded(unlisted=unlisted, position=position)
    platform.warehouse.ensure_source(table)
    lines: dict[str, Line] = {}
    failures: dict[str, str] = {}
    parked, changed = list[str](), list[str]()
    for batch_id in waiting:
        try:
            manifest, line = load_batch(platform, table, committed[batch_id], batch_id)
        except (InvalidManifest, MissingObject, GoogleAPIError) as error:
            if isinstance(error, GoogleAPIError) and not is_own_fault(error):
                raise
            cause = first_line(str(error), 500)
            is_parked = failed_before.get(batch_id, 0) + 1 >= FAILURES_BEFORE_PARKING
            failures[batch_id] = f"{cause} (parked)" if is_parked else cause
            if is_parked:
                parked.append(batch_id)
            logger.error("%s batch %s: %s", table.source, batch_id, failures[batch_id])
            record_failure(platform.warehouse, table, batch_id, cause, is_parked=is_parked)
            continue
        if line:
            lines[batch_id] = line
        if manifest is None or manifest.fields:
            changed.append(batch_id)
    by_others = [one for one in waiting if one not in failures and one not in lines]
    for line in read_lines(platform.warehouse, table.source, by_others):
        # What else others did before it, nobody here knows.
        lines[line.batch_id] = replace(line, previous_at=line.applied_at)
    done = [lines[batch_id] for batch_id in sorted(lines)]
    announced = read_announced(platform.warehouse, table.source, changed)
    return Loaded(done, failures, unlisted, announced, parked=tuple(parked))


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
    except MissingObject:
        if batch_id in read_known(platform.warehouse, table.source, [batch_id]).final:
            return None, None
        raise
    if (manifest.batch_id, manifest.table) != (batch_id, table.name):
        raise InvalidManifest(f"{where}: is of batch {manifest.batch_id} for {manifest.table}")

    is_staged = False

    def stage_and_apply() -> Line | None:
        nonlocal is_staged
        if not is_staged:
            stage(platform.warehouse, landing, prefix, manifest)
            is_staged = True
        try:
            return apply(platform.warehouse, table, manifest)
        except NotFound:
            # Another loader took the staging tables away, or they expired.
            is_staged = False
            raise

    line = retry_until_recorded(
        platform.warehouse,
        batch_id,
        stage_and_apply,
        lambda: is_known(platform.warehouse, manifest),
        f"batch {batch_id}",
    )
    with step("load.drop_staging"):
        platform.warehouse.drop_staging(manifest)
    return manifest, line


def retry_until_recorded(
    warehouse: Warehouse,
    batch_id: str,
    attempt: Callable[[], T],
    is_done: Callable[[], bool],
    what: str,
) -> T | None:
    """Repeat what ends in a fenced script until the ledger says that it is done, whoever did it.

    Repeated is what may pass, a lost race, and what was staged of the batch and is gone. Before
    anything else the ledger is read: the script may have failed after it was committed, or another
    process's did the same. None when it was done although the attempt failed.
    """

    def attempt_or_done() -> T | None:
        try:
            return attempt()
        except (GoogleAPIError, GoogleAuthError, OSError):
            if is_done():
                return None
            raise

    def passes(error: Exception) -> bool:
        return is_staging_gone(error, batch_id) or is_conflict(error) or is_transient(error)

    return warehouse.retry.run(attempt_or_done, passes, what)


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
            run = partial(
                warehouse.run,
                source=manifest.source,
                purpose="stage",
                batch_id=manifest.batch_id,
            )
            if landing.is_read_by_bigquery:
                uris = [f"{landing.address}/{prefix}{part.name}" for part in parts]
                load_uris = partial(warehouse.load_uris, table_id, columns, uris, manifest.source)
                try:
                    job, _ = run(load_uris)
                except NotFound:
                    # BigQuery says the same of an object, a table and a dataset.
                    require(landing, prefix, parts)
                    raise
            else:
                with merged(landing, prefix, parts) as file:
                    load_file = partial(
                        warehouse.load_file, table_id, columns, file, manifest.source
                    )
                    job, _ = run(load_file)
        expected = manifest.rows if kind == "rows" else manifest.rejected
        if job.output_rows != expected:
            raise InvalidManifest(
                f"{landing.address}/{prefix}: {job.output_rows} {kind} staged, "
                f"{expected} in the manifest"
            )


def require(landing: Landing, prefix: str, parts: Iterable[Part]) -> None:
    """Raise MissingObject unless the bucket has all of these parts."""
    present = {stored.name for stored in landing.list(prefix)}
    for part in parts:
        if f"{prefix}{part.name}" not in present:
            raise MissingObject(f"{landing.address}/{prefix}{part.name}")


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
