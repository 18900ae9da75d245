"""Loading committed batches: at most once, in order, whoever loads and whatever dies."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest

from core import merging
from core.batch import MANIFEST, Manifest, Window, encode_manifest
from core.errors import StoreFailed
from core.ledger import ROW_OUTCOMES, Cursor
from core.rows import to_chunk
from core.schema import Mode
from runs.cleanup import cleanup
from runs.load import load
from runs.outcome import report
from runs.upload import new_batch
from sources.usgs_earthquake.mapping import TABLE, Listing, to_record
from stores.clock import Moment
from stores.landing import LandingError
from stores.platform import connect
from stores.settings import LANDING_GCS, LANDING_S3
from testing.matrix import crossed, or_slow
from testing.platform import TestPlatform, committed

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def quake(id_: str, updated: int = 1, time: datetime | None = NOON, **properties: Any) -> Any:
    """A feature whose `updated` is so many seconds after noon."""
    return {
        "type": "Feature",
        "id": id_,
        "properties": {
            "time": time and time.timestamp() * 1000,
            "updated": (NOON.timestamp() + updated) * 1000,
            "ids": f",{id_},",
            "mag": 1.5,
            **properties,
        },
        "geometry": {"type": "Point", "coordinates": [1, 2, 3]},
    }


def commit_batch(
    platform: TestPlatform,
    *features: Any,
    hour: int = 0,
    deleted: tuple[Any, ...] = (),
    mode: Mode = "incremental",
    watermark: datetime | None = None,
) -> Manifest:
    """A committed batch that was observed `hour` hours after noon."""
    listings: tuple[tuple[Listing, Any], ...] = (("live", features), ("deleted", deleted))
    at = Moment(NOON + timedelta(hours=hour))
    with new_batch(platform.stores, TABLE, Window(NOON), Cursor(), at, mode=mode) as batch:
        batch.watermark = watermark
        for listing, listed in listings:
            batch.add([to_record(feature, listing) for feature in listed])
        return committed(batch, source_count=batch.next_row)


@pytest.fixture
def bare(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """A platform whose bucket keeps its batches and whose ledger is empty."""
    platform = make_platform(size=1, retention_days=7)
    platform.stores.warehouse.ensure_ledger()
    return platform


def values(platform: TestPlatform, name: str) -> dict[str, Any]:
    return {id_: row[name] for (id_,), row in platform.rows().items()}


def deleted(platform: TestPlatform) -> set[str]:
    return {id_ for (id_,), row in platform.rows().items() if row["_is_deleted"]}


def test_verdicts_are_counted(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"), quake("b"), quake("c"), quake("d", 9))
    load(bare.stores, TABLE)
    commit_batch(
        bare,
        quake("a", 2, mag=2.5),
        quake("b"),
        quake("d", 5),
        quake("e"),
        quake("e"),
        quake(""),
        deleted=(quake("c", 3), quake("")),
        hour=1,
    )
    (line,) = load(bare.stores, TABLE).lines
    counted = (line.inserted, line.updated, line.unchanged, line.older, line.duplicate)
    assert counted == (1, 1, 1, 1, 1)
    assert (line.deleted, line.rejected, line.rejected_unexpected) == (1, 2, 1)
    assert line.extracted == 8
    assert values(bare, "mag")["a"] == 2.5
    assert deleted(bare) == {"c"}
    rejects = bare.query("SELECT reason, payload FROM {raw}._rejects ORDER BY reason")
    assert [row["reason"] for row in rejects] == ["deletion with blank id", "row with blank id"]
    assert json.loads(rejects[0]["payload"])["properties"]["mag"] == 1.5


def test_the_worked_example_is_what_happens(bare: TestPlatform) -> None:
    lines = [line for line in (merging.__doc__ or "").splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert rows[0][0] == "id" and len(rows) == 4
    before = [quake(id_, 60 * int(at), mag=float(mag)) for id_, mag, at, *_ in rows[1:] if mag]
    commit_batch(bare, *before)
    load(bare.stores, TABLE)
    staged = [quake(row[0], 60 * int(row[4]), mag=float(row[3])) for row in rows[1:]]
    commit_batch(bare, *staged, hour=1)
    line = bare.only_line(load(bare.stores, TABLE))
    told = {name: getattr(line, name) for name in ROW_OUTCOMES if getattr(line, name)}
    assert told == Counter(row[5] for row in rows[1:])
    assert values(bare, "mag") == {row[0]: float(row[6]) for row in rows[1:]}


def test_loading_again_changes_nothing(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    before = (bare.rows(), bare.ledger())
    assert load(bare.stores, TABLE).lines == []
    assert (bare.rows(), bare.ledger()) == before


def test_an_older_observation_never_overwrites_a_newer_one(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a", 5, mag=5), hour=5)
    load(bare.stores, TABLE)
    commit_batch(bare, quake("a", 3, mag=3), hour=6)
    assert bare.only_line(load(bare.stores, TABLE)).older == 1
    assert values(bare, "mag") == {"a": 5}


def test_at_equal_stamps_the_later_batch_wins_whatever_arrives_first(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a", mag=2), quake("b", mag=2), hour=2)
    load(bare.stores, TABLE)
    commit_batch(bare, quake("a", mag=1), hour=1)
    commit_batch(bare, quake("b", mag=3), hour=3)
    load(bare.stores, TABLE)
    assert values(bare, "mag") == {"a": 2, "b": 3}


def test_within_a_batch_a_deletion_wins_at_equal_stamps(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"), quake("b", 9), deleted=(quake("a"), quake("b", 3)))
    assert bare.only_line(load(bare.stores, TABLE)).duplicate == 2
    assert deleted(bare) == {"a"}


def test_a_deletion_keeps_what_it_does_not_bring(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a", place="here"))
    commit_batch(bare, deleted=(quake("a", 2, time=None, mag=None, place=None),), hour=1)
    load(bare.stores, TABLE)
    row = bare.rows()[("a",)]
    assert (row["_is_deleted"], row["time"], row["mag"], row["place"]) == (True, NOON, 1.5, "here")


def test_a_deletion_without_a_time_is_found_again(bare: TestPlatform) -> None:
    for hour in range(2):
        commit_batch(bare, deleted=(quake("a", 2 + hour, time=None),), hour=hour)
        load(bare.stores, TABLE)
    assert deleted(bare) == {"a"}
    assert len(bare.rows()) == 1


def test_an_event_moved_across_a_month_stays_one_row(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a", time=NOON), quake("b", time=NOON + timedelta(days=30)))
    commit_batch(
        bare,
        quake("a", 2, time=NOON + timedelta(days=1)),
        quake("b", 2, time=NOON - timedelta(days=400)),
        hour=1,
    )
    lines = load(bare.stores, TABLE).lines
    assert [line.updated for line in lines] == [0, 2]
    assert values(bare, "time") == {
        "a": NOON + timedelta(days=1),
        "b": NOON - timedelta(days=400),
    }


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "late"])
def test_a_renamed_event_leaves_one_live_row(bare: TestPlatform, order: tuple[int, int]) -> None:
    batches: list[Callable[[], object]] = [
        lambda: commit_batch(bare, quake("ak1", 1), hour=0),
        lambda: commit_batch(
            bare,
            quake("us1", 2, ids=",us1,ak1,", time=NOON + timedelta(hours=13)),
            hour=1,
        ),
    ]
    for number in order:
        batches[number]()
        load(bare.stores, TABLE)
    assert deleted(bare) == {"ak1"}
    # And back again.
    commit_batch(bare, quake("ak1", 3, ids=",us1,ak1,"), hour=2)
    load(bare.stores, TABLE)
    assert deleted(bare) == {"us1"}


def test_two_rows_that_name_each_other_leave_one(bare: TestPlatform) -> None:
    names = ",us1,ak1,"
    commit_batch(bare, quake("us1", ids=names), quake("ak1", ids=names))
    load(bare.stores, TABLE)
    assert deleted(bare) == {"ak1"}
    commit_batch(bare, quake("us1", ids=names), quake("ak1", ids=names), quake("x"), hour=1)
    load(bare.stores, TABLE)
    assert len(deleted(bare)) == 1


def test_columns_of_another_time_are_null_or_extra(bare: TestPlatform) -> None:
    """A batch of other code, whose table had another column in place of one of ours."""
    columns = tuple(
        replace(column, name="spot") if column.name == "place" else column
        for column in TABLE.columns
    )
    theirs = replace(TABLE, columns=columns)
    records = [
        replace(record, fields={**record.fields, "spot": record.fields.get("place")})
        for record in (
            to_record(feature, "live")
            for feature in (quake("a", place="here"), quake("b", unknown=1))
        )
    ]
    with new_batch(bare.stores, theirs, Window(NOON), Cursor(), Moment(NOON)) as batch:
        batch.add(records)
        batch.commit(source_count=2)
    load(bare.stores, TABLE)
    rows = bare.rows()
    assert rows[("a",)]["place"] is None
    assert json.loads(rows[("a",)]["_extra"]) == {"spot": "here"}
    assert json.loads(rows[("b",)]["_extra"])["unknown"] == 1


def test_a_part_whose_columns_are_not_the_manifest_s_is_not_uploaded(bare: TestPlatform) -> None:
    """BigQuery loads Parquet by the names of its columns, its emulator by their places."""
    chunk = to_chunk([to_record(quake("a"), "live")], TABLE, 0)
    names = [f"their_{name}" if name == "place" else name for name in chunk.rows.column_names]
    chunk.rows = chunk.rows.rename_columns(names)
    with (
        new_batch(bare.stores, TABLE, Window(NOON), Cursor(), Moment(NOON)) as batch,
        pytest.raises(ValueError, match=r"part-0001\.parquet: its columns are .*their_place"),
    ):
        batch.add(chunk)
    assert bare.objects() == []


def test_a_batch_whose_part_is_gone_is_recorded_then_parked_and_the_next_goes_on(
    bare: TestPlatform,
) -> None:
    poisoned = commit_batch(bare, quake("a"))
    prefix = f"{bare.stores.prefix(TABLE.source)}{poisoned.batch_id}/"
    bare.stores.landing.delete(f"{prefix}part-0001.parquet")
    commit_batch(bare, quake("b"), hour=1)
    for run in range(3):
        loaded = load(bare.stores, TABLE)
        assert list(loaded.failures) == [poisoned.batch_id]
        assert ("(parked)" in loaded.failures[poisoned.batch_id]) is (run == 2)
    assert load(bare.stores, TABLE).failures == {}
    assert set(bare.rows()) == {("b",)}
    states = sorted(line["state"] for line in bare.ledger())
    assert states == ["applied", "failed", "failed", "parked"]


@pytest.mark.parametrize(
    "change",
    [{"rows": 2}, {"batch_id": "20260101T000000000000_00000000"}, {"table": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_that_lies_is_refused(bare: TestPlatform, change: dict[str, Any]) -> None:
    manifest = commit_batch(bare, quake("a"))
    name = f"{bare.stores.prefix(TABLE.source)}{manifest.batch_id}/{MANIFEST}"
    bare.stores.landing.put(name, encode_manifest(replace(manifest, **change)))
    assert list(load(bare.stores, TABLE).failures) == [manifest.batch_id]


def test_counts_that_do_not_add_up_roll_everything_back(bare: TestPlatform) -> None:
    manifest = commit_batch(bare, quake("a"), quake("b"))
    name = f"{bare.stores.prefix(TABLE.source)}{manifest.batch_id}/{MANIFEST}"
    # The parts say three, the object holds two: only the staged rows can tell.
    (part,) = manifest.parts
    lying = replace(manifest, parts=(replace(part, rows=3),), rows=3, source_count=3)
    bare.stores.landing.put(name, encode_manifest(lying))
    failures = load(bare.stores, TABLE).failures
    assert "2 rows staged, 3 in the manifest" in failures[manifest.batch_id]
    assert bare.query(f"SELECT * FROM {{raw}}.{TABLE.name}") == []
    assert [line["state"] for line in bare.ledger()] == ["failed"]


def test_a_row_that_stands_twice_stops_the_batch_and_nothing_changes(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    bare.query(
        f"INSERT INTO {{raw}}.{TABLE.name} (id, time, updated) "
        f"SELECT id, time, updated FROM {{raw}}.{TABLE.name}"
    )
    manifest = commit_batch(bare, quake("a", 5, mag=9), quake("b"), hour=1)
    failures = load(bare.stores, TABLE).failures
    assert "do not add up" in failures[manifest.batch_id]
    rows = bare.query(f"SELECT id, mag FROM {{raw}}.{TABLE.name}")
    assert sorted(row["id"] for row in rows) == ["a", "a"]
    assert bare.query("SELECT * FROM {raw}._loads WHERE state = 'applied' AND inserted = 0") == []


def test_rows_that_a_transaction_truncated_are_back_when_it_fails(bare: TestPlatform) -> None:
    commit_batch(bare, quake("a"))
    load(bare.stores, TABLE)
    script = f"""
    BEGIN TRANSACTION;
    TRUNCATE TABLE {{raw}}.{TABLE.name};
    SELECT ERROR('not all rows');
    COMMIT TRANSACTION;
    """
    with pytest.raises(BadRequest, match="not all rows"):
        bare.query(script)
    assert set(bare.rows()) == {("a",)}


@pytest.fixture
def on_s3(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """Like `bare`, with batches that land on S3."""
    platform = make_platform(suffix="s3", size=1, retention_days=7, landing=LANDING_S3)
    platform.stores.warehouse.ensure_ledger()
    return platform


def content(platform: TestPlatform) -> tuple[list[dict[str, Any]], ...]:
    """Rows, rejects and ledger counts without what differs from batch to batch."""
    columns = ", ".join(TABLE.column_names)
    counts = "state, extracted, inserted, updated, deleted, rejected, source_count, size_bytes"
    return (
        platform.query(
            f"SELECT {columns}, _is_deleted, _extra FROM {{raw}}.{TABLE.name} ORDER BY id"
        ),
        platform.query(
            "SELECT row_number, reason, payload FROM {raw}._rejects ORDER BY row_number"
        ),
        platform.query(f"SELECT {counts} FROM {{raw}}._loads ORDER BY batch_id"),
    )


@pytest.mark.parametrize("pages", or_slow(lambda pages: pages == 3, crossed([1, 3])))
def test_a_batch_through_s3_is_the_same_as_through_gcs(
    bare: TestPlatform, on_s3: TestPlatform, pages: int
) -> None:
    for platform in (bare, on_s3):
        with new_batch(platform.stores, TABLE, Window(NOON), Cursor(), Moment(NOON)) as batch:
            for page in range(pages):
                features = [
                    quake(f"q{page}-{n}", n, place="é" * n, odd={"n": n}) for n in range(20)
                ]
                batch.add([to_record(feature, "live") for feature in (*features, quake(""))])
            batch.commit(source_count=batch.next_row)
        assert platform.only_line(load(platform.stores, TABLE)).inserted == 20 * pages
    assert content(on_s3) == content(bare)
    assert len(content(bare)[1]) == pages
    left = list(
        on_s3.stores.warehouse.client.list_tables(f"{on_s3.settings.warehouse.raw_dataset}_staging")
    )
    assert left == []


def test_a_batch_of_rejects_only_is_loaded_from_s3(on_s3: TestPlatform) -> None:
    commit_batch(on_s3, quake(""))
    assert on_s3.only_line(load(on_s3.stores, TABLE)).rejected == 1
    assert len(content(on_s3)[1]) == 1


def test_what_waits_in_the_other_bucket_is_loaded_after_a_switch(on_s3: TestPlatform) -> None:
    commit_batch(on_s3, quake("a"))
    switched = connect(on_s3.blocks, LANDING_GCS)
    assert switched.landing.address == "gs://landing"
    assert on_s3.only_line(load(switched, TABLE)).inserted == 1
    assert set(on_s3.rows()) == {("a",)}
    cleaned = cleanup(replace(switched, retention_days=0), TABLE)
    assert (cleaned.removed, on_s3.objects()) == (1, [])


def test_batches_in_both_buckets_are_loaded_in_the_order_of_their_observation(
    on_s3: TestPlatform,
) -> None:
    gcs = connect(on_s3.blocks, LANDING_GCS)
    for hour, platform in enumerate((on_s3.stores, gcs, on_s3.stores)):
        at = Moment(NOON + timedelta(hours=hour))
        with new_batch(platform, TABLE, Window(NOON), Cursor(), at) as batch:
            batch.add([to_record(quake("a", mag=hour), "live")])
            batch.commit(source_count=1)
    lines = load(gcs, TABLE).lines
    assert [(line.inserted, line.updated) for line in lines] == [(1, 0), (0, 1), (0, 1)]
    assert values(on_s3, "mag") == {"a": 2}


def test_a_source_goes_on_when_the_bucket_of_others_does_not_answer_and_says_so(
    bare: TestPlatform,
) -> None:
    commit_batch(bare, quake("a"))
    bare.stores = bare.without_s3()
    outcome = bare.run()
    assert ("a",) in bare.rows()
    assert len(bare.rows()) > 1
    assert list(outcome.unlisted) == ["s3://landing"]
    with pytest.raises(
        StoreFailed, match=r": LandingError: s3://landing/\S+: Could not conn"
    ) as said:
        report(outcome)
    assert said.value.reason == "EndpointConnectionError"
    # And stops where its own does not.
    with pytest.raises(LandingError, match="Could not connect"):
        load(replace(bare.stores, landing=bare.stores.landings[1]), TABLE)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_part_lost_on_s3_fails_the_batch_and_is_named(on_s3: TestPlatform, parts: int) -> None:
    lost = commit_batch(on_s3, quake("a"), deleted=(quake("b"),) * (parts - 1))
    name = f"{on_s3.stores.prefix(TABLE.source)}{lost.batch_id}/{lost.parts[-1].name}"
    on_s3.stores.landing.delete(name)
    commit_batch(on_s3, quake("c"), hour=1)
    loaded = load(on_s3.stores, TABLE)
    assert loaded.failures == {lost.batch_id: f"s3://landing/{name}"}
    assert set(on_s3.rows()) == {("c",)}
    assert sorted((line["state"], line["message"]) for line in on_s3.ledger()) == [
        ("applied", None),
        ("failed", f"s3://landing/{name}"),
    ]


def test_a_part_on_s3_with_other_bytes_is_refused(on_s3: TestPlatform) -> None:
    manifest = commit_batch(on_s3, quake("a"))
    name = f"{on_s3.stores.prefix(TABLE.source)}{manifest.batch_id}/{manifest.parts[0].name}"
    stored = on_s3.stores.landing.get(name)
    on_s3.stores.landing.put(name, stored[:-1] + b"x")
    failures = load(on_s3.stores, TABLE).failures
    assert f"s3://landing/{name}: its MD5 is " in failures[manifest.batch_id]


def test_more_parts_than_a_transaction_may_have_tables(on_s3: TestPlatform) -> None:
    with new_batch(on_s3.stores, TABLE, Window(NOON), Cursor(), Moment(NOON)) as batch:
        for number in range(120):
            batch.add([to_record(quake(f"q{number}"), "live")])
        manifest = committed(batch, source_count=120)
    assert len(manifest.parts) == 120
    assert on_s3.only_line(load(on_s3.stores, TABLE)).inserted == 120


def test_a_commit_that_is_repeated_finds_its_own_manifest(bare: TestPlatform) -> None:
    with new_batch(bare.stores, TABLE, Window(), Cursor(), Moment(NOON)) as batch:
        batch.add([to_record(quake("a"), "live")])
        first = committed(batch, source_count=1)
        assert committed(batch, source_count=1).parts == first.parts


def test_a_batch_has_the_undos_that_its_cursor_knew(bare: TestPlatform) -> None:
    """Nothing that a flow says: whoever has a batch has them."""
    with new_batch(bare.stores, TABLE, Window(), Cursor(undos=3), Moment(NOON)) as batch:
        batch.add([to_record(quake("a"), "live")])
        batch.commit(source_count=1)
    load(bare.stores, TABLE)
    assert [line["undos"] for line in bare.ledger()] == [3]


def test_parquet_holds_microseconds_and_is_compressed(bare: TestPlatform) -> None:
    manifest = commit_batch(bare, quake("a"))
    (part,) = manifest.parts
    name = f"{bare.stores.prefix(TABLE.source)}{manifest.batch_id}/{part.name}"
    stored = pq.ParquetFile(io.BytesIO(bare.stores.landing.get(name)))
    assert stored.schema_arrow.field("time").type == pa.timestamp("us", tz="UTC")
    assert stored.metadata.row_group(0).column(0).compression == "ZSTD"
