"""What is repeated, how often, and what is a batch's own fault: told by the reason."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from google.api_core.exceptions import GoogleAPIError, RetryError, from_http_status
from google.cloud.bigquery.job.base import _error_result_to_exception

from stores.retry import Repeat, is_own_fault, is_transient
from tasks import prefect_tasks
from testing.strict import MESSAGES, REASONS


def as_job(reason: str) -> GoogleAPIError:
    """The error of a job whose record has this reason."""
    named, message = MESSAGES.get(reason) or (reason, REASONS[reason][1])
    error: GoogleAPIError = _error_result_to_exception({"reason": named, "message": message})
    return error


PASSING = (
    *("rateLimitExceeded", "backendError", "internalError", "badGateway", "tableUnavailable"),
    *("jobBackendError", "jobInternalError", "jobRateLimitExceeded", "outstanding"),
)
OWN = (
    *("invalid", "invalidQuery", "responseTooLarge", "resourcesExceeded"),
    *("bytesBilledLimitExceeded", "billingTierLimitExceeded"),
)
# The service's or the operator's, and no use in another try of the same; a conflict is repeated by
# what is fenced.
NEITHER = ("quotaExceeded", "accessDenied", "notFound", "conditionNotMet", "aborted", "elsewhere")


def test_every_reason_that_the_proxy_knows_is_judged() -> None:
    assert {*PASSING, *OWN, *NEITHER} == {*REASONS, *MESSAGES}


@pytest.mark.parametrize("reason", [*PASSING, *OWN, *NEITHER])
def test_a_reason_tells_what_passes_and_what_is_the_batch_s_own(reason: str) -> None:
    error = as_job(reason)
    assert (is_transient(error), is_own_fault(error)) == (reason in PASSING, reason in OWN)
    after = RetryError("gave up", error)
    assert (is_transient(after), is_own_fault(after)) == (False, False)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (requests.exceptions.ConnectionError(), True),
        (requests.exceptions.ReadTimeout(), True),
        (ConnectionResetError(), True),
        (requests.exceptions.SSLError(), False),
        (from_http_status(502, "a gateway's page"), True),
        (from_http_status(404, "a gateway's page"), False),
        (TimeoutError(), False),
        (KeyError("ours"), False),
    ],
    ids=repr,
)
def test_without_a_reason_the_status_or_the_kind_of_error_tells(
    error: Exception, passes: bool
) -> None:
    assert is_transient(error) is passes


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which are not waited; a clock that they move; jitter at its most."""
    waited: list[float] = []
    monkeypatch.setattr("stores.retry.time.sleep", waited.append)
    monkeypatch.setattr("stores.retry.time.monotonic", lambda: sum(waited))
    monkeypatch.setattr("stores.retry.random.uniform", lambda low, high: high)
    return waited


def failing(*errors: Exception) -> Any:
    """Raises these one after the other, then returns "done"."""
    left = list(errors)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def test_it_is_repeated_until_it_is_done(waits: list[float]) -> None:
    error = as_job("backendError")
    assert Repeat()(failing(error, error, error))() == "done"
    assert waits == [1.5, 3.0, 6.0]


def test_after_eight_tries_it_is_given_up_and_the_reason_kept(waits: list[float]) -> None:
    error = as_job("rateLimitExceeded")
    with pytest.raises(RetryError, match="ledger: gave up after 8 tries") as gave_up:
        Repeat().run(failing(*[error] * 8), what="ledger")
    assert gave_up.value.cause is error
    assert len(waits) == 7
    assert sum(waits) < Repeat().seconds


def test_no_try_comes_later_than_the_deadline(waits: list[float]) -> None:
    with pytest.raises(RetryError, match="gave up after 3 tries"):
        Repeat(seconds=5.0).run(failing(*[as_job("backendError")] * 8))
    assert sum(waits) <= 5.0


def test_what_does_not_pass_is_raised_at_once(waits: list[float]) -> None:
    error = as_job("quotaExceeded")
    with pytest.raises(type(error)):
        Repeat().run(failing(error))
    assert waits == []


@pytest.mark.parametrize(
    ("error", "is_left"), [(as_job("backendError"), False), (OSError("disk"), True)]
)
def test_a_task_does_not_repeat_what_bigquery_answered(error: Exception, is_left: bool) -> None:
    class State:
        data = error

    assert prefect_tasks.is_left(None, None, State()) is is_left
