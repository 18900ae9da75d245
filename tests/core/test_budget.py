"""The script that reserves requests: what BigQuery demands of it."""

from __future__ import annotations

from core.sql import Names
from stores.budget import reserve_script
from tests.core.test_script import problems, statements

SCRIPT = reserve_script(
    "ph_news",
    "0a1b2c3d",
    wanted=2,
    per_month=100,
    names=Names("a-project", "raw", "raw_staging"),
)


def test_the_script_holds_what_bigquery_demands() -> None:
    assert problems(SCRIPT) == []


def test_everything_is_read_and_written_behind_the_fence() -> None:
    parts = statements(SCRIPT)
    begin, end = parts.index("BEGIN TRANSACTION"), parts.index("COMMIT TRANSACTION")
    naming = [number for number, part in enumerate(parts) if "`_requests`" in part]
    # What is spent and granted is one question, and what is granted one line.
    assert len(naming) == 2
    assert all(begin + 1 < number < end for number in naming)


def test_the_clock_is_bigquerys_and_read_after_the_fence() -> None:
    assert SCRIPT.index("_fence__ph_news") < SCRIPT.index("SET reserved_at = CURRENT_TIMESTAMP()")
