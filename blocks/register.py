"""`python -m blocks.register [--check]`: save every block from the environment and `.env`.

A source that these do not configure, or that SOURCES leaves out, loses its block and its
deployment; its past runs and what it loaded stay.

Repeating it changes nothing; a changed variable changes its block in place, so this is also how a
key is rotated. With --check nothing is saved, and every block is tried by real calls
(blocks/check.py). Never prints a value.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from blocks import ALERTS, GCP
from blocks.check import findings
from blocks.platform import Alerts, load_if_saved, platform_blocks
from blocks.sources import block_of, is_deployed, remove
from core.names import deployment_of, source_of
from runs.environment import Misconfigured, unknown_variables
from runs.settings import Settings, platform_settings, read_settings


def all_blocks(settings: Settings) -> dict[str, Block]:
    """Every block of the project by document name, in the order in which they refer to another.

    A source that is not configured has no block; its flow says so when it is run.
    Raises Misconfigured when there are no credentials of Google's to be had.
    """
    shared = platform_blocks(platform_settings(settings))
    return {
        **shared,
        ALERTS: Alerts(**dict(settings.alerts)),
        **{
            flow: block_of(source_of(flow), source, shared[GCP])
            for flow, source in settings.sources.items()
        },
    }


def register(settings: Settings) -> dict[str, bool]:
    """Save all blocks; by `type-slug/name` whether it was saved or stood there as it is."""
    saved = {}
    for name, block in all_blocks(settings).items():
        kind: Any = type(block)
        kind.register_type_and_schema()
        is_new = not is_saved(block, name)
        if is_new:
            block.save(name, overwrite=True)
        saved[f"{kind.get_block_type_slug()}/{name}"] = is_new
    return saved


def tidy(settings: Settings) -> list[str]:
    """The server has nothing of the sources that do not run; what was done or is left, in lines."""
    absent = settings.not_configured
    lines = [f"not configured {source}: {what}" for source, what in absent.items()]
    with get_client(sync_client=True) as client:
        for source in absent:
            lines += [f"removed {one}" for one in remove(client, source_of(source))]
        waiting = [
            deployment_of(source)
            for source in map(source_of, settings.sources)
            if not is_deployed(client, source)
        ]
    if waiting:
        lines.append(f"not deployed {', '.join(waiting)}: run python -m deploy.apply")
    return lines


def is_saved(block: Block, name: str) -> bool:
    """Whether the server has this very block. One that cannot be read is to be saved again."""
    try:
        standing = load_if_saved(type(block), name)
    except ValueError:
        return False
    return bool(standing and own_fields(standing.model_dump()) == own_fields(block.model_dump()))


def own_fields(value: Any) -> Any:
    """A block's fields, and those of blocks in it, without Prefect's notes about the document."""
    if not isinstance(value, dict):
        return value
    return {name: own_fields(one) for name, one in value.items() if not name.startswith("_")}


def main() -> int:
    """1 when a variable is missing or wrong, a check found a fault, or no block can be saved."""
    parser = argparse.ArgumentParser(prog="python -m blocks.register")
    parser.add_argument("--check", action="store_true", help="save nothing; try every block")
    options = parser.parse_args()
    for unknown in unknown_variables():
        print(f"note   .env             {unknown}", file=sys.stderr)
    try:
        settings = read_settings()
        if options.check:
            # What they say while they try again; the finding says it once.
            for client in ("google", "urllib3", "botocore"):
                logging.getLogger(client).setLevel(logging.ERROR)
            return check_all(settings)
        saved = register(settings)
        tidied = tidy(settings)
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(of_the_server(error), file=sys.stderr)
        return 1
    for document, is_new in saved.items():
        print(f"{'saved' if is_new else 'unchanged'} {document}")
    for line in tidied:
        print(line)
    return 0


def of_the_server(error: httpx.HTTPError) -> str:
    """Why the Prefect server took no block, and what to do."""
    url = httpx.URL(get_current_settings().api.url or "")
    where = f"the Prefect server at PREFECT_API_URL, {url.host}:{url.port or url.scheme},"
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        hint = (
            "; PREFECT_API_AUTH_STRING or PREFECT_API_KEY is wrong" if status in (401, 403) else ""
        )
        return f"{where} answers HTTP {status}{hint}"
    return f"{where} does not answer ({type(error).__name__}): start one with prefect server start"


def check_all(settings: Settings) -> int:
    """Print the outcome of each check, and which sources run and which do not, and why."""
    faults = 0
    for finding in findings(settings):
        print(finding, flush=True)
        faults += bool(finding.fault)
    print(f"note   sources          configured: {', '.join(settings.sources)}")
    for source, what in settings.not_configured.items():
        print(f"note   {source:<16} is not configured: {what}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
