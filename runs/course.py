"""The course of every source's run: recover, decide, extract and commit, load, clean up."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.batch import Extracted, Manifest, NoChange, Window, notes
from core.errors import CountMismatch
from core.ledger import Changes, Cursor, Line, State, line_of
from core.schema import Mode, Table
from core.steps import step, timings
from runs.cleanup import cleanup
from runs.load import Loaded, load
from runs.outcome import Outcome
from runs.recommit import commit_kept
from stores.cursor import read_position
from stores.errors import STORE_ERRORS, store_failures
from stores.ledger import Known, record_mismatch, record_no_change
from stores.platform import Platform

logger = logging.getLogger("pipelines.run")


def run_source(
    platform: Platform,
    table: Table,
    mode: Mode,
    window: Window | None,
    extract: Callable[[Window, Cursor], Extracted],
) -> Outcome:
    """One run of a source, over a window or over what is new since the last run.

    Raises what `extract` raises, and StoreFailed for what is not its own. Rows that are not as many
    as the source counts leave a line with both numbers in the ledger.

    What cannot be asked again is extracted and committed even when nothing can be loaded, be it
    that BigQuery does not answer, a bucket where a batch waits, or that the disk is full; the load
    then fails the run, and the next one recovers the batch. When its own bucket fails, the answers
    wait on disk, and the next run begins by committing them.
    """
    with timings() as spent, store_failures(table.source) as asked:
        committed, uncommitted = (0, {}) if platform.is_dry else commit_kept(platform, table)
        try:
            platform.warehouse.ensure_ledger()
            recovered = Loaded() if platform.is_dry else load(platform, table)
            if (position := recovered.position) is None:
                with step("decide.read_ledger"):
                    position = read_position(platform.warehouse, table, ())
        except STORE_ERRORS as error:
            if table.is_replayable:
                raise
            logger.error("%s: extracting although a load fails: %s", table.source, error)
            recovered, position = Loaded(), None
        cursor = position.cursor if position and mode == "incremental" else Cursor()
        if window is None:
            window = Window(cursor.watermark and cursor.watermark - table.overlap)
        asked.window = window
        try:
            extracted = extract(window, cursor)
        except CountMismatch as mismatch:
            if not platform.is_dry:
                record_mismatch(platform.warehouse, table, mode, window, mismatch)
            raise
        if platform.is_dry:
            return dry_outcome(table, mode, window, extracted)
        if position is None:
            platform.warehouse.ensure_ledger()
        loaded, unchanged = Loaded(), list[Line]()
        if isinstance(extracted.batch, Manifest):
            # Where the load before did not come to an end, all of it again: it fails the run.
            loaded = load(platform, table, extracted.batch if position else None)
        elif extracted.batch:
            unchanged = [record_no_change(platform.warehouse, extracted.batch)]
        cleanup(platform, table)
        platform.warehouse.flush_jobs(table.source)
    waited = f"{committed} batch{'es' * (committed > 1)} committed that waited on disk"
    return Outcome(
        table=table,
        mode=mode,
        window=window,
        lines=[*recovered.lines, *loaded.lines, *unchanged],
        failures={**uncommitted, **recovered.failures, **loaded.failures},
        parked=(*recovered.parked, *loaded.parked),
        unlisted={**recovered.unlisted, **loaded.unlisted},
        failed_parts=extracted.failures,
        note=notes(extracted.note, waited if committed else None),
        announced=(*recovered.announced, *loaded.announced),
        changes=changes_of(position, loaded),
        seconds=dict(spent),
    )


def changes_of(position: Known | None, loaded: Loaded) -> Changes | None:
    """What was applied of late, as far as this run knows it; None when it does not know all."""
    changes = position.changes if position else None
    for line in loaded.lines:
        changes = changes and changes.and_this(line)
    return changes


def dry_outcome(table: Table, mode: Mode, window: Window, extracted: Extracted) -> Outcome:
    """What a run would have brought; nothing of it was written."""
    lines = list[Line]()
    if extracted.batch:
        state: State = "no_change" if isinstance(extracted.batch, NoChange) else "applied"
        lines.append(line_of(extracted.batch, state))
    return Outcome(table, mode, window, lines, failed_parts=extracted.failures, note=extracted.note)
