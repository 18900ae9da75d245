"""Runs of New York's for-hire vehicles against the stand-in: the whole list, proved, or nothing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import CountMismatch, DeletionsHeld, SourceError, SourceHttpError, TooManyRejects
from core.schema import Table
from runs.extract.nyc_fhv import TAKES
from runs.outcome import Outcome, report
from sources.nyc_fhv.mapping import TABLE as DECLARED
from testing.kits.nyc_fhv import TABLE, TOKEN
from testing.platform import TestPlatform

SIZE = 120
PAGES = 5


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries of a hundredth of a second."""
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform(kit="nyc_fhv", size=SIZE)


def asked(platform: TestPlatform, part: str = "") -> list[dict[str, Any]]:
    """The requests so far whose path and query hold `part`."""
    return [
        request
        for request in platform.look("control/requests")
        if part in f"{request['path']}?{request['query']}"
    ]


def extras(platform: TestPlatform) -> set[str | None]:
    return {row["_extra"] for row in platform.query(f"SELECT _extra FROM {{raw}}.{TABLE.name}")}


def test_the_raw_table_equals_the_list_through_three_stages(platform: TestPlatform) -> None:
    for stage in range(3):
        outcome = platform.run()
        report(outcome)
        line = platform.only_line(outcome)
        assert line.inserted == line.source_count == platform.look("truth")["count"]
        assert (line.replaced > 0) is (stage > 0)
        platform.assert_equals_truth()
        platform.control("advance")
    platform.assert_settled()


def test_a_list_that_did_not_move_is_one_request_and_one_line(platform: TestPlatform) -> None:
    platform.run()
    platform.control("reset-requests")
    outcome = platform.run()
    assert platform.only_line(outcome).state == "no_change"
    assert outcome.message.endswith("; 1 requests")
    assert [request["path"] for request in asked(platform)] == ["/api/views/8wbx-tsch.json"]
    assert [line["state"] for line in platform.ledger()] == ["applied", "no_change"]


def test_pages_are_asked_for_in_a_stable_order_and_with_the_token(platform: TestPlatform) -> None:
    platform.run()
    pages = asked(platform, ".csv")
    assert len(pages) == PAGES
    assert all("%24order=%3Aid" in request["query"] for request in pages)


@pytest.mark.parametrize("kind", ["withhold", "repeat"])
def test_a_page_that_is_not_what_was_counted_fails_the_run_and_is_written_down(
    platform: TestPlatform, kind: str
) -> None:
    fault = {"path": "offset=50", "kind": kind, "n": 3, "times": -1}
    platform.control("faults", [fault])
    landed = SIZE + (3 if kind == "repeat" else -3)
    with pytest.raises(CountMismatch, match=f"nyc_fhv, first load: source {SIZE}, landed {landed}"):
        platform.run()
    (line,) = platform.ledger()
    assert (line["state"], line["source_count"], line["extracted"]) == ("failed", SIZE, landed)
    assert line["message"] == f"source {SIZE}, landed {landed}"
    assert not [name for name in platform.objects() if name.endswith("manifest.json")]
    platform.control("faults", [])
    platform.run()
    platform.assert_equals_truth()


def test_a_page_that_was_short_once_is_read_again(platform: TestPlatform) -> None:
    platform.control("faults", [{"path": ".csv", "kind": "withhold", "n": 3, "skip": 2}])
    platform.run()
    assert len(asked(platform, ".csv")) == PAGES + 1
    platform.assert_equals_truth()


def test_a_list_that_is_written_anew_while_it_is_read_is_read_again(platform: TestPlatform) -> None:
    platform.control("advance", {"after_requests": 2})
    outcome = platform.run()
    assert len(asked(platform, ".csv")) > PAGES
    assert platform.only_line(outcome).source_count == platform.look("truth")["count"]
    platform.assert_equals_truth()


