"""What the HTTP helper repeats, what it refuses, and what it says; against real sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import httpx
import pytest

from core.errors import Refused, SourceError
from tasks.http import Http
from tests.lab import Lab

SECRET = "s3cret/key"


@pytest.fixture
def http() -> Iterator[Http]:
    with httpx.Client(timeout=httpx.Timeout(1.0)) as client:
        yield Http("a_source", client, [SECRET], deadline_seconds=8, pause=lambda _: None)


def url(lab: Lab) -> str:
    return f"{lab.sources_url}/fdsnws/event/1/count"


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
def test_a_fault_that_passes_is_survived(lab: Lab, http: Http, fault: dict[str, object]) -> None:
    lab.control("faults", [{"times": 2, **fault}])
    answer = http.get_json(url(lab), PARAMETERS, "a window")
    assert isinstance(answer.body, dict)
    assert answer.served_at is not None
    assert http.requests == 3


@pytest.mark.parametrize(
    "fault", PASSING, ids=lambda fault: f"{fault['kind']}-{fault.get('status')}"
)
def test_a_fault_that_stays_is_named(lab: Lab, http: Http, fault: dict[str, object]) -> None:
    lab.control("faults", [{"times": -1, **fault}])
    with pytest.raises(SourceError, match=r"a_source, a window: gave up after [1-4] tries: \w+"):
        http.get_json(url(lab), PARAMETERS, "a window")
    assert 1 < http.requests <= 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_not_repeated(lab: Lab, http: Http, status: int) -> None:
    lab.control("faults", [{"kind": "status", "status": status, "body": f"no {SECRET} here"}])
    with pytest.raises(Refused, match=rf"a_source, a window: HTTP {status}: no \*\*\* here"):
        http.get_json(url(lab), PARAMETERS, "a window")
    assert http.requests == 1


def test_a_slow_drip_ends_at_the_deadline(lab: Lab) -> None:
    lab.control("faults", [{"times": -1, "kind": "drip", "seconds": 30}])
    with httpx.Client(timeout=httpx.Timeout(5.0)) as client:
        http = Http("a_source", client, deadline_seconds=1.5, pause=lambda _: None)
        with pytest.raises(SourceError, match="did not arrive within the deadline"):
            http.get_json(url(lab), PARAMETERS, "a window")


def test_retry_after_is_honoured(lab: Lab) -> None:
    waits: list[float] = []
    lab.control("faults", [{"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}])
    with httpx.Client() as client:
        Http("a_source", client, pause=waits.append).get_json(url(lab), PARAMETERS, "w")
    assert waits == [7.0]


def test_a_retry_after_beyond_patience_is_not_slept_through(lab: Lab) -> None:
    waits: list[float] = []
    lab.control(
        "faults",
        [{"times": -1, "kind": "status", "status": 429, "headers": {"Retry-After": "3600"}}],
    )
    with httpx.Client() as client, pytest.raises(SourceError, match="after 1 tries: HTTP 429"):
        Http("a_source", client, pause=waits.append).get_json(url(lab), PARAMETERS, "w")
    assert waits == []


def test_waits_grow_and_are_jittered(lab: Lab) -> None:
    waits: list[float] = []
    lab.control("faults", [{"times": -1, "kind": "status", "status": 500}])
    with httpx.Client() as client, pytest.raises(SourceError):
        Http("a_source", client, pause=waits.append).get_json(url(lab), PARAMETERS, "w")
    assert len(waits) == 3
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits))


def test_no_secret_is_logged_or_raised(
    make_lab: Callable[..., Lab], http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    lab = make_lab()
    body = f"key {SECRET} and s3cret%2Fkey"
    lab.control("faults", [{"times": -1, "kind": "status", "status": 500, "body": body}])
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as raised:
        http.get_json(url(lab), {**PARAMETERS, "key": SECRET}, "a window")
    said = [str(raised.value)] + [
        record.getMessage() for record in caplog.records if record.name.startswith("pipelines")
    ]
    assert len(said) > 3
    assert not [line for line in said if "s3cret" in line]
