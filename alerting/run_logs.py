"""Logs of finished runs: copied to the bucket, and the runs removed from Prefect once they are.

Prefect's own vacuum would remove runs by their age alone, so it is not asked to
(deploy/env/server.env). What is removed here was found in its copy.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

import httpx
import msgspec
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.exceptions import ObjectNotFound

from alerting.conditions import ENDED, Names, plain, read_names
from alerting.findings import Finding
from alerting.log_lines import (
    ONE_DAY,
    ROOM,
    Line,
    Log,
    Run,
    day_of,
    object_name,
    packed,
    start_of,
    unpacked,
)
from core.steps import step
from stores.landing import LandingError
from stores.platform import Platform
from tasks.server import every

logger = logging.getLogger("pipelines.run_logs")

# So long after it ended, nobody tries a run again, and a month is left to copy what could not be.
COPY_AFTER = timedelta(days=60)
# A copy is due once a week; a second one that is missed is reported.
BEHIND_AFTER = timedelta(days=75)
REMOVE_AFTER = timedelta(days=90)
# Prefect itself is younger.
EARLIEST = date(2018, 1, 1)
TRIES = 3


class LogsUnread(Exception):
    """The pages of a run's log do not make one: a line came twice, so another did not come."""


# What is wrong with one day, and not with this code.
TROUBLE = (
    *(LandingError, LogsUnread, httpx.HTTPError),
    *(OSError, EOFError, zlib.error, msgspec.DecodeError),
)


@dataclass
class Copied:
    """What was written, and by day why it could not be."""

    days: int = 0
    runs: int = 0
    lines: int = 0
    bytes: int = 0
    failed: dict[date, str] = field(default_factory=dict)


def copy_logs(platform: Platform, client: SyncPrefectClient, now: datetime) -> Copied:
    """The logs of all runs that ended more than COPY_AFTER ago are in the bucket, by whole days.

    A day that fails does not keep the others.
    """
    copied = Copied()
    names = read_names(client)
    for day in uncopied(client, set(objects_by_day(platform)), now - COPY_AFTER):
        try:
            write(platform, client, names, day, runs_of(client, day), 1, copied)
        except TROUBLE as error:
            copied.failed[day] = f"{type(error).__name__}: {error}"
    return copied


def uncopied(client: SyncPrefectClient, copied: set[date], until: datetime) -> list[date]:
    """The days before `until` on which runs ended whose logs have no copy, the oldest first."""
    day, found = first_day(client, until.date()), []
    while day and day < until.date():
        if day not in copied and count(client, day, day + ONE_DAY):
            found.append(day)
        day += ONE_DAY
    return found


def first_day(client: SyncPrefectClient, end: date) -> date | None:
    """The first day on which a run ended that Prefect knows; None where none did before `end`."""
    oldest = client.read_flow_runs(
        flow_run_filter=ended_between(EARLIEST, end),
        sort=FlowRunSort.END_TIME_DESC,
        offset=max(0, count(client, EARLIEST, end) - 1),
        limit=1,
    )
    return next((plain(run.end_time).date() for run in oldest if run.end_time), None)


def ended_between(start: date, end: date) -> FlowRunFilter:
    """Finished runs, those within another as well. Both of Prefect's limits are inclusive."""
    return FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ENDED)),
        end_time=FlowRunFilterEndTime(
            after_=start_of(start), before_=start_of(end) - timedelta(microseconds=1)
        ),
    )


def count(client: SyncPrefectClient, start: date, end: date) -> int:
    return client.count_flow_runs(flow_run_filter=ended_between(start, end))


def runs_of(client: SyncPrefectClient, day: date) -> list[FlowRun]:
    return every(
        client.read_flow_runs,
        flow_run_filter=ended_between(day, day + ONE_DAY),
        sort=FlowRunSort.ID_DESC,
    )


def write(
    platform: Platform,
    client: SyncPrefectClient,
    names: Names,
    day: date,
    runs: Sequence[FlowRun],
    number: int,
    copied: Copied,
) -> None:
    """One more object of a day, with these runs and their logs; counted in `copied`."""
    lines_written = 0

    def lines() -> Iterator[Line]:
        nonlocal lines_written
        for run in runs:
            yield Line(run=as_run(run, names))
            for log in log_of(client, run.id):
                yield Line(log=log)
                lines_written += 1

    name = object_name(platform.prefix(ROOM), day, number)
    with step("run_logs.read"):
        content = packed(lines())
    with step("run_logs.put"):
        platform.landing.put_if_absent(name, content)
    logger.info("%s: %d runs, %d lines", name, len(runs), lines_written)
    copied.days += 1
    copied.runs += len(runs)
    copied.lines += lines_written
    copied.bytes += len(content)


