"""The run report as text: runs against their usual, and what the ledger counts, per window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from alerting.incidents import clock

DAYS = (1, 7, 30)
# A window's median that is so many times the usual one is worth a word.
SLOW = 2.0


@dataclass(frozen=True)
class EndedRun:
    """A run at the top that ended; `name` is its deployment's."""

    name: str
    state_type: str
    ended_at: datetime
    seconds: float


@dataclass(frozen=True)
class Counted:
    """What the ledger counts for one source in one window."""

    batches: int = 0
    looks: int = 0
    written: int = 0
    rejected: int = 0
    requests: int = 0
    bytes_billed: int = 0


@dataclass(frozen=True)
class Age:
    """Hours since a source's last change that is in, and since it was last asked."""

    data_hours: float | None
    look_hours: float | None


@dataclass(frozen=True)
class RunCounts:
    """One deployment's runs in one window; `usual_seconds` is the median of the longest window."""

    runs: int
    failed: int
    crashed: int
    cancelled: int
    median_seconds: float | None
    usual_seconds: float | None

    @property
    def is_slow(self) -> bool:
        return bool(
            self.median_seconds
            and self.usual_seconds
            and self.median_seconds > SLOW * self.usual_seconds
        )


@dataclass(frozen=True)
class Report:
    """`counted` by days and source; `runs` by days and deployment."""

    at: datetime
    runs: Mapping[int, Mapping[str, RunCounts]]
    counted: Mapping[int, Mapping[str, Counted]]
    ages: Mapping[str, Age]
    incidents: Sequence[str]


def count_runs(runs: Sequence[EndedRun], at: datetime) -> dict[int, dict[str, RunCounts]]:
    """Runs by window and deployment. A duration is of runs that completed."""
    usual = {name: _median(of_name) for name, of_name in _by_name(runs).items()}
    found: dict[int, dict[str, RunCounts]] = {}
    for days in DAYS:
        recent = [run for run in runs if run.ended_at > at - timedelta(days=days)]
        found[days] = {
            name: RunCounts(
                runs=len(of_name),
                failed=sum(run.state_type == "FAILED" for run in of_name),
                crashed=sum(run.state_type == "CRASHED" for run in of_name),
                cancelled=sum(run.state_type == "CANCELLED" for run in of_name),
                median_seconds=_median(of_name),
                usual_seconds=usual[name],
            )
            for name, of_name in sorted(_by_name(recent).items())
        }
    return found


def _by_name(runs: Sequence[EndedRun]) -> dict[str, list[EndedRun]]:
    found: dict[str, list[EndedRun]] = defaultdict(list)
    for run in runs:
        found[run.name].append(run)
    return found


def _median(runs: Sequence[EndedRun]) -> float | None:
    seconds = [run.seconds for run in runs if run.state_type == "COMPLETED"]
    return median(seconds) if seconds else None


def headline(report: Report) -> str:
    """The last day in one line."""
    day = report.runs[DAYS[0]].values()
    bad = sum(counts.failed + counts.crashed for counts in day)
    counted = report.counted[DAYS[0]].values()
    return (
        f"{sum(counts.runs for counts in day):,} runs, {bad:,} failed or crashed, "
        f"{sum(one.written for one in counted):,} rows, "
        f"{sum(one.rejected for one in counted):,} rejected, "
        f"{_bytes(sum(one.bytes_billed for one in counted))} billed in the last day"
    )


def markdown(report: Report) -> str:
    """The artifact."""
    lines = [f"# Run report of {clock(report.at)}", "", headline(report), ""]
    lines += ["## Open incidents", "", *([f"- {one}" for one in report.incidents] or ["None."]), ""]
    for days in DAYS:
        lines += [
            f"## {days} day{'s' * (days > 1)}",
            "",
            "| deployment | runs | failed | crashed | cancelled | median s | usual s | |",
            "|---|---|---|---|---|---|---|---|",
            *(
                f"| {name} | {one.runs:,} | {one.failed:,} | {one.crashed:,} | {one.cancelled:,} | "
                f"{_number(one.median_seconds)} | {_number(one.usual_seconds)} | "
                f"{'slow' if one.is_slow else ''} |"
                for name, one in report.runs[days].items()
            ),
            "",
            "| source | batches | quiet looks | rows | rejected | requests | billed |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {source} | {one.batches:,} | {one.looks:,} | {one.written:,} | "
                f"{one.rejected:,} | {one.requests:,} | {_bytes(one.bytes_billed)} |"
                for source, one in sorted(report.counted[days].items())
            ),
            "",
        ]
    lines += ["## Data age", "", "| source | data, h | last look, h |", "|---|---|---|"]
    lines += [
        f"| {source} | {_number(age.data_hours)} | {_number(age.look_hours)} |"
        for source, age in sorted(report.ages.items())
    ]
    return "\n".join(lines)


def digest(report: Report, link: str | None) -> tuple[str, str]:
    """Subject and text of the message: per deployment and per source one line."""
    lines = [headline(report), ""]
    lines += [f"open: {one}" for one in report.incidents] or ["no open incident"]
    lines += ["", "runs (failed or crashed) in 1, 7, 30 days; median and usual seconds"]
    for name in sorted({name for days in DAYS for name in report.runs[days]}):
        counts = [report.runs[days].get(name) for days in DAYS]
        told = ", ".join(
            f"{one.runs:,} ({one.failed + one.crashed:,})" if one else "0" for one in counts
        )
        last = next(one for one in counts if one)
        slow = ", slow" if last.is_slow else ""
        times = f"{_number(last.median_seconds)} / {_number(last.usual_seconds)} s{slow}"
        lines.append(f"{name}: {told}; {times}")
    lines += ["", "rows, rejected, billed in 1, 7, 30 days; data age"]
    for source in sorted({source for days in DAYS for source in report.counted[days]}):
        counted = [report.counted[days].get(source, Counted()) for days in DAYS]
        told = ", ".join(
            f"{one.written:,} / {one.rejected:,} / {_bytes(one.bytes_billed)}" for one in counted
        )
        age = report.ages.get(source)
        hours = f"; {_number(age.data_hours)} h" if age and age.data_hours is not None else ""
        lines.append(f"{source}: {told}{hours}")
    if link:
        lines += ["", f"run: {link}"]
    return f"[pipelines] run report: {headline(report)}", "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _bytes(count: int) -> str:
    """Binary units, as BigQuery bills."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"
