"""A source by command: `python -m repair SOURCE --help`. Needs no Prefect, and none of its servers.

Reads the environment and `.env` as `python -m blocks.register` does, not the saved blocks.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from datetime import UTC, date, datetime

from core.batch import check_range
from core.errors import (
    DeletionsHeld,
    EarlierLedger,
    LoadFailed,
    NoRequestLeft,
    OperationRejected,
    PartlyExtracted,
    SourceError,
    StoreFailed,
    TooManyRejects,
)
from core.names import flow_of, source_of
from core.ownership import NotOurs
from core.request import Request, days
from core.schema import Table
from repair.replay import replay
from repair.trace import trace
from repair.undo import preview, undo
from repair.undo_script import TIME_TRAVEL
from runs.environment import Misconfigured
from runs.extract import run
from runs.outcome import report
from runs.settings import platform_settings, read_settings
from sources import SOURCES
from sources.tables import table_of
from stores.landing import Discard
from stores.platform import connect

# Their messages say what happened and where; a traceback would say nothing more.
SAID = (
    *(SourceError, NoRequestLeft, StoreFailed, LoadFailed, OperationRejected, NotOurs),
    *(PartlyExtracted, DeletionsHeld, TooManyRejects, EarlierLedger),
)


def main() -> int:
    """Parse the command line, do what it asks, print what came of it; the exit code.

    That is one run of the source, or a look at or a change of what was loaded. With --dry-run the
    source is asked as ever, but nothing is written but the requests of a budget.
    """
    names = [flow_of(source) for source in SOURCES]
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first not in names:
        is_help = first in ("-h", "--help")
        said = f"usage: python -m repair {{{','.join(names)}}} [--help]"
        print(said, file=sys.stdout if is_help else sys.stderr)
        return 0 if is_help else 2
    source = source_of(first)
    table = table_of(source)
    options = parse(table, sys.argv[2:])
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        settings = read_settings()
        shared = platform_settings(settings)
        own = settings.sources.get(first)
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return 1
    if own is None:
        print(f"{first} is not configured: {settings.not_configured[first]}", file=sys.stderr)
        return 1
    platform = connect(shared, own.landing)
    if options.dry_run:
        platform = replace(platform, landing=Discard(), is_dry=True)
    try:
        if options.trace is not None:
            print("\n".join(trace(platform.warehouse, table, options.trace)))
            return 0
        if options.undo is not None and options.dry_run:
            print(f"{preview(platform, table, options.undo)}\nnothing was undone: a dry run")
            return 0
        if options.undo is not None:
            print(undo(platform, table, options.undo, say=print).message)
            return 0
        if options.replay is not None:
            allowed = options.allow_deletions
            outcome = replay(platform, table, options.replay, allow_deletions=allowed)
        else:
            dates = days(options.start, options.end)
            request = Request(*dates, allow_deletions=options.allow_deletions)
            outcome = run(platform, source, own, request)
        print(f"window    {outcome.window}")
        for name in ("requests", "extracted", "already_seen", "rejected", "written"):
            print(f"{name.replace('_', ' '):<9} {outcome.total(name):,}")
        print(f"{'would be: ' * options.dry_run}{outcome.message}")
        report(outcome)
    except SAID as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse(table: Table, arguments: list[str]) -> argparse.Namespace:
    """The options of the command line; exits with the reason when they do not go together."""
    parser = argparse.ArgumentParser(
        prog=f"python -m repair {flow_of(table.source)}", description=table.about
    )
    parser.set_defaults(start=None, end=None, allow_deletions=False)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print window, requests and rows, with --undo what would go; write nothing",
    )
    if table.takes_days:
        first, last = "first day of events to read again", "last day of events to read again"
        parser.add_argument("--start", type=day, metavar="YYYY-MM-DD", help=first)
        parser.add_argument("--end", type=day, metavar="YYYY-MM-DD", help=last)
    if table.is_whole:
        parser.add_argument(
            "--allow-deletions",
            action="store_true",
            help="give up as many rows as are gone from the source, however many",
        )
    instead = parser.add_argument_group(
        "instead of a run",
        "one of these; a batch's id is in raw._loads and in a row's _batch_id",
    )
    instead.add_argument(
        "--replay",
        metavar="BATCH",
        help="load a batch again from its bucket, whatever the ledger says of it; what is newer "
        "stays" + (", and with --allow-deletions what was held is applied" * table.is_whole),
    )
    instead.add_argument(
        "--undo",
        metavar="BATCH",
        help="take the raw table back to before a batch and all later ones, up to "
        f"{TIME_TRAVEL.days} days; the next run reads again from there",
    )
    key = ",".join(table.key or table.known_by)
    instead.add_argument(
        "--trace", metavar="KEY", help=f"the batch that wrote the row with this {key}"
    )
    options = parser.parse_args(arguments)
    try:
        check_range(options.start, options.end, datetime.now(UTC).date())
    except ValueError as error:
        parser.error(f"--start, --end: {error}")
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if value not in (None, False)
    ]
    for name in ("--trace", "--undo", "--replay"):
        if name in given:
            allowed = {name} | {"--replay": {"--allow-deletions"}, "--undo": {"--dry-run"}}.get(
                name, set()
            )
            if others := [other for other in given if other not in allowed]:
                parser.error(f"{name} goes without {' and '.join(others)}")
    return options


def day(text: str) -> date:
    """A day of the command line. Raises ArgumentTypeError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day, such as 2026-01-31") from None


if __name__ == "__main__":
    sys.exit(main())
