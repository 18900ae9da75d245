"""What the HTTP helper repeats, what it refuses, and what it says; against real sockets."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from core.errors import NoRequestLeft, SourceError, SourceHttpError
from stores.http import Http, open_http, retry_after, served_at
from testing.answering import Received, Reply, answering
from testing.platform import TestPlatform

SECRET = "s3cret/key"


@pytest.fixture
def http() -> Iterator[Http]:
    with httpx.Client(timeout=httpx.Timeout(1.0)) as client:
        yield Http("a_source", client, [SECRET], deadline_seconds=8, pause=lambda _: None)


def url(platform: TestPlatform) -> str:
    return f"{platform.sources_url}/fdsnws/event/1/count"


PARAMETERS = {"format": "geojson", "minmagnitude": "9.9"}
PASSING = [
    {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "drop"},
    {"kind": "truncate"},
    {"kind": "wrong_length", "n": 5},
    {"kind": "malformed"},
    {"kind": "html"},
    {"kind": "empty"},
    {"kind": "hang", "seconds": 2},
]


@pytest.mark.parametrize(
    "fault", PASSING, ids=lambda fault: f"{fault['kind']}-{fault.get('status')}"
)
def test_a_fault_that_passes_is_survived(
    platform: TestPlatform, http: Http, fault: dict[str, object]
) -> None:
    platform.control("faults", [{"times": 2, **fault}])
    answer = http.get_json(url(platform), PARAMETERS, "a window")
    assert isinstance(answer.body, dict)
    assert answer.served_at is not None
    assert http.requests == 3


@pytest.mark.parametrize(
    "fault", PASSING, ids=lambda fault: f"{fault['kind']}-{fault.get('status')}"
)
def test_a_fault_that_stays_is_named(
    platform: TestPlatform, http: Http, fault: dict[str, object]
) -> None:
    platform.control("faults", [{"times": -1, **fault}])
    with pytest.raises(SourceError, match=r"a_source, a window: gave up after [1-4] tries: \w+"):
        http.get_json(url(platform), PARAMETERS, "a window")
    assert 1 < http.requests <= 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_not_repeated(platform: TestPlatform, http: Http, status: int) -> None:
    platform.control("faults", [{"kind": "status", "status": status, "body": f"no {SECRET} here"}])
    with pytest.raises(
        SourceHttpError, match=rf"a_source, a window: HTTP {status}: no \*\*\* here"
    ):
        http.get_json(url(platform), PARAMETERS, "a window")
    assert http.requests == 1


def test_a_slow_drip_ends_at_the_deadline(platform: TestPlatform) -> None:
    platform.control("faults", [{"times": -1, "kind": "drip", "seconds": 30}])
    with httpx.Client(timeout=httpx.Timeout(5.0)) as client:
        http = Http("a_source", client, deadline_seconds=1.5, pause=lambda _: None)
        with pytest.raises(SourceError, match="did not arrive within the deadline"):
            http.get_json(url(platform), PARAMETERS, "a window")


def test_retry_after_is_honoured(platform: TestPlatform) -> None:
    waits: list[float] = []
    platform.control("faults", [{"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}])
    with httpx.Client() as client:
        Http("a_source", client, pause=waits.append).get_json(url(platform), PARAMETERS, "w")
    assert waits == [7.0]


def test_a_retry_after_beyond_patience_is_not_slept_through(platform: TestPlatform) -> None:
    waits: list[float] = []
    platform.control(
        "faults",
        [{"times": -1, "kind": "status", "status": 429, "headers": {"Retry-After": "3600"}}],
    )
    with httpx.Client() as client, pytest.raises(SourceError, match="after 1 tries: HTTP 429"):
        Http("a_source", client, pause=waits.append).get_json(url(platform), PARAMETERS, "w")
    assert waits == []


def test_waits_grow_and_are_jittered(platform: TestPlatform) -> None:
    waits: list[float] = []
    platform.control("faults", [{"times": -1, "kind": "status", "status": 500}])
    with httpx.Client() as client, pytest.raises(SourceError):
        Http("a_source", client, pause=waits.append).get_json(url(platform), PARAMETERS, "w")
    assert len(waits) == 3
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits))


def test_no_secret_is_logged_or_raised(
    make_platform: Callable[..., TestPlatform], http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    platform = make_platform()
    body = f"key {SECRET} and s3cret%2Fkey"
    platform.control("faults", [{"times": -1, "kind": "status", "status": 500, "body": body}])
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as raised:
        http.get_json(url(platform), {**PARAMETERS, "key": SECRET}, "a window")
    said = [str(raised.value)] + [
        record.getMessage() for record in caplog.records if record.name.startswith("pipelines")
    ]
    assert len(said) > 3
    assert not [line for line in said if "s3cret" in line]


NOON = "Mon, 05 Jan 2026 12:00:00"
CLOCK = f"{NOON} GMT"


@pytest.mark.parametrize(
    ("date", "given", "seconds"),
    [
        (CLOCK, "Mon, 05 Jan 2026 12:00:30 GMT", 30.0),
        (CLOCK, "Mon, 05 Jan 2026 12:00:30", 30.0),
        (CLOCK, "Mon, 05 Jan 2026 12:00:30 -0000", 30.0),
        (f"{NOON} -0000", "Mon, 05 Jan 2026 12:00:30 GMT", 30.0),
        (NOON, "Mon, 05 Jan 2026 12:00:30", 30.0),
        (CLOCK, "Mon Jan  5 12:00:30 2026", 30.0),
        (CLOCK, "Mon, 05 Jan 2026 11:00:00 GMT", 0.0),
        (CLOCK, "Mon, 05 Jan 99999999999999999999 12:00:00 GMT", None),
        (CLOCK, "Fri, 31 Dec 9999 23:59:59 -2300", None),
        (CLOCK, "Mon, 45 Jan 2026 12:00:00 GMT", None),
        (CLOCK, "soon", None),
        (CLOCK, "", None),
        (CLOCK, "-5", 0.0),
        (CLOCK, "nan", 0.0),
        (CLOCK, "inf", math.inf),
        (CLOCK, "1e400", math.inf),
        (CLOCK, "0.5", 0.5),
    ],
)
def test_a_retry_after_of_any_form_is_a_wait_or_none(
    date: str, given: str, seconds: float | None
) -> None:
    assert retry_after({"date": date, "retry-after": given}) == seconds


@pytest.mark.parametrize("date", ["", "noon", "Mon, 05 Jan 9999999999999 12:00:00 GMT"])
def test_a_retry_after_without_the_servers_clock_is_taken_by_ours(date: str) -> None:
    until = datetime.now(UTC) + timedelta(seconds=40)
    seconds = retry_after({"date": date, "retry-after": f"{until:%a, %d %b %Y %H:%M:%S} GMT"})
    assert seconds is not None and 30 < seconds <= 40


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        (CLOCK, datetime(2026, 1, 5, 12, tzinfo=UTC)),
        (f"{NOON} -0000", datetime(2026, 1, 5, 12, tzinfo=UTC)),
        (NOON, datetime(2026, 1, 5, 12, tzinfo=UTC)),
        (f"{NOON} +0800", datetime(2026, 1, 5, 4, tzinfo=UTC)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("noon", None),
    ],
)
def test_a_date_of_any_form_is_a_moment_or_none(date: str, moment: datetime | None) -> None:
    assert served_at({"date": date}) == moment


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_followed(status: int) -> None:
    def answer(request: Received) -> Reply:
        if request.path == "/end":
            return Reply(200, body=b"[]")
        return Reply(status, {"Location": "/end" if request.path == "/2" else "/2"})

    admitted: list[int] = []
    with (
        answering(answer) as server,
        open_http(
            "s", headers={"X-App-Token": SECRET}, before_request=lambda: admitted.append(1)
        ) as http,
    ):
        assert http.get_json(f"{server.url}/1", {"key": SECRET}, "w").body == []
    assert [request.path.partition("?")[0] for request in server.received] == ["/1", "/2", "/end"]
    assert {request.headers["X-App-Token"] for request in server.received} == {SECRET}
    # The key was for the address that was asked; where it is wanted, the redirect has it.
    assert [SECRET.replace("/", "%2F") in request for request in server.received] == [
        True,
        False,
        False,
    ]
    assert http.requests == len(admitted) == 3


def test_a_redirect_to_another_origin_is_refused_and_gets_nothing() -> None:
    with answering(lambda _: Reply(200, body=b"[]")) as elsewhere:
        target = f"{elsewhere.url}/x?key={SECRET}"
        with (
            answering(lambda _: Reply(302, {"Location": target})) as server,
            open_http("s", [SECRET], headers={"X-App-Token": SECRET}) as http,
            pytest.raises(SourceHttpError) as refused,
        ):
            http.get_json(server.url, {"key": SECRET}, "a window")
        assert elsewhere.received == []
    assert len(server.received) == http.requests == 1
    assert refused.value.status == 302
    assert str(refused.value).startswith(
        f"s, a window: HTTP 302: redirects from {server.url} to {elsewhere.url}, which is not "
    )
    assert "key=" not in str(refused.value)


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("http://localhost:{port}/", "http://localhost:{port}"),
        ("ftp://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}"),
        ("//elsewhere.test/x", "http://elsewhere.test"),
        ("http://127.0.0.1/", "http://127.0.0.1"),
        ("http://127.0.0.1:{port}@elsewhere.test/", "http://elsewhere.test"),
    ],
)
def test_an_origin_is_scheme_host_and_port(location: str, named: str) -> None:
    def answer(request: Received) -> Reply:
        return Reply(307, {"Location": location.format(port=server.server_address[1])})

    with (
        answering(answer) as server,
        open_http("s") as http,
        pytest.raises(SourceHttpError) as refused,
    ):
        http.get_json(server.url, {}, "w")
    assert f" to {named.format(port=server.server_address[1])}, which" in str(refused.value)
    assert http.requests == 1


def test_a_redirect_to_tls_on_the_same_host_is_followed() -> None:
    """Nothing there speaks TLS, and that is what the failure says."""
    with answering(lambda _: Reply(404)) as other:
        location = f"https://{other.host}/"
        with (
            answering(lambda _: Reply(301, {"Location": location})) as server,
            httpx.Client() as client,
            pytest.raises(SourceError, match="after 1 tries: ConnectError"),
        ):
            Http("s", client, tries=1).get_json(server.url, {}, "w")


@pytest.mark.parametrize("location", ["/", "/?again", "//{host}/"])
def test_a_redirect_in_a_circle_is_refused(location: str) -> None:
    def answer(request: Received) -> Reply:
        return Reply(302, {"Location": location.format(host=server.host)})

    with (
        answering(answer) as server,
        open_http("s") as http,
        pytest.raises(SourceHttpError) as refused,
    ):
        http.get_json(server.url, {}, "w")
    assert f"more than 3 redirects, the last from {server.url} to {server.url}" in str(
        refused.value
    )
    assert len(server.received) == http.requests == 4


@pytest.mark.parametrize(
    "location", ["http://[", "http://127.0.0.1:port/", "http:///", "http://\x7f/", "http://xn--/"]
)
def test_a_redirect_to_no_address_is_a_failure_of_the_source(location: str) -> None:
    with (
        answering(lambda _: Reply(302, {"Location": location})) as server,
        httpx.Client() as client,
        pytest.raises(SourceError, match=r"^s, w: "),
    ):
        Http("s", client, tries=2, pause=lambda _: None).get_json(server.url, {}, "w")
    assert 1 <= len(server.received) <= 2


def test_a_redirect_that_may_not_be_counted_is_not_followed() -> None:
    until = datetime(2026, 2, 1, tzinfo=UTC)
    left = [until]

    def before_request() -> None:
        if not left:
            raise NoRequestLeft(until)
        left.pop()

    with (
        answering(lambda _: Reply(302, {"Location": "/x"})) as server,
        open_http("s", before_request=before_request) as http,
        pytest.raises(NoRequestLeft),
    ):
        http.get_json(server.url, {}, "w")
    assert len(server.received) == 1


WAITS_ONCE = frozenset({429})


@pytest.mark.parametrize(
    ("given", "waits", "asked"),
    [("7", [7.0], 2), ("60", [60.0], 2), ("61", [], 1), ("inf", [], 1)],
)
def test_who_waits_once_asks_a_second_time_at_most(
    given: str, waits: list[float], asked: int
) -> None:
    waited: list[float] = []
    with (
        answering(lambda _: Reply(429, {"Retry-After": given}, b"blocked")) as server,
        httpx.Client() as client,
        pytest.raises(SourceHttpError, match="HTTP 429: blocked"),
    ):
        Http("s", client, pause=waited.append, waits_once_for=WAITS_ONCE).get_json(
            server.url, {}, "w"
        )
    assert waited == waits
    assert len(server.received) == asked
