"""The run report: runs against their usual and what the ledger counts, per window, as text.

The ledger is read as it is, not through its marts: a report must not depend on the builds that it
reports on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from alerting.findings import Run
from alerting.ledger_conditions import SOURCE
from alerting.messages import clock
from dashboards.formats import size
from stores.bigquery import Warehouse

DAYS = (1, 7, 30)
# A window's median that is so many times the usual one is worth a word.
SLOW = 2.0


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


def count_runs(runs: Sequence[Run], at: datetime) -> dict[int, dict[str, RunCounts]]:
    """Runs by window and deployment. A duration is of runs that completed."""
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    found: dict[int, dict[str, RunCounts]] = {days: {} for days in DAYS}
    for days in DAYS:
        for name, of_name in sorted(by_name.items()):
            recent = [run for run in of_name if run.ended_at > at - timedelta(days=days)]
            states = Counter(run.state_type for run in recent)
            if recent:
                found[days][name] = RunCounts(
                    runs=len(recent),
                    failed=states["FAILED"],
                    crashed=states["CRASHED"],
                    cancelled=states["CANCELLED"],
                    median_seconds=_median(recent),
                    usual_seconds=_median(of_name),
                )
    return found


def _median(runs: Sequence[Run]) -> float | None:
    seconds = [run.seconds for run in runs if run.state_type == "COMPLETED"]
    return median(seconds) if seconds else None


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
                IF(state = 'applied', 1, 0) AS batches, IF(state = 'no_change', 1, 0) AS looks,
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
                MAX(IF(state IN ('applied', 'no_change'), watermark, NULL)), SECOND
            ) / 3600 AS data_hours,
            TIMESTAMP_DIFF(
                CURRENT_TIMESTAMP(),
                MAX(IF(state IN ('applied', 'no_change'), applied_at, NULL)), SECOND
            ) / 3600 AS look_hours
        FROM {warehouse.names.raw("_loads")}
        WHERE applied_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 40 DAY)
        GROUP BY source
        """,
        source=SOURCE,
        purpose="ledger",
    )
    return {row["source"]: Age(row["data_hours"], row["look_hours"]) for row in rows}


def headline(report: Report) -> str:
    """The last day in one line."""
    day = report.runs[DAYS[0]].values()
    bad = sum(counts.failed + counts.crashed for counts in day)
    counted = report.counted[DAYS[0]].values()
    return (
        f"{sum(counts.runs for counts in day):,} runs, {bad:,} failed or crashed, "
        f"{sum(one.written for one in counted):,} rows, "
        f"{sum(one.rejected for one in counted):,} rejected, "
        f"{size(sum(one.bytes_billed for one in counted))} billed in the last day"
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
                f"{one.rejected:,} | {one.requests:,} | {size(one.bytes_billed)} |"
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


def message(report: Report, link: str | None) -> tuple[str, str]:
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
            f"{one.written:,} / {one.rejected:,} / {size(one.bytes_billed)}" for one in counted
        )
        age = report.ages.get(source)
        hours = f"; {_number(age.data_hours)} h" if age and age.data_hours is not None else ""
        lines.append(f"{source}: {told}{hours}")
    if link:
        lines += ["", f"run: {link}"]
    return f"[pipelines] run report: {headline(report)}", "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"
