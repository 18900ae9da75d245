"""The Socrata stand-in through real HTTP: pages, refusals, versions, faults, truth and memory."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sandbox.sources.socrata_dataset import COLUMNS, digest
from sandbox.sources.socrata_generator import AWKWARD_NAMES
from testing.client import SHARED_SAMPLES, StandInWorld, stand_in

SAMPLES = SHARED_SAMPLES / "soda"
DATASET = "8wbx-tsch"
TOKEN = {"X-App-Token": "sandbox-socrata-token"}
ANCHOR_S = 1_800_000_000  # 2027-01-15T08:00:00Z, 03:00 in New York
SIZE = 2000
DAY_MS = 86_400_000
Row = dict[str, str | None]


class World(StandInWorld):
    """One isolated world of a running stand-in."""

    source = "socrata"

    def ask(self, form: str = "json", also: Any = None, **soql: Any) -> httpx.Response:
        """A query with the right token; `also` are headers."""
        params = {f"${name}": value for name, value in soql.items()}
        url = f"{self.url}/resource/{DATASET}.{form}"
        return self.http.get(url, params=params, headers={**TOKEN, **(also or {})})

    def page(self, form: str = "json", **soql: Any) -> list[Row]:
        response = self.ask(form, **soql)
        assert response.status_code == 200, response.text
        return parsed(response)

    def pages(self, form: str, limit: int, **soql: Any) -> list[Row]:
        """Every page until a short one."""
        rows: list[Row] = []
        while True:
            page = self.page(form, limit=limit, offset=len(rows), **soql)
            rows += page
            if len(page) < limit:
                return rows

    def count(self) -> int:
        return int(self.page(select="count(*)")[0]["count"] or "")

    def view(self, dataset: str = DATASET) -> httpx.Response:
        return self.http.get(f"{self.url}/api/views/{dataset}.json")

    def create(self, **recipe: Any) -> None:
        """A world whose clock stands at its anchor."""
        self.control("world", {"anchor_ms": ANCHOR_S * 1000, **recipe})
        self.control("clock", {"now_ms": ANCHOR_S * 1000})

    def truth(self) -> list[Row]:
        rows: list[Row] = self.look("truth")["rows"]
        return rows


@pytest.fixture
def world(base: str) -> World:
    fresh = World.new(base)
    fresh.create()
    return fresh


def parsed(response: httpx.Response) -> list[Row]:
    """A page's rows with all columns that its header names; none holds an empty text."""
    if response.headers["content-type"].startswith("text/csv"):
        reader = csv.DictReader(io.StringIO(response.text, newline=""), strict=True)
        return [{name: text or None for name, text in row.items()} for row in reader]
    fields = json.loads(response.headers["x-soda2-fields"])
    rows = response.json()
    assert all(row.keys() <= set(fields) for row in rows)
    return [{name: row.get(name) for name in fields} for row in rows]


def counted(rows: Iterable[Row]) -> Counter[tuple[str | None, ...]]:
    return Counter(tuple(row.values()) for row in rows)


def licenses(rows: Iterable[Row]) -> list[str | None]:
    return [row["vehicle_license_number"] for row in rows]


def by_license(rows: Iterable[Row]) -> dict[str | None, Row]:
    """Without the stamps that every version changes, and without the license that stands twice."""
    stamps = ("last_date_updated", "last_time_updated")
    plain = [{name: row[name] for name in row if name not in stamps} for row in rows]
    many = Counter(licenses(plain))
    return {row["vehicle_license_number"]: row for row in plain if many[licenses([row])[0]] == 1}


def test_a_page_has_1000_rows_unless_asked(world: World) -> None:
    assert len(world.page()) == len(world.page("csv")) == 1000
    assert len(world.page(limit=3000)) == SIZE
    assert len(world.page(limit=700, offset=1400, order=":id")) == 600
    assert world.page(offset=SIZE) == world.page("csv", offset=SIZE) == []
    assert world.ask(offset=SIZE).text == "[]\n"
    assert world.ask(limit=0).text == "[]\n"


