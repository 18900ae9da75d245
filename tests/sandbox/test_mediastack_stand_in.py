"""The mediastack stand-in through real HTTP: pages, refusals, quota, stages, truth and memory."""

import html
import itertools
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.sources.mediastack_api import REFUSALS, encode
from testing.client import SHARED_SAMPLES, StandInWorld, stand_in

SAMPLES = SHARED_SAMPLES / "mediastack"
NEWS = "/v1/news"
KEY = "sandbox-mediastack-key"
ANCHOR_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z
DAY_MS = 86_400_000
WANTED = {"countries": "ph"}


class World(StandInWorld):
    """One isolated world of a running stand-in."""

    source = "mediastack"

    def get(self, path: str = NEWS, **params: Any) -> httpx.Response:
        return self.http.get(self.url + path, params={"access_key": KEY, **params})

    def page(self, **params: Any) -> dict[str, Any]:
        response = self.get(**params)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def rows(self, **params: Any) -> list[dict[str, Any]]:
        """Every row of a query, page by page of 100."""
        rows: list[dict[str, Any]] = []
        while True:
            page = self.page(limit=100, offset=len(rows), **params)
            rows += page["data"]
            if page["pagination"]["count"] < 100:
                return rows

    def refusal(self, path: str = NEWS, **params: Any) -> tuple[int, Any]:
        response = self.get(path, **params)
        return response.status_code, response.json()

    def create(self, **recipe: Any) -> None:
        """A world whose clock stands at its anchor."""
        self.control("world", {"anchor_ms": ANCHOR_MS, **recipe})
        self.control("clock", {"now_ms": ANCHOR_MS})

    def truth(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        return by_key(self.look("truth")["articles"])


@pytest.fixture
def world(base: str) -> World:
    fresh = World.new(base)
    fresh.create()
    return fresh


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["url"], row["source"], row["category"]): row for row in rows}


def normalised(url: str) -> str:
    """The same for all variants of a story's url; of its parameters only `id` means something."""
    parts = urlsplit(url)
    meant = [pair for pair in parts.query.split("&") if pair.startswith("id=")]
    return f"{parts.netloc}{parts.path.rstrip('/')}?{'&'.join(meant)}"


def iso(epoch_ms: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(milliseconds=epoch_ms)).isoformat() + "+00:00"  # noqa: DTZ001


def invalid(name: str, error: str) -> dict[str, Any]:
    context = {name: [error]}
    return {
        "error": {"code": "validation_error", "message": "Validation error", "context": context}
    }


def test_a_page_has_25_rows_unless_asked_and_100_at_most(world: World) -> None:
    page = world.page(**WANTED)
    assert page["pagination"] == {"limit": 25, "offset": 0, "count": 25, "total": 300}
    assert len(page["data"]) == 25
    last = world.page(**WANTED, limit=100, offset=250)
    assert last["pagination"] == {"limit": 100, "offset": 250, "count": 50, "total": 300}
    assert world.page(**WANTED, offset=300)["data"] == []
    assert world.rows(**WANTED)[25:50] == world.page(**WANTED, offset=25)["data"]


@pytest.mark.parametrize(
    ("params", "context"),
    [
        ({"limit": 101}, ("limit", "TOO_HIGH_ERROR")),
        ({"limit": 0}, ("limit", "TOO_LOW_ERROR")),
        ({"offset": -1}, ("offset", "TOO_LOW_ERROR")),
        ({"limit": "all"}, ("limit", "INVALID_TYPE_ERROR")),
        ({"languages": "en,tl"}, ("languages", "NO_SUCH_CHOICE_ERROR")),
        ({"categories": "-politics"}, ("categories", "NO_SUCH_CHOICE_ERROR")),
        ({"sort": "newest"}, ("sort", "NO_SUCH_CHOICE_ERROR")),
        ({"country": "ph"}, ("country", "NO_SUCH_FIELD_ERROR")),
    ],
)
def test_a_bad_parameter_is_named_in_the_context(
    world: World, params: dict[str, Any], context: tuple[str, str]
) -> None:
    assert world.refusal(**params) == (400, invalid(*context))


