"""An Amazon S3 bucket, or one of a service that speaks its language, as a landing."""

from __future__ import annotations

import base64
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stores.amazon import s3_client
from stores.landing import LandingError, MissingObject, StoredObject, md5_of
from stores.settings import S3Settings

# One call is tried three times, so that it ends within four minutes whatever happens. A checksum of
# S3's own beside the MD5 would change the body's encoding, which not every such service reads.
CONFIG = Config(
    connect_timeout=10,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 3},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
# A conditional write that meets another write or a deletion gets a 409, which does not say what is
# there: by S3's documentation it is sent again. botocore does not do that.
CONFLICT_TRIES = 5
CONFLICT_WAIT_SECONDS = 1.0
# In pieces of 8 MiB, one after another; a piece that breaks off is asked for again.
DOWNLOAD = TransferConfig(use_threads=False, num_download_attempts=3)
MD5 = re.compile("[0-9a-f]{32}")


class S3Landing:
    """The bucket of the settings, behind boto3's client `s3`.

    Every write carries its MD5, which S3 compares with what it received. A listing's MD5 is the
    ETag, which S3 documents to be that for an object written in one piece, but not under SSE-KMS,
    where it is 32 digits of something else. So the ETag is only believed once a write through
    here has shown it to be the MD5; until then, and under SSE-KMS, the listing has none, and sizes
    are compared (core.batch.check_parts).
    """

    is_read_by_bigquery = False

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._bucket = settings.bucket
        self.address = f"s3://{settings.bucket}"
        self._etag_is_md5 = False

    @cached_property
    def _client(self) -> Any:
        """Made when it is first needed, because that takes half a second."""
        return s3_client(self._settings, CONFIG)

    def put(self, name: str, content: bytes) -> str:
        answer, md5 = self._write(name, content, "application/octet-stream"), md5_of(content)
        self._etag_is_md5 = _etag(answer) == md5
        if not self._etag_is_md5 and "kms" not in answer.get("ServerSideEncryption", ""):
            raise LandingError(f"{self.address}/{name}: the bucket took other bytes than were sent")
        return md5

    def put_if_absent(self, name: str, content: bytes) -> bool:
        tries = 1
        while True:
            try:
                self._write(name, content, "application/json", IfNoneMatch="*")
                return True
            except LandingError as error:
                status = _status(error.__cause__)
                if status == 412:
                    return False
                if status != 409 or tries == CONFLICT_TRIES:
                    raise
            time.sleep(random.uniform(0.1, 1) * CONFLICT_WAIT_SECONDS)
            tries += 1

    def _write(
        self, name: str, content: bytes, content_type: str, **condition: str
    ) -> dict[str, Any]:
        md5 = base64.b64encode(bytes.fromhex(md5_of(content))).decode()
        with self._asked(name):
            answer: dict[str, Any] = self._client.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=content,
                ContentType=content_type,
                ContentMD5=md5,
                **condition,
            )
        return answer

    def get(self, name: str) -> bytes:
        with self._asked(name):
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
        return content

    def download(self, name: str, file: IO[bytes]) -> None:
        with self._asked(name):
            self._client.download_fileobj(self._bucket, name, file, Config=DOWNLOAD)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        with self._asked(prefix):
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self._bucket, Prefix=prefix):
                for stored in page.get("Contents", ()):
                    etag = _etag(stored)
                    md5 = etag if self._etag_is_md5 and MD5.fullmatch(etag) else ""
                    yield StoredObject(stored["Key"], stored["Size"], md5, stored["LastModified"])

    def delete(self, name: str) -> None:
        with self._asked(name):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    @contextmanager
    def _asked(self, name: str) -> Iterator[None]:
        """Raises MissingObject for an object that is not there, else LandingError."""
        try:
            yield
        except (BotoCoreError, Boto3Error, ClientError) as error:
            where = f"{self.address}/{name}"
            # A HEAD's answer has no body to say NoSuchKey in.
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code in ("NoSuchKey", "404"):
                raise MissingObject(where) from error
            raise LandingError(f"{where}: {error}", code or None) from error


def _status(error: BaseException | None) -> int:
    if not isinstance(error, ClientError):
        return 0
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')
