"""A tab of a Google sheet in one request: the only place that knows gspread.

gspread's `open_by_key` and `worksheet` cost a read each and tell nothing that is needed here, so
the values are asked for directly, and a tab, sheet or permission that is missing shows as the
refusal of that one read. gspread has no timeout by default and its own retry never ends: this one
has four tries within a total deadline (stores/http.py).
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

import gspread
import requests
import urllib3
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from gspread.exceptions import NoValidUrlKeyFound
from gspread.urls import SPREADSHEET_VALUES_URL
from gspread.utils import absolute_range_name, extract_id_from_url, quote
from requests import Response

from core.errors import SourceError, SourceHttpError, first_line, without_secrets
from core.steps import step
from stores.google import GoogleSession, NoToken, RedirectRefused
from stores.http import (
    DEADLINE_SECONDS,
    HEAD_BYTES,
    MAX_BODY_BYTES,
    REPEATABLE,
    Repeat,
    read_json,
    repeated,
    retry_after,
    served_at,
)

GOOGLE = "https://sheets.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/spreadsheets.readonly",)
# Cells as they are stored: JSON numbers and texts, dates as days since 1899-12-30.
AS_STORED = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": "SERIAL_NUMBER"}
TIMEOUT_SECONDS = (10.0, 30.0)
CHUNK_BYTES = 65_536

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Sheet:
    """The rows of a tab, cut at their last cell; `served_at` is Google's clock, if it tells."""

    rows: list[list[Cell]]
    requests: int
    served_at: datetime | None


class _Values(gspread.HTTPClient):
    """gspread's client against another address; counts requests and bounds every body."""

    def __init__(
        self, credentials: Any, base_url: str, timeout: tuple[float, float], deadline: float
    ) -> None:
        # google-auth would get two new tokens after a 401 by itself; this one is new already.
        session = GoogleSession(credentials, max_refresh_attempts=0)
        super().__init__(credentials, session)
        self.auth = credentials
        self.set_timeout(timeout)
        self.session.hooks["response"].append(self._receive)
        self.base_url, self.deadline = base_url.rstrip("/"), deadline
        self.requests = 0
        self.last: Response | None = None

    def request(self, method: str, endpoint: str, *args: Any, **kwargs: Any) -> Response:
        """Any answer: gspread's own fails on an error that is not shaped as Google's are."""
        self.last = None
        url = endpoint.replace(GOOGLE, self.base_url, 1)
        try:
            response: Response = self.session.request(
                method, url, *args, timeout=self.timeout, **kwargs
            )
        except RedirectRefused:
            raise
        except requests.RequestException:
            # Sent, and nothing came back; whatever came back is counted as it does.
            self.requests += 1
            raise
        return response

    def _receive(self, response: Response, **_: Any) -> None:
        """Take the body within the deadline: a timeout only bounds the wait for its next bytes."""
        self.requests += 1
        self.last = response
        body = io.BytesIO()
        try:
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=True):
                body.write(chunk)
                if body.tell() > MAX_BODY_BYTES:
                    raise Repeat(f"a body of more than {MAX_BODY_BYTES} bytes")
                if time.monotonic() > self.deadline:
                    raise Repeat("the body did not arrive within the deadline")
        except urllib3.exceptions.HTTPError as error:
            raise Repeat(f"the body broke off ({type(error).__name__})") from error
        finally:
            response.raw.close()
        body.seek(0)
        response.raw = body


def read_sheet(
    source: str,
    credentials: Any,
    *,
    base_url: str,
    sheet_url: str,
    worksheet: str,
    timeout_seconds: tuple[float, float] = TIMEOUT_SECONDS,
    deadline_seconds: float = DEADLINE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> Sheet:
    """Every cell of a tab as it is stored, in one read. `credentials` are google-auth's.

    Raises SourceHttpError when Google declines (not shared, no such sheet, no such tab),
    SourceError when the address or the credentials are no good, or when the tries or the time are
    used up.
    """
    window = f"worksheet {worksheet!r}"
    try:
        key = extract_id_from_url(sheet_url)
    except NoValidUrlKeyFound as error:
        form = "https://docs.google.com/spreadsheets/d/<id>/edit"
        raise SourceError(
            source, window, f"the sheet's address has no id, it should look like {form}"
        ) from error
    if hasattr(credentials, "with_scopes"):
        # The scope of the rest of Google Cloud does not cover Sheets.
        credentials = credentials.with_scopes(SCOPES)
    deadline = time.monotonic() + deadline_seconds
    client = _Values(credentials, base_url, timeout_seconds, deadline)
    try:
        body = repeated(
            lambda: _try(client, source, window, key, worksheet),
            source,
            window,
            deadline=deadline,
            pause=pause,
        )
    finally:
        client.session.close()
    rows = body.get("values", []) if isinstance(body, dict) else None
    if not is_grid(rows):
        raise SourceError(source, window, "the answer has no rows of values")
    clock = served_at(client.last.headers) if client.last is not None else None
    return Sheet(rows, client.requests, clock)


def is_grid(rows: object) -> TypeGuard[list[list[Cell]]]:
    """Whether these are rows of cells, each a text, a number, a truth value or nothing."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return False
    return all(isinstance(cell, str | int | float | None) for row in rows for cell in row)


def _try(client: _Values, source: str, window: str, key: str, worksheet: str) -> Any:
    """One read. Raises Repeat for what may pass; no message has an address or a token in it."""
    url = SPREADSHEET_VALUES_URL % (key, quote(absolute_range_name(worksheet)))
    try:
        with step("extract.request"):
            response = client.request("get", url, params=dict(AS_STORED))
    except RedirectRefused as error:
        raise SourceHttpError(source, window, error.status, str(error)) from error
    except RefreshError as error:
        cause = f"no token for the service account: {first_line(str(error.args[0]))}"
        if error.retryable:
            raise Repeat(cause) from error
        raise SourceError(source, window, cause) from error
    except TransportError as error:
        if isinstance(error.args[0], NoToken):
            raise Repeat(str(error)) from error
        raise Repeat("the token endpoint cannot be reached") from error
    except GoogleAuthError as error:
        raise SourceError(source, window, f"credentials: {type(error).__name__}") from error
    except requests.Timeout as error:
        raise Repeat(f"timed out ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise Repeat(type(error).__name__) from error
    status = response.status_code
    if status in REPEATABLE:
        raise Repeat(f"HTTP {status}: {_said(response, client)}", retry_after(response.headers))
    if not 200 <= status < 300:
        said = _said(response, client)
        raise SourceHttpError(source, window, status, f"{_advice(status, said, client)}{said}")
    try:
        return read_json(response.content, response.headers)
    except ValueError as error:
        kind = response.headers.get("content-type", "no content type")
        raise Repeat(f"HTTP {status} with {error} ({kind})") from error


def _said(response: Response, client: _Values) -> str:
    """Google's own words about an error, or the first line of what came in their place."""
    said = response.content[:HEAD_BYTES].decode("utf-8", errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        body: Any = read_json(response.content, response.headers)
        said = str(body["error"]["message"])
    return first_line(without_secrets(said, [client.auth.token or ""]))


def _advice(status: int, said: str, client: _Values) -> str:
    """What to do about a refusal, in front of Google's own words."""
    if status == 403:
        account = getattr(client.auth, "service_account_email", "the service account")
        return f"share the sheet with {account} as a viewer; "
    if status == 404:
        return "no sheet has the id in this address; "
    if status == 400 and "parse range" in said:
        return "the sheet has no tab of this title; "
    return ""