def test_key_path_and_plan_are_checked(world: World) -> None:
    keyless = world.http.get(world.url + NEWS)
    assert (keyless.status_code, keyless.json()["error"]["code"]) == (401, "missing_access_key")
    status, body = world.refusal(access_key="wrong")
    assert (status, body["error"]["code"]) == (401, "invalid_access_key")
    status, body = world.refusal("/v1/newz")
    assert (status, body["error"]["code"]) == (404, "invalid_api_function")
    status, body = world.refusal(date="2027-01-15")
    assert (status, body["error"]["code"]) == (403, "function_access_restricted")
    world.control("settings", {"plan": "paid", "keys": ["another"]})
    params = {**WANTED, "access_key": "another"}
    assert world.refusal(**WANTED)[0] == 401
    dated = world.page(**params, date="2027-01-14,2027-01-15")
    assert 0 < dated["pagination"]["total"] < 300
    assert {row["published_at"][:10] for row in dated["data"]} <= {"2027-01-14", "2027-01-15"}
    assert world.refusal(**params, date="yesterday") == (
        400,
        invalid("date", "NO_SUCH_CHOICE_ERROR"),
    )


def test_every_request_is_counted_until_the_month_is_spent(world: World) -> None:
    world.create(monthly_requests=4)
    world.control("faults", [{"kind": "drop"}])
    with pytest.raises(httpx.RemoteProtocolError):
        world.get()
    assert world.refusal(limit=101)[0] == 400
    assert world.refusal(access_key="wrong")[0] == 401
    world.page()
    state = world.look("control/state")
    assert (state["requests_counted"], state["requests_left"]) == (4, 0)
    status, body = world.refusal()
    assert (status, body) == (
        429,
        {
            "error": {
                "code": "usage_limit_reached",
                "message": "Your monthly usage limit has been reached. "
                "Please upgrade your Subscription Plan.",
            }
        },
    )
    assert world.look("control/state")["requests_counted"] == 5
    world.control("clock", {"now_ms": ANCHOR_MS + 17 * DAY_MS})
    world.page()
    state = world.look("control/state")
    assert state["requests_by_month"] == {"2027-01": 5, "2027-02": 1}
    assert (state["month"], state["requests_left"]) == ("2027-02", 3)


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_comes_in_both_envelopes(world: World, code: str) -> None:
    assert world.control("refuse", {"code": code, "times": 2}) == {"forced_refusals": 2}
    status, body = world.refusal()
    assert status == REFUSALS[code][0] >= 400
    assert body == {"error": {"code": code, "message": REFUSALS[code][1]}}
    world.control("settings", {"envelope": "old"})
    status, body = world.refusal()
    assert status == 200
    assert (body["success"], body["error"]["type"]) == (False, code)
    assert body["error"].keys() == {"code", "type", "info"}
    assert isinstance(body["error"]["code"], int)
    assert "data" in world.page()


def test_a_refusal_can_stay(world: World) -> None:
    world.control("refuse", {"code": "https_access_restricted", "times": -1})
    assert [world.refusal()[0] for _ in range(5)] == [403] * 5
    world.control("refuse", {"code": "https_access_restricted", "times": 0})
    assert world.refusal()[0] == 200
    assert world.refused("refuse", {"code": "tired"})[0] == 400


def test_filters_include_and_exclude(world: World) -> None:
    everything, wanted = world.rows(), world.rows(**WANTED)
    assert len(wanted) == 300 < len(everything)
    assert {row["country"] for row in wanted} == {"ph"}
    others = [row for row in everything if row["country"] != "ph"]
    assert {row["country"] for row in others} == {"us", "gb", "mx"}
    english = world.rows(**WANTED, languages="en")
    rest = world.rows(**WANTED, languages="-en")
    assert {row["language"] for row in english} == {"en"}
    assert {row["language"] for row in rest} == {"zh"} and len(english) + len(rest) == 300
    assert {row["country"] for row in world.rows(countries="us,gb")} == {"us", "gb"}
    assert "ph" not in {row["country"] for row in world.rows(countries="-ph")}
    sport = world.rows(**WANTED, categories="sports")
    rest = world.rows(**WANTED, categories="-sports")
    assert len(sport) + len(rest) == 300 and {row["category"] for row in sport} == {"sports"}
    assert {row["source"] for row in world.rows(sources="manilaledger")} == {"manilaledger"}
    found = world.rows(**WANTED, keywords="flood PLAN -cebu")
    assert found and all("flood plan" in row["title"] for row in found)
    assert not any("Cebu" in row["title"] for row in found)


