"""What a store did to a run is one error, with the store's own word for why."""

from __future__ import annotations

import errno

import pytest
import requests
from botocore.exceptions import EndpointConnectionError
from google.api_core.exceptions import RetryError, from_http_status
from google.auth.exceptions import RefreshError, TransportError

from core.errors import StoreFailed
from stores.errors import store_failures
from stores.google import NoToken
from stores.landing import LandingError, MissingObject


def of_google(status: int, reason: str) -> Exception:
    errors = [{"reason": reason, "message": "no"}]
    error: Exception = from_http_status(status, "no", errors=errors)
    return error


def landing(cause: Exception) -> LandingError:
    error = LandingError("gs://landing/x: no")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (of_google(403, "rateLimitExceeded"), "rateLimitExceeded"),
        (of_google(403, "accessDenied"), "accessDenied"),
        (RetryError("timeout", of_google(503, "backendError")), "backendError"),
        (RetryError("timeout", requests.ConnectionError("refused")), "ConnectionError"),
        (from_http_status(500, "no"), "InternalServerError"),
        (landing(of_google(404, "notFound")), "notFound"),
        (LandingError("s3://landing/x: no", "NoSuchBucket"), "NoSuchBucket"),
        (landing(EndpointConnectionError(endpoint_url="x")), "EndpointConnectionError"),
        (LandingError("gs://landing/x: other bytes"), "LandingError"),
        (OSError(errno.ENOSPC, "No space left on device"), "ENOSPC"),
        (RefreshError("invalid_grant"), "RefreshError"),  # type: ignore[no-untyped-call]
        (TransportError(NoToken("HTML")), "NoToken"),  # type: ignore[no-untyped-call]
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_reason_is_the_stores_own(error: Exception, reason: str) -> None:
    with pytest.raises(StoreFailed) as raised, store_failures("a_source", "a window"):
        raise error
    failed = raised.value
    assert failed.reason == reason
    assert (failed.source, failed.window) == ("a_source", "a window")
    assert str(failed) == f"a_source, a window: {failed.cause}"
    assert failed.cause.startswith(f"{type(error).__name__}: ")
    assert failed.__cause__ is error


def test_a_window_that_is_decided_on_the_way_is_named() -> None:
    with pytest.raises(StoreFailed, match=r"^s, window not known yet: "), store_failures("s"):
        raise OSError("no")
    with pytest.raises(StoreFailed, match=r"^s, since then: "), store_failures("s") as asked:
        asked.window = "since then"
        raise OSError("no")


def test_a_missing_object_and_what_is_no_stores_fault_keep_their_type() -> None:
    for error in (MissingObject("gs://landing/x"), KeyError("ours")):
        with pytest.raises(type(error)) as raised, store_failures("s", "w"):
            raise error
        assert raised.value is error
