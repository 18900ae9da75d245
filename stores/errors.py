"""What BigQuery, a bucket or the disk may do to a run, in one error with the store's own reason."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
from google.auth.exceptions import GoogleAuthError, TransportError

from core.errors import EarlierLedger, StoreFailed, first_line
from core.ownership import NotOurs
from stores.landing import LandingError, MissingObject

# BigQuery, a bucket, the way to them, or the disk: nothing that a source has to do with. A dataset
# or table that is not ours is one of these, and a ledger that is not renamed.
STORE_ERRORS = (GoogleAPIError, GoogleAuthError, LandingError, NotOurs, EarlierLedger, OSError)


@dataclass
class Asked:
    """What a run was about when a store failed it; the window is known once it was decided."""

    window: object


@contextmanager
def store_failures(source: str, window: object = "window not known yet") -> Iterator[Asked]:
    """Raises StoreFailed in place of what says neither whose run it ended nor, at times, where.

    A missing object stays a MissingObject.
    """
    asked = Asked(window)
    try:
        yield asked
    except MissingObject:
        raise
    except STORE_ERRORS as error:
        raise StoreFailed(source, asked.window, cause_of(error), reason_of(error)) from error


def cause_of(error: BaseException) -> str:
    return first_line(f"{type(error).__name__}: {error}", 500)


def reason_of(error: BaseException) -> str:
    """The store's own word for why, such as rateLimitExceeded, NoSuchBucket or ENOSPC.

    An error without one is called by the name of what it was raised for.
    """
    if word := own_word(error):
        return word
    under = underlying(error)
    return reason_of(under) if under else type(error).__name__


def underlying(error: BaseException) -> BaseException | None:
    """What an error was raised for. Google's keep it as a field."""
    kept: object = None
    if isinstance(error, RetryError):
        kept = error.cause
    elif isinstance(error, TransportError):
        kept = error.args[0]
    return kept if isinstance(kept, BaseException) else error.__cause__


def own_word(error: BaseException) -> str | None:
    """What Google's, Amazon's or the system's error says of itself."""
    if isinstance(error, GoogleAPICallError):
        reasons = [one.get("reason") for one in error.errors if isinstance(one, dict)]
        return next((str(reason) for reason in reasons if reason), None)
    if isinstance(error, LandingError):
        return error.reason
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode.get(error.errno)
    return None
