"""Rows of serving/status.py: what the pages show of runs and incidents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from alerting.conditions import read_ended, read_names
from alerting.state_file import read_state
from core.errors import first_line
from runs.alert_settings import AlertSettings

# How long pages list a run that ended.
SHOWN = timedelta(days=7)


def last_runs(client: SyncPrefectClient, scrub: Callable[[str], str]) -> list[dict[str, Any]]:
    """Rows of RUNS: the runs at the top that ended of late."""
    return [
        {
            "run_id": run.id,
            "deployment": run.name,
            "source": run.source.replace("-", "_"),
            "state": "TimedOut" if run.state_name == "TimedOut" else run.state_type.title(),
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "seconds": run.seconds,
            "message": scrub(first_line(run.message, 400)),
            "link": run.link,
        }
        for run in read_ended(client, read_names(client), datetime.now(UTC) - SHOWN)
    ]


def open_incidents(alerts: AlertSettings) -> list[dict[str, Any]]:
    """Rows of INCIDENTS: what is going on, as it was told."""
    return [
        {
            "incident": key,
            "kind": one.finding.kind,
            "title": one.finding.title,
            "cause": one.finding.cause,
            "source": one.finding.source,
            "begun_at": one.opened_at,
            "link": one.finding.link,
        }
        for key, one in read_state(alerts.state_path).incidents.items()
    ]