def test_a_list_that_is_always_written_anew_fails_the_run(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(platform: TestPlatform = platform) -> None:
        platform.control("advance")

    from runs.extract import nyc_fhv

    fetch = nyc_fhv.fetch

    def moving(*arguments: Any) -> Any:
        yield from fetch(*arguments)
        move()

    monkeypatch.setattr(nyc_fhv, "fetch", moving)
    with pytest.raises(SourceError, match=f"was rewritten {TAKES} times while read"):
        platform.run()
    assert platform.ledger() == []


def test_a_replica_that_is_out_of_date_is_asked_again(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    platform.control("stale", {"answers": 3})
    assert platform.only_line(platform.run()).state == "applied"
    platform.assert_equals_truth()


def test_replicas_that_stay_out_of_date_fail_the_run(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    platform.control("stale", {"answers": 100})
    with pytest.raises(SourceError, match="HTTP 200 with a replica that is out of date"):
        platform.run()


def test_the_service_may_still_be_working(platform: TestPlatform) -> None:
    platform.control("faults", [{"path": ".csv", "kind": "status", "status": 202, "times": 2}])
    platform.run()
    assert len(asked(platform, ".csv")) == PAGES + 2
    platform.assert_equals_truth()


def test_a_throttle_is_honoured(platform: TestPlatform) -> None:
    fault = {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}}
    platform.control("faults", [{"path": ".csv", "times": 3, **fault}])
    platform.run()
    platform.assert_equals_truth()


def test_a_list_that_shrank_is_held_until_somebody_allows_it(platform: TestPlatform) -> None:
    platform.run()
    before = platform.query(f"SELECT COUNT(*) AS n FROM {{raw}}.{TABLE.name}")
    platform.control("shrink", {"share": 0.5})
    for _ in range(2):
        outcome = platform.run()
        line = platform.only_line(outcome)
        assert (line.state, line.inserted, line.replaced) == ("held", 0, 0)
        assert line.held == SIZE - platform.look("truth")["count"] > 0.2 * SIZE
        with pytest.raises(DeletionsHeld, match="allow_deletions=true"):
            report(outcome)
        assert platform.query(f"SELECT COUNT(*) AS n FROM {{raw}}.{TABLE.name}") == before
    outcome = platform.run(allow_deletions=True)
    report(outcome)
    assert platform.only_line(outcome).replaced == SIZE
    platform.assert_equals_truth()
    assert platform.only_line(platform.run()).state == "no_change"


def test_no_rows_prove_nothing(platform: TestPlatform) -> None:
    platform.run()
    platform.control("empty")
    with pytest.raises(SourceError, match="counts 0 rows, which proves nothing"):
        platform.run(allow_deletions=True)
    assert platform.query(f"SELECT COUNT(*) AS n FROM {{raw}}.{TABLE.name}") == [{"n": SIZE}]


def test_a_column_that_comes_is_kept_and_told_once(platform: TestPlatform) -> None:
    platform.control("columns", {"add": ["colour"]})
    outcome = platform.run()
    assert set(outcome.announced) == {"new field colour"}
    kept = [json.loads(extra) for extra in extras(platform) if extra]
    assert kept
    assert all(list(extra) == ["colour"] for extra in kept)
    platform.control("advance")
    assert platform.run().announced == ()


def assert_held(platform: TestPlatform, outcome: Outcome, cause: str) -> None:
    """Nothing of a list was loaded, and the run fails, says why, and how to load it."""
    line = platform.only_line(outcome)
    assert (line.state, line.written, line.replaced) == ("held", 0, 0)
    with pytest.raises(DeletionsHeld, match=cause) as raised:
        report(outcome)
    assert "run once with allow_deletions=true" in str(raised.value)


def licences(platform: TestPlatform) -> set[str | None]:
    rows = platform.query(f"SELECT vehicle_license_number AS licence FROM {{raw}}.{TABLE.name}")
    return {row["licence"] for row in rows}


def test_a_list_whose_licence_column_was_renamed_is_held_until_somebody_allows_it(
    platform: TestPlatform,
) -> None:
    platform.run()
    before = licences(platform)
    platform.control("columns", {"add": ["licence_no"], "remove": ["vehicle_license_number"]})
    outcome = platform.run()
    assert_held(platform, outcome, "no column vehicle_license_number")
    assert set(outcome.announced) == {
        "missing field vehicle_license_number",
        "new field licence_no",
    }
    # As long as nobody decides, runs fail.
    outcome = platform.run()
    assert_held(platform, outcome, "no column vehicle_license_number")
    assert outcome.announced == ()
    assert licences(platform) == before
    outcome = platform.run(allow_deletions=True)
    report(outcome)
    assert licences(platform) == {None}
    assert "no column vehicle_license_number" in outcome.message


def test_a_first_list_that_lacks_a_column_is_held_too(platform: TestPlatform) -> None:
    platform.control("columns", {"remove": ["order_date"]})
    for _ in range(2):
        assert_held(platform, platform.run(), "no column order_date")
    assert licences(platform) == set()


def serve(platform: TestPlatform, page: str, count: int) -> None:
    """Another list from now on: one page, so many rows by the service's count."""
    stamp = json.dumps({"rowsUpdatedAt": int(time.time()) + 60})
    platform.control(
        "faults",
        [
            {"path": path, "kind": "status", "status": 200, "body": body, "times": -1}
            for path, body in (
                ("/api/views/", stamp),
                (".json", json.dumps([{"count": str(count)}])),
                (".csv", page),
            )
        ],
    )


# The FHV Base Aggregate Report, another dataset of the same city.
REPORT = (
    "base_license_number,base_name,dba,year,month,month_name,total_dispatched_trips,"
    "total_dispatched_shared_trips,unique_dispatched_vehicles\n"
)


def test_another_dataset_that_shares_a_column_is_no_list_of_vehicles(
    platform: TestPlatform,
) -> None:
    platform.run()
    before = licences(platform)
    row = 'B00001,A BASE,,2015,1,January,"10,225",0,12\n'
    serve(platform, REPORT + row * 39_443, 39_443)
    outcome = platform.run(page_size=50_000)
    assert_held(platform, outcome, "no column active; no column base_address")
    assert licences(platform) == before
    platform.control("faults", [])


def page_of(rows: int, **changed: str) -> str:
    """A page of CSV; `changed` values stand in every row."""
    values = {name: f"{name} 1" for name in TABLE.column_names} | changed
    line = ",".join(f'"{value}"' if value else "" for value in values.values())
    return "\n".join([",".join(TABLE.column_names), *[line] * rows, ""])


@pytest.mark.parametrize(
    ("table", "page", "cause"),
    [
        (TABLE, page_of(25, base_number=""), "base_number is null in 25 of 25 rows"),
        (DECLARED, page_of(25), "25 rows, at least 1,001 are expected"),
    ],
    ids=["nulls", "too few"],
)
def test_a_list_without_values_or_with_too_few_rows_is_held(
    platform: TestPlatform, table: Table, page: str, cause: str
) -> None:
    serve(platform, page, 25)
    assert_held(platform, platform.run(table=table), cause)
    outcome = platform.run(allow_deletions=True, table=table)
    assert platform.only_line(outcome).inserted == 25


def test_a_page_cut_in_its_last_field_is_asked_for_again(platform: TestPlatform) -> None:
    cut = page_of(25, last_time_updated="14:01").removesuffix('1"\n')
    fault = {"kind": "status", "status": 200, "body": cut, "path": "offset=25"}
    platform.control("faults", [{**fault, "times": 2}])
    platform.run()
    platform.assert_equals_truth()
    assert len(asked(platform, ".csv")) == PAGES + 2


def test_a_page_that_three_tries_cut_at_the_same_place_is_held(platform: TestPlatform) -> None:
    cut = page_of(25).removesuffix("\n")
    fault = {"kind": "status", "status": 200, "body": cut, "path": "offset=25", "times": -1}
    platform.control("faults", [fault])
    outcome = platform.run()
    assert_held(platform, outcome, "rows from 25: no line end after the last in 3 tries")
    assert licences(platform) == set()


def test_of_a_list_with_one_byte_that_is_not_utf_8_one_row_is_rejected(
    platform: TestPlatform,
) -> None:
    page = page_of(1, name="PEÑA") + page_of(SIZE - 1).partition("\n")[2]
    stamp = json.dumps({"rowsUpdatedAt": int(time.time()) + 60})
    answer = {"kind": "status", "status": 200, "times": -1}
    platform.control(
        "faults",
        [
            {**answer, "path": "/api/views/", "body": stamp},
            {**answer, "path": ".csv", "body": page, "encoding": "latin-1"},
        ],
    )
    outcome = platform.run(page_size=SIZE)
    report(outcome)
    assert platform.only_line(outcome).inserted == SIZE - 1
    (reject,) = platform.query("SELECT reason, payload FROM {raw}._rejects")
    assert reject["reason"] == "row with a byte that is not UTF-8"
    assert json.loads(reject["payload"])["name"] == "PE\\xd1A"
    assert licences(platform) == {"vehicle_license_number 1"}


def test_a_page_that_each_try_cuts_elsewhere_fails_the_run(platform: TestPlatform) -> None:
    bodies = [page_of(25, last_time_updated=f"14:0{n}").removesuffix('"\n') for n in range(3)]
    fault = {"kind": "status", "status": 200, "path": "offset=25"}
    platform.control("faults", [{**fault, "body": body} for body in bodies])
    with pytest.raises(SourceError, match="3 tries ended within a row, each elsewhere"):
        platform.run()
    assert platform.ledger() == []


def test_lines_of_another_length_are_rejected_whole_and_too_many_fail_the_run(
    platform: TestPlatform,
) -> None:
    page = "\n".join([",".join(TABLE.column_names), *["YES,lost"] * 25, ""])
    body = {"kind": "status", "status": 200, "body": page, "headers": {"Content-Type": "text/csv"}}
    platform.control("faults", [{"path": ".csv", **body}])
    outcome = platform.run()
    with pytest.raises(TooManyRejects, match=f"25 of {SIZE} rows rejected"):
        report(outcome)
    rejects = platform.query("SELECT reason, payload FROM {raw}._rejects")
    assert {row["reason"] for row in rejects} == {"line with 2 of 23 fields"}
    assert {row["payload"] for row in rejects} == {'"YES,lost"'}


def test_a_wrong_token_is_refused_once_and_never_shown(
    platform: TestPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceHttpError, match="HTTP 403") as raised:
        platform.run(app_token="not-the-token")
    assert "not-the-token" not in f"{raised.value}{caplog.text}"
    assert len(asked(platform)) == 1
    assert TOKEN not in caplog.text


def test_an_older_list_that_arrives_later_changes_nothing(platform: TestPlatform) -> None:
    assert platform.run_in_child(kill_at=("commit.manifest", "after"))
    waiting = platform.objects()
    assert waiting
    platform.control("advance")
    held_back = {name: platform.stores.landing.get(name) for name in waiting}
    for name in waiting:
        platform.stores.landing.delete(name)
    platform.run()
    for name, content in held_back.items():
        platform.stores.landing.put(name, content)
    outcome = platform.run()
    assert {line.state for line in outcome.lines} == {"superseded", "no_change"}
    platform.assert_equals_truth()
