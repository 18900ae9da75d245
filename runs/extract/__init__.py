"""One file per source: how it is read. `run` is a whole run of one."""

from __future__ import annotations

from importlib import import_module

from core.request import NOTHING_ELSE, Request
from runs.course import run_source
from runs.outcome import Outcome
from sources.settings import SourceSettings
from sources.tables import table_of
from stores.platform import Platform


def run(
    platform: Platform, source: str, api: SourceSettings, request: Request = NOTHING_ELSE
) -> Outcome:
    """One run of a source: what is new since its last run, or what was requested instead.

    Only the source's own module is imported, whose `extract` reads it. One that may be asked for
    days or deletions gets the request, too.
    """
    table = table_of(source)
    extract = import_module(f"runs.extract.{source}").extract
    options = (request,) if table.takes_days or table.is_whole else ()
    return run_source(
        platform,
        table,
        request.mode,
        request.window,
        lambda window, cursor: extract(platform, api, window, cursor, *options),
    )
