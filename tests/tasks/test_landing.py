"""Both buckets keep the same promises: one suite, each emulator behind its own client."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config

from core.batch import InvalidManifest
from sources.usgs_earthquake.mapping import TABLE
from stores.landing import GcsLanding, Landing, LandingError, MissingObject
from stores.landing_s3 import S3Landing
from stores.platform import connect
from stores.settings import LANDING_GCS, LANDING_S3, LandingName, PlatformSettings, S3Settings
from testing.platform import TestPlatform
from tests.tasks.test_load import commit_batch, quake

CONTENT = b"bytes \x00 of a part" * 1000
LANDINGS: tuple[LandingName, ...] = (LANDING_GCS, LANDING_S3)


@pytest.fixture(params=LANDINGS)
def platform(
    request: pytest.FixtureRequest, make_platform: Callable[..., TestPlatform]
) -> TestPlatform:
    return make_platform(landing=request.param, size=1)


@pytest.fixture
def on_s3(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    return make_platform(landing=LANDING_S3, size=1)


@pytest.fixture
def landing(platform: TestPlatform) -> Landing:
    return platform.stores.landing


@pytest.fixture
def prefix(platform: TestPlatform) -> str:
    return platform.stores.prefix("a source")


def s3_of(platform: TestPlatform) -> tuple[S3Landing, Any]:
    """The platform's landing on S3 and boto3's client behind it."""
    found = platform.stores.landing
    assert isinstance(found, S3Landing)
    return found, found._client


def settings_of(platform: TestPlatform) -> S3Settings:
    settings = platform.blocks.s3
    assert settings is not None
    return settings


def test_what_is_put_is_there(landing: Landing, prefix: str) -> None:
    name = f"{prefix}é and/a space+plus.parquet"
    md5 = landing.put(name, CONTENT)
    assert md5 == hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert landing.get(name) == CONTENT
    file = io.BytesIO()
    landing.download(name, file)
    assert file.getvalue() == CONTENT
    (stored,) = landing.list(prefix)
    assert (stored.name, stored.size_bytes, stored.md5) == (name, len(CONTENT), md5)
    assert abs(datetime.now(UTC) - stored.created_at) < timedelta(minutes=5)


def test_an_empty_object_is_one(landing: Landing, prefix: str) -> None:
    landing.put(f"{prefix}empty", b"")
    assert landing.get(f"{prefix}empty") == b""


def test_a_listing_goes_over_many_pages_and_stays_below_its_prefix(
    landing: Landing, prefix: str
) -> None:
    """The GCS emulator knows one page only."""
    pages: list[object] = []
    if isinstance(landing, S3Landing):
        events = landing._client.meta.events
        events.register("provide-client-params.s3.ListObjectsV2", in_pages_of_seven)
        events.register("after-call.s3.ListObjectsV2", lambda parsed, **_: pages.append(parsed))
    names = [f"{prefix}part-{number:04}" for number in range(30)]
    for name in [*names, f"{prefix[:-1]}-of-another/part"]:
        landing.put(name, b"x")
    assert [stored.name for stored in landing.list(prefix)] == names
    assert len(pages) == (5 if isinstance(landing, S3Landing) else 0)


def in_pages_of_seven(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    return {**params, "MaxKeys": 7}


def test_what_is_absent_is_said_so(landing: Landing, prefix: str) -> None:
    assert list(landing.list(prefix)) == []
    with pytest.raises(MissingObject, match=f"{landing.address}/{prefix}none"):
        landing.get(f"{prefix}none")
    with pytest.raises(MissingObject, match=f"{landing.address}/{prefix}none"):
        landing.download(f"{prefix}none", io.BytesIO())
    landing.delete(f"{prefix}none")


def test_a_gcs_bucket_that_is_not_there_is_no_missing_object_to_who_writes_or_lists(
    make_platform: Callable[..., TestPlatform],
) -> None:
    ours = make_platform(landing=LANDING_GCS, size=1).stores.landing
    assert isinstance(ours, GcsLanding)
    landing = GcsLanding(ours._bucket.client.bucket("not-there"))
    for ask in (lambda: list(landing.list("p/")), lambda: landing.put("p/a", b"")):
        with pytest.raises(LandingError, match="gs://not-there/p/"):
            ask()
    with pytest.raises(MissingObject):
        landing.get("p/a")


def test_what_is_deleted_is_gone(landing: Landing, prefix: str) -> None:
    landing.put(f"{prefix}a", b"a")
    landing.delete(f"{prefix}a")
    assert list(landing.list(prefix)) == []


def test_s3_writes_a_manifest_once(on_s3: TestPlatform) -> None:
    """As GCS does; its emulator ignores the condition."""
    landing, _ = s3_of(on_s3)
    name = f"{on_s3.stores.prefix('s')}manifest.json"
    assert landing.put_if_absent(name, b"first") is True
    assert landing.put_if_absent(name, b"second") is False
    assert landing.get(name) == b"first"


def test_gcs_writes_a_manifest(make_platform: Callable[..., TestPlatform]) -> None:
    platform = make_platform(size=1)
    name = f"{platform.stores.prefix('s')}manifest.json"
    assert platform.stores.landing.put_if_absent(name, b"first") is True
    assert platform.stores.landing.get(name) == b"first"


def test_a_download_larger_than_a_piece_is_whole(on_s3: TestPlatform) -> None:
    landing, _ = s3_of(on_s3)
    content = bytes(range(256)) * (40 * 2**12)  # 40 MiB, pieces have 8
    name = f"{on_s3.stores.prefix('s')}large"
    landing.put(name, content)
    file = io.BytesIO()
    landing.download(name, file)
    assert file.getvalue() == content


def test_an_etag_is_no_md5_until_a_write_has_shown_it(on_s3: TestPlatform) -> None:
    landing, _ = s3_of(on_s3)
    name = f"{on_s3.stores.prefix('s')}part"
    md5 = landing.put(name, CONTENT)
    (stored,) = landing.list(name)
    assert stored.md5 == md5
    (unproved,) = S3Landing(settings_of(on_s3)).list(name)
    assert unproved.md5 == ""


def answer_put_with(client: Any, **changed: str) -> None:
    """Answers to writes are as a bucket gives them that moto does not imitate."""

    def change(parsed: dict[str, Any], **_: Any) -> None:
        parsed.update(changed)

    client.meta.events.register("after-call.s3.PutObject", change)


def test_under_sse_kms_a_batch_is_committed_by_its_sizes(on_s3: TestPlatform) -> None:
    landing, client = s3_of(on_s3)
    answer_put_with(client, ETag=f'"{"0" * 32}"', ServerSideEncryption="aws:kms")
    commit_batch(on_s3, quake("a"))
    stored = list(landing.list(on_s3.stores.prefix(TABLE.source)))
    assert [item.md5 for item in stored] == ["", ""]


def test_a_part_of_another_size_is_refused_under_sse_kms(
    on_s3: TestPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing, client = s3_of(on_s3)
    answer_put_with(client, ETag=f'"{"0" * 32}"', ServerSideEncryption="aws:kms")
    whole = landing.list
    monkeypatch.setattr(
        landing, "list", lambda prefix: (replace(item, size_bytes=1) for item in whole(prefix))
    )
    with pytest.raises(InvalidManifest, match="in the bucket"):
        commit_batch(on_s3, quake("a"))


def test_another_etag_without_kms_is_another_content(on_s3: TestPlatform) -> None:
    landing, client = s3_of(on_s3)
    answer_put_with(client, ETag=f'"{"0" * 32}"')
    with pytest.raises(LandingError, match="took other bytes than were sent"):
        landing.put(f"{on_s3.stores.prefix('s')}part", CONTENT)


def test_every_write_carries_its_md5(on_s3: TestPlatform) -> None:
    landing, client = s3_of(on_s3)
    sent: list[bytes] = []
    client.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers["Content-MD5"])
    )
    name = f"{on_s3.stores.prefix('s')}part"
    landing.put(name, CONTENT)
    landing.put_if_absent(name, CONTENT)
    md5 = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest())
    assert sent == [md5, md5]


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        ("ListObjectsV2", lambda landing: list(landing.list("p/"))),
        ("GetObject", lambda landing: landing.get("p/a")),
        ("PutObject", lambda landing: landing.put("p/a", b"")),
        ("PutObject", lambda landing: landing.put_if_absent("p/a", b"")),
        ("DeleteObject", lambda landing: landing.delete("p/a")),
    ],
)
def test_an_error_names_the_bucket_and_no_secret(
    on_s3: TestPlatform,
    verb: str,
    ask: Callable[[Landing], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_of(on_s3)
    landing = S3Landing(settings.model_copy(update={"bucket": "not-there"}))
    with caplog.at_level(logging.INFO), pytest.raises(LandingError) as caught:
        ask(landing)
    assert "s3://not-there/p/" in str(caught.value)
    assert f"NoSuchBucket) when calling the {verb}" in str(caught.value)
    assert caught.value.reason == "NoSuchBucket"
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert settings.secret_access_key is not None
    assert settings.secret_access_key.get_secret_value() not in told


def test_a_bucket_that_does_not_answer_is_given_up(on_s3: TestPlatform) -> None:
    with pytest.raises(LandingError, match=r"s3://landing/p/: Could not connect"):
        list(on_s3.without_s3().landing.list("p/"))


def test_the_client_gives_up_and_the_block_may_say_when(on_s3: TestPlatform) -> None:
    settings = settings_of(on_s3)
    config = s3_of(on_s3)[1].meta.config
    assert (config.connect_timeout, config.read_timeout) == (10, 60)
    assert config.retries["total_max_attempts"] == 3
    hasty = settings.model_copy(
        update={"options": {**settings.options, "config": Config(read_timeout=7)}}
    )
    config = S3Landing(hasty)._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (10, 7)


def test_a_bucket_that_is_not_configured_is_named(platform: TestPlatform) -> None:
    blocks: PlatformSettings = replace(platform.blocks, s3=None)
    assert [landing.address for landing in connect(blocks).landings] == ["gs://landing"]
    with pytest.raises(ValueError, match=r"landing-s3, which is not configured: set S3_BUCKET"):
        connect(blocks, LANDING_S3)
