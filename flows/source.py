"""What the flows of all sources do."""

from __future__ import annotations

import runpy
import sys

from prefect.client.schemas.objects import State

from blocks.platform import load_platform
from blocks.sources import load_settings
from core.names import flow_of
from core.request import Request
from runs.extract import run_of
from sources.settings import settings_of
from tasks.platform import connect
from tasks.report import final_state


def run_flow(source: str, request: Request) -> State:
    """One run of the source, as its saved blocks say."""
    api = load_settings(settings_of(source), source)
    platform = connect(load_platform(), api.landing)
    return final_state(run_of(source)(platform, api, request))


def by_its_old_name(source: str) -> None:
    """`python -m flows.<source>`, until 0.2.0."""
    command = f"python -m repair {flow_of(source)}"
    print(f"python -m flows.{source} is now: {command}", file=sys.stderr)
    sys.argv[1:1] = [flow_of(source)]
    runpy.run_module("repair", run_name="__main__")
