"""How the platform has done over 1, 7 and 30 days: what the deployment `run-report/daily` runs.

Requires: block alerts/alerts, the platform's blocks and those of the sources
(`python -m blocks.register`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.utilities.urls import url_for

from alerting.conditions import read_ended, read_names
from alerting.ledger_conditions import SOURCE
from alerting.notify import send_text
from alerting.report import (
    DAYS,
    Report,
    count_runs,
    headline,
    markdown,
    message,
    read_ages,
    read_counted,
)
from alerting.state_file import read_state
from blocks import ALERTS
from blocks.platform import Alerts, load_block, load_platform
from blocks.sources import load_sources
from stores.platform import connect


@flow(name="run-report", flow_run_name="run report")
def run_report() -> State:
    """Count, leave the report as an artifact, and send it."""
    alerts = load_block(Alerts, ALERTS)
    now = datetime.now(UTC)
    warehouse, running = connect(load_platform()).warehouse, load_sources()
    warehouse.ensure_ledger()
    with get_client(sync_client=True) as client:
        runs = read_ended(client, read_names(client), now - timedelta(days=max(DAYS)))
    report = Report(
        at=now,
        runs=count_runs(runs, now),
        counted=read_counted(warehouse),
        ages={source: age for source, age in read_ages(warehouse).items() if source in running},
        incidents=[one.finding.title for one in read_state(alerts.state_path).incidents.values()],
    )
    warehouse.flush_jobs(SOURCE)
    create_markdown_artifact(markdown(report), key="run-report", description=headline(report))
    link = url_for("flow-run", obj_id=UUID(flow_run.id)) if flow_run.id else None
    send_text(alerts, *message(report, link), now)
    return Completed(message=headline(report))
