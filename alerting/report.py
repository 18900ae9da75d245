"""What the run report counts: runs by Prefect, the rest by the ledger.

The ledger is read as it is, not through its marts: a report must not depend on the builds that it
reports on.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilterEndTime
from prefect.client.schemas.objects import StateType

from alerting.conditions import read_names, read_runs
from alerting.daily import DAYS, Age, Counted, EndedRun
from alerting.ledger_conditions import SOURCE
from stores.bigquery import Warehouse

ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]


def read_ended(client: SyncPrefectClient, now: datetime) -> list[EndedRun]:
    """The runs at the top that ended within the longest window."""
    names = read_names(client)
    after = FlowRunFilterEndTime(after_=now - timedelta(days=max(DAYS)))
    return [
        EndedRun(
            name=names.of(run),
            state_type=run.state_type.value,
            ended_at=run.end_time,
            seconds=run.total_run_time.total_seconds(),
        )
        for run in read_runs(client, ENDED, end_time=after)
        if run.end_time and run.state_type
    ]


def read_counted(warehouse: Warehouse) -> dict[int, dict[str, Counted]]:
    """By window and source, in one question. A batch that failed and came again counts once."""
    longest = f"TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {max(DAYS)} DAY)"
    rows = warehouse.query(
        f"""
        SELECT
            days, source, SUM(batches) AS batches, SUM(looks) AS looks, SUM(written) AS written,
            SUM(rejected) AS rejected, SUM(requests) AS requests,
            SUM(bytes_billed) AS bytes_billed
        FROM (
            SELECT
                source, applied_at AS happened_at,
                IF(state = 'applied', 1, 0) AS batches, IF(state = 'looked', 1, 0) AS looks,
                COALESCE(inserted, 0) + COALESCE(updated, 0) + COALESCE(deleted, 0)
                    + COALESCE(superseded_ids, 0) + COALESCE(absent, 0) AS written,
                IF(state = 'failed', 0, COALESCE(rejected, 0)) AS rejected,
                COALESCE(requests, 0) AS requests, 0 AS bytes_billed
            FROM {warehouse.names.raw("_loads")}
            WHERE applied_at > {longest}
            UNION ALL
            SELECT source, started_at, 0, 0, 0, 0, 0, COALESCE(bytes_billed, 0)
            FROM {warehouse.names.raw("_jobs")}
            WHERE started_at > {longest}
            UNION ALL
            SELECT source, started_at, 0, 0, 0, 0, 0, COALESCE(bytes_billed, 0)
            FROM {warehouse.names.raw("_builds")}
            WHERE started_at > {longest}
        ) AS counted
        CROSS JOIN UNNEST({list(DAYS)}) AS days
        WHERE happened_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL days DAY)
        GROUP BY days, source
        """,
        source=SOURCE,
        purpose="ledger",
    )
    found: dict[int, dict[str, Counted]] = {days: {} for days in DAYS}
    for row in rows:
        counts = {name: int(row[name] or 0) for name in Counted.__dataclass_fields__}
        found[row["days"]][row["source"]] = Counted(**counts)
    return found


def read_ages(warehouse: Warehouse) -> dict[str, Age]:
    """By source, by BigQuery's clock; null where the last 40 days have no such line."""
    rows = warehouse.query(
        f"""
        SELECT
            source,
            TIMESTAMP_DIFF(
                CURRENT_TIMESTAMP(),
                MAX(IF(state IN ('applied', 'looked'), watermark, NULL)), SECOND
            ) / 3600 AS data_hours,
            TIMESTAMP_DIFF(
                CURRENT_TIMESTAMP(),
                MAX(IF(state IN ('applied', 'looked'), applied_at, NULL)), SECOND
            ) / 3600 AS look_hours
        FROM {warehouse.names.raw("_loads")}
        WHERE applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 40 DAY)
        GROUP BY source
        """,
        source=SOURCE,
        purpose="ledger",
    )
    return {row["source"]: Age(row["data_hours"], row["look_hours"]) for row in rows}
