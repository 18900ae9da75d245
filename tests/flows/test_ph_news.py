"""PH news runs against the stand-in: the raw table equals the world, within the plan's requests."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from core.errors import PartlyExtracted, SourceError, SourceHttpError
from core.ledger import ROW_OUTCOMES
from runs.dbt_build import run_build
from runs.due import due_build
from runs.extract.ph_news import get_page
from runs.outcome import report
from sources.ph_news.listing import above_gap
from sources.ph_news.mapping import SERVED, SOURCE, article_id, classify_response
from sources.ph_news.settings import PhNews
from stores.http import Http
from testing.kits.ph_news import KEY, PLENTY, block
from testing.platform import TestPlatform

WRONG_KEY = "w/rong&key"


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform(kit="ph_news", size=250)


def statuses(platform: TestPlatform) -> list[int]:
    return [call["status"] for call in platform.look("control/requests")]


def requests(platform: TestPlatform) -> list[dict[str, Any]]:
    return platform.query("SELECT * FROM {raw}._requests ORDER BY recorded_at, state")


def test_the_raw_table_equals_the_world_through_three_stages(platform: TestPlatform) -> None:
    assert platform.run().total("inserted") > 200
    platform.assert_equals_truth()
    first = platform.rows()
    for _ in range(2):
        changed = platform.control("advance")
        outcome = platform.run()
        platform.assert_equals_truth()
        platform.assert_settled()
        assert outcome.total("inserted") >= changed["new"] - 5
        assert outcome.total("updated") >= changed["retitled"] + changed["relisted"] - 1
    last = platform.rows()
    assert {last[key]["_first_seen_at"] - row["_first_seen_at"] for key, row in first.items()} == {
        timedelta()
    }
    sent = [line for line in requests(platform) if line["state"] == "settled"]
    assert sum(line["requests"] for line in sent) == len(statuses(platform))


def test_a_run_without_news_writes_one_line_and_no_row(platform: TestPlatform) -> None:
    platform.run()
    before = platform.rows()
    outcome = platform.run()
    assert platform.only_line(outcome).state == "no_change"
    assert platform.only_line(outcome).requests == 1
    assert platform.only_line(platform.run()).state == "no_change"
    assert platform.rows() == before
    assert [line["state"] for line in platform.ledger()] == ["applied", "no_change", "no_change"]
    assert platform.objects() == []


def test_counts_add_up_in_every_line(platform: TestPlatform) -> None:
    platform.run()
    platform.control("advance")
    platform.run()
    lines = platform.ledger()
    assert len(lines) == 2
    outcomes = [*ROW_OUTCOMES, "rejected", "rejected_before"]
    for line in lines:
        assert sum(line[name] for name in outcomes) == line["extracted"]
        assert line["extracted"] + line["already_seen"] == line["source_count"]


def test_a_stage_that_comes_between_two_pages_loses_nothing(platform: TestPlatform) -> None:
    platform.control("advance", {"after_requests": 1})
    assert platform.run().total("duplicate") > 0
    platform.run()
    platform.assert_equals_truth()


def test_a_row_without_url_is_rejected_whole_and_an_odd_value_kept(platform: TestPlatform) -> None:
    odd = {"url": "https://a.example/1", "title": 7, "published_at": "yesterday", "mood": "good"}
    platform.control("plant", {"articles": [{"title": "no url"}, "no object", odd]})
    outcome = platform.run()
    line = platform.only_line(outcome)
    assert (line.rejected, line.unparsed) == (2, 1)
    reasons = platform.query("SELECT reason, payload FROM {raw}._rejects ORDER BY reason")
    assert [row["reason"] for row in reasons] == ["row that is no object", "row without url"]
    assert reasons[1]["payload"] == '{"title":"no url"}'
    (row,) = [row for row in platform.rows().values() if row["url"] == odd["url"]]
    assert row["published_at"] is None
    assert row["_extra"] == '{"mood":"good","published_at":"yesterday","title":7}'
    # Rejects and rows without a time are recognised the next time.
    assert platform.only_line(platform.run()).state == "no_change"


def test_a_field_that_vanishes_is_announced_once_and_an_ordinary_reply_announces_nothing(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="ph_news", size=60)
    assert platform.run().announced == ()
    platform.control("advance")
    assert platform.run().announced == ()
    bare = make_platform("bare", kit="ph_news", size=0)
    row = {name: None for name in SERVED if name != "image"}
    for number, announced in enumerate([("missing field image",), ()]):
        url = f"https://a.example/{number}"
        bare.control("plant", {"articles": [{**row, "url": url, "author": ""}]})
        assert bare.run().announced == announced
    assert {row["_extra"] for row in bare.rows().values()} == {None}


@pytest.mark.parametrize("envelope", ["current", "old"])
@pytest.mark.parametrize("code", ["usage_limit_reached", "invalid_access_key", "inactive_user"])
def test_a_refusal_that_stays_is_asked_once_and_named(
    platform: TestPlatform, envelope: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.control("settings", {"envelope": envelope})
    platform.control("refuse", {"code": code, "times": -1})
    with pytest.raises(SourceHttpError, match=code) as caught:
        platform.run()
    assert len(statuses(platform)) == 1
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in caplog.text
    # Nothing was had, and what was sent is settled.
    assert [(line["state"], line["requests"]) for line in requests(platform)] == [
        ("reserved", 2),
        ("settled", 1),
    ]
    assert platform.ledger() == []


@pytest.mark.parametrize("envelope", ["current", "old"])
def test_a_rate_limit_passes(
    platform: TestPlatform,
    envelope: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)
    platform.control("settings", {"envelope": envelope})
    platform.control("refuse", {"code": "rate_limit_reached", "times": 2})
    assert platform.only_line(platform.run()).requests == 2 + 3
    assert "rate_limit_reached" in caplog.text
    assert KEY not in caplog.text
    platform.assert_equals_truth()


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_with_a_code_that_is_not_listed_passes(
    platform: TestPlatform, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)
    body = json.dumps({"error": {"code": "upstream_unavailable", "message": "try later"}})
    platform.control("faults", [{"kind": "status", "status": status, "body": body, "times": 2}])
    assert platform.only_line(platform.run()).requests == 2 + 3
    platform.assert_equals_truth()


def test_the_languages_and_countries_of_the_settings_are_asked_for(platform: TestPlatform) -> None:
    assert platform.run(languages="zh, -en").total("inserted") > 0
    assert {row["language"] for row in platform.rows().values()} == {"zh"}
    platform.run(languages="", countries="ph,gb")
    chosen = {(row["country"], row["language"]) for row in platform.rows().values()}
    assert chosen == {("ph", "en"), ("ph", "zh"), ("gb", "en")}


def test_a_key_that_is_not_the_account_s_stands_in_no_message(
    platform: TestPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceHttpError, match="invalid_access_key") as caught:
        platform.run(access_key=WRONG_KEY)
    assert statuses(platform) == [401]
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    for form in (WRONG_KEY, quote(WRONG_KEY), quote(WRONG_KEY, safe="")):
        assert form not in told


def test_a_failure_between_two_pages_keeps_the_first_and_fails_the_run(
    platform: TestPlatform,
) -> None:
    platform.control(
        "faults", [{"kind": "status", "status": 404, "path": "offset=100", "times": 1}]
    )
    outcome = platform.run()
    assert outcome.total("inserted") == 100
    with pytest.raises(PartlyExtracted, match="offset 100: HTTP 404"):
        report(outcome)
    assert platform.ledger()[0]["message"].startswith("gap: older than offset 100 not read")
    # The next run goes on below what the first one had, though the first page is known by now.
    report(platform.run())
    platform.assert_equals_truth()


def test_a_run_without_budget_sends_nothing_and_says_so(platform: TestPlatform) -> None:
    first = platform.run(monthly_requests=1)
    note = "gap: older than offset 100 not read; no request left until"
    assert f"; {note}" in first.message
    assert first.total("inserted") == 100
    assert platform.ledger()[0]["message"].startswith(note)
    second = platform.run(monthly_requests=1)
    report(second)
    assert second.message.startswith("no request left until ")
    assert second.message.endswith("-01 00:00 UTC (plan: 1 a month)")
    assert len(platform.ledger()) == 1
    assert statuses(platform) == [200]


def test_a_gap_is_closed_by_the_next_run_that_may(platform: TestPlatform) -> None:
    platform.run(monthly_requests=1)
    platform.control("advance")
    assert platform.run().note is None
    platform.assert_equals_truth()
    assert platform.ledger()[-1]["message"] is None
    assert above_gap(json.loads(platform.ledger()[-1]["known_digests"])) == set()


def test_a_run_that_fails_without_a_request_left_says_both(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)
    platform.control("faults", [{"kind": "status", "status": 500, "times": -1}])
    with pytest.raises(SourceError, match=r"gave up after 1 tries: HTTP 500.*; no request left"):
        platform.run(monthly_requests=1)
    assert len(statuses(platform)) == 1


def test_a_run_killed_before_it_settles_has_spent_what_it_reserved(platform: TestPlatform) -> None:
    platform.run_in_child()
    events = platform.run_in_child()
    before = len(requests(platform))
    platform.run_in_child(kill_at=events.index(("budget.settle", "before")))
    left = requests(platform)[before:]
    assert [(line["state"], line["requests"]) for line in left] == [("reserved", 2)]
    assert platform.only_line(platform.run()).state == "no_change"
    platform.assert_equals_truth()
    platform.assert_settled()


def test_a_plan_without_tls_is_asked_without_it_and_only_then(platform: TestPlatform) -> None:
    schemes = []

    def answer(request: httpx.Request) -> httpx.Response:
        schemes.append(request.url.scheme)
        if request.url.scheme == "https":
            return httpx.Response(403, json={"error": {"code": code, "message": "no"}})
        return httpx.Response(200, json={})

    api = block(platform, base_url="https://api.mediastack.com")
    urls = api.urls
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        http = Http("ph_news", client, [KEY], classify_response=classify_response)
        code = "function_access_restricted"
        with pytest.raises(SourceHttpError, match=code):
            get_page(http, api, urls, 0)
        assert schemes == ["https"]
        code = "https_access_restricted"
        for offset in (0, 100):
            assert get_page(http, api, urls, offset).body == {}
        assert schemes == ["https", "https", "http", "http"]


@pytest.mark.slow
def test_a_refusal_of_tls_is_remembered_until_the_plan_may_have_it(
    platform: TestPlatform,
    make_platform: Callable[..., TestPlatform],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing = make_platform("refusing", kit="ph_news", size=0)
    refusing.control("refuse", {"code": "https_access_restricted", "times": -1})
    # The address with TLS comes first; here both are plain, and the first one refuses.
    addresses = [f"{one.sources_url}/v1/news" for one in (refusing, platform)]
    monkeypatch.setattr(PhNews, "urls", property(lambda block: list(addresses)))
    day_ms = 86_400_000
    platform.control("clock", {"offset_ms": -31 * day_ms})
    asked = []
    for settings in ({}, {}, {"monthly_requests": PLENTY - 1}, {"monthly_requests": PLENTY - 1}):
        platform.run(**settings)
        asked.append(len(statuses(refusing)))
    # Once, and once more as the plan is another one.
    assert asked == [1, 1, 2, 2]
    platform.control("advance")
    platform.run(monthly_requests=PLENTY - 1)
    assert len(statuses(refusing)) == 2
    # A month later the plan may have been upgraded: this run learns the time, the next one asks.
    platform.control("clock", {"offset_ms": 0})
    for _ in range(3):
        platform.run(monthly_requests=PLENTY - 1)
        asked.append(len(statuses(refusing)))
    assert asked[-3:] == [2, 3, 3]
    assert KEY not in "".join(line["known_digests"] for line in platform.ledger())
    platform.assert_equals_truth()


def test_a_real_page_is_loaded_field_for_field_and_built(
    make_platform: Callable[..., TestPlatform],
    samples: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    platform = make_platform(kit="ph_news", size=0)
    (path,) = (samples / "mediastack").glob("*.json")
    articles = json.loads(path.read_text())["data"]
    assert len(articles) == 25
    platform.control("plant", {"articles": articles})
    assert platform.run().total("inserted") == 25
    rows = platform.rows()
    for article in articles:
        row = rows[(article_id(article),)]
        at = datetime.fromisoformat(article["published_at"])
        assert {name: row[name] for name in article} == {**article, "published_at": at}
        assert (row["_extra"], row["_is_deleted"]) == (None, False)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    due = due_build(platform.stores.warehouse, SOURCE)
    assert due
    run_build(platform.stores.warehouse, platform.blocks.google, SOURCE, due)
    built = platform.query("SELECT * FROM {marts}staging.stg_ph_news__articles")
    assert len(built) == 25
    assert all("&#8" not in row["title"] + row["description"] for row in built)
    assert any("&#8" in row["description_as_served"] for row in built)
