"""OpenWeather runs against the stand-in: every observation that was served is a row, once."""

from __future__ import annotations

import errno
import json
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from core.errors import PartlyExtracted, SourceError, StoreFailed, TooManyRejects
from runs.dbt_build import run_build
from runs.due import due_build
from runs.extract import openweather as flow_module
from runs.extract import run as run_flow
from runs.outcome import report
from sources.openweather.mapping import SOURCE
from sources.openweather.settings import Location
from stores import http as http_module
from stores.retry import Repeat
from testing.kits.openweather import KEY, LOCATIONS, api, flat
from testing.matrix import crossed, or_slow
from testing.platform import TestPlatform

MANILA, BAGUIO, TROMSO, SEA = LOCATIONS
WAITS: list[float] = []


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries and no waiting; the waits that were asked for are noted."""
    WAITS.clear()
    monkeypatch.setattr(http_module.Http.__init__, "__defaults__", ((), 2, 5.0, WAITS.append))


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform(kit="openweather")


def fail_at(location: Location, platform: TestPlatform, kind: str = "status", **fault: Any) -> None:
    path = f"lat={location.latitude}"
    platform.control("faults", [{"path": path, "kind": kind, "times": -1, **fault}])


def plant(location: Location, platform: TestPlatform, patch: dict[str, Any] | None) -> None:
    point = {"lat": location.latitude, "lon": location.longitude}
    platform.control("plant", {**point, "patch": patch})


def requests(platform: TestPlatform) -> int:
    return len(platform.look("control/requests"))


def test_the_raw_table_equals_what_was_served_through_three_polls(platform: TestPlatform) -> None:
    assert platform.run().total("inserted") == len(LOCATIONS)
    platform.assert_equals_truth()
    for poll in (2, 3):
        assert set(platform.control("advance")["new"].values()) == {6}
        outcome = platform.run()
        report(outcome)
        assert platform.only_line(outcome).inserted == len(LOCATIONS)
        assert len(platform.rows()) == poll * len(LOCATIONS)
        platform.assert_equals_truth()
        platform.assert_settled()
    # Every optional part was there in one row and absent in another.
    rows = platform.rows().values()
    for name in ("wind_gust", "main_sea_level", "sys_country"):
        assert {row[name] is None for row in rows} == {True, False}
    assert requests(platform) == 3 * len(LOCATIONS)


def test_a_poll_without_news_writes_one_line_and_no_row(platform: TestPlatform) -> None:
    platform.run()
    before = platform.rows()
    outcome = platform.run()
    line = platform.only_line(outcome)
    assert (line.state, line.already_seen, line.requests) == ("no_change", 4, 4)
    assert outcome.message.startswith("nothing new (since 20")
    assert platform.rows() == before
    assert [line["state"] for line in platform.ledger()] == ["applied", "no_change"]
    assert platform.objects() == []


def test_only_what_is_new_is_staged(platform: TestPlatform) -> None:
    platform.run()
    plant(BAGUIO, platform, {"dt": 1767268800})
    line = platform.only_line(platform.run())
    assert (line.extracted, line.inserted, line.already_seen) == (1, 1, 3)
    assert len(platform.rows()) == 5
    # Back to the first observation: known to the table, though not to the last look.
    plant(BAGUIO, platform, None)
    line = platform.only_line(platform.run())
    assert (line.extracted, line.inserted, line.unchanged) == (1, 0, 1)
    assert len(platform.rows()) == 5


def test_another_value_for_a_known_dt_leaves_the_row(platform: TestPlatform) -> None:
    platform.run()
    before = platform.rows()
    plant(MANILA, platform, {"main": {"temp": -40}})
    line = platform.only_line(platform.run())
    assert (line.extracted, line.unchanged) == (1, 1)
    assert platform.rows() == before


def test_units_are_stored_and_change_what_is_stored(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    platform.run(units="imperial")
    rows = platform.rows().values()
    assert sorted(row["units"] for row in rows) == ["imperial"] * 4 + ["metric"] * 4
    platform.assert_equals_truth()


def test_one_failing_location_does_not_lose_the_others(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    fail_at(BAGUIO, platform, status=404, body='{"cod":"404","message":"city not found"}')
    outcome = platform.run()
    assert platform.only_line(outcome).inserted == 3
    said = 'Baguio: HTTP 404: {"cod":"404","message":"city not found"}'
    with pytest.raises(PartlyExtracted) as raised:
        report(outcome)
    assert f"{said}; the rest is loaded: 3 rows into raw.openweather__observations" in str(
        raised.value
    )
    platform.assert_equals_truth()
    assert platform.ledger()[-1]["message"] == f"not had: {said}"
    # It fails again, and nobody else has news: a look, and still not a success.
    outcome = platform.run()
    assert platform.only_line(outcome).state == "no_change"
    assert platform.ledger()[-1]["message"] == f"not had: {said}"
    with pytest.raises(PartlyExtracted, match="Baguio"):
        report(outcome)
    platform.control("faults", [])
    line = platform.only_line(platform.run())
    assert (line.inserted, line.already_seen) == (1, 3)
    platform.assert_equals_truth()


def test_a_location_that_failed_is_still_known_by_what_it_said_before(
    platform: TestPlatform,
) -> None:
    platform.run()
    fail_at(MANILA, platform, status=500)
    platform.run()
    platform.control("faults", [])
    assert platform.only_line(platform.run()).state == "no_change"


def test_a_location_that_fails_for_a_moment_is_asked_again(platform: TestPlatform) -> None:
    platform.control("faults", [{"kind": "drop"}, {"path": "lat=15.5", "kind": "malformed"}])
    report(platform.run())
    assert requests(platform) == len(LOCATIONS) + 2
    platform.assert_equals_truth()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "body": '{"cod":"500","message":"Internal error"}'},
        {"kind": "html"},
        {"kind": "status", "status": 200, "body": "[]"},
        {"kind": "status", "status": 200, "body": '{"cod":"404","message":"city not found"}'},
        {"kind": "drop"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status')}-{len(fault.get('body', ''))}",
)
def test_when_all_fail_the_run_says_why_and_leaves_nothing(
    platform: TestPlatform, fault: dict[str, Any]
) -> None:
    platform.control("faults", [{"times": -1, **fault}])
    with pytest.raises(SourceError) as raised:
        platform.run()
    assert str(raised.value).startswith("openweather, first load: no location answered: Manila: ")
    for location in LOCATIONS:
        assert f"{location.name}: " in str(raised.value)
    assert platform.ledger() == []
    assert platform.objects() == []
    platform.control("faults", [])
    platform.run()
    platform.assert_equals_truth()


def test_a_wrong_key_is_refused_once_and_never_shown(
    platform: TestPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as raised:
        platform.run(api_key="s3cret-key")
    assert requests(platform) == 1
    message = str(raised.value)
    assert 'Manila: HTTP 401: {"cod":401,"message":"Invalid API key.' in message
    assert "Tromsø: not asked, because Manila was refused with 401" in message
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("pipelines")]
    for line in (message, *ours):
        assert "s3cret" not in line


@pytest.mark.parametrize("status", or_slow(lambda status: status == 400, crossed([200, 400, 500])))
def test_a_key_in_an_answer_is_in_no_message_and_no_ledger(
    platform: TestPlatform, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    body = json.dumps({"cod": status if status > 200 else "400", "message": f"appid={KEY}"})
    fail_at(MANILA, platform, status=status, body=body)
    with caplog.at_level(logging.WARNING):
        outcome = platform.run()
    with pytest.raises(PartlyExtracted, match=r"appid=\*\*\*") as raised:
        report(outcome)
    kept = [str(raised.value), outcome.markdown, str(platform.ledger()), caplog.text]
    assert not [text for text in kept if KEY in text]


def test_a_blocked_account_is_not_asked_again_and_what_came_before_is_kept(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="openweather", calls_per_minute=2)
    outcome = platform.run()
    assert platform.only_line(outcome).inserted == 2
    assert (requests(platform), WAITS) == (3, [])
    with pytest.raises(PartlyExtracted) as raised:
        report(outcome)
    message = str(raised.value)
    assert 'Tromsø: HTTP 429: {"cod":429,"message":"Your account is temporary blocked' in message
    assert "At sea: not asked, because Tromsø was refused with 429" in message
    platform.assert_equals_truth()


def test_another_429_is_repeated(platform: TestPlatform) -> None:
    platform.control("faults", [{"kind": "status", "status": 429, "body": "slow down"}])
    report(platform.run())
    assert requests(platform) == len(LOCATIONS) + 1
    platform.assert_equals_truth()


BLOCKED = '{"cod":429,"message":"Your account is temporary blocked due to exceeding"}'


@pytest.mark.parametrize("body", [BLOCKED, "slow down"])
def test_a_429_that_says_when_is_waited_for_once(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(http_module.Http.__init__, "__defaults__", ((), 4, 180.0, WAITS.append))
    fault: dict[str, Any] = {
        "kind": "status",
        "status": 429,
        "headers": {"Retry-After": "30"},
        "body": body,
    }
    platform.control("faults", [{"path": f"lat={BAGUIO.latitude}", "times": 1, **fault}])
    report(platform.run())
    assert (requests(platform), WAITS) == (len(LOCATIONS) + 1, [30.0])
    platform.assert_equals_truth()
    # The second time in a row it is an answer: nobody else is asked, and what came before is kept.
    WAITS.clear()
    platform.control("advance")
    platform.control("reset-requests")
    fail_at(BAGUIO, platform, **fault)
    outcome = platform.run()
    assert (requests(platform), WAITS) == (3, [30.0])
    assert platform.only_line(outcome).inserted == 1
    with pytest.raises(PartlyExtracted, match="Tromsø: not asked, because Baguio was refused with"):
        report(outcome)
    platform.assert_equals_truth()


def test_a_429_that_asks_for_more_than_a_minute_ends_the_poll(platform: TestPlatform) -> None:
    fault: dict[str, Any] = {
        "kind": "status",
        "status": 429,
        "headers": {"Retry-After": "61"},
        "body": BLOCKED,
    }
    fail_at(BAGUIO, platform, **fault)
    outcome = platform.run()
    assert (requests(platform), WAITS) == (2, [])
    assert len(outcome.failed_parts) == 3


def test_many_locations_are_asked_no_faster_than_the_plan_allows(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="openweather")
    many = [Location(name=f"p{n}", latitude=n / 10, longitude=n) for n in range(61)]
    assert platform.only_line(platform.run(locations=many)).inserted == 61
    assert WAITS == [1.0] * 60


def test_a_poll_that_takes_too_long_leaves_the_rest_to_the_next(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_module, "POLL_SECONDS", 0.5)
    fail_at(BAGUIO, platform, "drip", seconds=1)
    outcome = platform.run()
    assert platform.only_line(outcome).inserted == 2
    assert outcome.failed_parts == tuple(
        f"{name}: not asked, because the poll took more than 0 s" for name in ("Tromsø", "At sea")
    )
    monkeypatch.undo()
    platform.control("faults", [])
    assert platform.only_line(platform.run()).inserted == 2
    platform.assert_equals_truth()


def test_an_answer_without_a_usable_dt_is_rejected_whole(platform: TestPlatform) -> None:
    plant(TROMSO, platform, {"dt": "noon"})
    outcome = platform.run()
    (reject,) = platform.query("SELECT * FROM {raw}._rejects")
    assert reject["reason"] == "row with unusable dt"
    assert json.loads(reject["payload"])["name"] == "Tromsø"
    assert {location for location, _ in platform.rows()} == {"Manila", "Baguio", "At sea"}
    with pytest.raises(TooManyRejects, match="1 of 4 rows rejected"):
        report(outcome)
    # The same answer again is no news.
    assert platform.only_line(platform.run()).state == "no_change"


def test_what_is_odd_unknown_or_missing_is_a_row_all_the_same(platform: TestPlatform) -> None:
    plant(
        MANILA, platform, {"uv": {"index": 3}, "wind": {"deg": "north"}, "main": {"dew_point": 20}}
    )
    plant(BAGUIO, platform, {"main": None, "sys": None, "wind": None, "weather": None})
    plant(TROMSO, platform, {"weather": [{"id": n, "main": str(n)} for n in range(3)]})
    outcome = platform.run()
    report(outcome)
    rows = {location: row for (location, _), row in platform.rows().items()}
    extra = {"uv": {"index": 3}, "wind_deg": "north", "main.dew_point": 20}
    assert json.loads(rows["Manila"]["_extra"]) == extra
    assert outcome.total("unparsed") == 1
    bare = rows["Baguio"]
    assert {bare[n] for n in ("main_temp", "sys_country", "wind_speed", "weather")} == {None}
    assert bare["coord_lat"] is not None
    assert [entry["id"] for entry in json.loads(rows["Tromsø"]["weather"])] == [0, 1, 2]


def test_a_batch_is_committed_while_bigquery_is_down(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    with socket.socket() as held:
        # Bound and not listening: connections are refused for as long as the test lasts.
        held.bind(("127.0.0.1", 0))
        nowhere = bigquery.Client(
            project=platform.stores.warehouse.project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=f"http://127.0.0.1:{held.getsockname()[1]}"),
        )
        quick = Repeat(seconds=0.2, first_wait=0.02)
        silent = replace(platform.stores.warehouse, client=nowhere, retry=quick)
        with pytest.raises(StoreFailed, match=r"^openweather, first load: RetryError: .*refused"):
            run_flow(replace(platform.stores, warehouse=silent), "openweather", api(platform))
    assert len([name for name in platform.objects() if name.endswith("manifest.json")]) == 1
    assert len(platform.rows()) == 4
    # Its hour is over before anybody loads it.
    platform.control("advance")
    outcome = platform.run()
    report(outcome)
    assert [line.inserted for line in outcome.lines] == [4, 4]
    platform.assert_equals_truth()
    platform.assert_settled()


@pytest.mark.slow
def test_a_batch_is_committed_while_another_that_waits_cannot_be_loaded(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it its bucket that does not answer any more, or a disk too full to merge its parts."""
    platform = make_platform(kit="openweather", landing="landing-s3")
    platform.run_in_child(kill_at=("commit.manifest", "after"))
    platform.control("advance")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("stores.merge.TemporaryFile", full)
        with pytest.raises(
            StoreFailed, match=r"^openweather, first load: OSError: .*No space left on device"
        ):
            platform.run()
    assert len([name for name in platform.objects() if name.endswith("manifest.json")]) == 2
    platform.control("advance")
    report(platform.run())
    assert len(platform.rows()) == 3 * len(LOCATIONS)
    platform.assert_equals_truth()
    platform.assert_settled()


