"""Copies of finished runs' logs, by the UTC day on which the runs ended.

    <project>.<raw dataset>/_logs/2026-09-30.1.jsonl.gz

Each line is a JSON object. {"run": {...}} tells of a run, and the {"log": {...}} lines after it are
its own. An object is written once and not changed; runs that were not in the first one of their day
are in a second one.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

import msgspec

ROOM = "_logs"
NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.(\d+)\.jsonl\.gz")
ONE_DAY = timedelta(days=1)


class Run(msgspec.Struct, frozen=True):
    """A flow run that has ended. `deployment` is empty for one that was started without."""

    id: str
    name: str
    flow: str
    deployment: str
    parent_task_run_id: str | None
    parameters: dict[str, object]
    state: str
    message: str
    started_at: datetime | None
    ended_at: datetime | None


class Log(msgspec.Struct, frozen=True):
    """One line of a run's log. `level` is Python's: 20 is INFO, 40 is ERROR."""

    run_id: str
    task_run_id: str | None
    at: datetime
    level: int
    logger: str
    message: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of an object: one of the two."""

    run: Run | None = None
    log: Log | None = None


def object_name(prefix: str, day: date, number: int) -> str:
    return f"{prefix}{day}.{number}.jsonl.gz"


def day_of(name: str, prefix: str) -> date | None:
    """The day whose runs an object holds; None for anything else."""
    found = NAME.fullmatch(name.removeprefix(prefix))
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def packed(lines: Iterable[Line]) -> bytes:
    """An object's content. Lines are taken one by one: only what is packed is in memory."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")
    return buffer.getvalue()


def unpacked(content: bytes) -> Iterator[Line]:
    """The lines of an object. Raises OSError, EOFError or msgspec.DecodeError for a broken one."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        for line in file:
            yield msgspec.json.decode(line, type=Line)