def test_a_count_is_a_text(world: World) -> None:
    response = world.ask(select="count(*)")
    assert response.text == '[{"count":"2000"}]\n'
    assert response.headers["x-soda2-fields"] == '["count"]'
    assert response.headers["x-soda2-types"] == '["number"]'
    assert world.ask("csv", select="count(*)").text == '"count"\n"2000"\n'


@pytest.mark.parametrize("order", [":id", ":id DESC", "base_name,:id", "vehicle_license_number"])
def test_pages_in_a_stable_order_are_the_truth_in_both_forms(world: World, order: str) -> None:
    rows = world.pages("json", 300, order=order)
    assert len(rows) == world.count() == SIZE
    assert counted(rows) == counted(world.truth())
    if order != "vehicle_license_number":  # of which one stands twice
        assert world.pages("csv", 700, order=order) == rows


@pytest.mark.parametrize("order", [{}, {"order": "last_date_updated"}])
def test_pages_without_a_unique_order_lose_and_repeat_rows(
    world: World, order: dict[str, str]
) -> None:
    rows = world.pages("csv", 300, **order)
    assert len(rows) == SIZE
    assert len(set(licenses(rows))) < 0.8 * SIZE
    assert world.page(limit=SIZE, **order) != world.page(limit=SIZE, **order)
    assert counted(world.page(limit=SIZE, **order)) == counted(world.truth())


def test_two_worlds_of_one_seed_are_alike_to_the_letter(base: str) -> None:
    one, two, other = World.new(base), World.new(base), World.new(base)
    for fresh, seed in ((one, 5), (two, 5), (other, 6)):
        fresh.create(seed=seed, size=400)
        fresh.control("advance")
    assert one.ask().content == two.ask().content != other.ask().content
    assert one.look("truth") == two.look("truth")
    assert not set(licenses(one.truth())) <= set(licenses(other.truth()))


def test_an_order_sorts_by_its_columns(world: World) -> None:
    rows = world.page(order="vehicle_year DESC, base_number, :id", limit=SIZE)
    years = [row["vehicle_year"] for row in rows if row["vehicle_year"]]
    assert len(set(years)) > 5 and years == sorted(years, reverse=True)
    assert world.page(order="vehicle_year desc,vehicle_year,base_number,:id", limit=SIZE) == rows
    newest = [row["base_number"] or "" for row in rows if row["vehicle_year"] == years[0]]
    assert len(set(newest)) > 5 and newest == sorted(newest)
    by_id = world.page(order=":id", limit=SIZE)
    assert world.page(order=":id desc", limit=SIZE) == by_id[::-1]
    assert licenses(by_id) != sorted(licenses(by_id), key=str)


