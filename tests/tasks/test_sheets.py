"""Reading a tab with a real token exchange: one request, and every refusal named."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.oauth2.service_account import Credentials

from core.errors import SourceError, SourceHttpError
from sandbox.sources.sheets_api import quota_error
from stores.http import open_http
from stores.sheets import read_sheet
from testing.kits.finance import SHEET_URL
from testing.platform import TestPlatform

Read = Callable[..., SimpleNamespace]


@pytest.fixture
def platform(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform(kit="finance", size=40)


@pytest.fixture
def account(stack_env: dict[str, str]) -> dict[str, Any]:
    info: dict[str, Any] = json.loads(Path(stack_env["GCP_SERVICE_ACCOUNT_FILE"]).read_text())
    return info


@pytest.fixture
def read(platform: TestPlatform, account: dict[str, Any]) -> Read:
    def read(
        info: dict[str, Any] = account,
        *,
        deadline_seconds: float = 8.0,
        read_timeout_seconds: float = 1.0,
        pause: Callable[[float], None] = lambda _: None,
        **address: str,
    ) -> SimpleNamespace:
        given = {"base_url": platform.sources_url, "sheet_url": SHEET_URL, "worksheet": "data"}
        credentials = Credentials.from_service_account_info(info, scopes=["another"])
        with open_http("finance", read_timeout_seconds=read_timeout_seconds) as http:
            http.deadline_seconds, http.pause = deadline_seconds, pause
            answer = read_sheet(http, credentials, **{**given, **address})
        return SimpleNamespace(rows=answer.body, served_at=answer.served_at, requests=http.requests)

    return read


def test_a_tab_is_read_in_one_request_as_it_is_stored(platform: TestPlatform, read: Read) -> None:
    sheet = read()
    truth = platform.look("truth")
    assert sheet.rows[0] == truth["header"]
    served = [row for row in sheet.rows[1:] if row]
    assert [row[0] for row in served] == [row["id"] for row in truth["rows"]]
    assert [row[6] or None for row in served] == [row["cost"] for row in truth["rows"]]
    assert all(isinstance(row[1], int) for row in served)
    (call,) = platform.look("control/requests")
    assert call["path"].endswith("/values/%27data%27")
    assert "UNFORMATTED_VALUE" in call["query"] and "SERIAL_NUMBER" in call["query"]
    assert sheet.requests == 1


def test_the_moment_is_the_servers(platform: TestPlatform, read: Read) -> None:
    platform.control("clock", {"offset_ms": 7_200_000})
    served_at = read().served_at
    assert served_at
    ahead = served_at - datetime.now(UTC)
    assert timedelta(minutes=119) < ahead < timedelta(minutes=121)


def test_an_empty_tab_has_no_rows(platform: TestPlatform, read: Read) -> None:
    platform.control("set", {"rows": []})
    assert read().rows == []


PASSING: list[dict[str, Any]] = [
    {"kind": "status", "status": 429, "body": quota_error(60).response.content().decode()},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502, "body": "<html>Bad gateway</html>"},
    {"kind": "status", "status": 503},
    {"kind": "html"},
    {"kind": "empty"},
    {"kind": "malformed"},
    {"kind": "truncate"},
    {"kind": "wrong_length", "n": 5},
    {"kind": "drop"},
    {"kind": "hang", "seconds": 3},
]
NAMES = [f"{fault['kind']}-{fault.get('status')}" for fault in PASSING]


@pytest.mark.parametrize("fault", PASSING, ids=NAMES)
def test_a_fault_that_passes_is_survived(
    platform: TestPlatform, read: Read, fault: dict[str, Any]
) -> None:
    platform.control("faults", [fault])
    sheet = read()
    assert len(sheet.rows) == 42
    assert sheet.requests == 2


@pytest.mark.parametrize("fault", PASSING, ids=NAMES)
def test_a_fault_that_stays_is_named(
    platform: TestPlatform, read: Read, fault: dict[str, Any]
) -> None:
    platform.control("faults", [{"times": -1, **fault}])
    with pytest.raises(SourceError, match=r"finance, worksheet 'data': gave up after 4 tries: "):
        read()
    assert len(platform.look("control/requests")) == 4


def test_retry_after_is_honoured(platform: TestPlatform, read: Read) -> None:
    waits: list[float] = []
    platform.control("faults", [{"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}])
    read(deadline_seconds=30, pause=waits.append)
    assert waits == [7.0]


@pytest.mark.slow
def test_a_slow_drip_ends_at_the_deadline(platform: TestPlatform, read: Read) -> None:
    platform.control("faults", [{"times": -1, "kind": "drip", "seconds": 30}])
    with pytest.raises(SourceError, match="did not arrive within the deadline"):
        read(deadline_seconds=1.5, read_timeout_seconds=5.0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_not_repeated(platform: TestPlatform, read: Read, status: int) -> None:
    platform.control(
        "faults", [{"times": -1, "kind": "status", "status": status, "body": "no\nmore"}]
    )
    with pytest.raises(
        SourceHttpError, match=rf"worksheet 'data': HTTP {status}: .*no$"
    ) as refused:
        read()
    assert refused.value.status == status
    # Left to itself google-auth would fetch another token after a 401, twice; a run's is new.
    assert len(platform.look("control/requests")) == 1


def test_a_long_refusal_is_told_in_googles_words(platform: TestPlatform, read: Read) -> None:
    said = {"message": "no such thing", "details": ["x" * 20_000]}
    body = json.dumps({"error": said}, indent=2)
    platform.control("faults", [{"times": -1, "kind": "status", "status": 403, "body": body}])
    with pytest.raises(SourceHttpError, match=r"403: share the sheet with .*; no such thing$"):
        read()


def test_a_sheet_that_is_not_shared_says_with_whom_to_share_it(
    platform: TestPlatform, read: Read, account: dict[str, Any]
) -> None:
    platform.control("share", {"shared": False})
    with pytest.raises(
        SourceHttpError, match=r"403: share the sheet with .* does not have"
    ) as refused:
        read()
    assert account["client_email"] in str(refused.value)


def test_a_sheet_a_tab_or_an_address_that_does_not_exist_is_named(read: Read) -> None:
    with pytest.raises(SourceHttpError, match="404: no sheet has the id in this address"):
        read(sheet_url="https://docs.google.com/spreadsheets/d/nothing/edit")
    with pytest.raises(
        SourceHttpError, match=r"'Ledger 2': HTTP 400: the sheet has no tab of this title"
    ):
        read(worksheet="Ledger 2")
    with pytest.raises(SourceHttpError, match="no tab of this title"):
        read(worksheet="Nena's!A1")
    with pytest.raises(SourceError, match="address has no id, it should look like https://docs"):
        read(sheet_url="https://example.com/my-sheet")


def test_a_key_that_is_not_the_accounts_is_refused_at_once(
    platform: TestPlatform, read: Read, account: dict[str, Any]
) -> None:
    with pytest.raises(SourceError, match="no token for the service account: invalid_grant"):
        read({**account, "client_email": "somebody@else.iam.gserviceaccount.com"})
    assert platform.look("control/requests") == []


def test_a_token_endpoint_out_of_reach_is_named(read: Read, account: dict[str, Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match="4 tries: the token endpoint cannot be reached"):
        read({**account, "token_uri": f"http://127.0.0.1:{port}/token"})


def test_a_host_out_of_reach_is_named(read: Read) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceError, match="gave up after 4 tries: ConnectError"):
        read(base_url=f"http://127.0.0.1:{port}")


def test_no_token_and_no_key_is_logged_or_raised(
    platform: TestPlatform, read: Read, account: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    plans = [{"times": -1, "kind": "status", "status": status} for status in (401, 500)]
    with caplog.at_level("DEBUG"):
        for plan in plans:
            platform.control("faults", [plan])
            with pytest.raises(SourceError) as raised:
                read()
            said.append(str(raised.value))
    said += [record.getMessage() for record in caplog.records]
    assert len(said) > len(plans)
    key = account["private_key"].splitlines()[1]
    secrets = ("sandbox.", "Bearer", "assertion", key)
    found = [line for line, secret in itertools.product(said, secrets) if secret in line]
    assert found == []
