"""Runs of New York's for-hire vehicles against the stand-in: the whole list, proved, or nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import CountMismatch, DeletionsHeld, Refused, SourceError, TooManyRejects
from flows.nyc_fhv import TAKES
from sources.nyc_fhv import TABLE
from tasks.report import report
from tests.kits.nyc_fhv import TOKEN
from tests.lab import Lab

SIZE = 120
PAGES = 5


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries of a hundredth of a second."""
    monkeypatch.setattr("tasks.http.random.uniform", lambda *_: 0.01)


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(kit="nyc_fhv", size=SIZE)


def asked(lab: Lab, part: str = "") -> list[dict[str, Any]]:
    """The requests so far whose path and query hold `part`."""
    return [
        request
        for request in lab.look("control/requests")
        if part in f"{request['path']}?{request['query']}"
    ]


def extras(lab: Lab) -> set[str | None]:
    return {row["_extra"] for row in lab.query(f"SELECT _extra FROM {{raw}}.{TABLE.name}")}


def test_the_raw_table_equals_the_list_through_three_stages(lab: Lab) -> None:
    for stage in range(3):
        outcome = lab.run()
        report(outcome)
        line = lab.only_line(outcome)
        assert line.inserted == line.source_count == lab.look("truth")["count"]
        assert (line.replaced > 0) is (stage > 0)
        lab.assert_equals_truth()
        lab.control("advance")
    lab.assert_settled()


def test_a_list_that_did_not_move_is_one_request_and_one_line(lab: Lab) -> None:
    lab.run()
    lab.control("reset-requests")
    outcome = lab.run()
    assert lab.only_line(outcome).state == "looked"
    assert outcome.message.endswith("; 1 requests")
    assert [request["path"] for request in asked(lab)] == ["/api/views/8wbx-tsch.json"]
    assert [line["state"] for line in lab.ledger()] == ["applied", "looked"]


def test_pages_are_asked_for_in_a_stable_order_and_with_the_token(lab: Lab) -> None:
    lab.run()
    pages = asked(lab, ".csv")
    assert len(pages) == PAGES
    assert all("%24order=%3Aid" in request["query"] for request in pages)


@pytest.mark.parametrize("kind", ["withhold", "repeat"])
def test_a_page_that_is_not_what_was_counted_fails_the_run_and_is_written_down(
    lab: Lab, kind: str
) -> None:
    fault = {"path": "offset=50", "kind": kind, "n": 3, "times": -1}
    lab.control("faults", [fault])
    landed = SIZE + (3 if kind == "repeat" else -3)
    with pytest.raises(CountMismatch, match=f"nyc_fhv, first load: source {SIZE}, landed {landed}"):
        lab.run()
    (line,) = lab.ledger()
    assert (line["state"], line["source_count"], line["extracted"]) == ("failed", SIZE, landed)
    assert line["message"] == f"source {SIZE}, landed {landed}"
    assert not [name for name in lab.objects() if name.endswith("manifest.json")]
    lab.control("faults", [])
    lab.run()
    lab.assert_equals_truth()


def test_a_page_that_was_short_once_is_read_again(lab: Lab) -> None:
    lab.control("faults", [{"path": ".csv", "kind": "withhold", "n": 3, "skip": 2}])
    lab.run()
    assert len(asked(lab, ".csv")) == PAGES + 1
    lab.assert_equals_truth()


def test_a_list_that_is_written_anew_while_it_is_read_is_read_again(lab: Lab) -> None:
    lab.control("advance", {"after_requests": 2})
    outcome = lab.run()
    assert len(asked(lab, ".csv")) > PAGES
    assert lab.only_line(outcome).source_count == lab.look("truth")["count"]
    lab.assert_equals_truth()


def test_a_list_that_is_always_written_anew_fails_the_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(lab: Lab = lab) -> None:
        lab.control("advance")

    from flows import nyc_fhv

    fetch = nyc_fhv.fetch

    def moving(*arguments: Any) -> Any:
        yield from fetch(*arguments)
        move()

    monkeypatch.setattr(nyc_fhv, "fetch", moving)
    with pytest.raises(SourceError, match=f"was written anew {TAKES} times while read"):
        lab.run()
    assert lab.ledger() == []


def test_a_replica_that_is_out_of_date_is_asked_again(lab: Lab) -> None:
    lab.run()
    lab.control("advance")
    lab.control("stale", {"answers": 3})
    assert lab.only_line(lab.run()).state == "applied"
    lab.assert_equals_truth()


