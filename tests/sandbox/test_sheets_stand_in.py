"""The Google Sheets stand-in through real HTTP, and through gspread with a real token exchange."""

import json
import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import gspread
import httpx
import pytest

from sandbox.parts import isolated
from sandbox.sources import sheets_api
from sandbox.sources.sheets_changes import EXPENSE, INCOME
from sandbox.sources.sheets_generator import AWKWARD_CELLS, AWKWARD_IDS, KINDS, UNTIDY_CELLS
from sandbox.sources.sheets_ledger import COLUMNS
from sandbox.stack import Stack
from testing.client import SHARED_SAMPLES, StandInWorld, stand_in

SAMPLES = SHARED_SAMPLES / "sheets"
ANCHOR_MS = 1_706_115_460_980  # 2024-01-25 00:57:40 in Manila, serial 45316
BOOK = "/v4/spreadsheets/sandbox-ledger"
ALL = f"{BOOK}/values/data"
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
    assert [sheet.title for sheet in book.worksheets()] == ["data", "notes"]
    sheet = client.open_by_key("sandbox-ledger").worksheet("data")
    shown = sheet.get_all_values()
    assert (shown[0], len(shown)) == (list(COLUMNS), 62)
    raw = book.values_get("'data'", params=RAW)["values"]
    assert [str(row[0]) for row in raw if row] == [row[0] for row in shown if row[0]]
    assert sheet.get("A1:C1") == [["id", "year", "month"]]
    # gspread writes the ranges into the mapping that it is given.
    batch = book.values_batch_get(["data!A1:B1", "notes"], params=dict(RAW))
    assert [part["values"][0] for part in batch["valueRanges"]] == [
        ["id", "year"],
        ["How this ledger is kept"],
    ]
    records = sheet.get_all_records(numericise_ignore=["all"])
    assert set(map(str, AWKWARD_IDS)) < {record["id"] for record in records}
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
    body = sheets_api.quota_error(60).response.content().decode()
    world.control("faults", [{"kind": "status", "status": 429, "body": body}])
    with pytest.raises(gspread.exceptions.APIError, match="Quota exceeded") as refusal:
        book.values_get("data")
    assert refusal.value.error["status"] == "RESOURCE_EXHAUSTED"
    # A token that has expired is exchanged for another one.
    world.control("faults", [{"kind": "status", "status": 401}])
    assert len(book.values_get("data")["values"]) == 7


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
            "title": "data",
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
    reads = [world.get(f"{BOOK}/values/data!A1") for _ in range(61)]
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
    world.control("clock", {"offset_ms": state["clock"]["offset_ms"] + 60_000})
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
        ("data!A1:B2", "data!A1:B2", [["id", "year"], ["a", 2026]]),
        ("'data'!b2:a1", "data!A1:B2", [["id", "year"], ["a", 2026]]),
        ("C2", "data!C2", [["x"]]),
        ("data!A3:A", "data!A3:A1000", [[], ["c"]]),
        ("data!4:4", "data!A4:Z4", [["c"]]),
        ("data!B1:B3", "data!B1:B3", [["year"], [2026]]),
        ("data!Z9:ZZ2000", "data!Z9:Z1000", None),
    ],
)
def test_a_range_cuts_blanks_at_the_end_and_keeps_those_amid(
    world: World, text: str, label: str, values: list[list[Any]] | None
) -> None:
    world.control("set", {"rows": [["id", "year"], ["a", 2026, "x"], [], ["c", None, ""], []]})
    answer = world.get(f"{BOOK}/values/{text}", **RAW).json()
    assert (answer["range"], answer.get("values")) == (label, values)
    assert answer["majorDimension"] == "ROWS"
    batch = world.get(f"{BOOK}/values:batchGet", ranges=[text, "notes"], **RAW).json()
    assert batch["valueRanges"][0] == answer
    assert len(batch["valueRanges"]) == 2


