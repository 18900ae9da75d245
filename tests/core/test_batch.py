"""Batch ids, prefixes and manifests."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

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
    manifest = replace(
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
        (encode_manifest(replace(MANIFEST, rows=11)), "do not add up to 11 rows"),
        (
            encode_manifest(replace(MANIFEST, rejected=0, source_count=13)),
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


RELEASED = b"""{
 "batch_id": "20260102T030405678901_0a1b2c3d", "source": "finance", "table": "finance__ledger",
 "mode": "replay", "window": {"start": "2026-01-02T03:04:05.678901Z", "end": null},
 "observed_at": "2026-01-02T03:04:05.678901Z", "columns": [["id", "STRING"], ["_row", "INT64"]],
 "parts": [
  {"name": "part-0001.parquet", "kind": "rows", "rows": 10, "size_bytes": 100, "md5": "aa"},
  {"name": "rejects-0001.parquet", "kind": "rejects", "rows": 2, "size_bytes": 50, "md5": "bb"}
 ],
 "rows": 10, "rejected": 2, "rejected_unexpected": 1, "odd": 3, "met_again": 4,
 "source_count": 16, "requests": 5, "schema_fingerprint": "f", "code_version": "v",
 "extract_started_at": "2026-01-02T03:04:05.678901Z",
 "extract_ended_at": "2026-01-02T03:04:05.678901Z", "watermark": "2026-01-02T03:04:05.678901Z",
 "seen": {"a": "b"}, "undos": 1, "note": "a gap",
 "replay_of": ["20260102T030405678901_0a1b2c3c"], "import_id": "i", "total": 7, "depth": 6,
 "fields": [["x", "new"]], "faults": ["few"], "allow_absent": true, "version": 1
}"""


def test_a_manifest_of_release_0_1_is_read_and_written_field_for_field() -> None:
    manifest = decode_manifest(RELEASED, "here")
    assert json.loads(encode_manifest(manifest)) == json.loads(RELEASED)
    assert (manifest.rows, manifest.rejected) == (10, 2)
    assert (manifest.unparsed, manifest.already_seen) == (3, 4)
    assert (manifest.extracted, manifest.size_bytes, manifest.allow_absent) == (12, 150, True)
