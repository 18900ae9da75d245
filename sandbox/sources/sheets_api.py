"""The answers of Google Sheets v4 (`/v4/spreadsheets/...`, reading only) behind an access token.

Shapes and sentences: shared samples of real replies (400, 404, 429), Google's reference, replies
published by users of gspread (401, 403, grid limits). What the real API offers and the stand-in
does not is refused with a 400 that says so, never ignored.
"""

import json
import re
from collections.abc import Callable
from typing import Any, cast, get_args
from urllib.parse import parse_qsl, unquote

from sandbox.sources.faults import Listing, Response
from sandbox.sources.sheets_grid import Area, DateRender, RangeError, Render, Tab, parse_range
from sandbox.sources.world import Refusal, Request

SPREADSHEET_ID = "sandbox-ledger"
PRIVATE_ID = "sandbox-private"
TITLE = "Finance"
LEDGER = "data"
PROJECT_NUMBER = "100000000000"
JSON = {"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "private"}
CALL = re.compile(r"/v4/spreadsheets/([^/:]+)(?:/values/([^/]+)|/(values:batchGet))?")
# What sandbox/identity.py issues. It keeps no list, so a token is known by its form.
TOKEN = re.compile(r"Bearer sandbox\.[0-9a-f]{48}")
NO_CREDENTIAL = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login "
    "cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project."
)
BAD_CREDENTIAL = NO_CREDENTIAL.replace(
    "is missing required authentication credential", "had invalid authentication credentials"
)
HTML_404 = b"<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title>"
OPTIONS = {
    "valueRenderOption": ("value_render_option", "ValueRenderOption", get_args(Render)),
    "dateTimeRenderOption": (
        "date_time_render_option",
        "DateTimeRenderOption",
        get_args(DateRender),
    ),
}
NOT_OFFERED = ("majorDimension", "fields", "alt", "callback", "key", "ranges")


def api_error(code: int, status: str, message: str, **more: Any) -> Refusal:
    """A refusal in Google's JSON shape."""
    headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
    body = {"error": {"code": code, "message": message, "status": status, **more}}
    return Refusal(Response(code, encode(body), JSON | (headers if code == 401 else {})))


