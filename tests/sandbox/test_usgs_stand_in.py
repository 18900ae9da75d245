"""The USGS stand-in through real HTTP: the API, its stages, its faults and its memory."""

import json
import shutil
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.client import SHARED_SAMPLES, StandInWorld, stand_in

SAMPLES = SHARED_SAMPLES / "usgs"
ANCHOR_MS = 1_706_115_460_980  # 2024-01-24T16:57:40.980Z
DAY_MS = 86_400_000
QUERY = "/fdsnws/event/1/query"
COUNT = "/fdsnws/event/1/count"
ALL = {"format": "geojson", "starttime": "1900-01-01"}


class World(StandInWorld):
    """One isolated world of a running stand-in."""

    source = "usgs"

    def query(self, **params: Any) -> list[dict[str, Any]]:
        response = self.get(QUERY, **ALL | params)
        assert response.status_code == 200, response.text
        features: list[dict[str, Any]] = response.json()["features"]
        return features

    def count(self, **params: Any) -> int:
        return int(self.get(COUNT, **ALL | params).json()["count"])

    def create(self, **recipe: Any) -> None:
        """A world whose clock stands one second after its anchor."""
        self.control("world", {"anchor_ms": ANCHOR_MS, **recipe})
        now_ms = self.look("control/state")["now_ms"]
        self.control("clock", {"offset_ms": ANCHOR_MS + 1000 - now_ms})


@pytest.fixture
def world(base: str) -> World:
    fresh = World.new(base)
    fresh.create()
    return fresh


def iso(epoch_ms: float) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")[:23]


def ids(features: list[dict[str, Any]]) -> set[str]:
    return {feature["id"] for feature in features}


def test_health_answers_and_an_unknown_page_does_not(base: str) -> None:
    health = httpx.get(f"{base}/health").json()
    assert health["status"] == "ok" and "usgs" in health["sources"]
    assert httpx.get(f"{base}/main/nosuch/data").status_code == 404
    assert httpx.get(f"{base}/main/usgs/control/nothing").status_code == 404


def test_only_this_machine_is_served(base: str) -> None:
    port = int(base.rsplit(":", 1)[1])
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=1):
        pass


def test_a_query_without_starttime_looks_back_30_days(world: World) -> None:
    recent = world.get(QUERY, format="geojson").json()["features"]
    everything = world.query()
    assert len(everything) == 1500
    assert 1400 < len(recent) < 1500
    oldest = min(feature["properties"]["time"] for feature in recent)
    assert oldest >= (ANCHOR_MS + 1000 - 30 * DAY_MS) // 1000 * 1000
    # The same default hides old events from a query by update.
    updated = world.get(QUERY, format="geojson", updatedafter="1980-01-01").json()["features"]
    assert ids(updated) == ids(recent)


def test_the_envelope_is_that_of_the_real_service(world: World) -> None:
    response = world.get(QUERY, **ALL)
    document = response.json()
    now_ms = (ANCHOR_MS + 1000) // 1000 * 1000
    assert list(document) == ["type", "metadata", "features", "bbox"]
    assert now_ms <= document["metadata"]["generated"] < now_ms + 60_000
    assert document["metadata"]["generated"] % 1000 == 0
    assert document["metadata"]["count"] == len(document["features"]) == 1500
    assert document["metadata"]["url"].startswith("https://earthquake.usgs.gov/fdsnws/event/1/")
    assert len(document["bbox"]) == 6
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "public, max-age=60"
    assert response.headers["Content-Encoding"] == "gzip"
    date = parsedate_to_datetime(response.headers["Date"]).timestamp() * 1000
    assert abs(date - document["metadata"]["generated"]) <= 1000
    assert response.content.isascii() and b"\\u" in response.content

    plain = world.http.get(
        world.url + QUERY, params={**ALL, "limit": "1"}, headers={"Accept-Encoding": "identity"}
    )
    assert "Content-Encoding" not in plain.headers
    assert "bbox" not in plain.json() and "count" not in plain.json()["metadata"]