def test_real_payloads_reach_the_staging_model(
    platform: TestPlatform, samples: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bodies = {}
    faults = []
    for path in sorted((samples / "openweather").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        body = json.loads(text)
        bodies[body["name"]] = body
        fault = {"kind": "status", "status": 200, "body": text}
        faults.append({"path": f"lat={body['coord']['lat']}", **fault})
    assert len(bodies) == 2
    platform.control("faults", faults)
    locations = [
        Location(name=name, latitude=body["coord"]["lat"], longitude=body["coord"]["lon"])
        for name, body in bodies.items()
    ]
    report(platform.run(locations=locations))
    rows = platform.rows()
    for name, body in bodies.items():
        row = rows[name, datetime.fromtimestamp(body["dt"], UTC)]
        expected = flat(body)
        conditions = expected.pop("weather")
        assert {column: row[column] for column in expected} == expected
        assert json.loads(row["weather"]) == conditions

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    due = due_build(platform.stores.warehouse, SOURCE)
    assert due
    run_build(platform.stores.warehouse, platform.blocks.google, SOURCE, due)
    staged = platform.query("SELECT * FROM {marts}staging.stg_openweather__observations")
    assert {
        (row["location"], row["main_condition"], row["pressure_hpa"], row["observed_at"])
        for row in staged
    } == {
        (
            name,
            body["weather"][0]["main"],
            body["main"]["pressure"],
            datetime.fromtimestamp(body["dt"], UTC),
        )
        for name, body in bodies.items()
    }


def test_a_number_that_no_float_holds_is_kept_as_strict_json(platform: TestPlatform) -> None:
    body = '{"dt":1772337600,"main":{"temp":1e999,"dew_point":-1e999},"cod":200,"name":"x"}'
    platform.control("faults", [{"path": "weather", "kind": "status", "status": 200, "body": body}])
    outcome = platform.run()
    assert (outcome.total("inserted"), outcome.total("unparsed")) == (len(LOCATIONS), 1)
    (row,) = [row for row in platform.rows().values() if row["_extra"]]
    assert row["main_temp"] is None
    assert row["_extra"] == '{"main.dew_point":"-1e999","main_temp":"1e999"}'
