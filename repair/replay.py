"""Loading a batch again: a copy of it, under a fresh id, goes the way of every batch."""

from __future__ import annotations

from dataclasses import replace

from core.batch import MANIFEST, Extracted, Manifest, decode_manifest, replay_id
from core.errors import OperationRejected
from core.schema import Table
from core.sql import literal
from core.steps import step
from runs.course import run_source
from runs.outcome import Outcome
from runs.upload import write_manifest
from stores.bigquery import Warehouse
from stores.landing import Landing, LandingError, MissingObject
from stores.ledger import read_states
from stores.merge import fetched
from stores.platform import Platform


def replay(
    platform: Platform, table: Table, batch_id: str, *, allow_deletions: bool = False
) -> Outcome:
    """Load a batch again under the rule of order, whatever the ledger says of it.

    Its copy is of the same observation, so it changes nothing that is newer; where to go on reading
    stays as it is. Repeating it is safe. Raises OperationRejected when there is no such batch, none
    of this source, or a part of it is gone, InvalidManifest when its parts are not what was
    uploaded.
    """
    platform.warehouse.ensure_ledger()
    with step("replay.find"):
        landing, original = find(platform, table, batch_id)
    return run_source(
        platform,
        table,
        "replay",
        original.window,
        lambda window, cursor: Extracted(copy(platform, landing, original, allow_deletions)),
    )


def find(platform: Platform, table: Table, batch_id: str) -> tuple[Landing, Manifest]:
    """The bucket that holds a batch, and its manifest. Raises OperationRejected where none does."""
    at = read_states(platform.warehouse, table, batch_id)
    name = f"{platform.prefix(table.source)}{batch_id}/{MANIFEST}"
    missed = []
    for landing in platform.landings:
        try:
            return landing, decode_manifest(landing.get(name), f"{landing.address}/{name}")
        except MissingObject:
            missed.append(f"it is not in {landing.address}")
        except LandingError as error:
            missed.append(str(error))
    known = f"{', '.join(sorted(at))} by the ledger" if at else "unknown to the ledger"
    raise OperationRejected(
        f"batch {batch_id} of {table.source}, {known}, cannot be replayed: {'; '.join(missed)} "
        f"(what was loaded is kept for {platform.retention_days:g} days)"
    )


def last_of_observation(warehouse: Warehouse, original: Manifest) -> str:
    """The last batch of one observation: a copy sorts after the copies made before it."""
    with step("replay.read_ledger"):
        (row,) = warehouse.query(
            f"""
            SELECT MAX(batch_id) AS batch_id FROM {warehouse.names.raw("_loads")}
            WHERE
                source = {literal(original.source)}
                AND observed_at = {literal(original.observed_at)}
            """,
            source=original.source,
            purpose="ledger",
        )
    return max(original.batch_id, row["batch_id"] or "")


def copy(
    platform: Platform, landing: Landing, original: Manifest, allow_deletions: bool
) -> Manifest:
    """A committed copy of a batch in the bucket that new batches go to, one part at a time."""
    batch_id = replay_id(last_of_observation(platform.warehouse, original))
    base = platform.prefix(original.source)
    for part in original.parts:
        try:
            with (
                step("replay.part"),
                fetched(landing, f"{base}{original.batch_id}/", part) as file,
            ):
                platform.landing.put(f"{base}{batch_id}/{part.name}", file.read())
        except MissingObject as error:
            raise OperationRejected(
                f"batch {original.batch_id} of {original.source} cannot be replayed: "
                f"{error} is gone"
            ) from error
    note = f"replay of {original.batch_id}"
    again = replace(
        original,
        batch_id=batch_id,
        # What a backfill brought is no whole, however often it is loaded.
        mode="backfill" if original.mode == "backfill" else "replay",
        requests=0,
        watermark=None,
        known_digests={},
        note=f"{note}; {original.note}" if original.note else note,
        replay_of=(original.batch_id, *original.replay_of),
        allow_absent=original.allow_absent or allow_deletions,
    )
    return write_manifest(platform.landing, f"{base}{batch_id}/", again)
