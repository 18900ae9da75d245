"""Finds what is wrong and tells it: what the deployment `watch/alerts` runs.

Its cron inspects every quarter of an hour, the ledger every third hour, and the server starts it
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

from alerting.conditions import inspect_prefect, silence
from alerting.findings import Inspection
from alerting.ledger_conditions import (
    SOURCE,
    nearly_spent,
    new_fields,
    over_budget,
    parked,
    requests_spent,
    unloaded,
)
from alerting.notify import notify
from alerting.pages import serving_findings
from alerting.run_logs import logs_behind
from alerting.secrets import saved_secrets, scrubber
from alerting.state_file import read_state
from alerting.status import last_runs, open_incidents
from blocks import ALERTS
from blocks.automations import WATCH_FLOW
from blocks.platform import Alerts, load_block, load_platform
from blocks.sources import load_sources
from core.errors import EarlierLedger, first_line
from runs.alert_settings import AlertSettings
from runs.serve import publish_status
from serving.status import BUDGETS, INCIDENTS, RUNS, SOURCES
from sources import SOURCES as NAMES
from sources.settings import SourceSettings
from sources.tables import table_of
from stores.landing import LandingError
from stores.platform import connect
from stores.settings import PlatformSettings
from tasks.report import is_on_schedule

# An inspection of the ledger bills 60 MiB, and what only it tells is no matter of minutes. A run
# that no schedule started inspects it all the same.
LEDGER_EVERY = timedelta(hours=3)


class LedgerUnread(Exception):
    """The ledger or a bucket could not be inspected; everything else was."""


@flow(name=WATCH_FLOW, flow_run_name="watch")
def watch() -> State:
    """Inspect the runs and the ledger, and tell of incidents that began or are over."""
    alerts, blocks, running = load_block(Alerts, ALERTS), load_platform(), load_sources()
    with get_client(sync_client=True) as client:
        scrub, unread = scrubber(saved_secrets(client)), None
        inspection = Inspection(by="watch", at=datetime.now(UTC))
        last = read_state(alerts.state_path).covered.get("ledger")
        if is_ledger_due(last, inspection.at, on_schedule=is_on_schedule()):
            unread = inspect_ledger(client, inspection, alerts, blocks, running)
        # Last, since the ledger may take minutes, and runs are reported at once.
        inspect_runs(client, inspection, alerts, running)
        inspection.findings += serving_findings(blocks, inspection.at)
        inspection.covered.add("serving")
        told = notify(alerts, inspection, scrub)
        sent = told.sent
        # What fails together is one message.
        while told.wait_seconds:
            time.sleep(told.wait_seconds)
            inspection = Inspection(by="watch", at=datetime.now(UTC))
            inspect_runs(client, inspection, alerts, running)
            told = notify(alerts, inspection, scrub)
            sent += told.sent
        status = {
            RUNS: last_runs(client, scrub),
            INCIDENTS: open_incidents(alerts),
            SOURCES: configured(running),
        }
        publish_status(blocks, status)
    if unread:
        raise LedgerUnread(unread)
    nobody = "" if alerts.channels else "; nobody is told: no channel is configured"
    message = f"{len(told.open)} incidents: {'; '.join(told.open)}" if told.open else "all is well"
    return Completed(message=f"{message}; {len(sent)} messages sent{nobody}")


def inspect_runs(
    client: SyncPrefectClient,
    inspection: Inspection,
    alerts: AlertSettings,
    running: Collection[str],
) -> None:
    """Add how runs ended and which do not begin, and whether the watchdog inspects, by now."""
    inspection.at = datetime.now(UTC)
    state = read_state(alerts.state_path)
    inspection.absent = {*NAMES} - {*running}
    inspect_prefect(client, inspection, state, alerts)
    inspection.findings += silence(state, "watchdog", inspection.at)
    inspection.covered.add("watchdog")


def is_ledger_due(last: datetime | None, now: datetime, *, on_schedule: bool) -> bool:
    """Whether to inspect the ledger, after its last inspection: a cron may be seconds early."""
    is_old = last is None or abs(now - last) >= LEDGER_EVERY - timedelta(minutes=5)
    return is_old or not on_schedule


def inspect_ledger(
    client: SyncPrefectClient,
    inspection: Inspection,
    alerts: AlertSettings,
    blocks: PlatformSettings,
    running: Mapping[str, SourceSettings],
) -> str | None:
    """Add what the ledger and the buckets tell; why not, when they cannot be read."""
    platform, now = connect(blocks), inspection.at
    warehouse, tables = platform.warehouse, [table_of(source) for source in running]
    plans_of = {source: block.plan() for source, block in running.items()}
    budgets = {source: requests for source, requests in plans_of.items() if requests is not None}
    try:
        warehouse.ensure_ledger()
        spent = requests_spent(warehouse) if budgets else {}
        missing, unlisted = unloaded(platform, tables, timedelta(hours=alerts.unloaded_hours))
        inspection.findings += [
            *parked(warehouse),
            *nearly_spent(spent, budgets, alerts.request_share, now),
            *over_budget(warehouse, alerts.daily_bytes_billed),
            *missing,
        ]
        since = read_state(alerts.state_path).fields_until
        changes, inspection.fields_until = new_fields(warehouse, since)
        inspection.findings += changes
        inspection.findings += logs_behind(platform, client, now)
        warehouse.flush_jobs(SOURCE)
    except (GoogleAPIError, GoogleAuthError, LandingError, EarlierLedger) as error:
        return f"{type(error).__name__}: {first_line(str(error), 400)}"
    plans = [
        {"source": source, "allowed": allowed, "spent": spent.get(source, 0), "checked_at": now}
        for source, allowed in budgets.items()
    ]
    publish_status(blocks, {BUDGETS: plans})
    if unlisted:  # what it would tell is not over
        return "; ".join(unlisted.values())
    inspection.covered.add("ledger")
    return None


def configured(running: Collection[str]) -> list[dict[str, Any]]:
    """Rows of SOURCES: every source, and whether it runs here."""
    now = datetime.now(UTC)
    return [
        {"source": source, "is_configured": source in running, "checked_at": now}
        for source in NAMES
    ]
