"""Looks for what is wrong and tells it: what the deployment `watch/alerts` runs.

Its cron looks every quarter of an hour, at the ledger every third hour, and the server starts it
whenever a run ends badly (`python -m blocks.automations`). What this worker cannot see, its own
death and the server's, is seen by the timer `deploy.watchdog`. Both keep the same incidents, so
neither repeats the other.

Requires: block alerts/alerts, the platform's blocks and those of the sources
(`python -m blocks.register`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.alerts import ALERTS, Alerts
from blocks.automations import WATCH_FLOW
from blocks.ph_news import PhNews
from blocks.platform import load_block, load_blocks, load_if_saved
from core.alerts import Look
from core.errors import first_line
from sources import finance, nyc_fhv, openweather, ph_news, usgs_earthquake
from tasks.alerts import read_state, saved_secrets, tell
from tasks.conditions import ended_runs, read_names, silence, waiting_runs
from tasks.landing import LandingError
from tasks.ledger_conditions import SOURCE, ledger_findings, new_fields
from tasks.platform import connect
from tasks.report import is_on_schedule

TABLES = [source.TABLE for source in (usgs_earthquake, openweather, ph_news, nyc_fhv, finance)]
# A look at the ledger bills 60 MiB, and what only it tells is no matter of minutes. A run that no
# schedule started looks all the same.
LEDGER_EVERY = timedelta(hours=3)


class LedgerUnread(Exception):
    """The ledger or a bucket could not be looked at; everything else was."""


@flow(name=WATCH_FLOW, flow_run_name="watch")
def watch() -> State:
    """Look at the runs and at the ledger, and tell of incidents that began or are over."""
    alerts = load_block(Alerts, ALERTS)
    with get_client(sync_client=True) as client:
        secrets = saved_secrets(client)
        now, unread = datetime.now(UTC), None
        ledger = Look(by="watch", at=now)
        last = read_state(alerts.state_path).covered.get("ledger")
        if is_ledger_due(last, now, on_schedule=is_on_schedule()):
            unread = look_at_ledger(ledger, alerts)
        # Last, since the ledger may take minutes, and runs are told as they are.
        look = look_at_runs(client, alerts)
        look.findings += ledger.findings
        look.covered |= ledger.covered
        look.fields_until = ledger.fields_until
        told = tell(alerts, look, secrets)
        sent = told.sent
        # What fails together is told together.
        while told.wait_seconds:
            time.sleep(told.wait_seconds)
            told = tell(alerts, look_at_runs(client, alerts), secrets)
            sent += told.sent
    if unread:
        raise LedgerUnread(unread)
    standing = f"{len(told.standing)} incidents: {'; '.join(told.standing)}"
    nobody = "" if alerts.channels else "; nobody is told: no channel is configured"
    message = standing if told.standing else "all is well"
    return Completed(message=f"{message}; {len(sent)} messages sent{nobody}")


def look_at_runs(client: SyncPrefectClient, alerts: Alerts) -> Look:
    """How runs ended and which do not begin, and whether the watchdog looks."""
    now = datetime.now(UTC)
    state = read_state(alerts.state_path)
    names = read_names(client)
    return Look(
        by="watch",
        at=now,
        names=names.all,
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


def look_at_ledger(look: Look, alerts: Alerts) -> str | None:
    """Add what the ledger tells to the look; why not, when it cannot be read."""
    platform = connect(load_blocks())
    news = load_if_saved(PhNews, "ph-news")
    budgets = {ph_news.SOURCE: news.monthly_requests} if news else {}
    try:
        platform.warehouse.ensure_ledger()
        found, unlisted = ledger_findings(platform, TABLES, budgets, alerts, look.at)
        look.findings += found
        changes, look.fields_until = new_fields(
            platform.warehouse, read_state(alerts.state_path).fields_until, look.at
        )
        look.findings += changes
        platform.warehouse.flush_jobs(SOURCE)
    except (GoogleAPIError, GoogleAuthError, LandingError) as error:
        return f"{type(error).__name__}: {first_line(str(error), 400)}"
    if unlisted:  # what it would tell is not over
        return "; ".join(unlisted.values())
    look.covered.add("ledger")
    return None
