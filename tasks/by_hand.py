"""Running a source by hand: `python -m flows.<source> --help`. Needs no Prefect server.

Reads the environment and `.env` as `python -m blocks.register` does, not the saved blocks.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TypeVar

from pydantic import ValidationError

from blocks.platform import blocks_from
from blocks.register import all_blocks
from blocks.settings import Settings, explain
from blocks.source import SourceBlock
from tasks.landing import Discard
from tasks.platform import Platform, connect
from tasks.report import Outcome, report

B = TypeVar("B", bound=SourceBlock)


def by_hand(
    source: str,
    description: str,
    block_type: type[B],
    run: Callable[[Platform, B, argparse.Namespace], Outcome],
    *,
    takes_range: bool = False,
    takes_deletions: bool = False,
) -> int:
    """Parse the command line, run the source once, print what came of it; the exit code.

    With --dry-run the source is asked as ever, but nothing is written but the requests of a budget.
    """
    parser = argparse.ArgumentParser(prog=f"python -m flows.{source}", description=description)
    parser.add_argument(
        "--dry-run", action="store_true", help="print window, requests and rows; write nothing"
    )
    if takes_range:
        parser.add_argument("--start", type=date.fromisoformat, metavar="YYYY-MM-DD")
        parser.add_argument("--end", type=date.fromisoformat, metavar="YYYY-MM-DD")
    if takes_deletions:
        parser.add_argument("--allow-deletions", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        settings = Settings()
    except ValidationError as error:
        print(explain(error), file=sys.stderr)
        return 1
    block = all_blocks(settings).get(source.replace("_", "-"))
    if not isinstance(block, block_type):
        print(f"{source} is not configured (see .env.example)", file=sys.stderr)
        return 1
    platform = connect(blocks_from(settings), block.landing)
    if options.dry_run:
        platform = replace(platform, landing=Discard(), is_dry=True)
    outcome = run(platform, block, options)
    print(f"window    {outcome.window}")
    for name in ("requests", "extracted", "met_again", "rejected", "written"):
        print(f"{name.replace('_', ' '):<9} {outcome.total(name):,}")
    print(outcome.message)
    report(outcome)
    return 0
