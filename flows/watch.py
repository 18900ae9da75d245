"""Looks for what is wrong and tells it: what the deployment `watch/alerts` runs.

Its cron looks every quarter of an hour, at the ledger every third hour, and the server starts it
whenever a run ends badly (`python -m blocks.automations`). What this worker cannot see, its own
death and the server's, is seen by the timer `deploy.watchdog`. Both keep the same incidents, so
neither repeats the other.

Requires: block alerts/alerts, the platform's blocks and those of the sources
(`python -m blocks.register`). A source without a block does not run here, and raises no alert.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed

from alerting.channels import incidents, notify, read_state, saved_secrets
from alerting.conditions import ended_runs, last_runs, read_names, silence, waiting_runs
from alerting.incidents import Inspection
from alerting.ledger_conditions import SOURCE, ledger_findings, new_fields, requests_spent
from alerting.pages import serving_findings
from alerting.run_logs import logs_behind
from alerting.settings import AlertSettings
from blocks.alerts import ALERTS, Alerts
from blocks.automations import WATCH_FLOW
from blocks.platform import load_block, load_platform
from blocks.sources import load_sources
from core.errors import first_line
from runs.serve import publish_status
from serving.status import BUDGETS, INCIDENTS, RUNS, SOURCES
from sources import SOURCES as NAMES
from sources.settings import SourceSettings
from sources.tables import table_of
from stores.landing import LandingError
from stores.platform import connect
from stores.settings import PlatformSettings
from tasks.report import is_on_schedule

# A look at the ledger bills 60 MiB, and what only it tells is no matter of minutes. A run that no
# schedule started looks all the same.
LEDGER_EVERY = timedelta(hours=3)


class LedgerUnread(Exception):
    """The ledger or a bucket could not be looked at; everything else was."""


@flow(name=WATCH_FLOW, flow_run_name="watch")
def watch() -> State:
    """Look at the runs and at the ledger, and tell of incidents that began or are over."""
    alerts, blocks, running = load_block(Alerts, ALERTS), load_platform(), load_sources()
    with get_client(sync_client=True) as client:
        secrets = saved_secrets(client)
        now, unread = datetime.now(UTC), None
        ledger = Inspection(by="watch", at=now)
        last = read_state(alerts.state_path).covered.get("ledger")
        if is_ledger_due(last, now, on_schedule=is_on_schedule()):
            unread = inspect_ledger(client, ledger, alerts, blocks, running)
        # Last, since the ledger may take minutes, and runs are told as they are.
        look = inspect_runs(client, alerts, running)
        look.findings += ledger.findings
        look.findings += serving_findings(blocks, look.at)
        look.covered |= {*ledger.covered, "serving"}
        look.fields_until = ledger.fields_until
        told = notify(alerts, look, secrets)
        sent = told.sent
        # What fails together is told together.
        while told.wait_seconds:
            time.sleep(told.wait_seconds)
            told = notify(alerts, inspect_runs(client, alerts, running), secrets)
            sent += told.sent
        status = {
            RUNS: last_runs(client, secrets),
            INCIDENTS: incidents(alerts),
            SOURCES: configured(running),
        }
        publish_status(blocks, status)
    if unread:
        raise LedgerUnread(unread)
    standing = f"{len(told.standing)} incidents: {'; '.join(told.standing)}"
    nobody = "" if alerts.channels else "; nobody is told: no channel is configured"
    message = standing if told.standing else "all is well"
    return Completed(message=f"{message}; {len(sent)} messages sent{nobody}")


def inspect_runs(
    client: SyncPrefectClient, alerts: AlertSettings, running: Collection[str]
) -> Inspection:
    """How runs ended and which do not begin, and whether the watchdog looks."""
    now = datetime.now(UTC)
    state = read_state(alerts.state_path)
    names = read_names(client)
    return Inspection(
        by="watch",
        at=now,
        names=names.all,
        absent={*NAMES} - {*running},
        runs=ended_runs(client, state, names, now),
        findings=[
            *waiting_runs(client, names, alerts, now),
            *silence(state, "watchdog", now),
        ],
        covered={"prefect", "watchdog"},
    )


def is_ledger_due(last: datetime | None, now: datetime, *, on_schedule: bool) -> bool:
    """Whether to look at the ledger, after the last look at it: a cron may be seconds early."""
    is_old = last is None or abs(now - last) >= LEDGER_EVERY - timedelta(minutes=5)
    return is_old or not on_schedule


def inspect_ledger(
    client: SyncPrefectClient,
    look: Inspection,
    alerts: AlertSettings,
    blocks: PlatformSettings,
    running: Mapping[str, SourceSettings],
) -> str | None:
    """Add what the ledger and the buckets notify to the look; why not, when they cannot be read."""
    platform = connect(blocks)
    plans_of = {source: block.plan() for source, block in running.items()}
    budgets = {source: requests for source, requests in plans_of.items() if requests is not None}
    tables = [table_of(source) for source in running]
    try:
        platform.warehouse.ensure_ledger()
        spent = requests_spent(platform.warehouse) if budgets else {}
        found, unlisted = ledger_findings(platform, tables, budgets, spent, alerts, look.at)
        look.findings += found
        changes, look.fields_until = new_fields(
            platform.warehouse, read_state(alerts.state_path).fields_until, look.at
        )
        look.findings += changes
        look.findings += logs_behind(platform, client, look.at)
        platform.warehouse.flush_jobs(SOURCE)
    except (GoogleAPIError, GoogleAuthError, LandingError) as error:
        return f"{type(error).__name__}: {first_line(str(error), 400)}"
    publish_status(blocks, {BUDGETS: plans(budgets, spent)})
    if unlisted:  # what it would notify is not over
        return "; ".join(unlisted.values())
    look.covered.add("ledger")
    return None


def configured(running: Collection[str]) -> list[dict[str, Any]]:
    """Rows of SOURCES: every source, and whether it runs here."""
    now = datetime.now(UTC)
    return [
        {"source": source, "is_configured": source in running, "checked_at": now}
        for source in NAMES
    ]


def plans(budgets: Mapping[str, int], spent: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows of BUDGETS: what each plan allows, and what of it this month is spent."""
    now = datetime.now(UTC)
    return [
        {"source": source, "allowed": allowed, "spent": spent.get(source, 0), "checked_at": now}
        for source, allowed in budgets.items()
    ]