def test_replicas_that_stay_out_of_date_fail_the_run(lab: Lab) -> None:
    lab.run()
    lab.control("advance")
    lab.control("stale", {"answers": 100})
    with pytest.raises(SourceError, match="HTTP 200 with a replica that is out of date"):
        lab.run()


def test_the_service_may_still_be_working(lab: Lab) -> None:
    lab.control("faults", [{"path": ".csv", "kind": "status", "status": 202, "times": 2}])
    lab.run()
    assert len(asked(lab, ".csv")) == PAGES + 2
    lab.assert_equals_truth()


def test_a_throttle_is_honoured(lab: Lab) -> None:
    fault = {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}}
    lab.control("faults", [{"path": ".csv", "times": 3, **fault}])
    lab.run()
    lab.assert_equals_truth()


def test_a_list_that_shrank_is_held_until_somebody_allows_it(lab: Lab) -> None:
    lab.run()
    before = lab.query(f"SELECT COUNT(*) AS n FROM {{raw}}.{TABLE.name}")
    lab.control("shrink", {"share": 0.5})
    for _ in range(2):
        outcome = lab.run()
        line = lab.only_line(outcome)
        assert (line.state, line.inserted, line.replaced) == ("held", 0, 0)
        assert line.held == SIZE - lab.look("truth")["count"] > 0.2 * SIZE
        with pytest.raises(DeletionsHeld, match="allow_deletions=true"):
            report(outcome)
        assert lab.query(f"SELECT COUNT(*) AS n FROM {{raw}}.{TABLE.name}") == before
    outcome = lab.run(allow_deletions=True)
    report(outcome)
    assert lab.only_line(outcome).replaced == SIZE
    lab.assert_equals_truth()
    assert lab.only_line(lab.run()).state == "looked"


def test_no_rows_prove_nothing(lab: Lab) -> None:
    lab.run()
    lab.control("empty")
    with pytest.raises(SourceError, match="counts 0 rows, which proves nothing"):
        lab.run(allow_deletions=True)
    assert lab.query(f"SELECT COUNT(*) AS n FROM {{raw}}.{TABLE.name}") == [{"n": SIZE}]


def test_a_column_that_comes_is_kept_and_one_that_goes_is_told(lab: Lab) -> None:
    lab.control("columns", {"add": ["colour"], "remove": ["veh"]})
    outcome = lab.run()
    assert set(outcome.announced) == {"new field colour", "missing field veh"}
    kept = [json.loads(extra) for extra in extras(lab) if extra]
    assert kept
    assert all(list(extra) == ["colour"] for extra in kept)
    lab.control("advance")
    assert lab.run().announced == ()


def test_lines_of_another_length_are_rejected_whole_and_too_many_fail_the_run(lab: Lab) -> None:
    page = "\n".join([",".join(TABLE.column_names), *["YES,lost"] * 25, ""])
    body = {"kind": "status", "status": 200, "body": page, "headers": {"Content-Type": "text/csv"}}
    lab.control("faults", [{"path": ".csv", **body}])
    outcome = lab.run()
    with pytest.raises(TooManyRejects, match=f"25 of {SIZE} rows rejected"):
        report(outcome)
    rejects = lab.query("SELECT reason, payload FROM {raw}._rejects")
    assert {row["reason"] for row in rejects} == {"line with 2 of 23 fields"}
    assert {row["payload"] for row in rejects} == {'"YES,lost"'}


def test_a_wrong_token_is_refused_once_and_never_shown(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Refused, match="HTTP 403") as raised:
        lab.run(app_token="not-the-token")
    assert "not-the-token" not in f"{raised.value}{caplog.text}"
    assert len(asked(lab)) == 1
    assert TOKEN not in caplog.text


def test_an_older_list_that_arrives_later_changes_nothing(lab: Lab) -> None:
    assert lab.run_in_child(kill_at=("commit.manifest", "after"))
    waiting = lab.objects()
    assert waiting
    lab.control("advance")
    held_back = {name: lab.platform.landing.get(name) for name in waiting}
    for name in waiting:
        lab.platform.landing.delete(name)
    lab.run()
    for name, content in held_back.items():
        lab.platform.landing.put(name, content)
    outcome = lab.run()
    assert {line.state for line in outcome.lines} == {"superseded", "looked"}
    lab.assert_equals_truth()