def test_values_are_awkward_as_in_the_catalog(world: World) -> None:
    features = world.query()
    properties = [feature["properties"] for feature in features]
    depths = [feature["geometry"]["coordinates"][2] for feature in features]
    assert all(f["id"] == f["properties"]["net"] + f["properties"]["code"] for f in features)
    assert any(p["time"] < 0 for p in properties) and any(p["time"] % 1 for p in properties)
    assert any(depth is None for depth in depths) and any((depth or 0) < 0 for depth in depths)
    assert {type(depth) for depth in depths} == {int, float, type(None)}
    assert any(p["mag"] is None for p in properties) and any(
        (p["mag"] or 0) < 0 for p in properties
    )
    assert {"quarry blast", "explosion", "ice quake"} <= {p["type"] for p in properties}
    assert any(p["ids"].count(",") > 2 for p in properties)
    assert any("Ōsaka" in p["place"] for p in properties)
    for name, share in {"felt": 0.925, "mmi": 0.987, "nst": 0.265, "dmin": 0.455}.items():
        assert sum(p[name] is None for p in properties) / 1500 == pytest.approx(share, abs=0.05)
    assert any(iso(p["time"]).endswith("-01T00:00:00.000") for p in properties)
    times = [p["time"] for p in properties]
    assert max(times.count(time) for time in times) >= 4


def test_times_are_inclusive_and_their_fractions_are_dropped(world: World) -> None:
    (event,) = world.query(limit=1, offset=100, orderby="time-asc")
    time = event["properties"]["time"]
    second = time // 1000 * 1000
    assert event["id"] in ids(world.query(starttime=iso(second), endtime=iso(second + 1000)))
    assert event["id"] in ids(world.query(starttime=iso(second + 999), endtime=iso(second + 1000)))
    assert event["id"] not in ids(world.query(starttime=iso(second + 1000)))
    assert event["id"] not in ids(world.query(endtime=iso(second + 999)))
    whole = next(f for f in world.query() if f["properties"]["time"] % 1000 == 0)
    moment = iso(whole["properties"]["time"])
    assert whole["id"] in ids(world.query(starttime=moment, endtime=moment))
    with_offset = {"starttime": f"{moment[:19]}+00:00", "endtime": f"{moment[:19]}Z"}
    assert whole["id"] in ids(world.query(**with_offset))


def test_updatedafter_is_inclusive(world: World) -> None:
    stamps = sorted(f["properties"]["updated"] for f in world.query())
    after = stamps[700] // 1000 * 1000
    found = world.query(updatedafter=iso(after))
    assert len(found) == sum(stamp >= after for stamp in stamps)


def test_filters_orders_and_pages(world: World) -> None:
    everything = world.query()
    strong = world.query(minmagnitude="2.5", orderby="magnitude")
    mags = [f["properties"]["mag"] for f in strong]
    assert mags == sorted(mags, reverse=True) and len(mags) > 10
    assert len(mags) == sum((f["properties"]["mag"] or -9) >= 2.5 for f in everything)
    assert world.count(minmag="2.5", maxmag="3") < len(mags)
    kinds = {f["properties"]["type"] for f in world.query(eventtype="explosion,ice quake")}
    assert kinds == {"explosion", "ice quake"}
    newest_first = [f["properties"]["time"] for f in everything]
    assert newest_first == sorted(newest_first, reverse=True)
    oldest = [f["properties"]["time"] for f in world.query(orderby="time-asc")]
    assert oldest == newest_first[::-1]
    pages = [world.query(limit=700, offset=offset) for offset in (1, 701, 1401)]
    assert [len(page) for page in pages] == [700, 700, 100]
    assert [f for page in pages for f in page] == everything
    assert world.query(offset=1400) == everything  # no limit, no offset