def test_a_selection_names_columns_and_system_columns(world: World) -> None:
    select = ":id, vehicle_license_number, vehicle_year, :updated_at"
    response = world.ask(select=select, order=":id", limit=SIZE)
    assert json.loads(response.headers["x-soda2-fields"]) == select.split(", ")
    assert json.loads(response.headers["x-soda2-types"]) == [
        *("row_identifier", "text", "number", "fixed_timestamp")
    ]
    rows = response.json()
    ids = [row[":id"] for row in rows]
    assert len(set(ids)) == SIZE
    assert all(re.fullmatch(r"row-\w{4}_\w{4}~\w{4}", name) for name in ids)
    assert {row[":updated_at"] for row in rows} == {"2027-01-15T08:00:00.000Z"}
    assert world.page("csv", select=select, order=":id", limit=SIZE) == parsed(response)
    everything = world.page(select=":id,*", limit=5)
    assert all(tuple(row) == (":id", *COLUMNS) for row in everything)
    half = world.page(select=":id", order=":id", limit=SIZE // 2, offset=SIZE // 2)
    assert [row[":id"] for row in half] == ids[SIZE // 2 :]


def test_json_says_numbers_as_texts_and_nulls_as_absent_keys(world: World) -> None:
    response = world.ask(limit=SIZE, order=":id")
    rows = response.json()
    assert all(isinstance(text, str) and text for row in rows for text in row.values())
    assert all("order_date" not in row for row in rows)
    absent = Counter(name for row in rows for name in set(COLUMNS) - row.keys())
    assert absent["order_date"] == SIZE
    for name in ("certification_date", "vehicle_year", "veh", "website", "wheelchair_accessible"):
        assert 20 < absent[name] < 0.95 * SIZE
    assert all(list(row) == [name for name in COLUMNS if name in row] for row in rows)
    assert len(response.text.split("\n,{")) == SIZE
    types = json.loads(response.headers["x-soda2-types"])
    assert Counter(types) == {"text": 17, "floating_timestamp": 5, "number": 1}
    stamp = re.compile(r"\d{4}-\d\d-\d\dT00:00:00\.000")
    for name, kind in zip(COLUMNS, types, strict=True):
        if kind == "floating_timestamp":
            assert all(stamp.fullmatch(row[name]) for row in rows if name in row)


def test_csv_has_every_column_and_quotes_every_text(world: World) -> None:
    text = world.ask("csv", limit=SIZE).text
    header, body = text.split("\n", 1)
    assert header == ",".join(f'"{name}"' for name in COLUMNS)
    field = r'(?:"(?:[^"]|"")+")?'
    records = re.findall(rf"{field}(?:,{field}){{22}}\n", body)
    assert len(records) == SIZE and "".join(records) == body
    assert sum(record.count("\n") > 1 for record in records) > 20


def test_some_values_are_hard_on_a_parser(world: World) -> None:
    for form in ("json", "csv"):
        rows = world.page(form, limit=SIZE)
        names = Counter(row["name"] or "" for row in rows)
        assert set(AWKWARD_NAMES) <= names.keys()
        assert 0 < sum(names[name] for name in AWKWARD_NAMES) < 0.06 * SIZE
        assert any("\n" in (row["base_address"] or "") for row in rows)
        assert any('"' in (row["base_name"] or "") for row in rows)


def test_values_drift_as_in_reality(world: World) -> None:
    rows = world.truth()

    def seen(name: str) -> set[str | None]:
        return {row[name] for row in rows}

    assert seen("license_type") == {"For Hire Vehicle", "FOR HIRE VEHICLE"}
    assert seen("active") == {"YES"}
    assert {"BLACK CAR", "BLACK-CAR", "LIVERY"} < seen("base_type")
    assert seen("wheelchair_accessible") == {None, "PILOT", "WAV"}
    assert {None, "HYB"} < seen("veh")
    phones = [str(row["base_telephone_number"]) for row in rows]
    assert any(re.fullmatch(r"\(\d{3}\) 555-\d{4}", phone) for phone in phones)
    assert any(re.fullmatch(r"\(\d{3}\)555-\d{4}", phone) for phone in phones)
    assert 0.3 < sum("@" in str(row["website"]) for row in rows) / SIZE < 0.7
    assert {"N/A", None} < seen("website")
    assert seen("last_date_updated") == {"2027-01-15T00:00:00.000"}
    assert seen("last_time_updated") == {"03:00"}
    assert sorted(Counter(licenses(rows)).values())[-2:] == [1, 2]
    assert {row["certification_date"] is None for row in rows if row["hack_up_date"]} == {False}


@pytest.mark.parametrize(
    ("params", "code", "column"),
    [
        ({"$select": "vehicle_license_number,colour"}, "query.soql.no-such-column", "colour"),
        ({"$order": "colour DESC"}, "query.soql.no-such-column", "colour"),
        ({"colour": "red"}, "query.soql.no-such-column", "colour"),
        ({"$limits": "5"}, "sandbox.no-such-parameter", None),
        ({"$limit": "all"}, "sandbox.bad-number", None),
        ({"$offset": "-1"}, "sandbox.bad-number", None),
        ({"$where": "vehicle_year > 2020"}, "sandbox.not-offered", None),
        ({"veh": "HYB"}, "sandbox.not-offered", None),
        ({"$select": "max(vehicle_year)"}, "sandbox.not-offered", None),
    ],
)
def test_a_bad_query_is_refused_with_an_error_code(
    world: World, params: dict[str, str], code: str, column: str | None
) -> None:
    for form in ("json", "csv"):
        response = world.get(f"/resource/{DATASET}.{form}", **params)
        assert response.status_code == 400
        body = response.json()
        assert list(body) == ["message", "errorCode", "data"]
        assert body["errorCode"] == code and body["message"].startswith(
            f"Query coordinator error: {code}; "
        )
        assert body["data"].get("column") == column


def test_what_is_not_there_is_refused_by_the_platform(world: World) -> None:
    missing = {"code": "dataset.missing", "error": True, "message": "Not found"}
    for path in (
        "/resource/zzzz-zzzz.json",
        "/resource/zzzz-zzzz.csv",
        "/api/views/zzzz-zzzz.json",
    ):
        response = world.get(path)
        assert response.status_code == 404
        assert response.json() == {**missing, "data": {"id": "zzzz-zzzz"}}
    for path in ("/resource/8wbx-tsch.xml", "/resource/", "/api/views"):
        response = world.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert world.http.post(f"{world.url}/resource/{DATASET}.json").status_code == 404


def test_a_wrong_token_is_worse_than_none(world: World) -> None:
    refusal = {
        "code": "permission_denied",
        "error": True,
        "message": "Invalid app_token specified",
    }
    for response in (
        world.ask(also={"X-App-Token": "wrong"}),
        world.http.get(world.view().url, headers={"X-App-Token": "wrong"}),
        world.get(f"/resource/{DATASET}.csv", **{"$$app_token": "wrong"}),
    ):
        assert (response.status_code, response.json()) == (403, refusal)
    assert world.get(f"/resource/{DATASET}.json").status_code == 200
    path = f"/resource/{DATASET}.json"
    assert world.get(path, **{"$$app_token": TOKEN["X-App-Token"]}).status_code == 200
    world.control("settings", {"tokens": ["another"]})
    assert world.ask().status_code == 403
    assert world.ask(also={"X-App-Token": "another"}).status_code == 200


def test_without_a_token_the_pool_is_throttled(world: World) -> None:
    world.control("settings", {"requests_per_window": 2, "window_seconds": 30})
    path = f"/resource/{DATASET}.json"
    assert [world.get(path).status_code for _ in range(3)] == [200, 200, 429]
    assert world.view().status_code == 429
    assert world.get(path).json()["error"] is True
    assert {world.ask(limit=1).status_code for _ in range(5)} == {200}
    world.control("clock", {"now_ms": ANCHOR_S * 1000 + 30_000})
    assert [world.get(path).status_code for _ in range(3)] == [200, 200, 429]
    world.control("settings", {"requests_per_window": None})
    assert {world.get(path).status_code for _ in range(5)} == {200}


def test_the_headers_tell_of_the_version(world: World) -> None:
    response = world.ask(limit=1)
    moment = "Fri, 15 Jan 2027 08:00:00 GMT"
    for name in (
        *("date", "last-modified", "x-soda2-truth-last-modified"),
        "x-soda2-secondary-last-modified",
    ):
        assert response.headers[name] == moment
    assert response.headers["x-soda2-data-out-of-date"] == "false"
    assert response.headers["content-type"] == "application/json;charset=utf-8"
    assert json.loads(response.headers["x-soda2-fields"]) == list(COLUMNS)
    assert len(json.loads(response.headers["x-soda2-types"])) == len(COLUMNS)
    ids = {world.ask(limit=1).headers["x-socrata-requestid"] for _ in range(3)}
    assert len(ids) == 3 and all(re.fullmatch("[0-9a-f]{32}", name) for name in ids)
    tags = {world.ask(form, limit=1).headers["etag"] for form in ("json", "json", "csv")}
    assert len(tags) == 2


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_the_client_has_is_not_sent_again(world: World, form: str) -> None:
    first = world.ask(form)
    tag, date = first.headers["etag"], first.headers["last-modified"]
    for also in (
        {"If-None-Match": tag},
        {"If-None-Match": f'"other", W/{tag}'},
        {"If-Modified-Since": date},
        {"If-None-Match": tag, "If-Modified-Since": "Fri, 01 Jan 2027 00:00:00 GMT"},
    ):
        same = world.ask(form, also=also)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == tag and "content-length" not in same.headers
    assert world.ask(form, also={"If-None-Match": tag}, limit=5).status_code == 200
    assert world.ask(form, also={"If-None-Match": '"x"', "If-Modified-Since": date}).text
    assert world.ask(form, also={"If-Modified-Since": "yesterday"}).status_code == 200
    world.control("advance")
    for also in ({"If-None-Match": tag}, {"If-Modified-Since": date}):
        assert world.ask(form, also=also).status_code == 200


def test_metadata_has_times_in_seconds_and_the_columns(world: World) -> None:
    world.control("clock", {"now_ms": ANCHOR_S * 1000 + DAY_MS})
    world.control("advance")
    view = world.view().json()
    assert view["id"] == DATASET
    assert view["createdAt"] == ANCHOR_S
    assert view["rowsUpdatedAt"] == view["viewLastModified"] == ANCHOR_S + DAY_MS // 1000
    assert [column["fieldName"] for column in view["columns"]] == list(COLUMNS)
    assert [column["position"] for column in view["columns"]] == list(range(1, 24))
    kinds = {column["fieldName"]: column["dataTypeName"] for column in view["columns"]}
    assert kinds["expiration_date"] == "calendar_date"
    assert (kinds["vehicle_year"], kinds["name"]) == ("number", "text")


def test_faults_reach_pages(world: World) -> None:
    processing = {"kind": "status", "status": 202, "headers": {"Retry-After": "1"}}
    world.control("faults", [{**processing, "times": 2}])
    answers = [world.ask(limit=1) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 200]
    assert answers[0].headers["Retry-After"] == "1"
    for form in ("json", "csv"):
        clean = world.page(form, limit=10, order=":id")
        world.control("faults", [{"kind": "withhold", "n": 4}, {"kind": "repeat", "n": 3}])
        assert world.page(form, limit=10, order=":id") == clean[:6]
        assert world.page(form, limit=10, order=":id") == clean + clean[:3]
        world.control("faults", [{"kind": "withhold", "n": 10}])
        assert world.page(form, limit=10) == []
        world.control("faults", [{"kind": "truncate"}, {"kind": "malformed"}])
        with pytest.raises(httpx.RemoteProtocolError):
            world.ask(form)
        with pytest.raises((json.JSONDecodeError, csv.Error, AssertionError)):
            assert len(world.page(form)) == 1000


def test_an_advance_changes_what_it_says(world: World) -> None:
    before = world.truth()
    ids = {row[":id"] for row in world.page(select=":id", limit=SIZE)}
    world.control("clock", {"now_ms": ANCHOR_S * 1000 + DAY_MS // 2})
    counts = world.control("advance")
    after = world.truth()
    assert (counts["stage"], counts["moment_ms"]) == (1, ANCHOR_S * 1000 + DAY_MS // 2)
    old, new = by_license(before), by_license(after)
    assert counts["left"] == len(old.keys() - new.keys()) == 20
    assert counts["joined"] == len(new.keys() - old.keys()) == 20
    assert not {*licenses(after)} - {*licenses(before)} & old.keys()
    changed = Counter(
        frozenset(name for name in COLUMNS if name in old[key] and old[key][name] != new[key][name])
        for key in old.keys() & new.keys()
    )
    assert changed[frozenset({"dmv_license_plate_number"})] == counts["replated"] == 20
    assert changed[frozenset({"name"})] == counts["renamed"] == 20
    assert changed[frozenset({"expiration_date"})] == counts["renewed"] == 20
    moved = sum(many for names, many in changed.items() if "base_number" in names)
    assert moved == counts["moved_base"] == 20
    restyled = [
        names for names in changed if "license_type" in names and "base_number" not in names
    ]
    assert sum(changed[names] for names in restyled) == counts["restyled"] > 0
    assert sum(changed.values()) - changed[frozenset()] == 80 + counts["restyled"]
    assert {row["last_time_updated"] for row in after} == {"15:00"}
    assert not ids & {row[":id"] for row in world.page(select=":id", limit=SIZE)}
    assert counted(world.pages("csv", 600, order=":id")) == counted(after)


def test_every_version_is_later_also_while_the_clock_stands(world: World) -> None:
    for step in range(1, 4):
        assert world.control("advance")["stage"] == step
        assert world.view().json()["rowsUpdatedAt"] == ANCHOR_S + step
        modified = parsedate_to_datetime(world.ask(limit=1).headers["last-modified"])
        assert modified.timestamp() == world.look("truth")["rows_updated_at"] == ANCHOR_S + step


def test_the_dataset_can_be_replaced_while_someone_pages(world: World) -> None:
    before = world.truth()
    assert world.control("advance", {"after_requests": 2}) == {"after_requests": 2}
    assert world.count() == SIZE  # neither a count nor metadata is a page
    assert world.view().json()["rowsUpdatedAt"] == ANCHOR_S
    answers = [world.ask("csv", limit=500, offset=n, order=":id") for n in (0, 500, 1000, 1500)]
    stamps = [answer.headers["x-soda2-truth-last-modified"] for answer in answers]
    assert stamps[0] == stamps[1] != stamps[2] == stamps[3]
    rows = [row for answer in answers for row in parsed(answer)]
    assert len(rows) == SIZE and len(set(licenses(rows))) < 0.9 * SIZE
    assert world.view().json()["rowsUpdatedAt"] == ANCHOR_S + 1
    assert counted(before) != counted(world.truth()) == counted(world.page(limit=SIZE))


def test_stale_answers_come_from_the_version_before(world: World) -> None:
    assert world.refused("stale", {"answers": 1})[0] == 409
    first = counted(world.truth())
    world.control("advance")
    second = counted(world.truth())
    assert world.control("stale", {"answers": 2}) == {"stale_answers": 2}
    assert world.view().json()["rowsUpdatedAt"] == ANCHOR_S + 1
    for form in ("json", "csv"):
        stale = world.ask(form, limit=SIZE)
        assert stale.headers["x-soda2-data-out-of-date"] == "true"
        assert stale.headers["last-modified"] == "Fri, 15 Jan 2027 08:00:00 GMT"
        assert stale.headers["x-soda2-truth-last-modified"] == "Fri, 15 Jan 2027 08:00:01 GMT"
        assert counted(parsed(stale)) == first != second
    fresh = world.ask(limit=SIZE)
    assert fresh.headers["x-soda2-data-out-of-date"] == "false"
    assert fresh.headers["last-modified"] == "Fri, 15 Jan 2027 08:00:01 GMT"
    assert counted(parsed(fresh)) == second
    assert counted(world.truth()) == second


def test_a_dataset_can_shrink_be_emptied_and_grow_again(world: World) -> None:
    before = set(licenses(world.truth()))
    assert world.control("shrink", {"share": 0.35})["left"] == 700
    assert world.count() == len(world.page(limit=SIZE)) == 1300
    assert set(licenses(world.truth())) < before
    assert world.control("empty")["left"] == 1300
    assert world.count() == 0
    assert world.page(order=":id") == world.page("csv", order="name") == world.truth() == []
    assert world.ask("csv").text.count("\n") == 1
    assert world.look("truth")["digest"] == "0" * 16
    assert world.view().json()["rowsUpdatedAt"] == ANCHOR_S + 2
    assert world.control("advance")["stage"] == 1
    assert not set(licenses(world.page())) & before and world.count() == 3
    for share in (None, 1.5, -0.1, "half"):
        assert world.refused("shrink", {"share": share})[0] == 400
    assert world.refused("shrink")[0] == world.refused("empty", {"of": 3})[0] == 400
    assert world.count() == 3


def test_columns_come_and_go(world: World) -> None:
    assert world.control("columns", {"add": ["is_electric"], "remove": ["reason", "veh"]})["added"]
    fields = [name for name in COLUMNS if name not in ("reason", "veh")] + ["is_electric"]
    response = world.ask(limit=SIZE)
    assert json.loads(response.headers["x-soda2-fields"]) == fields
    assert json.loads(response.headers["x-soda2-types"])[-1] == "text"
    assert {row["is_electric"] for row in parsed(response)} == {None, "IS_ELECTRIC", "NO"}
    assert [column["fieldName"] for column in world.view().json()["columns"]] == fields
    assert list(world.page("csv", limit=1)[0]) == fields
    assert counted(world.page("csv", limit=SIZE)) == counted(world.truth())
    assert world.look("truth")["columns"] == fields
    assert world.ask(select="veh").json()["errorCode"] == "query.soql.no-such-column"
    world.control("advance")
    assert world.control("columns", {"add": ["veh"]})["removed"] == 0
    assert {None, "HYB"} < {row["veh"] for row in world.truth()}
    for change in ({"add": ["veh"]}, {"remove": ["colour"]}, {"add": ["no spaces"]}):
        assert world.refused("columns", change)[0] == 400
    assert world.refused("columns", {"drop": []})[0] == 400


def test_the_digest_tells_contents_apart_and_not_orders(world: World) -> None:
    truth = world.look("truth")
    total = 0
    for row in world.pages("csv", 900, order=":id"):
        values = "\x1f".join("\0" if text is None else text for text in row.values())
        total += int.from_bytes(hashlib.sha256(values.encode()).digest()[:8], "big")
    assert truth["digest"] == f"{total % 2**64:016x}"
    rows = [list(row.values()) for row in truth["rows"]]
    assert digest(rows[::-1]) == truth["digest"] != digest(rows[:-1])
    world.control("advance")
    assert world.look("truth")["digest"] != truth["digest"]


def test_a_real_sized_world_is_compared_by_digest(world: World) -> None:
    world.create(size=120_000)
    truth = world.look("truth")
    assert truth["count"] == world.count() == 120_000
    assert "rows" not in truth
    rows = world.pages("csv", 50_000, order=":id")
    assert len(rows) == 120_000
    assert digest(list(row.values()) for row in rows) == truth["digest"]
    assert world.page("json", limit=50_000, offset=50_000, order=":id") == rows[50_000:100_000]


def test_a_world_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        world.create(seed=7, size=300, tokens=["t", TOKEN["X-App-Token"]], requests_per_window=90)
        world.control("advance")
        world.control("shrink", {"share": 0.1})
        world.control("columns", {"add": ["colour"]})
        world.control("advance")
        truth, page, state = (
            world.look("truth"),
            world.page(order=":id"),
            world.look("control/state"),
        )
        world.control("stale", {"answers": 9})
        assert World(base, "other").look("truth")["digest"] != truth["digest"]
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        assert world.look("control/state") == {**state, "queries": 0}
        assert world.look("truth") == truth
        assert world.page(order=":id") == page
        # What the version before was is known again, too.
        world.control("stale", {"answers": 1})
        assert world.ask().headers["x-soda2-data-out-of-date"] == "true"
    assert (state["stages"], state["changes"], state["rows"]) == (2, 4, len(truth["rows"]))


def test_what_a_control_cannot_do_is_refused(world: World) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("world", {"size": -1}),
        ("world", {"size": 1_000_001}),
        ("world", {"rows": 5}),
        ("settings", {"tokens": "one"}),
        ("settings", {"limit": 5}),
        ("advance", {"stages": 2}),
        ("advance", {"after_requests": "two"}),
        ("clock", {"now_ms": 1, "offset_ms": 1}),
    ]
    for action, payload in calls:
        assert world.refused(action, payload)[0] == 400, (action, payload)
    assert world.refused("melt")[0] == 404
    assert world.look("control/state")["changes"] == 0
    assert world.count() == SIZE


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is absent: no real exchange")
def test_a_page_has_the_shape_of_a_real_one(world: World) -> None:
    (path,) = SAMPLES.glob("*.yml")
    (exchange,) = yaml.safe_load(path.read_text(encoding="utf-8"))["http_interactions"]
    real, headers = exchange["response"]["body"]["string"], exchange["response"]["headers"]
    ours = world.ask(limit=SIZE)
    assert json.loads(headers["x-soda2-fields"]) == json.loads(ours.headers["x-soda2-fields"])
    assert json.loads(headers["x-soda2-types"]) == json.loads(ours.headers["x-soda2-types"])
    assert headers["content-type"] == ours.headers["content-type"]
    named = {name for name in headers if name.startswith(("x-", "last-", "etag"))}
    assert named and named <= ours.headers.keys()
    rows = json.loads(real)
    assert len(rows) == real.count("\n,{") + 1 == 2
    assert {tuple(row) for row in rows} <= {tuple(row) for row in ours.json()}
    for name in (
        "expiration_date",
        "last_date_updated",
        "vehicle_year",
        "dmv_license_plate_number",
    ):
        shapes = [
            {re.sub(r"\d", "0", row[name]) for row in page if name in row}
            for page in (rows, ours.json())
        ]
        assert shapes[0] == shapes[1]
