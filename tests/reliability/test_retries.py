"""What would not help to repeat is asked once: a wrong key, a spent quota, a long Retry-After."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import SourceError
from testing.matrix import crossed, only
from testing.platform import KITS, TestPlatform

GOOGLE_401 = {"error": {"code": 401, "message": "bad token", "status": "UNAUTHENTICATED"}}
# By kit: what its service says to a wrong key, and to a right one whose quota is spent.
WRONG_KEY: dict[str, Any] = {
    "finance": GOOGLE_401,
    "nyc_fhv": {"code": "authentication_required", "message": "Authentication required"},
    "openweather": {"cod": 401, "message": "Invalid API key."},
    "ph_news": {"error": {"code": "invalid_access_key", "message": "Invalid access key."}},
    "usgs_earthquake": {},
}
SPENT: dict[str, Any] = {
    "openweather": {"cod": 429, "message": "Your account is temporary blocked due to exceeding"},
    "ph_news": {"error": {"code": "usage_limit_reached", "message": "Usage limit reached."}},
}


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated request is repeated at once."""
    monkeypatch.setattr("stores.http.random.uniform", lambda *_: 0.01)


def asked_once(
    platform: TestPlatform, status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    """One request, a failure that names source and status, and nothing left behind."""
    fault = {"kind": "status", "status": status, "body": json.dumps(body), "times": -1}
    platform.control("faults", [fault | {"headers": headers or {}}])
    with pytest.raises(SourceError, match=rf"^{platform.kit}, .*HTTP {status}"):
        platform.run()
    assert len(platform.look("control/requests")) == 1
    assert platform.ledger() == []
    assert platform.objects() == []


@pytest.mark.parametrize("kit", KITS)
def test_a_401_is_not_repeated(kit: str, make_platform: Callable[..., TestPlatform]) -> None:
    asked_once(make_platform(kit=kit, size=20), 401, WRONG_KEY[kit])


@pytest.mark.parametrize("kit", SPENT)
def test_a_spent_quota_is_not_asked_again(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    asked_once(make_platform(kit=kit, size=20), 429, SPENT[kit])


# OpenWeather asks for each of its places; the one that is to wait is told in its own tests.
@pytest.mark.parametrize("kit", [kit for kit in KITS if kit not in SPENT])
def test_a_retry_after_beyond_a_minute_ends_the_run(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    asked_once(make_platform(kit=kit, size=20), 429, {}, {"Retry-After": "3600"})


# With one it is in test_faults.py.
@pytest.mark.parametrize("kit", only(lambda kit: kit == "openweather", crossed(KITS)))
def test_a_429_without_retry_after_is_repeated(
    kit: str, make_platform: Callable[..., TestPlatform]
) -> None:
    platform = make_platform(kit=kit, size=20)
    platform.control("faults", [{"kind": "status", "status": 429, "times": 2}])
    platform.run()
    assert [entry["status"] for entry in platform.look("control/requests")][:3].count(429) == 2
    platform.assert_equals_truth()