def test_more_matches_than_the_cap_are_refused_in_the_real_words(world: World) -> None:
    world.create(size=300, cap=299)
    response = world.get(QUERY, **ALL)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "text/plain"
    head, submitted = response.text.split("\n\nRequest Submitted:\n")
    assert head == (
        "Error 400: Bad Request\n\n"
        "300 matching events exceeds search limit of 299. Modify the search to match fewer "
        "events.\n\nUsage details are available from https://earthquake.usgs.gov/fdsnws/event/1\n\n"
        "Request:\n/fdsnws/event/1/query?format=geojson&starttime=1900-01-01"
    )
    assert submitted.endswith("+00:00\n\nService version:\n2.7.0")
    count = world.get(COUNT, **ALL)
    assert count.status_code == 200
    assert (count.json()["count"], count.json()["maxAllowed"]) == (300, 299)
    assert count.json()["error"].startswith("300 matching events exceeds search limit of 299.")
    assert world.get(COUNT, starttime="1900-01-01").text == "300"
    assert len(world.query(limit=299)) == 299
    world.create(size=300, cap=300)
    assert len(world.query()) == 300
    assert world.get(COUNT, **ALL).json() == {"count": 300, "maxAllowed": 300}


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"colour": "red"}, 'Unknown parameter "colour".'),
        ({"limit": "20001"}, 'Bad limit value "20001". Valid values are 0 <= limit <= 20000'),
        ({"offset": "0"}, 'Bad offset value "0". Valid values are 1 <= offset'),
        (
            {"starttime": "soon"},
            'Bad starttime value "soon". Valid values are ISO-8601 timestamps.',
        ),
        ({"minmagnitude": "big"}, 'Bad minmagnitude value "big". Valid values are numeric'),
        ({"format": "yaml"}, 'Bad format value "yaml".'),
        ({"format": "kml"}, "not offered by this stand-in"),
        ({"format": "text", "includedeleted": "only"}, "Cannot use includedeleted parameter"),
        ({"maxradius": "3"}, "not offered by this stand-in"),
    ],
)
def test_a_bad_query_is_refused_with_its_reason(
    world: World, params: dict[str, str], sentence: str
) -> None:
    response = world.get(QUERY, **{"format": "geojson", **params})
    assert response.status_code == 400
    assert sentence in response.text


def test_a_refusal_may_come_as_json_with_status_200(world: World) -> None:
    response = world.get(QUERY, format="geojson", limit="x", jsonerror="true")
    assert response.status_code == 200
    assert response.json()["metadata"]["status"] == 400
    assert "Bad limit" in response.json()["metadata"]["error"]


def test_no_data_depends_on_the_format(world: World) -> None:
    nothing = {"starttime": "1890-01-01", "endtime": "1890-01-02"}
    assert world.query(**nothing) == []
    csv_text = world.get(QUERY, format="csv", **nothing).text
    assert csv_text.startswith("time,latitude,") and csv_text.count("\n") == 1
    empty = world.get(QUERY, **nothing)
    assert (empty.status_code, empty.content) == (204, b"")
    assert world.get(QUERY, nodata="404", **nothing).status_code == 404
    assert len(world.get(QUERY, format="csv").text.splitlines()) > 1400
    assert world.get("/fdsnws/event/1/version").text == "2.7.0"


def test_an_event_is_found_by_any_of_its_ids(world: World) -> None:
    event = next(f for f in world.query() if f["properties"]["ids"].count(",") > 2)
    for name in event["properties"]["ids"].strip(",").split(","):
        detail = world.get(QUERY, format="geojson", eventid=name).json()
        assert detail["id"] == event["id"]
    assert world.get(QUERY, format="geojson", eventid="xx1").status_code == 404
    gone = next(f for f in world.query(includedeleted="only") if f["id"])
    response = world.get(QUERY, format="geojson", eventid=gone["id"])
    assert response.status_code == 409
    assert "The requested event has been deleted" in response.text


def test_deletions_show_only_where_they_are_asked_for(world: World) -> None:
    live, deleted = world.query(), world.query(includedeleted="only")
    assert len(deleted) == world.count(includedeleted="only") == 30
    assert {f["properties"]["status"] for f in deleted} == {"deleted"}
    assert {f["properties"]["type"] for f in deleted} == {None}
    assert len(world.query(includedeleted="true")) == len(live) + len(deleted)
    assert not ids(live) & ids(deleted)
    assert {f["id"] for f in deleted if not f["id"]} == {"", None}
    assert world.query(includedeleted="only", eventtype="earthquake") == []


