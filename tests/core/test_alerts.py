"""Incidents: told once, together, with their end, and without secrets."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from alerting.findings import Finding, Inspection, Kind, Run, kind_of
from alerting.freshness import StaleSource
from alerting.incidents import Incident, Message, State, advance
from alerting.messages import seconds_to_wait, write_messages
from alerting.secrets import without_shapes
from alerting.state_file import decode_state, encode_state
from core.errors import (
    PARKED,
    DeletionsHeld,
    LoadFailed,
    NamedFailure,
    TooManyRejects,
    state_name_of,
)

ROOT = Path(__file__).resolve().parents[2]
T0 = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
CHANNELS = ["slack", "email"]


BAD_BATCH = Finding("parked-batch:a", "parked-batch", "ledger", "a: 1 parked batch", "bad manifest")


def run(
    number: int, state_type: str = "FAILED", name: str = "elt/a", second: float = 0, **given: Any
) -> Run:
    said = {"state_name": state_type.title(), "message": f"boom {number}", "source": "a", **given}
    return Run(
        id=f"{name} {number}",
        name=name,
        state_type=state_type,
        ended_at=T0 + timedelta(seconds=second),
        window="what changed",
        link=f"http://ui/{number}",
        **said,
    )


def inspect(state: State, second: float, *runs: Run, **given: Any) -> list[Message]:
    """An inspection, with these fields of it, and what it has told."""
    at = T0 + timedelta(seconds=second)
    advance(state, Inspection("watchdog", at, runs=[*runs], **given), without_shapes)
    return write_messages(state, at, CHANNELS, "docs/runbook.md")


def inspect_ledger(state: State, second: float, *findings: Finding) -> list[Message]:
    return inspect(state, second, findings=[*findings], covered={"ledger"})


def test_an_incident_is_one_letter_and_one_recovery() -> None:
    state = State()
    assert inspect(state, 5, run(1)) == []
    (message,) = inspect(state, 40, run(1))
    assert message.subject == "[pipelines] elt/a failed"
    assert message.text.splitlines() == [
        "elt/a failed",
        "since: 2026-03-01 14:00 Manila (06:00 UTC)",
        "source: a",
        "window: what changed",
        "cause: boom 1",
        "run: http://ui/1",
        "what now: docs/runbook.md#failed",
    ]
    assert inspect(state, 3600, run(2, second=3590)) == []
    assert inspect(state, 7200, run(3, second=7190)) == []
    (message,) = inspect(state, 10800, run(4, "COMPLETED", second=10790))
    assert message.subject == "[pipelines] recovered: elt/a failed"
    assert message.text.endswith("179 min, seen 3 times")
    assert inspect(state, 10860, run(4, "COMPLETED", second=10790)) == []
    assert state.incidents == {}


def test_nothing_of_a_source_that_does_not_run_here_is_told_and_what_was_is_over() -> None:
    state = State()
    parked = replace(BAD_BATCH, key="parked-batch:ph_news", source="ph_news")
    both = [parked, replace(BAD_BATCH, key="bytes-billed", kind="bytes-billed")]
    assert len(inspect(state, 60, run(1, name="elt/ph-news", source="ph-news"))) == 1
    assert len(inspect(state, 70, findings=both)) == 1

    def without(second: float) -> list[Message]:
        failed = run(2, name="elt/ph-news", source="ph-news", second=second - 40)
        return inspect(state, second, failed, findings=both, absent={"ph_news"})

    (over,) = without(100)
    assert over.subject.startswith("[pipelines] recovered: 2 incidents: ")
    assert without(200) == []
    assert list(state.incidents) == ["bytes-billed"]


def test_a_storm_is_one_letter() -> None:
    state = State()
    storm = [run(1, name=f"elt/{number:02}", second=number) for number in range(50)]
    assert inspect(state, 20, *storm[:20]) == []
    assert inspect(state, 60, *storm) == []
    (message,) = inspect(state, 80, *storm)
    assert message.subject == (
        "[pipelines] 50 incidents: elt/00 failed, elt/01 failed, elt/02 failed and 47 more"
    )
    assert message.text.count("what now:") == 10
    assert all(one.name in message.text for one in storm)


def test_a_storm_of_one_deployment_is_one_incident() -> None:
    state = State()
    (message,) = inspect(state, 90, *[run(number, second=number) for number in range(50)])
    assert message.subject == "[pipelines] elt/a failed"
    assert ", 50 times" in message.text


def test_a_storm_that_does_not_end_is_told_after_two_minutes() -> None:
    state = State()
    runs = [run(1, name=f"elt/{number}", second=20 * number) for number in range(8)]
    told = [inspect(state, 20 * number + 1, *runs[: number + 1]) for number in range(8)]
    assert [len(one) for one in told] == [0, 0, 0, 0, 0, 0, 1, 0]
    assert seconds_to_wait(state, T0 + timedelta(seconds=150)) == 20


def test_a_failure_that_has_passed_is_told_with_its_end() -> None:
    state = State()
    inspect(state, 20, run(1), run(2, "COMPLETED", second=10))
    alert, recovery = inspect(state, 60)
    assert alert.subject == "[pipelines] elt/a failed"
    assert recovery.subject == "[pipelines] recovered: elt/a failed"
    assert inspect(state, 120) == []


def test_a_run_is_counted_once_whoever_looks_and_in_whatever_order() -> None:
    state = State()
    inspect(state, 60, run(1), run(2, second=50))
    inspect(state, 90, run(1))  # another inspector, which began to read earlier
    inspect(state, 95, run(1), run(2, second=50), run(3, "COMPLETED", second=20))
    assert state.incidents["run:elt/a:failed"].count == 2
    assert state.incidents["run:elt/a:failed"].ended_at is None


def test_another_failure_of_the_same_deployment_is_another_incident() -> None:
    state = State()
    held: dict[str, Any] = {"state_name": "DeletionsHeld", "message": "9 rows are gone"}
    assert len(inspect(state, 40, run(1, **held))) == 1
    (message,) = inspect(state, 140, run(2, **held, second=90), run(3, second=95))
    assert "cause: boom 3" in message.text and "DeletionsHeld" not in message.text
    (recovery,) = inspect(state, 200, run(4, "COMPLETED", second=190))
    assert recovery.text.count("elt/a failed: over since") == 2
    assert state.incidents == {}


def test_each_stale_source_is_an_incident_of_its_own() -> None:
    state, name = State(), "dbt-freshness/hourly"
    a = {"a": "last look 7.0 h ago, 1.0 h later than allowed"}
    b = {"b": "newest event 3.0 days ago, 1.0 h later than allowed"}

    def found(number: int, second: float, stale: dict[str, str]) -> Run:
        return run(number, name=name, second=second, state_name="StaleSource", stale=stale)

    (message,) = inspect(state, 40, found(1, 0, a))
    assert message.subject == "[pipelines] a is stale"
    assert "\nsource: a\n" in message.text
    assert "\ncause: last look 7.0 h ago, 1.0 h later than allowed\n" in message.text
    (message,) = inspect(state, 3700, found(2, 3600, a | b))
    assert message.subject == "[pipelines] b is stale"
    (message,) = inspect(state, 7300, found(3, 7200, b))
    assert message.subject == "[pipelines] recovered: a is stale"
    # Why freshness itself cannot be read is no source's age, and ends none.
    (message,) = inspect(state, 10900, run(4, name=name, second=10800, message="Forbidden: 403"))
    assert message.subject == f"[pipelines] {name} failed"
    # That it could be read again is no end of what is stale.
    (message,) = inspect(state, 14500, found(5, 14400, b))
    assert message.subject == f"[pipelines] recovered: {name} failed"
    (message,) = inspect(state, 18100, run(6, name=name, second=18000, message="Forbidden: 403"))
    assert message.subject == f"[pipelines] {name} failed"
    (message,) = inspect(state, 21700, run(7, "COMPLETED", name=name, second=21600))
    assert message.subject == f"[pipelines] recovered: 2 incidents: b is stale, {name} failed"


def test_a_run_that_is_tried_again_by_hand_ends_again() -> None:
    state = State()
    assert len(inspect(state, 40, run(1))) == 1
    (message,) = inspect(state, 400, run(1, "COMPLETED", second=390))
    assert message.subject == "[pipelines] recovered: elt/a failed"


def test_a_clock_that_was_ahead_delays_nothing_and_counts_nothing_twice() -> None:
    state, day = State(), 86_400
    assert (
        inspect(state, day, run(1, second=day), findings=[replace(BAD_BATCH, kind="server")]) == []
    )
    assert len(state.incidents) == 2
    # Set right: what was found by it is told at once, what is found from now on as ever.
    (message,) = inspect(state, 0)
    assert message.subject == "[pipelines] 2 incidents: a: 1 parked batch, elt/a failed"
    assert inspect(state, 60, run(2, name="elt/b", second=50)) == []
    assert len(inspect(state, 90, run(2, name="elt/b", second=50))) == 1
    assert inspect(state, 150, run(2, name="elt/b", second=50)) == []
    assert state.incidents["run:elt/b:failed"].count == 1


def test_what_a_deployment_began_that_is_removed_is_told_and_over() -> None:
    state = State()
    advance(state, Inspection("watch", T0, {"elt/b"}, [run(1)]), without_shapes)
    (message,) = inspect(state, 40)
    assert message.subject == "[pipelines] elt/a failed"
    advance(state, Inspection("watch", T0, {"elt/a", "elt"}), without_shapes)
    assert state.incidents
    advance(state, Inspection("watch", T0, {"elt", "elt/b"}), without_shapes)
    (message,) = inspect(state, 80)
    assert message.subject == "[pipelines] recovered: elt/a failed"


def test_a_condition_lasts_as_long_as_it_is_found() -> None:
    state = State()
    (message,) = inspect_ledger(state, 0, BAD_BATCH)
    assert message.text.endswith("docs/runbook.md#parked-batch")
    assert inspect(state, 60) == []  # an inspection that did not cover the ledger
    assert inspect_ledger(state, 120, BAD_BATCH) == []
    (message,) = inspect_ledger(state, 180)
    assert message.subject == "[pipelines] recovered: a: 1 parked batch"


def test_a_look_that_began_before_the_last_one_says_nothing_of_what_that_one_saw() -> None:
    """`watch` reads the ledger for seconds between reading the runs and telling."""
    state = State()
    assert len(inspect_ledger(state, 10, BAD_BATCH)) == 1
    assert inspect_ledger(state, 5) == []
    assert len(inspect_ledger(state, 20)) == 1
    assert inspect_ledger(state, 15, BAD_BATCH) == []
    assert state.covered == {"ledger": T0 + timedelta(seconds=20)}
    # The clock had been wrong.
    state.covered["ledger"] += timedelta(days=365)
    assert len(inspect_ledger(state, 30, BAD_BATCH)) == 1


def test_a_restart_is_told_to_nobody() -> None:
    state = State()
    health: dict[str, Any] = {"covered": {"health"}}
    title = "the server does not answer"
    down = [Finding("health:server", "server", "health", title, "no route")]
    assert inspect(state, 0, findings=down, **health) == []
    assert inspect(state, 30, **health) == []
    assert inspect(state, 90, findings=down, **health) == []
    (message,) = inspect(state, 150, findings=down, **health)
    assert message.subject == "[pipelines] the server does not answer"


def test_a_notice_is_told_once_and_has_no_end() -> None:
    state = State()
    changed = replace(BAD_BATCH, key="schema-change:a:1", kind="schema-change", scope="notice")
    assert len(inspect_ledger(state, 0, changed)) == 1
    assert inspect_ledger(state, 60) == []


def test_nothing_is_forgotten_while_nobody_listens() -> None:
    state = State()
    advance(state, Inspection("watchdog", T0, runs=[run(1)]), without_shapes)
    assert write_messages(state, T0 + timedelta(hours=1), [], "docs") == []
    assert len(write_messages(state, T0 + timedelta(hours=2), ["email"], "docs")) == 1


def test_a_state_survives_a_restart() -> None:
    state = State()
    inspect(state, 60, run(1), findings=[BAD_BATCH], covered={"ledger"})
    assert decode_state(encode_state(state)) == state
    assert decode_state(b"") == State()


def test_the_file_of_the_release_before_is_read_and_written_as_it_was() -> None:
    at = '"2026-03-01T06:00:00Z"'
    kept = f"""{{
        "incidents": {{
            "disk": {{
                "finding": {{
                    "key": "disk", "kind": "disk", "scope": "health", "title": "full",
                    "cause": "91% in use", "at": {at}, "source": "", "window": "", "link": null
                }},
                "opened_at": {at}, "last_at": {at}, "count": 2, "told_at": {at}, "ended_at": null
            }}
        }},
        "over": [],
        "outbox": [{{"subject": "s", "text": "t", "written_at": {at}, "left": ["email"]}}],
        "runs_until": {at}, "runs_seen": {{"1": {at}}}, "fields_until": {at},
        "looked": {{"watch": {at}, "watchdog": {at}}}, "begun": {{"watch": {at}}},
        "covered": {{"health": {at}}}
    }}"""
    disk = Finding("disk", "disk", "health", "full", "91% in use", T0)
    state = State(
        incidents={"disk": Incident(disk, T0, T0, 2, T0)},
        outbox=[Message("s", "t", T0, ["email"])],
        runs_until=T0,
        runs_seen={"1": T0},
        fields_until=T0,
        inspected={"watch": T0, "watchdog": T0},
        begun={"watch": T0},
        covered={"health": T0},
    )
    assert decode_state(kept.encode()) == state
    assert json.loads(encode_state(state)) == json.loads(kept)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"message": "Flow run encountered an exception: ValueError: x"}, "failed"),
        ({"state_type": "CRASHED"}, "crashed"),
        ({"state_name": "TimedOut"}, "timed-out"),
        ({"state_name": "StaleSource"}, "stale-data"),
        ({"state_name": "TooManyRejects"}, "rejects"),
        ({"state_name": "DeletionsHeld"}, "deletions-held"),
        ({"state_name": "BatchParked"}, "parked-batch"),
    ],
)
def test_a_run_leads_to_its_paragraph(given: dict[str, str], kind: str) -> None:
    assert kind_of(run(1, **given)) == kind  # type: ignore[arg-type]


@pytest.mark.parametrize("failure", [LoadFailed, DeletionsHeld, TooManyRejects, StaleSource])
def test_a_state_that_is_called_by_its_failure_has_its_paragraph(
    failure: type[NamedFailure],
) -> None:
    name = PARKED if failure is LoadFailed else failure("x").state_name
    assert kind_of(run(1, state_name=name)) != "failed"
    assert kind_of(run(1, state_name=LoadFailed("x").state_name)) == "failed"


def test_of_several_failures_the_gravest_names_the_state() -> None:
    parked, held = LoadFailed("x", PARKED), DeletionsHeld("x")
    assert state_name_of([ValueError("x"), held, TooManyRejects("x"), parked]) == "BatchParked"
    assert state_name_of([held, TooManyRejects("x")]) == "TooManyRejects"
    assert state_name_of([held, ValueError("x")]) == "DeletionsHeld"
    assert state_name_of([ValueError("x"), LoadFailed("x")]) == "Failed"


def test_every_kind_has_its_paragraph() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    headings = set(re.findall(r"^#+ (\S+)$", text, flags=re.MULTILINE))
    assert set(get_args(Kind)) <= headings


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.example/v1?appid=PLANTED&lat=1 failed",
        "GET https://a.example/v1?lat=1&access_key=PLANTED",
        "https://user:PLANTED@a.example/",
        "Authorization: Bearer PLANTED-and-more",
        "{'token': 'PLANTED'}",
        '{"password": "PLANTED", "user": "me"}',
        "password=PLANTED",
        "POST https://hooks.slack.com/services/T0/B0/PLANTED",
        "-----BEGIN PRIVATE KEY-----\nPLANTED\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nPLANTED, cut off",
    ],
)
def test_what_looks_like_a_secret_is_cut_out(text: str) -> None:
    assert "PLANTED" not in without_shapes(text)


def test_what_a_reader_needs_is_not_cut_out() -> None:
    text = "usgs_earthquake, since 2026-01-01: HTTP 503: token endpoint; see raw._rejects, key id"
    assert without_shapes(text) == text
