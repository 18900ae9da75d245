"""The course of every source's run: recover, decide, extract and commit, load, clean up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from core.batch import Manifest, Window
from core.ledger import Cursor, Line
from core.schema import Mode, Table
from core.steps import timings
from tasks.cleanup import cleanup
from tasks.ledger import read_cursor
from tasks.load import Loaded, load
from tasks.platform import Platform
from tasks.report import Outcome

logger = logging.getLogger("pipelines.run")


@dataclass(frozen=True)
class Extracted:
    """What an extraction came to: a committed batch, the line of a look without news, or neither.

    `note` tells what a reader should know; `failures` what could not be had, although the rest was.
    """

    batch: Manifest | Line | None = None
    note: str | None = None
    failures: tuple[str, ...] = ()


def run_source(
    platform: Platform,
    table: Table,
    mode: Mode,
    window_of: Callable[[Cursor], Window],
    extract: Callable[[Window, Cursor], Extracted],
) -> Outcome:
    """One run of a source. Raises what `extract` and `load` raise.

    What cannot be asked again is extracted and committed even when BigQuery does not answer; the
    load then fails the run, and the next one recovers the batch.
    """
    with timings() as spent:
        try:
            platform.warehouse.ensure_ledger()
            recovered = load(platform, table)
            cursor = read_cursor(platform.warehouse, table) if mode == "incremental" else Cursor()
        except (GoogleAPICallError, GoogleAuthError) as error:
            if table.is_replayable:
                raise
            logger.error("%s: extracting although BigQuery fails: %s", table.source, error)
            recovered, cursor = Loaded(), Cursor()
        window = window_of(cursor)
        extracted = extract(window, cursor)
        loaded = Loaded()
        if isinstance(extracted.batch, Manifest):
            loaded = load(platform, table, skip=recovered.failures)
        looked = [extracted.batch] if isinstance(extracted.batch, Line) else []
        cleanup(platform, table)
        platform.warehouse.flush_jobs(table.source)
    return Outcome(
        table=table,
        mode=mode,
        window=window,
        lines=[*recovered.lines, *loaded.lines, *looked],
        failures={**recovered.failures, **loaded.failures},
        not_had=extracted.failures,
        note=extracted.note,
        seconds=dict(spent.seconds),
    )