def test_a_stage_changes_what_it_says(world: World) -> None:
    before = {f["id"]: f for f in world.query()}
    counts = world.control("advance")
    after = {f["id"]: f for f in world.query()}
    deleted = {f["id"] for f in world.query(includedeleted="only") if f["id"]}
    moment = counts["moment_ms"]

    changed = [f for f in after.values() if f != before.get(f["id"])]
    touched = ("new", "revised", "revised_across_month", "reidentified", "late")
    assert len(changed) == sum(counts[name] for name in touched)
    stamps = [f["properties"]["updated"] for f in changed]
    assert len(set(stamps)) == len(stamps)
    assert all(moment - 2000 < stamp <= moment for stamp in stamps)
    assert ids(world.query(updatedafter=iso(moment - 2000))) >= {f["id"] for f in changed}

    moved = [f for f in changed if f["id"] in before]
    months = [
        (iso(before[f["id"]]["properties"]["time"])[:7], iso(f["properties"]["time"])[:7])
        for f in moved
    ]
    crossed = [(old, new) for old, new in months if old != new]
    assert len(crossed) == counts["revised_across_month"] == 2
    assert crossed[0][0] < crossed[0][1] or crossed[1][0] < crossed[1][1]

    known = {name for f in after.values() for name in f["properties"]["ids"].split(",") if name}
    renamed = before.keys() & known - after.keys()
    assert len(renamed) == counts["reidentified"] == 2
    assert len((before.keys() - after.keys()) & deleted) == counts["deleted"] > 0
    born = [f for f in changed if not before.keys() & set(f["properties"]["ids"].split(","))]
    late = [f for f in born if f["properties"]["time"] < moment - 2 * DAY_MS]
    assert (len(born) - len(late), len(late)) == (counts["new"], counts["late"]) == (15, 3)
    assert any(f["properties"]["time"] < moment - 30 * DAY_MS for f in late)


def test_truth_is_what_the_api_serves_after_every_stage(world: World) -> None:
    ever_live: set[str] = set()
    switched_back: set[str] = set()
    directions: set[bool] = set()
    previous: dict[str, dict[str, Any]] = {}
    for stage in range(4):
        if stage:
            assert world.control("advance")["stage"] == stage
        live = {f["id"]: f for f in world.query()}
        gone = world.query(includedeleted="only")
        switched_back |= {name for name in live if name in ever_live and name not in previous}
        directions |= {
            iso(live[name]["properties"]["time"]) > iso(previous[name]["properties"]["time"])
            for name in live.keys() & previous.keys()
            if iso(live[name]["properties"]["time"])[:7]
            != iso(previous[name]["properties"]["time"])[:7]
        }
        ever_live |= live.keys()
        truth = world.look("truth")
        assert {f["id"]: f for f in truth["live"]} == live
        assert (
            set(truth["deleted"]) == (ever_live | {f["id"] for f in gone if f["id"]}) - live.keys()
        )
        assert truth["blank_deletions"] == sum(not f["id"] for f in gone) == 12 + 2 * stage
        previous = live
    assert switched_back
    assert directions == {True, False}
    assert world.look("control/state")["stages"] == 3


def test_a_month_is_crossed_from_every_anchor(world: World) -> None:
    for day in range(1, 32):
        anchor = datetime(2024, 3, day, 0, 5, tzinfo=UTC)
        world.create(size=100, anchor_ms=int(anchor.timestamp()) * 1000)
        before = {f["id"]: iso(f["properties"]["time"]) for f in world.look("truth")["live"]}
        counts = world.control("advance")
        after = {f["id"]: iso(f["properties"]["time"]) for f in world.look("truth")["live"]}
        moved = [(before[name], after[name]) for name in before.keys() & after.keys()]
        crossed = [(old, new) for old, new in moved if old[:7] != new[:7]]
        assert len(crossed) == counts["revised_across_month"] >= 1
        assert counts["reidentified"] >= 2 and counts["deleted"] >= 1


