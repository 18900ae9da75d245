"""What the flows of all sources do."""

from __future__ import annotations

import runpy
import sys

from prefect.client.schemas.objects import State

from blocks.platform import load_platform
from blocks.sources import load_settings
from core.request import Request
from runs.extract import run_of
from sources.settings import settings_of
from stores.platform import connect
from tasks.report import final_state


def run_flow(source: str, request: Request) -> State:
    """One run of the source, as its saved blocks say."""
    api = load_settings(settings_of(source), source)
    platform = connect(load_platform(), api.landing)
    return final_state(run_of(source)(platform, api, request))


def by_its_old_name(flow: str, room: str, *arguments: str) -> None:
    """What `python -m flows.<flow>` was, until 0.2.0."""
    print(
        f"python -m flows.{flow} is now: {' '.join(['python -m', room, *arguments])}",
        file=sys.stderr,
    )
    sys.argv[1:1] = arguments
    runpy.run_module(room, run_name="__main__", alter_sys=True)
