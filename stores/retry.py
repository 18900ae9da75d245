"""Repeats what BigQuery may do better the next time, by its reason. Nothing above repeats it too.

A call is one request: the client gets the helper as its `retry`, and a request that makes a job
keeps the job's id, so that there is one job at most. A job that failed by itself, as its record
says, changed nothing, and is started again under another id. What ends in a fenced script is
repeated as a whole once the ledger was read (runs/load.py).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.auth.exceptions import TransportError

from core.errors import first_line
from stores.errors import own_word

logger = logging.getLogger("pipelines.warehouse")

T = TypeVar("T")

# https://cloud.google.com/bigquery/docs/error-messages; `job...` are of a job's record.
PASSING = frozenset(
    {
        *("rateLimitExceeded", "backendError", "internalError", "badGateway", "tableUnavailable"),
        *("jobBackendError", "jobInternalError", "jobRateLimitExceeded"),
    }
)
# What is wrong with the statement or the data itself; another time it is wrong again.
OWN_FAULTS = frozenset(
    {
        *("invalid", "invalidQuery", "responseTooLarge", "resourcesExceeded"),
        *("bytesBilledLimitExceeded", "billingTierLimitExceeded"),
    }
)
# Statuses that repeat where an answer has no reason, as one of a gateway on the way.
PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
# No answer came, or not all of it.
UNREACHED = (
    ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    TransportError,
)
# What follows BigQuery says in words only, by its page above and as it was seen; the reason beside
# it is that of other faults as well.
# Another transaction changed the table first (400 invalidQuery).
CONFLICTS = ("concurrent update", "due to a conflict")
# More than 20 statements wait for a table (400 resourcesExceeded).
OUTSTANDING = "Too many DML statements outstanding"
# A bucket or dataset is not where BIGQUERY_LOCATION says (400 invalid).
ELSEWHERE = "in different locations"


def is_conflict(error: BaseException) -> bool:
    return any(words in str(error) for words in CONFLICTS)


def is_staging_gone(error: BaseException, batch_id: str) -> bool:
    """Whether what is not found was staged of the batch: the message names the table, and may have
    its name in another case."""
    return isinstance(error, NotFound) and batch_id.lower() in str(error).lower()


def is_transient(error: BaseException) -> bool:
    """Whether the service failed, and another try can succeed. A RetryError is after the last."""
    if isinstance(error, GoogleAPICallError):
        reason = own_word(error)
        if reason is None:
            return error.code in PASSING_STATUS
        return reason in PASSING or OUTSTANDING in str(error)
    return isinstance(error, UNREACHED) and not isinstance(error, requests.exceptions.SSLError)


def is_own_fault(error: BaseException) -> bool:
    """Whether the statement or its data is why, and not the service, its operator or another run.

    A conflict, a queue that is full, a wrong location, a table or dataset that is not available and
    whatever has no reason or another one is not.
    """
    return (
        isinstance(error, GoogleAPICallError)
        and own_word(error) in OWN_FAULTS
        and not is_conflict(error)
        and OUTSTANDING not in str(error)
        and ELSEWHERE not in str(error)
    )


@dataclass(frozen=True)
class Repeat:
    """At most `tries` tries, and none later than `seconds` after the first that failed.

    Waits double from `first_wait`, in seconds, each with a jitter of half of itself, so that
    loaders that were refused together do not come back together.
    """

    tries: int = 8
    seconds: float = 300.0
    first_wait: float = 1.0
    longest_wait: float = 32.0

    def __call__(self, call: Callable[..., T]) -> Callable[..., T]:
        """`call`, repeated: what Google's client wants of a `retry`."""

        def repeated(*args: Any, **kwargs: Any) -> T:
            return self.run(partial(call, *args, **kwargs))

        return repeated

    def run(
        self,
        attempt: Callable[[], T],
        passes: Callable[[Exception], bool] = is_transient,
        what: str = "BigQuery",
    ) -> T:
        """What `attempt` returns. Raises RetryError after the last try, and at once what does not
        pass."""
        number, deadline = 1, None
        while True:
            try:
                return attempt()
            except Exception as error:
                if not passes(error):
                    raise
                now = time.monotonic()
                deadline = deadline or now + self.seconds
                doubled = min(self.first_wait * 2.0 ** (number - 1), self.longest_wait)
                wait = random.uniform(0.5, 1.5) * doubled
                if number >= self.tries or now + wait > deadline:
                    raise RetryError(f"{what}: gave up after {number} tries", error) from error
                said = first_line(str(error))
                logger.warning("%s: %s; again in %.1f s", what, said, wait)
                time.sleep(wait)
                number += 1
