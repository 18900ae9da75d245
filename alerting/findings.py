"""What an inspection finds: what is wrong, and how runs ended."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

# Each is a heading in docs/runbook.md, which tells what to do.
Kind = Literal[
    "failed",
    "crashed",
    "timed-out",
    "stale-data",
    "rejects",
    "deletions-held",
    "parked-batch",
    "not-started",
    "unscheduled",
    "running-long",
    "request-budget",
    "schema-change",
    "unloaded-batch",
    "bytes-billed",
    "ledger",
    "server",
    "worker",
    "watchdog",
    "disk",
    "spool",
    "backup",
    "certificate",
    "run-logs",
    "pages",
]
# The flow `watch` and the timer `deploy.watchdog`.
Inspector = Literal["watch", "watchdog"]
# run: how a flow run ended; the incident is over when a later run of its deployment completes.
# notice: told once, never over. The others last as long as inspections of that scope find them. An
# inspector as a scope: whether it still inspects, which the other one sees.
Scope = Literal[
    "run", "notice", "prefect", "ledger", "health", "ledger-age", "watch", "watchdog", "serving"
]

# What a state is called whose cause has its own paragraph; all are of type Failed.
KINDS: dict[str, Kind] = {
    "TimedOut": "timed-out",
    "StaleSource": "stale-data",
    "BatchParked": "parked-batch",
    "TooManyRejects": "rejects",
    "DeletionsHeld": "deletions-held",
}


class Finding(msgspec.Struct, frozen=True):
    """Something wrong. The same `key` is the same incident; without `at` it is of the inspection's
    time.
    """

    key: str
    kind: Kind
    scope: Scope
    title: str
    cause: str
    at: datetime | None = None
    source: str = ""
    window: str = ""
    link: str | None = None


class Run(msgspec.Struct, frozen=True):
    """How a flow run ended. `name` is its deployment's, or its flow's when it has none.

    `stale` maps each source that it found to be stale to how late that is.
    """

    id: str
    name: str
    state_type: str
    state_name: str
    message: str
    ended_at: datetime
    started_at: datetime | None = None
    seconds: float = 0.0
    source: str = ""
    window: str = ""
    link: str | None = None
    stale: dict[str, str] = {}


class Inspection(msgspec.Struct):
    """`covered` are the scopes that were inspected completely, `names` what runs may be called by
    now, where it was asked for them, `absent` the sources that do not run here, as the ledger names
    them.
    """

    by: Inspector
    at: datetime
    names: set[str] = set()
    runs: list[Run] = []
    findings: list[Finding] = []
    covered: set[Scope] = set()
    fields_until: datetime | None = None
    absent: set[str] = set()


def run_key(name: str) -> str:
    """How the keys begin of what runs of this name find."""
    return f"run:{name}:"


def findings_of(run: Run) -> list[Finding]:
    """What a run that ended badly says: one thing, or which sources are stale.

    Another kind of failure of the same deployment is another incident: one may last for days.
    """
    kind = kind_of(run)
    ended = {"crashed": "crashed", "timed-out": "timed out"}.get(kind, "failed")
    found = Finding(
        key=f"{run_key(run.name)}{kind}",
        kind=kind,
        scope="run",
        title=f"{run.name} {ended}",
        cause=run.message or f"ended {run.state_name} without a message",
        at=run.ended_at,
        source=run.source,
        window=run.window,
        link=run.link,
    )
    if kind != "stale-data" or not run.stale:
        return [found]
    return [
        msgspec.structs.replace(
            found,
            key=f"{found.key}:{source}",
            title=f"{source} is stale",
            cause=cause,
            source=source,
        )
        for source, cause in run.stale.items()
    ]


def kind_of(run: Run) -> Kind:
    """Which paragraph helps: by the state's type and name."""
    return "crashed" if run.state_type == "CRASHED" else KINDS.get(run.state_name, "failed")