def test_a_world_is_the_same_after_a_restart_and_in_another_place(tmp_path: Path) -> None:
    with stand_in(tmp_path / "one") as base:
        world = World(base, "main")
        world.create(seed=7, size=200, cap=150)
        moments = [world.control("advance")["moment_ms"] for _ in range(3)]
        truth = world.look("truth")
        state = world.look("control/state")
        untouched = World(base, "other").look("truth")
    assert state["stage_moments_ms"] == moments
    with stand_in(tmp_path / "one") as base:
        world = World(base, "main")
        again = world.look("control/state")
        assert {**again, "now_ms": 0} == {**state, "now_ms": 0}
        assert again["now_ms"] - state["now_ms"] < 60_000
        assert world.look("truth") == truth
        assert world.get(QUERY, **ALL).status_code == 400  # the cap is kept
        assert World(base, "other").look("truth") == untouched
        neighbour = World(base, "neighbour")
        neighbour.create(seed=8, size=200)
        assert ids(neighbour.look("truth")["live"]).isdisjoint(ids(truth["live"]))
    # The stored recipe is all that a world is made of.
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "main.usgs.json", tmp_path / "two" / "copy.usgs.json")
    with stand_in(tmp_path / "two") as base:
        assert World(base, "copy").look("truth") == truth


def test_worlds_share_nothing(base: str) -> None:
    one, two = World(base, "share-one"), World(base, "share-two")
    one.create(size=10)
    two.create(size=20)
    one.control("faults", [{"kind": "status", "times": -1}])
    assert one.get(COUNT, **ALL).status_code == 503
    assert two.count() == 20
    assert len(one.look("control/requests")) == len(two.look("control/requests")) == 1


def test_requests_are_logged_and_counted_by_stage(world: World) -> None:
    world.control("faults", [{"kind": "status", "path": "count", "status": 429}])
    world.get(COUNT, **ALL)
    world.query(limit=1)
    log = world.look("control/requests")
    assert [(entry["path"], entry["status"], entry["fault"]) for entry in log] == [
        (COUNT, 429, "status"),
        (QUERY, 200, None),
    ]
    assert log[1]["query"] == "format=geojson&starttime=1900-01-01&limit=1"
    assert log[1]["user_agent"].startswith("python-httpx")
    assert world.look("control/state")["queries"] == 2
    world.control("advance")
    assert world.look("control/state")["queries"] == 0
    assert len(world.look("control/requests")) == 2
    world.control("reset-requests")
    assert world.look("control/requests") == []


