"""The run report counts runs by window and says what is slower than usual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alerting.findings import Run
from alerting.report import Age, Counted, Report, count_runs, markdown, message

AT = datetime(2026, 3, 31, 0, 0, tzinfo=UTC)


def run(days_ago: float, seconds: float = 10, state_type: str = "COMPLETED") -> Run:
    at = AT - timedelta(days=days_ago)
    return Run("id", "elt/a", state_type, state_type.title(), "", at, seconds=seconds)


RUNS = [
    *(run(day + 0.5) for day in range(1, 20)),
    run(0.2, seconds=50),
    run(0.1, seconds=900, state_type="FAILED"),
    run(3.1, state_type="CRASHED"),
]


def report() -> Report:
    one = Counted(batches=2, looks=20, written=1234, rejected=5, bytes_billed=3 * 2**20)
    return Report(
        at=AT,
        runs=count_runs(RUNS, AT),
        counted={1: {"a": one}, 7: {"a": one}, 30: {"a": one}},
        ages={"a": Age(1.5, 0.25)},
        incidents=["elt/a failed"],
    )


def test_runs_are_counted_by_window_and_compared_with_the_usual() -> None:
    counts = count_runs(RUNS, AT)
    assert [counts[days]["elt/a"].runs for days in (1, 7, 30)] == [2, 9, 22]
    assert [counts[days]["elt/a"].failed for days in (1, 7, 30)] == [1, 1, 1]
    assert [counts[days]["elt/a"].crashed for days in (1, 7, 30)] == [0, 1, 1]
    day = counts[1]["elt/a"]
    assert (day.median_seconds, day.usual_seconds, day.is_slow) == (50, 10, True)
    assert not counts[7]["elt/a"].is_slow
    assert count_runs([], AT) == {1: {}, 7: {}, 30: {}}


def test_artifact_and_message_say_the_same() -> None:
    subject, text = message(report(), "http://ui/1")
    head = "2 runs, 1 failed or crashed, 1,234 rows, 5 rejected, 3.0 MiB billed in the last day"
    assert subject == f"[pipelines] run report: {head}"
    assert "open: elt/a failed" in text
    assert "elt/a: 2 (1), 9 (2), 22 (2); 50.0 / 10.0 s, slow" in text
    assert "a: 1,234 / 5 / 3.0 MiB, 1,234 / 5 / 3.0 MiB, 1,234 / 5 / 3.0 MiB; 1.5 h" in text
    page = markdown(report())
    assert head in page
    assert "| elt/a | 2 | 1 | 0 | 0 | 50.0 | 10.0 | slow |" in page
    assert "| a | 1.5 | 0.2 |" in page