@pytest.mark.parametrize(
    ("text", "params", "sentence"),
    [
        ("data!", {}, "Unable to parse range: data!"),
        ("data!A", {}, "Unable to parse range: data!A"),
        ("data!A0", {}, "Unable to parse range: data!A0"),
        ("'it''s'", {}, "Unable to parse range: 'it''s'"),
        ("data!A1001:B", {}, "Range (data!A1001:B) exceeds grid limits. Max rows: 1000, max"),
        ("data", {"valueRenderOption": "RAW"}, "Invalid value at 'value_render_option'"),
        ("data", {"render": "RAW"}, 'Unknown name "render"'),
        ("data", {"majorDimension": "COLUMNS"}, "is not offered by this stand-in"),
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
    row = ["007", 2024, 1, 5, "#REF!", "BILLS", 1250.5, True, "", "BPI", serial, 7.0]
    world.control("set", {"rows": [list(COLUMNS), row]})
    (shown,) = world.values()[1:]
    assert shown[:6] == ["007", "2024", "1", "5", "#REF!", "BILLS"]
    assert shown[6:] == ["1,250.50", "TRUE", "", "BPI", "1/5/2024 13:45:00", "1/6/1900 0:00:00"]
    (raw,) = world.values(**RAW)[1:]
    assert raw == row
    assert type(raw[-1]) is int
    (formula,) = world.values(valueRenderOption="FORMULA")[1:]
    assert formula == [*row[:4], "=#REF!", *row[5:]]
    (strings,) = world.values(**RAW, dateTimeRenderOption="FORMATTED_STRING")[1:]
    assert strings == [*row[:10], *shown[10:]]
    world.control("edit", {"id": "007", "column": "cost", "value": "1,250.50"})
    assert [world.values(**option)[1][6] for option in ({}, RAW)] == ["1,250.50"] * 2


# The world


def test_the_ledger_holds_what_a_naive_reader_ruins(world: World) -> None:
    rows = world.rows()
    assert world.values()[0] == list(COLUMNS)
    assert len(rows) == 401 and rows.count([]) == 1 and rows[200] == []
    filled = [row + [""] * (12 - len(row)) for row in rows if row]
    by_name = [dict(zip(COLUMNS, row, strict=True)) for row in filled]
    assert {row["id"] for row in by_name} > set(AWKWARD_IDS)
    assert {type(row["id"]) for row in by_name} == {str, int}
    assert len({str(row["id"]) for row in by_name}) == 400
    assert {(row["type"], row["item"]) for row in by_name} == {
        (kind.type, kind.item) for kind in KINDS
    }
    assert set(INCOME) | EXPENSE == {row["type"] for row in by_name}
    assert {len(row) for row in rows} >= {0, 10, 12}
    for cells in AWKWARD_CELLS:
        wanted = {name: "" if cell is None else cell for name, cell in cells.items()}
        assert any(
            all(
                row[name] == cell and type(row[name]) is type(cell) for name, cell in wanted.items()
            )
            for row in by_name
        )
    days = [
        date(row["year"], row["month"], row["day"])
        for row in by_name
        if (row["month"], row["day"]) != (2, 30)
    ]
    assert len(days) == 399 and days == sorted(days)
    newest = date(2024, 1, 25)
    assert newest - timedelta(549) <= days[0] < newest - timedelta(530)
    assert newest - timedelta(10) < days[-1] <= newest
    stamps = [row["created_at"] for row in by_name if row["created_at"] != ""]
    texts = [stamp for stamp in stamps if isinstance(stamp, str)]
    assert len(stamps) == 360 and 300 < len(texts) < 350
    assert all(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").year for text in texts)  # noqa: DTZ007
    assert any(not row["store"].isascii() for row in by_name if isinstance(row["store"], str))


def test_a_header_may_have_any_order_and_columns_that_nobody_declared(world: World) -> None:
    names = ["solo_part", *reversed(COLUMNS), "", " mood ", "receipt", "posted_date"]
    world.create(size=200, columns=names, untidy=True)
    values = world.values(**RAW)
    assert values[0] == names
    places = {name: place for place, name in enumerate(names)}
    filled = [row + [""] * (len(names) - len(row)) for row in values[1:] if row]
    for name in names:
        assert {row[places[name]] for row in filled} != {""}, name
    blank = [row for row in filled if row[places["id"]] == ""]
    assert len(blank) == 2 and blank[-1][places["item"]] == "TOTAL"
    for cells in (*AWKWARD_CELLS, *UNTIDY_CELLS):
        wanted = [(places[name], "" if cell is None else cell) for name, cell in cells.items()]
        assert any(all(row[place] == cell for place, cell in wanted) for row in filled)
    parts = {row[places["solo_part"]] for row in filled}
    assert parts == {"", "1/2", "1/3", "2/3"}


def test_the_truth_says_what_a_perfect_copy_has_of_each_row(world: World) -> None:
    names = ["id", "year", "month", "day", " item ", "type", "cost", "created_at", "", "mood"]
    rows: list[list[Any]] = [
        ["a", 2026, 2, 30, "FOOD", "EXPENSES", 100 / 3, 45316.5, None, "fine"],
        [7, 2026.5, "May", None, None, None, "1,250.50", "soon", 1, None, True],
        ["c", 1e20, 0, -1, True, None, 1e-12, 1e-05],
        ["d", 2026, 1, 1, None, None, 1e300],
        ["e", 2026, 1, 1, None, None, -0.1 - 0.2],
        ["", 2026, 1, 1, "TOTAL", None, 5],
    ]
    world.control("set", {"rows": [names, *rows]})
    truth = world.look("truth")
    columns = (*COLUMNS, "posted_date", "receipt", "solo_part")
    blank: dict[str, Any] = dict.fromkeys(columns)
    day: dict[str, Any] = {"year": 2026, "month": 1, "day": 1}
    wanted: list[dict[str, Any]] = [
        {
            "id": "a",
            "year": 2026,
            "month": 2,
            "day": 30,
            "item": "FOOD",
            "type": "EXPENSES",
            "cost": "33.333333333",
            "created_at": "45316.5",
            "_extra": {"mood": "fine"},
        },
        {
            "id": "7",
            "created_at": "soon",
            "_extra": {
                "year": 2026.5,
                "month": "May",
                "cost": "1,250.50",
                "column I": 1,
                "column K": True,
            },
        },
        {
            "id": "c",
            "month": 0,
            "day": -1,
            "item": "TRUE",
            "cost": "0.000000000",
            "created_at": "0.00001",
            "_extra": {"year": 1e20, "cost": 1e-12},
        },
        {"id": "d", **day, "_extra": {"cost": 1e300}},
        {"id": "e", **day, "cost": "-0.300000000", "_extra": {}},
    ]
    assert truth["loaded"] == [blank | row for row in wanted]
    (refused,) = truth["rejected"]
    total = {"item": "TOTAL", "cost": "5.000000000", "_extra": {}}
    assert refused["loaded"] == blank | day | total


def test_a_stage_changes_what_it_says(world: World) -> None:
    before, numbers = world.by_id(), {row[0]: n for n, row in enumerate(world.rows()) if row}
    counts = world.control("advance")
    after = world.by_id()
    assert after.keys() - before.keys() == {f"L{n:06d}" for n in range(401, 411)}
    assert counts["appended"] + counts["inserted"] == 10
    assert len(before.keys() - after.keys()) == counts["deleted"] == 2
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    retyped = {name for name in changed if before[name][5] != after[name][5]}
    stamped = {name for name in changed if before[name][11:] != after[name][11:]}
    assert len(changed) == counts["edited"] + 2 + 1 and counts["edited"] == 8
    assert [(before[name][5] in EXPENSE, after[name][5]) for name in retyped] == [
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
    bad = [["", 2026], ["  ", 2026]]
    good = [[7.0, 2026.5], ["x5"], [" x6", "soon", 2, 30]]
    assert world.control("append", {"rows": bad + good}) == {"appended": 5}
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
    ]
    assert truth["rejected"][3]["values"] == ["  ", 2026]
    assert truth["deleted"] == []  # a refused id is present


def test_only_what_was_served_can_be_gone(world: World) -> None:
    world.create(size=0)
    world.control("append", {"rows": [["a", 2026], ["b", 2026]]})
    world.get(f"{BOOK}/values/notes")
    world.control("delete", {"ids": ["a"]})
    assert world.look("truth")["deleted"] == []
    world.rows()
    assert world.control("delete", {"ids": ["b"]}) == {"deleted": 1}
    assert world.look("truth")["deleted"] == ["b"]
    world.control("append", {"rows": [["b", 2027]]})
    assert world.look("truth")["deleted"] == []


def test_a_header_may_be_replaced(world: World) -> None:
    renamed = ["sum" if name == "cost" else name for name in COLUMNS]
    world.control("header", {"values": [*renamed, "mood"]})
    assert world.values()[0] == [*renamed, "mood"]
    assert world.look("truth")["rows"][0].keys() == {*renamed, "mood"}
    assert world.refused("advance") == (409, "advance needs the ledger's own columns")
    world.control("header", {"values": ["key", *COLUMNS[1:]]})
    world.rows()
    assert world.look("truth") == {"error": "the header has no column 'id'"}
    world.control("header", {"values": list(COLUMNS)})
    assert len(world.look("truth")["rows"]) == 400


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("edit", {"id": "none", "column": "cost", "value": 1}),
        ("edit", {"id": "007", "column": "sum", "value": 1}),
        ("edit", {"id": "007", "column": "cost", "value": [1]}),
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
        world.control("edit", {"id": "007", "column": "store", "value": "changed"})
        truth, state, served = world.look("truth"), world.look("control/state"), world.rows()
        other = World(base, "other")
        other.control("world", {"rows": [["id", "year"], ["a", 2026]]})
        assert other.look("truth")["rows"] == [{"id": "a", "year": 2026}]
    assert not list(tmp_path.glob("*.draft"))
    with stand_in(tmp_path) as base:
        world = World(base, "main")
        assert world.look("truth") == truth and len(truth["deleted"]) == 6
        assert {**world.look("control/state"), "now_ms": 0} == {**state, "now_ms": 0}
        assert world.rows() == served
        assert World(base, "other").look("truth")["rows"] == [{"id": "a", "year": 2026}]
