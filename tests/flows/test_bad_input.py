"""What a source may send that it should not: kept, rejected and counted, or a clear failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import CountMismatch, SourceError, TooManyRejects
from core.ledger import ROW_OUTCOMES
from repair.replay import replay
from runs.outcome import report
from sources.usgs_earthquake.mapping import TABLE
from stores import http as http_module
from testing.matrix import crossed, or_slow
from testing.platform import TestPlatform


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short deadlines, so that what is never answered ends soon."""
    monkeypatch.setattr(http_module.Http, "deadline_seconds", 3.0)
    monkeypatch.setattr(http_module.Http.__init__, "__defaults__", ((), 2, 3.0, lambda _: None))


def plant(platform: TestPlatform, *features: Any) -> None:
    platform.control("plant", {"features": list(features)})


def feature(id_: object = "xx1", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": id_,
        "properties": {
            "time": 1767268800000,
            "updated": 1767268800000,
            "ids": f",{id_},",
            **properties,
        },
        "geometry": {"type": "Point", "coordinates": [1, 2, 3]},
    }


@pytest.mark.parametrize(
    ("properties", "extra"),
    [
        ({"mag": "strong"}, {"mag": "strong"}),
        ({"felt": 1.5}, {"felt": 1.5}),
        ({"place": {"name": "x"}}, {"place": {"name": "x"}}),
        ({"surprise": "ü"}, {"surprise": "ü"}),
        ({"nst": 10**30}, {"nst": 10**30}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_an_odd_value_is_kept(
    platform: TestPlatform, properties: dict[str, Any], extra: dict[str, Any]
) -> None:
    plant(platform, feature(**properties))
    outcome = platform.run()
    report(outcome)
    row = platform.rows()[("xx1",)]
    assert json.loads(row["_extra"]) == extra
    assert outcome.total("unparsed") == ("surprise" not in properties)


@pytest.mark.parametrize(
    ("planted", "reason"),
    [
        (feature(""), "row with blank id"),
        (feature(None), "row with blank id"),
        (feature(7), "row with unusable id"),
        (feature(updated=None), "row with no updated"),
        (feature(updated=10**18), "row with an unusable updated"),
        (feature(time="yesterday"), "row with an unusable time"),
    ],
    ids=["blank id", "null id", "number id", "no updated", "stamp out of range", "time in words"],
)
def test_a_row_that_cannot_stand_is_rejected_whole(
    platform: TestPlatform, planted: dict[str, Any], reason: str
) -> None:
    plant(platform, planted)
    outcome = platform.run()
    rejects = platform.query("SELECT * FROM {raw}._rejects WHERE NOT is_expected")
    assert [row["reason"] for row in rejects] == [reason]
    assert json.loads(rejects[0]["payload"]) == planted
    # One of 120: under the share, so the run is fine.
    report(outcome)


def test_too_many_rejects_fail_the_run_after_the_good_rows_are_loaded(
    platform: TestPlatform,
) -> None:
    plant(platform, *(feature("", mag=n) for n in range(5)))
    outcome = platform.run()
    assert len(platform.rows()) > 100
    with pytest.raises(
        TooManyRejects, match=r"usgs-earthquake, first load: 5 of \d+ rows rejected"
    ):
        report(outcome)


def test_a_row_that_was_rejected_before_is_counted_once_whatever_brings_it_again(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(retention_days=7)
    platform.control("advance")
    # The same row twice in one answer is two rejects.
    plant(
        platform, feature("", mag=1), feature("", mag=1), feature("", mag=2), feature(updated=None)
    )
    first = platform.only_line(platform.run())
    count = "SELECT reason, COUNT(*) AS n FROM {raw}._rejects GROUP BY reason ORDER BY reason"
    counted = platform.query(count)
    assert {row["reason"]: row["n"] for row in counted}["row with blank id"] == 3
    assert (first.rejected, first.rejected_before) == (sum(row["n"] for row in counted), 0)
    days = {"start": datetime(1900, 1, 1, tzinfo=UTC), "end": datetime(2100, 1, 1, tzinfo=UTC)}
    for _ in range(2):
        outcome = platform.run(**days)
        line = platform.only_line(outcome)
        assert (line.rejected, line.rejected_before) == (0, first.rejected)
        assert line.rejected_unexpected == first.rejected_unexpected == 4
        assert f"{first.rejected} rejected as before" in outcome.message
        assert platform.query(count) == counted
    replayed = platform.only_line(replay(platform.stores, TABLE, first.batch_id))
    assert (replayed.rejected, replayed.rejected_before) == (0, first.rejected)
    # The same row for another reason, another row for the same, and one more of a kind.
    plant(platform, feature("", mag=3), feature(updated="soon"), feature("", mag=1))
    line = platform.only_line(platform.run(**days))
    assert (line.rejected, line.rejected_before) == (3, first.rejected)
    for line_ in platform.ledger():
        parts = [*ROW_OUTCOMES, "rejected", "rejected_before"]
        assert sum(line_[part] for part in parts) == line_["extracted"] > 0
    rejects = platform.query("SELECT COUNT(*) AS n FROM {raw}._rejects")
    assert rejects[0]["n"] == sum(line_["rejected"] for line_ in platform.ledger())
    # What is rejected still counts for the share that fails a run.
    plant(platform, *(feature("", mag=number) for number in range(4, 9)))
    with pytest.raises(TooManyRejects, match=r"rows rejected"):
        report(platform.run(**days))
    with pytest.raises(TooManyRejects, match=r"raw\._rejects of batch .* and earlier ones"):
        report(platform.run(**days))


BROKEN = ["malformed", "truncate", "html", "empty", "drop"]


@pytest.mark.parametrize("kind", or_slow(lambda kind: kind == "truncate", crossed(BROKEN)))
def test_a_broken_answer_in_the_middle_leaves_no_half_table(
    make_platform: Callable[..., TestPlatform], kind: str
) -> None:
    platform = make_platform(cap=40)
    platform.control("faults", [{"path": "query", "kind": kind, "times": -1, "skip": 2}])
    with pytest.raises(SourceError):
        platform.run()
    assert platform.ledger() == []
    platform.control("faults", [])
    platform.run()
    platform.assert_equals_truth()


@pytest.mark.parametrize("kind", ["withhold", "repeat"])
def test_a_page_that_is_not_what_was_counted_fails_the_run(
    platform: TestPlatform, kind: str
) -> None:
    platform.control("faults", [{"path": "query", "kind": kind, "n": 3, "times": -1}])
    with pytest.raises(CountMismatch, match=r"live events .* source 1[12]\d, landed 1[12]\d"):
        platform.run()
    (line,) = platform.ledger()
    assert line["state"] == "failed"
    assert line["extracted"] == line["source_count"] + (3 if kind == "repeat" else -3)


def test_a_page_that_was_short_once_is_read_again(platform: TestPlatform) -> None:
    platform.control("faults", [{"path": "query", "kind": "withhold", "n": 3}])
    platform.run()
    platform.assert_equals_truth()


def test_an_empty_world_is_nothing_new(make_platform: Callable[..., TestPlatform]) -> None:
    platform = make_platform()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    outcome = platform.run(history_start=f"{tomorrow:%Y-%m-%d}")
    assert platform.only_line(outcome).state == "no_change"
    assert outcome.message == "nothing new (first load); 3 requests"


def test_an_unknown_page_shape_is_an_error(platform: TestPlatform) -> None:
    body = json.dumps({"metadata": {"status": 400, "error": "Bad Request"}})
    platform.control("faults", [{"path": "query", "kind": "status", "status": 200, "body": body}])
    with pytest.raises(SourceError, match="status 400: Bad Request"):
        platform.run()