def as_run(run: FlowRun, names: Names) -> Run:
    return Run(
        id=str(run.id),
        name=run.name,
        flow=names.flows.get(run.flow_id, ""),
        deployment=names.deployments.get(run.deployment_id, "") if run.deployment_id else "",
        parent_task_run_id=str(run.parent_task_run_id) if run.parent_task_run_id else None,
        parameters=run.parameters,
        state=run.state_name or "",
        message=(run.state.message if run.state else None) or "",
        started_at=plain(run.start_time) if run.start_time else None,
        ended_at=plain(run.end_time) if run.end_time else None,
    )


def log_of(client: SyncPrefectClient, run_id: UUID) -> list[Log]:
    """A run's log, in its order.

    Prefect pages by an offset into an order by time alone, which lines of one moment do not have:
    where a page repeats a line, another one is on none. Raises LogsUnread when it stays so.
    """
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    for _ in range(TRIES):
        read = every(client.read_logs, log_filter=of_run, sort=LogSort.TIMESTAMP_ASC)
        if len({log.id for log in read}) == len(read):
            return [
                Log(
                    run_id=str(run_id),
                    task_run_id=str(log.task_run_id) if log.task_run_id else None,
                    at=plain(log.timestamp),
                    level=log.level,
                    logger=log.name,
                    message=log.message,
                )
                for log in read
            ]
    raise LogsUnread(f"run {run_id}: {len(read)} lines of its log were read and some are twice")


def objects_by_day(platform: Platform) -> dict[date, list[str]]:
    """The names of all copies. Raises LandingError."""
    prefix = platform.prefix(ROOM)
    found: dict[date, list[str]] = {}
    with step("run_logs.list"):
        for stored in platform.landing.list(prefix):
            if day := day_of(stored.name, prefix):
                found.setdefault(day, []).append(stored.name)
    return found


def remove_runs(
    platform: Platform, client: SyncPrefectClient, now: datetime, copied: Copied
) -> int:
    """Runs that ended more than REMOVE_AFTER ago, and are in a copy that can be read, are gone from
    Prefect with their logs; how many were.

    A run that is not in the copies of its day is copied now and removed another time.
    """
    removed, names = 0, read_names(client)
    for day, objects in sorted(objects_by_day(platform).items()):
        if day >= (now - REMOVE_AFTER).date() or not count(client, day, day + ONE_DAY):
            continue
        try:
            known = {
                line.run.id
                for name in objects
                for line in unpacked(platform.landing.get(name))
                if line.run
            }
            runs = runs_of(client, day)
            if late := [run for run in runs if str(run.id) not in known]:
                write(platform, client, names, day, late, len(objects) + 1, copied)
            for run in runs:
                if str(run.id) in known:
                    with step("run_logs.remove"), suppress(ObjectNotFound):
                        client.delete_flow_run(run.id)
                        removed += 1
        except TROUBLE as error:
            copied.failed[day] = f"{type(error).__name__}: {error}"
    return removed


def expire_logs(platform: Platform, now: datetime) -> int:
    """Copies of days longer ago than the retention are gone; how many were."""
    last = (now - timedelta(days=platform.log_retention_days)).date()
    old = [name for day, names in objects_by_day(platform).items() if day < last for name in names]
    for name in old:
        with step("run_logs.expire"):
            platform.landing.delete(name)
    return len(old)


def logs_behind(platform: Platform, client: SyncPrefectClient, now: datetime) -> list[Finding]:
    """Days whose logs should have been copied by now. Raises LandingError."""
    days = uncopied(client, set(objects_by_day(platform)), now - BEHIND_AFTER)
    if not days:
        return []
    return [
        Finding(
            key="run-logs",
            kind="run-logs",
            scope="ledger",
            title=f"the logs of {len(days)} day{'s' * (len(days) > 1)} are not copied",
            cause=f"runs ended on {days[0]}, over {BEHIND_AFTER.days} days ago, and "
            f"{platform.landing.address}/{platform.prefix(ROOM)} has no copy of their logs; they "
            "are kept in Prefect until it has, and its database grows",
        )
    ]
