"""What a source may send that it should not: kept, rejected and counted, or a clear failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import CountMismatch, SourceError, TooManyRejects
from tasks import http as http_module
from tasks.report import report
from tests.lab import Lab
from tests.reliability.matrix import crossed, or_slow


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short deadlines, so that what is never answered ends soon."""
    monkeypatch.setattr(http_module.Http, "deadline_seconds", 3.0)
    monkeypatch.setattr(http_module.Http.__init__, "__defaults__", ((), 2, 3.0, lambda _: None))


def plant(lab: Lab, *features: Any) -> None:
    lab.control("plant", {"features": list(features)})


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
def test_an_odd_value_is_kept(lab: Lab, properties: dict[str, Any], extra: dict[str, Any]) -> None:
    plant(lab, feature(**properties))
    outcome = lab.run()
    report(outcome)
    row = lab.rows()[("xx1",)]
    assert json.loads(row["_extra"]) == extra
    assert outcome.total("odd") == ("surprise" not in properties)


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
    lab: Lab, planted: dict[str, Any], reason: str
) -> None:
    plant(lab, planted)
    outcome = lab.run()
    rejects = lab.query("SELECT * FROM {raw}._rejects WHERE NOT is_expected")
    assert [row["reason"] for row in rejects] == [reason]
    assert json.loads(rejects[0]["payload"]) == planted
    # One of 120: under the share, so the run is fine.
    report(outcome)


def test_too_many_rejects_fail_the_run_after_the_good_rows_are_loaded(lab: Lab) -> None:
    plant(lab, *(feature("", mag=n) for n in range(5)))
    outcome = lab.run()
    assert len(lab.rows()) > 100
    with pytest.raises(
        TooManyRejects, match=r"usgs-earthquake, first load: 5 of \d+ rows rejected"
    ):
        report(outcome)


BROKEN = ["malformed", "truncate", "html", "empty", "drop"]


@pytest.mark.parametrize("kind", or_slow(lambda kind: kind == "truncate", crossed(BROKEN)))
def test_a_broken_answer_in_the_middle_leaves_no_half_table(
    make_lab: Callable[..., Lab], kind: str
) -> None:
    lab = make_lab(cap=40)
    lab.control("faults", [{"path": "query", "kind": kind, "times": -1, "skip": 2}])
    with pytest.raises(SourceError):
        lab.run()
    assert lab.ledger() == []
    lab.control("faults", [])
    lab.run()
    lab.assert_equals_truth()


@pytest.mark.parametrize("kind", ["withhold", "repeat"])
def test_a_page_that_is_not_what_was_counted_fails_the_run(lab: Lab, kind: str) -> None:
    lab.control("faults", [{"path": "query", "kind": kind, "n": 3, "times": -1}])
    with pytest.raises(CountMismatch, match=r"live events .* source 1[12]\d, landed 1[12]\d"):
        lab.run()
    (line,) = lab.ledger()
    assert line["state"] == "failed"
    assert line["extracted"] == line["source_count"] + (3 if kind == "repeat" else -3)


def test_a_page_that_was_short_once_is_read_again(lab: Lab) -> None:
    lab.control("faults", [{"path": "query", "kind": "withhold", "n": 3}])
    lab.run()
    lab.assert_equals_truth()


def test_an_empty_world_is_nothing_new(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    outcome = lab.run(history_start="2100-01-01")
    assert lab.only_line(outcome).state == "looked"
    assert outcome.message == "nothing new (first load); 3 requests"


def test_an_unknown_page_shape_is_an_error(lab: Lab) -> None:
    body = json.dumps({"metadata": {"status": 400, "error": "Bad Request"}})
    lab.control("faults", [{"path": "query", "kind": "status", "status": 200, "body": body}])
    with pytest.raises(SourceError, match="status 400: Bad Request"):
        lab.run()
