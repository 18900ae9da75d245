"""Objects of runs' logs: their names and their lines."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime

import pytest

from alerting.log_lines import Line, Log, Run, day_of, object_name, packed, unpacked

PREFIX = "a-project.raw/_logs/"
DAY = date(2026, 9, 30)
AT = datetime(2026, 9, 30, 23, 59, 59, 999999, tzinfo=UTC)
RUN = Run("1", "a run", "elt", "elt/finance", None, {"source": "finance"}, "Failed", "no", AT, AT)
LOG = Log("1", None, AT, 40, "prefect.flow_runs", 'two\nlines, a "quote" and ₱')


def test_an_object_is_named_for_its_day() -> None:
    name = object_name(PREFIX, DAY, 2)
    assert name == "a-project.raw/_logs/2026-09-30.2.jsonl.gz"
    assert day_of(name, PREFIX) == DAY


@pytest.mark.parametrize(
    "name", ["2026-09-30.jsonl.gz", "2026-13-30.1.jsonl.gz", "other.txt", "x/2026-09-30.1.jsonl.gz"]
)
def test_what_is_no_copy_has_no_day(name: str) -> None:
    assert day_of(f"{PREFIX}{name}", PREFIX) is None


def test_lines_come_back_as_they_were_written() -> None:
    lines = [Line(run=RUN), Line(log=LOG), Line(run=RUN)]
    assert list(unpacked(packed(lines))) == lines


def test_a_line_is_json_for_any_reader() -> None:
    run, log = (
        json.loads(line)
        for line in gzip.decompress(packed([Line(RUN), Line(log=LOG)])).splitlines()
    )
    assert run["run"]["deployment"] == "elt/finance"
    assert log == {
        "log": {
            "run_id": "1",
            "task_run_id": None,
            "at": "2026-09-30T23:59:59.999999Z",
            "level": 40,
            "logger": "prefect.flow_runs",
            "message": 'two\nlines, a "quote" and ₱',
        }
    }


def test_a_copy_that_was_cut_is_not_read() -> None:
    whole = packed([Line(run=RUN)] * 100)
    with pytest.raises((EOFError, OSError)):
        list(unpacked(whole[:-12]))
