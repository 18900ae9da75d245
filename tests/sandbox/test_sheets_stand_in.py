"""The Google Sheets stand-in through real HTTP, and through gspread with a real token exchange."""

import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import gspread
import httpx
import pytest

from sandbox.parts import isolated
from sandbox.sources import sheets_api
from sandbox.sources.sheets_changes import EXPENSE, INCOME
from sandbox.sources.sheets_generator import AWKWARD_CELLS, AWKWARD_IDS, KINDS
from sandbox.sources.sheets_ledger import COLUMNS
from sandbox.stack import Stack
from tests.sandbox.client import SHARED_SAMPLES, StandInWorld, stand_in

SAMPLES = SHARED_SAMPLES / "sheets"
ANCHOR_MS = 1_706_115_460_980  # 2024-01-25 00:57:40 in Manila, serial 45316
BOOK = "/v4/spreadsheets/sandbox-ledger"
ALL = f"{BOOK}/values/ledger"
RAW = {"valueRenderOption": "UNFORMATTED_VALUE"}
BEARER = {"Authorization": f"Bearer sandbox.{'0a' * 24}"}


class World(StandInWorld):
    """One isolated world of a running stand-in, read with a token of the right form."""

    source = "sheets"
    headers = BEARER

    def values(self, path: str = ALL, **params: Any) -> list[list[Any]]:
        response = self.get(path, **params)
        assert response.status_code == 200, response.text
        rows: list[list[Any]] = response.json().get("values", [])
        return rows

    def rows(self) -> list[list[Any]]:
        """Everything below the header, not formatted; shows it to the world as read."""
        return self.values(**RAW)[1:]

    def by_id(self) -> dict[str, list[Any]]:
        return {row[0]: row for row in self.rows() if row}

    def create(self, **recipe: Any) -> None:
        """A world whose clock stands at the beginning of the minute after its anchor."""
        self.control("world", {"anchor_ms": ANCHOR_MS, **recipe})
        now_ms = self.look("control/state")["now_ms"]
        offset_ms = (ANCHOR_MS // 60_000 + 1) * 60_000 - now_ms
        self.control("clock", {"offset_ms": offset_ms})


@pytest.fixture
def world(base: str) -> World:
    fresh = World.new(base)
    fresh.create()
    return fresh


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"sheets-spreadsheets-get-{name}.body.json").read_text())