def test_a_fault_skips_strikes_and_is_spent(world: World) -> None:
    headers = {"Retry-After": "1"}
    entry = {"kind": "status", "skip": 1, "times": 2, "headers": headers, "body": "full"}
    world.control("faults", [{**entry, "path": "query"}])
    answers = [world.get(QUERY, format="geojson") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert (answers[1].headers["Retry-After"], answers[1].text) == ("1", "full")
    assert world.refused("faults", [{"kind": "flood"}])[0] == 400


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop"},
        {"kind": "truncate"},
        {"kind": "wrong_length", "n": 10},
        {"kind": "hang", "seconds": 0.1},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_broken_connection_is_seen_as_one(world: World, fault: dict[str, Any]) -> None:
    world.control("faults", [fault])
    with pytest.raises(httpx.RemoteProtocolError):
        world.get(QUERY, **ALL)
    assert len(world.query()) == 1500


def test_a_hanging_server_runs_into_the_read_timeout(world: World) -> None:
    world.control("faults", [{"kind": "hang", "seconds": 5}])
    with pytest.raises(httpx.ReadTimeout):
        world.http.get(world.url + QUERY, params=ALL, timeout=0.2)


@pytest.mark.parametrize(
    "fault",
    [{"kind": "malformed"}, {"kind": "html"}, {"kind": "empty"}, {"kind": "wrong_length", "n": -9}],
    ids=lambda fault: fault["kind"],
)
def test_a_body_that_is_no_json_comes_with_status_200(world: World, fault: dict[str, Any]) -> None:
    world.control("faults", [fault])
    params = {**ALL, "limit": "50"}
    plain = {"Accept-Encoding": "identity"}
    response = world.http.get(world.url + QUERY, params=params, headers=plain)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()
    assert (response.headers["Content-Type"] == "text/html; charset=UTF-8") == (
        fault["kind"] == "html"
    )
    assert (response.content == b"") == (fault["kind"] == "empty")


def test_a_dripping_body_arrives_whole_and_late(world: World) -> None:
    world.control("faults", [{"kind": "drip", "seconds": 0.5}])
    response = world.get(QUERY, **ALL)
    assert len(response.json()["features"]) == 1500
    assert response.elapsed.total_seconds() >= 0.4


def test_rows_are_withheld_or_repeated_behind_a_full_count(world: World) -> None:
    plan = [{"kind": "withhold", "n": 7}, {"kind": "repeat", "n": 3, "path": "starttime=1900"}]
    world.control("faults", plan)
    short, long = world.get(QUERY, **ALL).json(), world.get(QUERY, **ALL).json()
    assert (short["metadata"]["count"], len(short["features"])) == (1500, 1493)
    assert (long["metadata"]["count"], len(long["features"])) == (1500, 1503)
    assert long["features"][-3:] == long["features"][:3]


def test_planted_features_are_served_as_they_are(world: World) -> None:
    world.create(size=5)
    odd: list[dict[str, Any]] = [
        {"type": "Feature", "id": "", "properties": {"time": "yesterday", "colour": "red"}},
        {"id": "xx1", "properties": {"time": 10**17, "updated": None}, "geometry": None},
        {"id": 5, "properties": None, "geometry": {"coordinates": ["a", 1]}},
        {"id": "xx2", "properties": {"time": ANCHOR_MS - 1000, "updated": 0, "mag": "1.5"}},
    ]
    assert world.control("plant", {"features": odd}) == {"planted": 4}
    world.control("plant", {"features": [{"id": None}], "deleted": True})
    everything = world.query()
    assert len(everything) == world.count() == 8
    assert everything[5:] == [odd[0], odd[2], odd[3]]  # one lies far in the future
    assert [f["id"] for f in world.query(updatedafter="2000-01-01")[-2:]] == ["", 5]
    assert world.query(includedeleted="only") == [{"id": None}]
    assert len(world.look("truth")["live"]) == 5


def test_a_large_world_is_served_in_full_pages(world: World) -> None:
    world.create(size=20_001)
    assert world.count() == 20_001
    assert world.get(QUERY, **ALL).status_code == 400
    assert len(world.query(limit=20_000)) == 20_000


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is absent: no real payload")
@pytest.mark.parametrize("way", ["option", "environment"])
def test_real_payload_files_are_served_unchanged(tmp_path: Path, way: str) -> None:
    (path,) = SAMPLES.glob("*.geojson")
    payload = json.loads(path.read_text(encoding="utf-8"))
    options = ["--usgs-files", str(SAMPLES)] if way == "option" else []
    environment = {"SANDBOX_USGS_FILES": str(SAMPLES)} if way == "environment" else {}
    with stand_in(tmp_path, *options, **environment) as base:
        world = World(base, "main")
        document = world.get(QUERY, format="geojson").json()
        assert len(payload["features"]) == world.count() == 2155
        assert document["metadata"]["generated"] == payload["metadata"]["generated"]
        assert document["bbox"] == payload["bbox"]
        assert document["features"] == payload["features"]
        truth = world.look("truth")
        assert truth["live"] == payload["features"]
        assert (truth["deleted"], truth["blank_deletions"]) == ([], 0)
        status, error = world.refused("advance")
        assert status == 409 and "payload files" in error
        detail = world.get(QUERY, format="geojson", eventid="ak02413xuhu2").json()
        assert detail["id"] == "us7000lth4"