def test_the_order_is_by_arrival_and_not_by_time(world: World) -> None:
    rows = world.rows(**WANTED)
    stamps = [row["published_at"] for row in rows]
    assert stamps != sorted(stamps, reverse=True)
    assert max(Counter(stamps).values()) > 2
    now = iso(ANCHOR_MS)
    top = stamps[:40]
    assert any(stamp > now for stamp in top)
    assert any(stamp < iso(ANCHOR_MS - 2 * DAY_MS) for stamp in top)
    assert sum(iso(ANCHOR_MS - DAY_MS // 12) <= stamp <= now for stamp in top) > 15
    assert world.rows(**WANTED, sort="published_asc") == rows[::-1]
    popular = world.rows(**WANTED, sort="popularity")
    assert popular != rows and by_key(popular) == by_key(rows)


def test_stories_have_several_rows_and_urls(world: World) -> None:
    rows = world.rows(**WANTED)
    assert len(by_key(rows)) == len(rows)
    stories: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        stories.setdefault(normalised(row["url"]), []).append(row)
    several = [story for story in stories.values() if len(story) > 1]

    def differ(name: str) -> int:
        """How many stories have one url but not one value of this."""
        return sum(
            len({row["url"] for row in story}) == 1 and len({row[name] for row in story}) > 1
            for story in several
        )

    assert differ("category") > 3 and differ("source") > 3
    assert any(len({urlsplit(row["url"]).scheme for row in story}) == 2 for story in several)
    assert any(len({row["url"].endswith("/") for row in story}) == 2 for story in several)
    assert any(len({"utm_" in row["url"] for row in story}) == 2 for story in several)


def test_values_are_null_empty_and_escaped_as_in_reality(world: World) -> None:
    rows = world.rows(**WANTED)
    assert {None, "", "Staff"} < {row["author"] for row in rows}
    assert 0.75 < sum(row["image"] is None for row in rows) / 300 < 1
    assert 0 < sum(row["description"] is None for row in rows) < 30
    texts = [row["description"] for row in rows if row["description"]]
    assert sum("&#8211;" in text for text in texts) > 200
    assert any("<p>" in text for text in texts) and any(" & " in row["title"] for row in rows)
    assert any("Parañaque" in html.unescape(text) for text in texts)
    raw = world.get(**WANTED, limit=100).content
    assert rb"https:\/\/" in raw and rb"\u0026#8211;" in raw and rb"Para\u00f1aque" in raw
    assert not {b"&", b"'", b"<"} & {bytes([byte]) for byte in raw}


def test_a_stage_adds_relists_and_retitles(world: World) -> None:
    before, rows_before = world.truth(), world.rows(**WANTED)
    counts = world.control("advance")
    after, rows_after = world.truth(), world.rows(**WANTED)
    assert (counts["stage"], counts["moment_ms"]) == (1, ANCHOR_MS)
    assert counts["new"] == len(after.keys() - before.keys()) == 40
    assert not before.keys() - after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert counts["retitled"] == len(changed) == 4
    for name in changed:
        assert {**before[name], "title": after[name]["title"]} == after[name]
    assert len(rows_after) - len(rows_before) == 40
    assert len(world.rows()) == world.look("control/state")["rows"]
    top = by_key(rows_after[:43])
    relisted = top.keys() & before.keys()
    assert len(relisted) == counts["relisted"] == 3
    assert list(by_key(rows_after[43:]).items()) == [
        (name, after[name]) for name in by_key(rows_before) if name not in relisted
    ]


@pytest.mark.parametrize("limit", [25, 50, 100])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_reads_back_to_a_page_of_known_rows_has_met_every_change(
    world: World, limit: int, seed: int
) -> None:
    world.create(seed=seed)
    copy = world.truth()
    for stages in (1, 1, 2):
        for _ in range(stages):
            world.control("advance")
        assert copy != world.truth()
        for offset in itertools.count(step=limit):
            page = by_key(world.page(**WANTED, limit=limit, offset=offset)["data"])
            is_known = page.keys() <= copy.keys()
            copy |= page
            if is_known:
                break
        assert copy == world.truth()


def test_truth_is_what_the_pages_say_after_every_stage(world: World) -> None:
    for stage in range(4):
        if stage:
            assert world.control("advance")["stage"] == stage
        truth = world.truth()
        assert truth == by_key(world.rows(**WANTED))
        assert len(truth) == 300 + 40 * stage


def test_rows_can_arrive_while_someone_pages(world: World) -> None:
    assert world.control("advance", {"after_requests": 2}) == {"after_requests": 2}
    first, second, third = (
        world.page(**WANTED, limit=50, offset=offset)["data"] for offset in (0, 50, 100)
    )
    assert not by_key(first).keys() & by_key(second).keys()
    assert len(by_key(second).keys() & by_key(third).keys()) >= 40
    assert world.look("control/state")["stages"] == 1


def test_articles_are_withdrawn_and_listed_late_between_two_pages(world: World) -> None:
    before = world.rows(**WANTED)
    world.control("withdraw", {"place": 2, "count": 3, "after_requests": 1})
    world.control("late", {"place": 250, "count": 4, "after_requests": 2})
    pages = [world.page(**WANTED, limit=100, offset=offset) for offset in (0, 100, 200)]
    assert [page["pagination"]["total"] for page in pages] == [300, 297, 301]
    assert pages[1]["data"] == before[103:203]
    after = world.rows(**WANTED)
    late = by_key(after).keys() - by_key(before).keys()
    assert by_key(after[250:254]).keys() == late
    assert [row for row in after if row not in after[250:254]] == before[:2] + before[5:]
    # Both belong to what was ever listed.
    assert world.truth().keys() == by_key(before).keys() | late
    assert world.refused("withdraw", {"place": -1})[0] == 400


def test_planted_rows_stand_on_top_and_outside_the_truth(world: World) -> None:
    truth = world.truth()
    odd: list[Any] = [{"title": "no url", "colour": "red"}, {"url": 5}, "not an object"]
    assert world.control("plant", {"articles": odd}) == {"planted": 3}
    page = world.page(**WANTED, limit=4)
    assert page["data"][:3] == odd and page["pagination"]["total"] == 303
    assert world.truth() == truth


def test_a_total_is_capped(world: World) -> None:
    world.create(size=10_050)
    page = world.page(**WANTED, limit=100, offset=9_950)
    assert page["pagination"] == {"limit": 100, "offset": 9950, "count": 50, "total": 10_000}
    assert world.page(**WANTED, offset=10_000)["data"] == []
    assert len(world.truth()) == 10_050


def test_a_page_can_lose_rows_behind_its_count(world: World) -> None:
    world.control("faults", [{"kind": "withhold", "n": 5}, {"kind": "malformed"}])
    page = world.page(**WANTED)
    assert (page["pagination"]["count"], len(page["data"])) == (25, 20)
    with pytest.raises(json.JSONDecodeError):
        world.page(**WANTED)


def test_a_world_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        world.create(seed=7, size=100, monthly_requests=9, envelope="old")
        for _ in range(3):
            world.control("advance")
        world.control("withdraw", {"place": 90, "count": 2})
        world.control("late", {"place": 150, "count": 3})
        world.control("advance")
        rows, truth = world.rows(**WANTED), world.truth()
        state = world.look("control/state")
        other = World(base, "other")
        other.create(seed=8, size=100)
        assert not other.truth().keys() & truth.keys()
    assert state["requests_counted"] == 3
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        assert {**world.look("control/state"), "queries": 3} == {**state, "queries": 3}
        assert world.truth() == truth
        assert world.rows(**WANTED) == rows
        assert world.look("control/state")["requests_counted"] == 6


def test_what_a_setting_cannot_be_is_refused(world: World) -> None:
    for payload in ({"plan": "gold"}, {"envelope": "soap"}, {"monthly": 5}, {"keys": "one"}):
        assert world.refused("settings", payload)[0] == 400
    assert world.refused("world", {"size": -1})[0] == 400
    assert world.look("control/state")["plan"] == "free"


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is absent: no real payload")
def test_a_page_has_the_shape_and_the_escapes_of_a_real_one(world: World) -> None:
    (path,) = SAMPLES.glob("*.json")
    content = path.read_bytes()
    real = json.loads(content)
    assert encode(real) == content
    ours = world.page(limit=100)
    assert list(ours) == list(real)
    assert list(ours["pagination"]) == list(real["pagination"])
    assert len(real["data"]) == 25
    assert {tuple(row) for row in ours["data"]} == {tuple(row) for row in real["data"]}
    for name in real["data"][0]:
        theirs = {type(row[name]) for row in real["data"]}
        mine = {type(row[name]) for row in ours["data"]}
        # A description may be null, though none of these is.
        assert mine == theirs | ({type(None)} if name in ("description", "author") else set())
