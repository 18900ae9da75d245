"""Whatever a service answers, its run fails as a source's failure or goes on; no secret leaves.

Status, headers, body and redirect of an answer are crossed: each value once by itself, then some
hundreds of combinations of a fixed seed, through the real client of every source and of Google's
token endpoint. A second server is where the redirects lead.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import credentials as user
from google.oauth2 import service_account

from core.batch import Window
from core.errors import SourceError
from core.ledger import Cursor
from runs.extract import nyc_fhv, openweather, ph_news, usgs_earthquake
from sources.finance.mapping import read_ledger
from sources.nyc_fhv.settings import NycFhv
from sources.openweather.settings import OpenWeather
from sources.ph_news.listing import listing_of
from sources.ph_news.mapping import SOURCE, classify_response, to_record
from sources.ph_news.settings import PhNews
from sources.usgs_earthquake.settings import UsgsEarthquake
from stores.bigquery import Warehouse
from stores.http import open_http
from stores.landing import Discard
from stores.platform import Platform
from stores.sheets import read_sheet
from testing.answering import Answering, Received, Reply, answering
from testing.kits.finance import SHEET_URL
from testing.kits.openweather import LOCATIONS
from testing.matrix import crossed, or_slow

SECRET = "s3cret/key"
TOKEN = "s3cret-token"
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)

STATUSES = [
    *(200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 408, 409),
    *(418, 425, 429, 451, 500, 501, 502, 503, 504, 522, 599),
]
HEADERS: list[dict[str, str]] = [
    {},
    *({"Retry-After": given} for given in ("0", "-1", "nan", "inf", "1e400", "soon", "61", "")),
    {"Retry-After": "Mon, 05 Jan 2026 12:00:30"},
    {"Retry-After": "Mon, 05 Jan 2026 12:00:30 -0000"},
    {"Retry-After": "Mon, 05 Jan 1926 12:00:30 GMT"},
    {"Retry-After": "Mon, 05 Jan 99999999999999999999 12:00:30 GMT"},
    {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2300"},
    *({"Date": given} for given in ("", "noon", "Mon, 05 Jan 2026 12:00:00", "0")),
    {"Date": "Mon, 05 Jan 2026 12:00:00 -0000", "Retry-After": "Mon, 05 Jan 2026 12:00:01"},
    {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
    {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"},
    {"Content-Type": "text/html; charset=nonsense"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "deflate"},
    {"Content-Encoding": "br"},
    {"Content-Length": "100000000"},
    {"Content-Length": "-1"},
    {"Content-Length": "many"},
    {"Transfer-Encoding": "chunked"},
    {"Set-Cookie": "a=b; Expires=never; Domain=.; Path"},
    {"X-SODA2-Fields": "[1]", "X-SODA2-Types": "{"},
    {"X-SODA2-Data-Out-Of-Date": "true"},
]
SHAPES: list[Any] = [
    {"error": "no"},
    {"error": {}},
    {"error": []},
    {"error": {"code": 5, "message": None}},
    {"error": {"code": "internal_error", "message": {}}},
    {"error": ["invalid_grant"], "error_description": 5},
    {"error": {"message": SECRET}},
    {"count": -1, "maxAllowed": "x"},
    {"count": 10**30},
    {"count": 3, "maxAllowed": 0},
    [{"count": "x"}],
    [{"count": 10**400}],
    {"metadata": {"status": []}, "features": [], "count": 0},
    {"metadata": 5, "features": [None, 5, {"id": []}], "count": 3},
    {"cod": {}, "message": []},
    {"cod": "404"},
    {"cod": 200, "dt": 10**400, "weather": 5, "main": []},
    {"pagination": [], "data": {}},
    {"pagination": {"count": 1, "total": True}, "data": [5]},
    {"pagination": {"count": 2, "total": -1}, "data": [{"url": []}, {"url": "u"}]},
    {"rowsUpdatedAt": 10**30},
    {"rowsUpdatedAt": -5},
    {"rowsUpdatedAt": 1_767_600_000},
    {"values": 5},
    {"values": [5]},
    {"values": [[{}], [None]]},
    {"access_token": 5},
    {"access_token": "", "expires_in": 5},
    {"access_token": "a\nb"},
    {"access_token": "\u20ac"},
    {"access_token": TOKEN, "expires_in": "soon"},
    {"access_token": TOKEN, "expires_in": 10**400},
    {"access_token": TOKEN, "expires_in": []},
    {"access_token": TOKEN, "expires_in": -1},
    {"access_token": TOKEN, "expires_in": True},
    {"id_token": TOKEN},
]
BODIES: list[bytes] = [
    b"",
    b"\n",
    b"<!DOCTYPE html><html><body>back soon</body></html>",
    b'{"broken": ',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[[]]",
    b"[{}]",
    b"12",
    b'"text"',
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"a,b\n\x00,\x00\n",
    b'active,"' + b"x" * 200_000,
    b'"active"\n\xff\n',
    *(json.dumps(body).encode() for body in SHAPES),
    b'{"access_token": "t", "expires_in": 1e999}',
    b'[{"count": 1e999}]',
    b'[{"count": Infinity}]',
]
# {here} is the server's own origin, {elsewhere} another one.
REDIRECTS: list[str | None] = [
    None,
    "{here}/again",
    "/again?key=" + SECRET,
    "",
    "?",
    "{elsewhere}/x",
    "{elsewhere}/x?key=" + SECRET,
    "//{elsewhere_host}/x",
    "{elsewhere_tls}/x",
    "http://user:word@{elsewhere_host}/",
    "http://[",
    "http://127.0.0.1:port/",
    "http://127.0.0.1:99999999/",
    "http:///",
    "http://xn--/",
    "http://\u20ac/".encode().decode("latin-1"),
    "file:///etc/passwd",
    "javascript:0",
    "\\\\elsewhere\\x",
]


@dataclass(frozen=True)
class Case:
    status: int = 200
    headers: int = 0
    body: int = 0
    redirect: int = 0

    def reply(self, here: str, elsewhere: Answering) -> Reply:
        headers = dict(HEADERS[self.headers])
        if location := REDIRECTS[self.redirect]:
            headers["Location"] = location.format(
                here=here,
                elsewhere=elsewhere.url,
                elsewhere_host=elsewhere.host,
                elsewhere_tls=f"https://{elsewhere.host}".replace("127.0.0.1", "localhost"),
            )
        return Reply(self.status, headers, BODIES[self.body])


def cases(source: str) -> list[Case]:
    """Every value by itself under a few statuses, then combinations.

    Of the token endpoint fewer: each case costs it four signatures.
    """
    rng = random.Random(17)
    is_token = source == "token"
    return [
        *(Case(status=status) for status in STATUSES),
        *(
            Case(status, headers=n)
            for status in ((200,) if is_token else (200, 302, 429))
            for n in range(len(HEADERS))
        ),
        *(
            Case(status, body=n)
            for status in ((200, 400) if is_token else (200, 400, 500))
            for n in range(len(BODIES))
        ),
        *(Case(status, redirect=n) for status in (302, 307) for n in range(len(REDIRECTS))),
        *(
            Case(
                rng.choice(STATUSES),
                rng.randrange(len(HEADERS)),
                rng.randrange(len(BODIES)),
                rng.randrange(len(REDIRECTS)),
            )
            for _ in range(40 if is_token else 250)
        ),
    ]


def dry() -> Platform:
    """Nothing is loaded and nothing is kept, so no store is needed."""
    warehouse = Warehouse(None, "project", "US", "raw", "", 10**10)
    return Platform(warehouse, Discard(), [], 7, 730, Path("/nowhere"), is_dry=True)


def ask_usgs(url: str) -> None:
    api = UsgsEarthquake.model_validate({"base_url": url})
    usgs_earthquake.extract(dry(), api, Window(NOW), Cursor(NOW))


def ask_weather(url: str) -> None:
    given = {"base_url": url, "api_key": SECRET, "locations": LOCATIONS[:2]}
    openweather.extract(dry(), OpenWeather.model_validate(given), Window(NOW), Cursor(NOW))


def ask_news(url: str) -> None:
    api = PhNews.model_validate({"base_url": url, "access_key": SECRET})
    with open_http(SOURCE, [SECRET], classify_response=classify_response) as http:
        body = ph_news.get_page(http, api, [f"{url}/v1/news"], 0).body
        for article in listing_of(body, 0, "offset 0").articles:
            to_record(article, NOW)


def ask_vehicles(url: str) -> None:
    api = NycFhv.model_validate({"base_url": url, "app_token": SECRET, "page_size": 2})
    nyc_fhv.extract(dry(), api, Window(NOW), Cursor(NOW))


def ask_sheet(url: str, credentials: Any = None) -> None:
    credentials = credentials or user.Credentials(TOKEN)
    with open_http("finance") as http:
        sheet = read_sheet(http, credentials, base_url=url, sheet_url=SHEET_URL, worksheet="ledger")
    read_ledger(sheet.body, "worksheet 'ledger'")


@cache
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()


def ask_token(url: str) -> None:
    """The token endpoint is the server at `url`, which has an empty sheet, too."""
    account = {
        "client_email": "a@b.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
        "private_key": private_key(),
    }
    credentials = service_account.Credentials.from_service_account_info(account)
    ask_sheet(f"{url}/sheets", credentials)


ASK: dict[str, Callable[[str], None]] = {
    "usgs_earthquake": ask_usgs,
    "openweather": ask_weather,
    "ph_news": ask_news,
    "nyc_fhv": ask_vehicles,
    "finance": ask_sheet,
    "token": ask_token,
}


# What of these is a secret of whom; nobody knows a key that is not its own.
SECRETS = {
    "usgs_earthquake": ["user:word"],
    "finance": [TOKEN],
    "token": [TOKEN, "assertion"],
    **{key: [SECRET, quote(SECRET, safe="")] for key in ("openweather", "ph_news", "nyc_fhv")},
}


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries, no waiting, and certificates, which nobody shows here, read once."""
    certificates = httpx.create_ssl_context()
    monkeypatch.setattr("httpx.create_ssl_context", lambda: certificates)
    defaults = ((), 2, 180.0, lambda _: None)
    monkeypatch.setattr("stores.http.Http.__init__.__defaults__", defaults)
    monkeypatch.setattr("stores.http.logger.level", logging.ERROR)
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)


@pytest.fixture
def elsewhere() -> Iterator[Answering]:
    with answering(lambda _: Reply(200, body=b"{}")) as server:
        yield server


@pytest.mark.parametrize("source", or_slow(lambda source: source != "token", crossed(ASK)))
def test_any_answer_is_the_sources_failure_or_none(source: str, elsewhere: Answering) -> None:
    tried, told = cases(source), list[str]()
    current = Case()

    def answer(request: Received) -> Reply:
        if request.path.startswith("/sheets/"):
            return Reply(200, body=b'{"values": []}')
        return current.reply(server.url, elsewhere)

    name = "finance" if source == "token" else source
    with answering(answer) as server:
        for case in tried:
            current = case
            try:
                ASK[source](server.url)
            except SourceError as error:
                told.append(str(error))
                assert (error.source, bool(error.window)) == (name, True)
            except Exception as error:
                error.add_note(f"{case}: {case.reply(server.url, elsewhere)}"[:2000])
                raise
        assert len(server.received) > len(tried)
    assert len(told) > len(tried) / 2
    for message in told:
        assert message.startswith(f"{name}, ")
        for secret in SECRETS[source]:
            assert secret not in message
    assert elsewhere.received == []
