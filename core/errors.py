"""What can go wrong with a source, said with source, window and cause, and never with a secret."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote


class SourceError(Exception):
    """A source did not give what was asked. The message names source, window and cause."""

    def __init__(self, source: str, window: object, cause: str) -> None:
        super().__init__(f"{source}, {window}: {cause}")
        self.source, self.window, self.cause = source, window, cause


class SourceHttpError(SourceError):
    """The source declined: repeating would not help. `status` and `body` tell why."""

    def __init__(self, source: str, window: object, status: int, body: str) -> None:
        super().__init__(source, window, f"HTTP {status}: {first_line(body)}")
        self.status, self.body = status, body


class CountMismatch(SourceError):
    """The source says it has another number of rows than it gave; the run writes both down."""

    def __init__(self, source: str, window: object, source_count: int, landed: int) -> None:
        super().__init__(source, window, f"source {source_count:,}, landed {landed:,}")
        self.source_count, self.landed = source_count, landed


class NoRequestLeft(Exception):
    """The source's budget has no request left before `until`, UTC."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"no request left until {until:%Y-%m-%d %H:%M} UTC")
        self.until = until


class StoreFailed(Exception):
    """BigQuery, a bucket or the disk failed a run. The message names source, window and cause.

    `reason` is the store's own word for it, such as rateLimitExceeded, NoSuchBucket or ENOSPC.
    """

    def __init__(self, source: str, window: object, cause: str, reason: str) -> None:
        super().__init__(f"{source}, {window}: {cause}")
        self.source, self.window, self.cause, self.reason = source, window, cause, reason


class EarlierLedger(Exception):
    """The ledger has the names of the release before; it was not changed. Says what to run."""

    def __init__(self, table_id: str, columns: Iterable[str]) -> None:
        super().__init__(
            f"{table_id} has columns of the release before ({', '.join(sorted(columns))}) and was"
            " not changed: run python -m deploy.ledger_names, which renames them"
        )


class NamedFailure(Exception):
    """A failure that a run's state is called by: alerting/findings.py knows its paragraph."""

    state_name = "Failed"

    def __init__(self, message: str, state_name: str | None = None) -> None:
        super().__init__(message)
        if state_name:
            self.state_name = state_name


class LoadFailed(NamedFailure):
    """A batch could not be loaded; the message names each and why. PARKED if one was given up."""


class OperationRejected(Exception):
    """What a person asked of a batch or a row cannot be done; the message says why."""


class PartlyExtracted(Exception):
    """Part of a source could not be had; the rest is loaded."""


class DeletionsHeld(NamedFailure):
    """A snapshot lacks so many rows that none was marked deleted, and the rest of it is applied.

    Or a list is not what its table declares, and nothing of it is applied.
    """

    state_name = "DeletionsHeld"


class TooManyRejects(NamedFailure):
    """More rows than the table's share were rejected; the good ones are loaded."""

    state_name = "TooManyRejects"


PARKED = "BatchParked"
# Of several failures of one run the first in this order names its state.
STATE_NAMES = (PARKED, TooManyRejects.state_name, DeletionsHeld.state_name)


def state_name_of(failures: Iterable[BaseException]) -> str:
    """What the state of a run with these failures is called."""
    names = {one.state_name for one in failures if isinstance(one, NamedFailure)}
    return next((name for name in STATE_NAMES if name in names), NamedFailure.state_name)


def first_line(text: str, limit: int = 200) -> str:
    """The first line that is not blank, cut to `limit` characters."""
    lines = (line.strip() for line in text.splitlines())
    line = next((line for line in lines if line), "empty body")
    return line if len(line) <= limit else line[: limit - 3] + "..."


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """`text` with every secret, as it is or url-encoded, cut out."""
    for secret in secrets:
        if secret:
            for form in {secret, quote(secret), quote(secret, safe="")}:
                text = text.replace(form, "***")
    return text