def encode(value: Any) -> bytes:
    """JSON as Google writes it: indented, not escaped."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def quota_error(reads_per_minute: int) -> Refusal:
    """The refusal of a read beyond the quota of one user."""
    return api_error(
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute per "
        "user' of service 'sheets.googleapis.com' for consumer "
        f"'project_number:{PROJECT_NUMBER}'.",
        details=[
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {
                    "quota_limit_value": str(reads_per_minute),
                    "service": "sheets.googleapis.com",
                    "consumer": f"projects/{PROJECT_NUMBER}",
                    "quota_unit": "1/min/{project}/{user}",
                    "quota_location": "global",
                    "quota_metric": "sheets.googleapis.com/read_requests",
                    "quota_limit": "ReadRequestsPerMinutePerUser",
                },
            },
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [
                    {
                        "description": "Request a higher quota limit.",
                        "url": "https://cloud.google.com/docs/quotas/help/request_increase",
                    }
                ],
            },
        ],
    )


def answer(
    request: Request, tabs: list[Tab], *, is_shared: bool, count_read: Callable[[], None]
) -> tuple[Response, bool]:
    """The API's answer, and whether values of the tab `data` are in it.

    `count_read` is called for every request that came with a good token; it raises Refusal when
    the quota is used up.
    """
    found = CALL.fullmatch(request.path)
    if found is None:
        return Response(404, HTML_404, {"Content-Type": "text/html; charset=UTF-8"}), False
    try:
        _check_token(request)
        count_read()
        _check_access(request, unquote(found[1]), is_shared)
        if found[2] is None and found[3] is None:
            return _spreadsheet(request, tabs), False
        return _values(request, tabs, unquote(found[2]) if found[2] else None)
    except Refusal as refusal:
        return refusal.response, False


def _check_token(request: Request) -> None:
    header = request.headers.get("authorization")
    if header is None:
        raise api_error(401, "UNAUTHENTICATED", NO_CREDENTIAL)
    if not TOKEN.fullmatch(header):
        raise api_error(401, "UNAUTHENTICATED", BAD_CREDENTIAL)


def _check_access(request: Request, spreadsheet_id: str, is_shared: bool) -> None:
    """The spreadsheet exists and is shared for reading."""
    if spreadsheet_id not in (SPREADSHEET_ID, PRIVATE_ID):
        raise api_error(404, "NOT_FOUND", "Requested entity was not found.")
    if spreadsheet_id == PRIVATE_ID or not is_shared or request.method != "GET":
        raise api_error(403, "PERMISSION_DENIED", "The caller does not have permission")


def _spreadsheet(request: Request, tabs: list[Tab]) -> Response:
    params = request.params
    if params.pop("includeGridData", "false").lower() != "false":
        raise _bad_request('"includeGridData" is not offered by this stand-in.')
    _refuse(params)
    body = {
        "spreadsheetId": SPREADSHEET_ID,
        "properties": {
            "title": TITLE,
            "locale": "en_US",
            "autoRecalc": "ON_CHANGE",
            "timeZone": "Asia/Manila",
        },
        "sheets": [
            {
                "properties": {
                    "sheetId": tab.sheet_id,
                    "title": tab.title,
                    "index": index,
                    "sheetType": "GRID",
                    "gridProperties": {
                        "rowCount": tab.row_count,
                        "columnCount": tab.column_count,
                    },
                }
            }
            for index, tab in enumerate(tabs)
        ],
        "spreadsheetUrl": f"https://docs.google.com/spreadsheets/d/{SPREADSHEET_ID}/edit",
    }
    return Response(200, encode(body), JSON)


def _values(request: Request, tabs: list[Tab], wanted: str | None) -> tuple[Response, bool]:
    """One range by its path, or a batch of those in the query."""
    pairs = parse_qsl(request.query, keep_blank_values=True)
    ranges = [value for name, value in pairs if name == "ranges"] if wanted is None else [wanted]
    params = {name: value for name, value in pairs if name != "ranges" or wanted is not None}
    render = cast(Render, _option(params, "valueRenderOption", "FORMATTED_VALUE"))
    dates = cast(DateRender, _option(params, "dateTimeRenderOption", "SERIAL_NUMBER"))
    if params.get("majorDimension") == "ROWS":
        del params["majorDimension"]
    _refuse(params)
    try:
        areas = [parse_range(text, tabs) for text in ranges]
    except RangeError as error:
        raise _bad_request(str(error)) from None
    shows_ledger = any(area.tab.title == LEDGER for area in areas)
    if wanted is not None:
        return Response(200, _listing(areas[0], render, dates), JSON), shows_ledger
    body: dict[str, Any] = {"spreadsheetId": SPREADSHEET_ID}
    if areas:
        body["valueRanges"] = [
            _head(area) | ({"values": values} if (values := area.values(render, dates)) else {})
            for area in areas
        ]
    return Response(200, encode(body), JSON), shows_ledger


def _head(area: Area) -> dict[str, Any]:
    return {"range": area.label(), "majorDimension": "ROWS"}


def _listing(area: Area, render: Render, dates: DateRender) -> bytes | Listing:
    """The body of one range; without any value it has no `values`."""
    rows = area.values(render, dates)
    if not rows:
        return encode(_head(area))
    head = json.dumps(_head(area), ensure_ascii=False).removesuffix("}").encode()
    items = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    return Listing(head + b', "values": [\n', items, b"\n]}\n", b",\n")


def _option(params: dict[str, str], name: str, default: str) -> str:
    field, enum, choices = OPTIONS[name]
    value = params.pop(name, default)
    if value not in choices:
        raise _bad_request(
            f"Invalid value at '{field}' (type.googleapis.com/google.apps.sheets.v4.{enum}), "
            f'"{value}"'
        )
    return value


def _refuse(params: dict[str, str]) -> None:
    """No parameter is left over."""
    for name in params:
        if name in NOT_OFFERED:
            raise _bad_request(f'"{name}={params[name]}" is not offered by this stand-in.')
        raise _bad_request(
            f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
            f"Field '{name}' could not be found in request message."
        )


def _bad_request(message: str) -> Refusal:
    return api_error(400, "INVALID_ARGUMENT", message)
