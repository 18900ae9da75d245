"""A landing bucket behind six calls. What is written is never overwritten."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Protocol

from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

# Connect and read timeout of one call, and how long a client repeats it by itself.
TIMEOUT_SECONDS = (10, 60)
RETRY = DEFAULT_RETRY.with_timeout(120)
# All that Google's client raises of a call, bytes that are not those of their checksum included.
OF_GOOGLE = (GoogleAPIError, GoogleAuthError, RequestException, DataCorruption, InvalidResponse)


class LandingError(Exception):
    """A bucket did not do what it was asked; the message names bucket, object and cause.

    `reason` is the store's own word for it where its client has one that Google's have not.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class MissingObject(FileNotFoundError):
    """A bucket has no object of this name; the message is its address."""


@dataclass(frozen=True)
class StoredObject:
    """An object as its bucket lists it. `md5` in hex, empty where the bucket does not tell it."""

    name: str
    size_bytes: int
    md5: str
    created_at: datetime


class Landing(Protocol):
    """What the batch protocol asks of a bucket."""

    # Whether load jobs can be given the addresses of its objects.
    is_read_by_bigquery: bool
    # The bucket as a person writes it: gs://name or s3://name.
    address: str

    def put(self, name: str, content: bytes) -> str:
        """Write an object under a fresh name; the MD5 of its content in hex."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write an object unless one is there; whether it was written."""

    def get(self, name: str) -> bytes:
        """The content of an object; MissingObject when there is none."""

    def download(self, name: str, file: IO[bytes]) -> None:
        """Write an object's content to a file, piece by piece; MissingObject like `get`."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """The objects below a prefix, by name."""

    def delete(self, name: str) -> None:
        """Remove an object; no error when it is gone already."""


class GcsLanding:
    """A Google Cloud Storage bucket (`bucket` is google.cloud.storage's)."""

    is_read_by_bigquery = True

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket
        self.address = f"gs://{bucket.name}"

    def put(self, name: str, content: bytes) -> str:
        self._write(name, content, "application/octet-stream")
        return md5_of(content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        try:
            self._write(name, content, "application/json", if_generation_match=0)
        except LandingError as error:
            if isinstance(error.__cause__, PreconditionFailed):
                return False
            raise
        return True

    def _write(self, name: str, content: bytes, content_type: str, **condition: int) -> None:
        call = {"retry": RETRY, "timeout": TIMEOUT_SECONDS, "checksum": "md5", **condition}
        with self._asked(name):
            self._bucket.blob(name).upload_from_string(content, content_type, **call)

    def get(self, name: str) -> bytes:
        with self._asked(name, is_read=True):
            content: bytes = self._bucket.blob(name).download_as_bytes(
                retry=RETRY, timeout=TIMEOUT_SECONDS
            )
        return content

    def download(self, name: str, file: IO[bytes]) -> None:
        with self._asked(name, is_read=True):
            self._bucket.blob(name).download_to_file(file, retry=RETRY, timeout=TIMEOUT_SECONDS)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        with self._asked(prefix):
            blobs = self._bucket.client.list_blobs(
                self._bucket, prefix=prefix, retry=RETRY, timeout=TIMEOUT_SECONDS
            )
            for blob in blobs:
                # In base64; composite objects have none.
                md5 = base64.b64decode(blob.md5_hash or "").hex()
                yield StoredObject(blob.name, int(blob.size), md5, blob.time_created)

    def delete(self, name: str) -> None:
        with suppress(MissingObject), self._asked(name, is_read=True):
            self._bucket.blob(name).delete(retry=RETRY, timeout=TIMEOUT_SECONDS)

    @contextmanager
    def _asked(self, name: str, *, is_read: bool = False) -> Iterator[None]:
        """Raises MissingObject for an object to read that is not there, else LandingError.

        What is not there when an object is written or listed is the bucket.
        """
        where = f"{self.address}/{name}"
        try:
            yield
        except OF_GOOGLE as error:
            if is_read and isinstance(error, NotFound):
                raise MissingObject(where) from error
            raise LandingError(f"{where}: {error}") from error


class Discard:
    """A landing that keeps nothing but what was put where: for looking at a source."""

    is_read_by_bigquery = False
    address = "nowhere"

    def __init__(self) -> None:
        self._stored: dict[str, StoredObject] = {}

    def put(self, name: str, content: bytes) -> str:
        md5 = md5_of(content)
        self._stored[name] = StoredObject(name, len(content), md5, datetime.now(UTC))
        return md5

    def put_if_absent(self, name: str, content: bytes) -> bool:
        self.put(name, content)
        return True

    def get(self, name: str) -> bytes:
        raise MissingObject(name)

    def download(self, name: str, file: IO[bytes]) -> None:
        raise MissingObject(name)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return (stored for name, stored in self._stored.items() if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self._stored.pop(name, None)


def md5_of(content: bytes) -> str:
    """In hex."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
