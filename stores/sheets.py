"""A tab of a Google sheet in one request: gspread's client over the requests of stores/http.py.

gspread has no timeout by default, and its own retry never ends; its `open_by_key` and `worksheet`
cost a read each. So only the values are asked for (`values_get`), and a tab, sheet or permission
that is missing shows as the refusal of that one read.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any, TypeGuard

import gspread
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from gspread.exceptions import NoValidUrlKeyFound
from gspread.utils import absolute_range_name, extract_id_from_url

from core.errors import SourceError, SourceHttpError, first_line
from core.values import parse_json
from stores.google import NoToken, RedirectRefused, TokenRequest
from stores.http import Answer, Http, Repeat

GOOGLE = "https://sheets.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/spreadsheets.readonly",)
# Cells as they are stored: JSON numbers and texts, dates as days since 1899-12-30.
AS_STORED = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "SERIAL_NUMBER"}


class Client(gspread.HTTPClient):
    """gspread's client, whose requests a source's `Http` sends, to another address if need be."""

    def __init__(self, http: Http, base_url: str, window: str) -> None:
        self.http, self.base_url, self.window = http, base_url.rstrip("/"), window
        self.answer: Answer[object] | None = None

    def request(self, method: str, endpoint: str, params: Any = None, **_: Any) -> Any:
        """What `Http.get_json` returns or raises."""
        url = endpoint.replace(GOOGLE, self.base_url, 1)
        self.answer = answer = self.http.get_json(url, params, self.window)
        return SimpleNamespace(json=lambda: answer.body)


def read_sheet(
    http: Http, credentials: Any, *, base_url: str, sheet_url: str, worksheet: str
) -> Answer[list[list[object]]]:
    """Every cell of a tab as it is stored; its rows are cut at their last cell.

    `credentials` are google-auth's. Raises SourceHttpError when Google declines (not shared, no
    such sheet, no such tab), SourceError when the address or the credentials are no good, or when
    the tries or the time are used up.
    """
    window = f"worksheet {worksheet!r}"
    try:
        key = extract_id_from_url(sheet_url)
    except NoValidUrlKeyFound as error:
        form = "https://docs.google.com/spreadsheets/d/<id>/edit"
        raise SourceError(
            http.source, window, f"the sheet's address has no id, it should look like {form}"
        ) from error
    if hasattr(credentials, "with_scopes"):
        # The scope of the rest of Google Cloud does not cover Sheets.
        credentials = credentials.with_scopes(SCOPES)
    http.before_request = lambda: give_token(http, credentials, window)
    http.words = words
    client = Client(http, base_url, window)
    try:
        body = client.values_get(key, absolute_range_name(worksheet), AS_STORED)
    except SourceHttpError as refused:
        said = words(refused.body)
        cause = f"{advice(refused.status, said, credentials)}{said}"
        raise SourceHttpError(http.source, window, refused.status, cause) from refused
    rows = body.get("values", []) if isinstance(body, dict) else None
    if not is_grid(rows):
        raise SourceError(http.source, window, "the answer has no rows of values")
    return Answer(rows, client.answer.served_at if client.answer else None)


def give_token(http: Http, credentials: Any, window: str) -> None:
    """The next request has a valid token, which no message tells. Raises Repeat for what may pass.

    A 401 gets no other, since the token of a run is new.
    """
    headers: dict[str, str] = {}
    try:
        credentials.before_request(TokenRequest(), "GET", GOOGLE, headers)
    except RedirectRefused as error:
        raise SourceHttpError(http.source, window, error.status, str(error)) from error
    except RefreshError as error:
        cause = f"no token for the service account: {first_line(str(error.args[0]))}"
        if error.retryable:
            raise Repeat(cause) from error
        raise SourceError(http.source, window, cause) from error
    except TransportError as error:
        is_answered = isinstance(error.args[0], NoToken)
        cause = str(error) if is_answered else "the token endpoint cannot be reached"
        raise Repeat(cause) from error
    except GoogleAuthError as error:
        raise SourceError(http.source, window, f"credentials: {type(error).__name__}") from error
    http.client.headers.update(headers)
    http.secrets = [credentials.token or ""]


def is_grid(rows: object) -> TypeGuard[list[list[object]]]:
    """Whether these are rows of cells, each a text, a number, a truth value or nothing."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return False
    return all(isinstance(cell, str | int | float | None) for row in rows for cell in row)


def words(body: str) -> str:
    """Google's own words about an error, or the first line of what came in their place."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        answer: Any = parse_json(body.encode())
        return first_line(str(answer["error"]["message"]))
    return first_line(body)


def advice(status: int, said: str, credentials: Any) -> str:
    """What to do about a refusal, in front of Google's own words."""
    if status == 403:
        account = getattr(credentials, "service_account_email", "the service account")
        return f"share the sheet with {account} as a viewer; "
    if status == 404:
        return "no sheet has the id in this address; "
    if status == 400 and "parse range" in said:
        return "the sheet has no tab of this title; "
    return ""
