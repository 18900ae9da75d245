"""Batch ids, prefixes and manifests."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec import structs

from core.batch import (
    BATCH_ID,
    InvalidManifest,
    Part,
    Window,
    batch_of,
    check_parts,
    check_range,
    decode_manifest,
    encode_manifest,
    new_batch_id,
    source_prefix,
)
from tests.core.test_script import MANIFEST

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
PART = Part("part-0001.parquet", "rows", 10, 100, "aa")


def test_ids_sort_by_the_source_clock_and_are_fresh() -> None:
    ids = [new_batch_id(MOMENT + timedelta(microseconds=n)) for n in range(5)]
    assert sorted(ids) == ids
    assert new_batch_id(MOMENT) != new_batch_id(MOMENT)
    assert all(BATCH_ID.fullmatch(id_) for id_ in ids)
    # Fit for a BigQuery table name.
    assert all(re.fullmatch(r"\w+", id_) for id_ in ids)


def test_the_prefix_names_project_and_dataset() -> None:
    prefix = source_prefix("p", "raw", "usgs_earthquake")
    id_ = new_batch_id(MOMENT)
    assert batch_of(f"{prefix}{id_}/part-0001.parquet", prefix) == id_
    assert batch_of(f"{prefix}readme.txt", prefix) is None
    assert batch_of(f"{prefix}other/part-0001.parquet", prefix) is None


def test_a_manifest_survives_the_bucket() -> None:
    manifest = structs.replace(
        MANIFEST,
        parts=(PART, Part("rejects-0001.parquet", "rejects", 2, 1, "b")),
    )
    assert decode_manifest(encode_manifest(manifest), "here") == manifest


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "here"),
        (b"<html>", "here"),
        (b"{}", "missing required field"),
        (encode_manifest(structs.replace(MANIFEST, rows=11)), "do not add up to 11 rows"),
        (
            encode_manifest(structs.replace(MANIFEST, rejected=0, source_count=13)),
            "source 13, landed 10",
        ),
    ],
)
def test_a_broken_manifest_is_refused(content: bytes, cause: str) -> None:
    with pytest.raises(InvalidManifest, match=cause):
        decode_manifest(content, "here")


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [Part("part-0001.parquet", "rows", 0, 99, "aa")],
        [Part("part-0001.parquet", "rows", 0, 100, "bb")],
        # A bucket that tells no MD5.
        [Part("part-0001.parquet", "rows", 0, 99, "")],
        [Part("part-0001.parquet", "rows", 0, 100, ""), Part("x", "rows", 0, 1, "")],
        [Part("part-0001.parquet", "rows", 0, 100, "aa"), Part("x", "rows", 0, 1, "c")],
    ],
)
def test_parts_must_be_those_uploaded(listed: list[Part]) -> None:
    for md5 in ("aa", ""):
        check_parts([PART], [Part("part-0001.parquet", "rows", 0, 100, md5)], "here")
    with pytest.raises(InvalidManifest, match="in the bucket"):
        check_parts([PART], listed, "here")


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(), "first load"),
        (Window(MOMENT), "since 2026-01-02T03:04:05Z"),
        (Window(MOMENT, MOMENT), "2026-01-02T03:04:05Z to 2026-01-02T03:04:05Z"),
        (Window(None, MOMENT), "up to 2026-01-02T03:04:05Z"),
    ],
)
def test_windows_read_well(window: Window, text: str) -> None:
    assert str(window) == text


TODAY = date(2026, 6, 15)


@pytest.mark.parametrize(
    ("start", "end", "refusal"),
    [
        (None, None, ""),
        (date(2026, 1, 1), None, ""),
        (None, date(2026, 1, 1), ""),
        (date(2026, 1, 1), date(2026, 1, 1), ""),
        # A local clock may be a little slow.
        (date(2026, 6, 16), None, ""),
        (date(2026, 1, 1), date(2030, 1, 1), ""),
        (date(2026, 1, 2), date(2026, 1, 1), "ends on 2026-01-01, before it begins on 2026-01-02"),
        (date(2026, 6, 17), None, "begins on 2026-06-17, and today is 2026-06-15"),
        (date(2062, 1, 1), date(2062, 1, 2), "begins on 2062-01-01"),
    ],
)
def test_a_range_in_which_nothing_can_have_happened_is_refused(
    start: date | None, end: date | None, refusal: str
) -> None:
    if not refusal:
        check_range(start, end, TODAY)
        return
    with pytest.raises(ValueError, match=refusal):
        check_range(start, end, TODAY)
