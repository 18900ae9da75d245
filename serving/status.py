"""What the platform knows of itself between builds: runs, freshness, plans and incidents.

`watch/alerts` writes these straight into the snapshots every quarter of an hour, without a query.
"""

from __future__ import annotations

from serving.contract import Contract, PublicPart
from serving.snapshot import Column


def _status(
    name: str,
    description: str,
    grain: tuple[str, ...],
    columns: dict[str, tuple[str, str]],
    public: tuple[str, ...] = (),
) -> Contract:
    return Contract(
        name=name,
        relation="",
        group="status",
        description=description,
        grain=grain,
        columns=tuple(Column(column, *told) for column, told in columns.items()),
        audience="private",
        public_part=PublicPart(public, {"source": "public"}) if public else None,
    )


RUNS = _status(
    "status_runs",
    "One row per flow run that ended in the last seven days.",
    ("run_id",),
    {
        "run_id": ("STRING", "Prefect's id of the run."),
        "deployment": ("STRING", "The deployment, or the flow of a run without one."),
        "source": ("STRING", "The source that it was for; empty for jobs of the platform."),
        "state": ("STRING", "Completed, Failed, Crashed, Cancelled or TimedOut."),
        "started_at": ("TIMESTAMP", "When it began to run (UTC). Null when it never did."),
        "ended_at": ("TIMESTAMP", "When it ended (UTC)."),
        "seconds": ("FLOAT64", "How long it ran."),
        "message": ("STRING", "What the run said at its end."),
        "link": ("STRING", "The run in Prefect's UI."),
    },
    ("run_id", "deployment", "source", "state", "started_at", "ended_at", "seconds"),
)
FRESHNESS = _status(
    "status_freshness",
    "One row per source: when it was last looked at, and how new its newest data is.",
    ("source",),
    {
        "source": ("STRING", "The source."),
        "last_look_at": ("TIMESTAMP", "Last look that ended well (UTC)."),
        "newest_event_at": ("TIMESTAMP", "Time of the newest event in the data (UTC)."),
        "look_state": ("STRING", "fresh, warn or error, by the limits of the dbt source."),
        "event_state": ("STRING", "fresh, warn or error, by the limits of the dbt source."),
        "checked_at": ("TIMESTAMP", "When this was asked (UTC)."),
    },
    ("source", "last_look_at", "newest_event_at", "look_state", "event_state", "checked_at"),
)
BUDGETS = _status(
    "status_budgets",
    "One row per source with a plan: requests of the current calendar month (UTC).",
    ("source",),
    {
        "source": ("STRING", "The source."),
        "spent": ("INT64", "Requests reserved or spent this month."),
        "allowed": ("INT64", "Requests of the plan per month."),
        "checked_at": ("TIMESTAMP", "When this was asked (UTC)."),
    },
)
INCIDENTS = _status(
    "status_incidents",
    "One row per incident that is going on.",
    ("incident",),
    {
        "incident": ("STRING", "Its key."),
        "kind": ("STRING", "What kind of thing went wrong."),
        "title": ("STRING", "What is wrong."),
        "cause": ("STRING", "Why, as far as it is known."),
        "source": ("STRING", "The source; empty for the platform."),
        "begun_at": ("TIMESTAMP", "When it was first seen (UTC)."),
        "link": ("STRING", "The run in Prefect's UI, where there is one."),
    },
)
SOURCES = _status(
    "status_sources",
    "One row per source: whether it is configured to run here.",
    ("source",),
    {
        "source": ("STRING", "The source."),
        "is_configured": ("BOOL", "Whether it runs here."),
        "checked_at": ("TIMESTAMP", "When this was asked (UTC)."),
    },
    ("source", "is_configured", "checked_at"),
)
TABLES = (RUNS, FRESHNESS, BUDGETS, INCIDENTS, SOURCES)
