"""The course of every source's run: recover, decide, extract and commit, load, clean up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from core.batch import Manifest, Window
from core.errors import CountMismatch, StoreFailed, first_line
from core.ledger import Cursor, Line, Look
from core.schema import Mode, Table
from core.steps import timings
from tasks.cleanup import cleanup
from tasks.cursor import read_cursor
from tasks.landing import LandingError
from tasks.ledger import line_of, line_of_batch, record_look, record_mismatch
from tasks.load import Loaded, load
from tasks.platform import Platform
from tasks.report import Outcome

logger = logging.getLogger("pipelines.run")

# BigQuery, a bucket, the way to them, or the disk: nothing that a source has to do with.
STORE_ERRORS = (GoogleAPIError, GoogleAuthError, LandingError, OSError)


@dataclass(frozen=True)
class Extracted:
    """What an extraction came to: a committed batch, a look without news, or neither.

    `note` tells what a reader should know; `failures` what could not be had, although the rest was.
    """

    batch: Manifest | Look | None = None
    note: str | None = None
    failures: tuple[str, ...] = ()


def run_source(
    platform: Platform,
    table: Table,
    mode: Mode,
    window_of: Callable[[Cursor], Window],
    extract: Callable[[Window, Cursor], Extracted],
) -> Outcome:
    """One run of a source. Raises what `extract` raises, and StoreFailed for what is not its own.

    Rows that are not as many as the source counts leave a line with both numbers in the ledger.

    What cannot be asked again is extracted and committed even when nothing can be loaded, be it
    that BigQuery does not answer, a bucket where a batch waits, or that the disk is full; the load
    then fails the run, and the next one recovers the batch.
    """
    with timings() as spent, blaming_the_store(table.source):
        try:
            platform.warehouse.ensure_ledger()
            recovered = Loaded() if platform.is_dry else load(platform, table)
            cursor = (
                where_to_go_on(platform, table, recovered) if mode == "incremental" else Cursor()
            )
        except STORE_ERRORS as error:
            if table.is_replayable:
                raise
            logger.error("%s: extracting although a load fails: %s", table.source, error)
            recovered, cursor = Loaded(), Cursor()
        window = window_of(cursor)
        try:
            extracted = extract(window, cursor)
        except CountMismatch as mismatch:
            if not platform.is_dry:
                record_mismatch(platform.warehouse, table, mode, window, mismatch)
            raise
        if platform.is_dry:
            return dry_outcome(table, mode, window, extracted)
        loaded, looked = Loaded(), list[Line]()
        if isinstance(extracted.batch, Manifest):
            loaded = load(platform, table, recovered.failures, recovered.known)
        elif isinstance(extracted.batch, Look):
            looked = [record_look(platform.warehouse, table, extracted.batch, cursor.undos)]
        cleanup(platform, table, loaded.known or recovered.known)
        platform.warehouse.flush_jobs(table.source)
    return Outcome(
        table=table,
        mode=mode,
        window=window,
        lines=[*recovered.lines, *loaded.lines, *looked],
        failures={**recovered.failures, **loaded.failures},
        not_had=extracted.failures,
        note=extracted.note,
        announced=(*recovered.announced, *loaded.announced),
        seconds=dict(spent.seconds),
    )


def where_to_go_on(platform: Platform, table: Table, recovered: Loaded) -> Cursor:
    """The cursor: as it was read with what is known of the batches, unless one was recovered."""
    told = recovered.known.cursor if recovered.known and not recovered.lines else None
    return told or read_cursor(platform.warehouse, table)


@contextmanager
def blaming_the_store(source: str) -> Iterator[None]:
    """Raises StoreFailed in place of what says neither whose run it ended nor, at times, where."""
    try:
        yield
    except STORE_ERRORS as error:
        cause = first_line(f"{type(error).__name__}: {error}", 500)
        raise StoreFailed(f"{source}: {cause}") from error


def dry_outcome(table: Table, mode: Mode, window: Window, extracted: Extracted) -> Outcome:
    """What a run would have brought; nothing of it was written."""
    lines = []
    if isinstance(extracted.batch, Look):
        lines = [line_of(extracted.batch)]
    elif extracted.batch:
        lines = [line_of_batch(extracted.batch)]
    return Outcome(table, mode, window, lines, not_had=extracted.failures, note=extracted.note)