def shape(value: Any) -> Any:
    """The keys of a document without its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


# Through gspread


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack") / "state", isolated(os.environ))
    stack.up(("token", "sources"))
    yield stack
    stack.down()


@pytest.fixture
def client(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> gspread.Client:
    """A client whose only difference to production is the host that it talks to."""
    variables = stack.env()
    for name in variables:
        if "proxy" in name.lower():
            monkeypatch.setenv(name, variables[name])
    address = f"{variables['SANDBOX_SOURCES_URL']}/gspread/sheets"

    class LocalHTTP(gspread.HTTPClient):
        def request(self, method: str, endpoint: str, *args: Any, **kwargs: Any) -> Any:
            local = endpoint.replace("https://sheets.googleapis.com", address, 1)
            return super().request(method, local, *args, **kwargs)

    account = json.loads(Path(variables["GCP_SERVICE_ACCOUNT_FILE"]).read_text())
    client = gspread.service_account_from_dict(account, http_client=LocalHTTP)
    client.set_timeout((5, 10))
    return client


def test_gspread_reads_the_ledger_with_a_token_of_the_service_account(
    stack: Stack, client: gspread.Client
) -> None:
    world = World(stack.env()["SANDBOX_SOURCES_URL"], "gspread")
    world.create(size=60)
    book = client.open_by_url("https://docs.google.com/spreadsheets/d/sandbox-ledger/edit#gid=0")
    assert (book.title, book.locale, book.timezone) == ("Finance", "en_US", "Asia/Manila")
    assert [sheet.title for sheet in book.worksheets()] == ["ledger", "notes"]
    sheet = client.open_by_key("sandbox-ledger").worksheet("ledger")
    shown = sheet.get_all_values()
    assert (shown[0], len(shown)) == (list(COLUMNS), 62)
    raw = book.values_get("'ledger'", params=RAW)["values"]
    assert [row[0] for row in raw if row] == [row[0] for row in shown if row[0]]
    assert sheet.get("A1:C1") == [["id", "date", "time"]]
    # gspread writes the ranges into the mapping that it is given.
    batch = book.values_batch_get(["ledger!A1:B1", "notes"], params=dict(RAW))
    assert [part["values"][0] for part in batch["valueRanges"]] == [
        ["id", "date"],
        ["How this ledger is kept"],
    ]
    records = sheet.get_all_records(numericise_ignore=["all"])
    assert set(AWKWARD_IDS) < {record["id"] for record in records}
    guessed = {record["id"] for record in sheet.get_all_records()}
    assert {7, 1000.0, 123, 15} < guessed and "007" not in guessed


def test_gspread_meets_the_errors_that_the_reference_tells_of(
    stack: Stack, client: gspread.Client
) -> None:
    world = World(stack.env()["SANDBOX_SOURCES_URL"], "gspread")
    world.create(size=5)
    with pytest.raises(gspread.SpreadsheetNotFound):
        client.open_by_key("nothing")
    with pytest.raises(PermissionError):
        client.open_by_key("sandbox-private")
    book = client.open_by_key("sandbox-ledger")
    with pytest.raises(gspread.WorksheetNotFound):
        book.worksheet("ledgers")
    with pytest.raises(gspread.exceptions.APIError, match="Unable to parse range: ledgers!A1"):
        book.values_get("ledgers!A1")
    body = json.dumps(sheets_api.quota_error(60).body)
    world.control("faults", [{"kind": "status", "status": 429, "body": body}])
    with pytest.raises(gspread.exceptions.APIError, match="Quota exceeded") as refusal:
        book.values_get("ledger")
    assert refusal.value.error["status"] == "RESOURCE_EXHAUSTED"
    # A token that has expired is exchanged for another one.
    world.control("faults", [{"kind": "status", "status": 401}])
    assert len(book.values_get("ledger")["values"]) == 7


# The API


def test_a_read_needs_a_token_of_the_right_form(world: World) -> None:
    for header in ({}, {"Authorization": "Bearer ya29.x"}, {"Authorization": "Basic eDp5"}):
        response = httpx.get(world.url + BOOK, headers=header)
        assert response.status_code == 401
        assert response.json()["error"]["status"] == "UNAUTHENTICATED"
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")


def test_a_spreadsheet_has_the_shape_of_the_real_one(world: World) -> None:
    response = world.get(BOOK, includeGridData="false")
    document = response.json()
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert list(document) == ["spreadsheetId", "properties", "sheets", "spreadsheetUrl"]
    assert document["properties"]["title"] == "Finance"
    assert document["sheets"][0] == {
        "properties": {
            "sheetId": 0,
            "title": "ledger",
            "index": 0,
            "sheetType": "GRID",
            "gridProperties": {"rowCount": 1000, "columnCount": 26},
        }
    }
    assert "not offered" in world.get(BOOK, includeGridData="true").text
    assert world.get("/v4/other").status_code == 404


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/samples is absent: no real reply")
def test_refusals_are_those_of_the_real_service(world: World) -> None:
    missing = world.get(f"{BOOK}/values/NOPE!A5:F15")
    assert (missing.status_code, missing.json()) == (400, sample("nonexistent-range_400"))
    unknown = world.get("/v4/spreadsheets/unknown")
    assert (unknown.status_code, unknown.json()) == (404, sample("nonexistent-sheet-id_404"))
    world.create(reads_per_minute=60)
    reads = [world.get(f"{BOOK}/values/ledger!A1") for _ in range(61)]
    assert [read.status_code for read in reads] == [200] * 60 + [429]
    real = sample("quota-exceeded-readgroup_429")
    ours = json.loads(reads[-1].text.replace(sheets_api.PROJECT_NUMBER, "603366585132"))
    assert ours == real and shape(ours) == shape(real)


def test_the_quota_is_counted_by_the_minute_of_the_clock(world: World) -> None:
    world.create(size=3, reads_per_minute=2)
    state = world.look("control/state")
    # Without a token, and beyond the quota, nothing is counted.
    assert httpx.get(world.url + BOOK).status_code == 401
    assert [world.get(BOOK).status_code for _ in range(3)] == [200, 200, 429]
    world.control("clock", {"offset_ms": state["clock_offset_ms"] + 60_000})
    assert [world.get(BOOK).status_code for _ in range(3)] == [200, 200, 429]


def test_a_spreadsheet_that_is_not_shared_is_forbidden(world: World) -> None:
    world.control("share", {"shared": False})
    refusal = world.get(ALL)
    assert refusal.status_code == 403
    assert refusal.json()["error"] == {
        "code": 403,
        "message": "The caller does not have permission",
        "status": "PERMISSION_DENIED",
    }
    world.control("share", {"shared": True})
    assert world.get(ALL).status_code == 200
    assert world.http.post(f"{world.url}{ALL}:append").status_code == 403  # for reading only


@pytest.mark.parametrize(
    ("text", "label", "values"),
    [
        ("ledger!A1:B2", "ledger!A1:B2", [["id", "date"], ["a", 45316]]),
        ("'ledger'!b2:a1", "ledger!A1:B2", [["id", "date"], ["a", 45316]]),
        ("C2", "ledger!C2", [["x"]]),
        ("ledger!A3:A", "ledger!A3:A1000", [[], ["c"]]),
        ("ledger!4:4", "ledger!A4:Z4", [["c"]]),
        ("ledger!B1:B3", "ledger!B1:B3", [["date"], [45316]]),
        ("ledger!Z9:ZZ2000", "ledger!Z9:Z1000", None),
    ],
)
def test_a_range_cuts_blanks_at_the_end_and_keeps_those_amid(
    world: World, text: str, label: str, values: list[list[Any]] | None
) -> None:
    world.control("set", {"rows": [["id", "date"], ["a", 45316, "x"], [], ["c", None, ""], []]})
    answer = world.get(f"{BOOK}/values/{text}", **RAW).json()
    assert (answer["range"], answer.get("values")) == (label, values)
    assert answer["majorDimension"] == "ROWS"
    batch = world.get(f"{BOOK}/values:batchGet", ranges=[text, "notes"], **RAW).json()
    assert batch["valueRanges"][0] == answer
    assert len(batch["valueRanges"]) == 2


@pytest.mark.parametrize(
    ("text", "params", "sentence"),
    [
        ("ledger!", {}, "Unable to parse range: ledger!"),
        ("ledger!A", {}, "Unable to parse range: ledger!A"),
        ("ledger!A0", {}, "Unable to parse range: ledger!A0"),
        ("'it''s'", {}, "Unable to parse range: 'it''s'"),
        ("ledger!A1001:B", {}, "Range (ledger!A1001:B) exceeds grid limits. Max rows: 1000, max"),
        ("ledger", {"valueRenderOption": "RAW"}, "Invalid value at 'value_render_option'"),
        ("ledger", {"render": "RAW"}, 'Unknown name "render"'),
        ("ledger", {"majorDimension": "COLUMNS"}, "is not offered by this stand-in"),
    ],
)
def test_a_bad_read_is_refused_with_its_reason(
    world: World, text: str, params: dict[str, str], sentence: str
) -> None:
    response = world.get(f"{BOOK}/values/{text}", **params)
    assert response.status_code == 400
    assert sentence in response.json()["error"]["message"]
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_cells_are_rendered_as_asked(world: World) -> None:
    serial = 45296.572916666664
    row = ["007", 45296, 0.572916666666667, "BILLS", "", "", 1250.5, True, "", "#REF!"]
    world.control("set", {"rows": [list(COLUMNS), [*row, serial, 7.0]]})
    (shown,) = world.values()[1:]
    assert shown[:3] == ["007", "1/5/2024", "1:45:00 PM"]
    assert shown[6:] == ["1,250.50", "TRUE", "", "#REF!", "1/5/2024 13:45:00", "1/6/1900 0:00:00"]
    (raw,) = world.values(**RAW)[1:]
    assert raw == [*row, serial, 7]
    assert type(raw[-1]) is int
    (formula,) = world.values(valueRenderOption="FORMULA")[1:]
    assert formula == [*row[:9], "=#REF!", serial, 7]
    (strings,) = world.values(**RAW, dateTimeRenderOption="FORMATTED_STRING")[1:]
    assert strings[:3] == shown[:3] and strings[6] == 1250.5
    world.control("edit", {"id": "007", "column": "amount", "value": "1,250.50"})
    assert [world.values(**option)[1][6] for option in ({}, RAW)] == ["1,250.50"] * 2


# The world


def test_the_ledger_holds_what_a_naive_reader_ruins(world: World) -> None:
    rows = world.rows()
    assert world.values()[0] == list(COLUMNS)
    assert len(rows) == 401 and rows.count([]) == 1 and rows[200] == []
    filled = [row + [""] * (12 - len(row)) for row in rows if row]
    assert {row[0] for row in filled} > set(AWKWARD_IDS)
    assert all(isinstance(row[0], str) for row in filled)
    assert len({row[0] for row in filled}) == 400
    assert {(row[3], row[4]) for row in filled} == {kind[:2] for kind in KINDS}
    assert set(INCOME) | EXPENSE == {row[3] for row in filled}
    assert {len(row) for row in rows} >= {0, 9, 12}
    for column, value in AWKWARD_CELLS:
        place = COLUMNS.index(column)
        assert any(row[place] == value and type(row[place]) is type(value) for row in filled)
    dates = [row[1] for row in filled]
    assert all(type(serial) is int for serial in dates) and dates == sorted(dates)
    newest = (date(2024, 1, 25) - date(1899, 12, 30)).days
    assert newest - 549 <= dates[0] < newest - 530 and newest - 10 < dates[-1] <= newest
    times = [row[2] for row in filled]
    assert "" in times and all(0 <= time < 1 for time in times if time != "")
    assert any(not row[9].isascii() for row in filled if isinstance(row[9], str))


def test_a_stage_changes_what_it_says(world: World) -> None:
    before, numbers = world.by_id(), {row[0]: n for n, row in enumerate(world.rows()) if row}
    counts = world.control("advance")
    after = world.by_id()
    assert after.keys() - before.keys() == {f"L{n:06d}" for n in range(401, 411)}
    assert counts["appended"] + counts["inserted"] == 10
    assert len(before.keys() - after.keys()) == counts["deleted"] == 2
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    retyped = {name for name in changed if before[name][3] != after[name][3]}
    stamped = {name for name in changed if before[name][11:] != after[name][11:]}
    assert len(changed) == counts["edited"] + 2 + 1 and counts["edited"] == 8
    assert [(before[name][3] in EXPENSE, after[name][3]) for name in retyped] == [
        (True, "CASHBACK")
    ]
    assert len(stamped) == counts["edited_same_second"] == 2
    assert len({after[name][11] for name in stamped}) == 1
    assert all(before[name][6] != after[name][6] for name in changed - retyped)
    moved = {row[0]: n for n, row in enumerate(world.rows()) if row}
    assert sum(numbers[name] != moved[name] for name in numbers.keys() & moved.keys()) > 350
    assert world.rows().count([]) == 1


def test_truth_is_what_the_sheet_serves_after_every_stage(world: World) -> None:
    ever: set[str] = set()
    for stage in range(4):
        if stage:
            assert world.control("advance")["stage"] == stage
        served = [
            dict(zip(COLUMNS, [*row, *[""] * (12 - len(row))], strict=True))
            for row in world.rows()
            if row
        ]
        truth = world.look("truth")
        assert truth["header"] == list(COLUMNS)
        assert [{k: "" if v is None else v for k, v in row.items()} for row in truth["rows"]] == (
            served
        )
        ever |= {row["id"] for row in served}
        assert set(truth["deleted"]) == ever - {row["id"] for row in served}
        assert (len(truth["deleted"]), truth["rejected"]) == (2 * stage, [])
    assert world.look("control/state")["stages"] == 3


def test_rows_that_cannot_be_loaded_are_told_with_their_reason(world: World) -> None:
    world.create(size=3)
    world.rows()
    world.control("duplicate", {"id": "007"})
    bad = [["", 45316], ["  ", 45316], ["x1", "13/45/2024"], ["x2"], ["x3", -1], ["x4", 3e9]]
    good = [[7, 45316.5], ["x5", 2958465], [" x6", 1]]
    assert world.control("append", {"rows": bad + good}) == {"appended": 9}
    truth = world.look("truth")
    assert [row["id"] for row in truth["rows"]][-3:] == [7, "x5", " x6"]
    assert {row["id"] for row in truth["rows"]}.isdisjoint({"007"})
    reasons = [(entry["row"], entry["id"], entry["reason"]) for entry in truth["rejected"]]
    first = next(row for row, name, _ in reasons if name == "007")
    assert reasons == [
        (first, "007", "duplicate id"),
        (6, "007", "duplicate id"),
        (7, None, "blank id"),
        (8, "  ", "blank id"),
        (9, "x1", "impossible date"),
        (10, "x2", "impossible date"),
        (11, "x3", "impossible date"),
        (12, "x4", "impossible date"),
    ]
    assert truth["rejected"][4]["values"] == ["x1", "13/45/2024"]
    assert truth["deleted"] == []  # a refused id is present


def test_only_what_was_served_can_be_gone(world: World) -> None:
    world.create(size=0)
    world.control("append", {"rows": [["a", 45316], ["b", 45316]]})
    world.get(f"{BOOK}/values/notes")
    world.control("delete", {"ids": ["a"]})
    assert world.look("truth")["deleted"] == []
    world.rows()
    assert world.control("delete", {"ids": ["b"]}) == {"deleted": 1}
    assert world.look("truth")["deleted"] == ["b"]
    world.control("append", {"rows": [["b", 45317]]})
    assert world.look("truth")["deleted"] == []


def test_a_header_may_be_replaced(world: World) -> None:
    renamed = ["sum" if name == "amount" else name for name in COLUMNS]
    world.control("header", {"values": [*renamed, "mood"]})
    assert world.values()[0] == [*renamed, "mood"]
    assert world.look("truth")["rows"][0].keys() == {*renamed, "mood"}
    assert world.refused("advance") == (409, "advance needs the ledger's own header")
    world.control("header", {"values": ["key", *COLUMNS[1:]]})
    world.rows()
    assert world.look("truth") == {"error": "the header has no column 'id'"}
    world.control("header", {"values": list(COLUMNS)})
    assert len(world.look("truth")["rows"]) == 400


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("edit", {"id": "none", "column": "amount", "value": 1}),
        ("edit", {"id": "007", "column": "sum", "value": 1}),
        ("edit", {"id": "007", "column": "amount", "value": [1]}),
        ("edit", {"id": "007"}),
        ("delete", {"ids": ["007", "none"]}),
        ("set", {"rows": [["id"], "row"]}),
        ("append", {"row": []}),
        ("world", {"rows": 5}),
        ("world", {"sise": 5}),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(
    world: World, action: str, payload: dict[str, Any]
) -> None:
    before = world.look("truth")
    status, sentence = world.refused(action, payload)
    assert status == 400 and sentence
    assert world.look("truth") == before


def test_rows_are_withheld_from_a_read(world: World) -> None:
    world.control("faults", [{"kind": "withhold", "n": 7}, {"kind": "repeat", "n": 2}])
    rows, short, long = world.look("truth")["rows"], world.values(), world.values()
    assert (len(short), len(long)) == (len(rows) + 2 - 7, len(rows) + 2 + 2)


def test_a_world_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        world.create(seed=7, size=50, reads_per_minute=60)
        for _ in range(3):
            world.rows()
            world.control("advance")
        world.control("edit", {"id": "007", "column": "notes", "value": "changed"})
        truth, state, served = world.look("truth"), world.look("control/state"), world.rows()
        other = World(base, "other")
        other.control("world", {"rows": [["id", "date"], ["a", 45316]]})
        assert other.look("truth")["rows"] == [{"id": "a", "date": 45316}]
    assert not list(tmp_path.glob("*.draft"))
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        assert world.look("truth") == truth and len(truth["deleted"]) == 6
        assert {**world.look("control/state"), "now_ms": 0} == {**state, "now_ms": 0}
        assert world.rows() == served
        assert World(base, "other").look("truth")["rows"] == [{"id": "a", "date": 45316}]
