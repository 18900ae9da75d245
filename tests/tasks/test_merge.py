"""Parts become one file without being in memory together."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.batch import Manifest, Window
from core.ledger import Cursor
from core.rows import Chunk
from core.schema import STAGED, Column, arrow_schema
from runs.load import stage
from runs.upload import new_batch
from sources.usgs_earthquake.mapping import TABLE
from stores.bigquery import UPLOAD_PIECE_BYTES
from stores.clock import Moment
from stores.merge import merged
from stores.settings import LANDING_S3
from testing.platform import TestPlatform, committed

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
COLUMNS = (*TABLE.columns, *STAGED)


@pytest.fixture
def on_s3(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    platform = make_platform(size=1, landing=LANDING_S3)
    platform.stores.warehouse.ensure_ledger()
    return platform


def large_batch(platform: TestPlatform, parts: int, rows: int, text_bytes: int) -> Manifest:
    """A committed batch of text that does not compress."""
    schema = arrow_schema(COLUMNS)
    with new_batch(platform.stores, TABLE, Window(), Cursor(), Moment(NOON)) as batch:
        for _ in range(parts):
            columns = {field.name: pa.nulls(rows, field.type) for field in schema}
            columns["place"] = pa.array(secrets.token_urlsafe(text_bytes) for _ in range(rows))
            columns["_row"] = pa.array(range(batch.next_row, batch.next_row + rows), pa.int64())
            batch.add(Chunk(pa.table(columns, schema=schema)))
        return committed(batch, source_count=batch.next_row)


def test_the_rows_of_all_parts_are_there_in_their_order(on_s3: TestPlatform) -> None:
    manifest = large_batch(on_s3, parts=3, rows=11_000, text_bytes=10)
    prefix = f"{on_s3.stores.prefix(TABLE.source)}{manifest.batch_id}/"
    landing = on_s3.stores.landing
    parts = [pq.read_table(io.BytesIO(landing.get(prefix + p.name))) for p in manifest.parts]
    with merged(landing, prefix, manifest.parts) as file:
        whole = pq.read_table(file)
    assert whole.equals(pa.concat_tables(parts))
    assert whole.schema == arrow_schema(COLUMNS)
    assert whole["_row"].to_pylist() == list(range(33_000))


def _peak_of_staging(platform: TestPlatform, manifest: Manifest, sender: Any) -> None:
    os.environ.update(platform.env)
    prefix = f"{platform.stores.prefix(TABLE.source)}{manifest.batch_id}/"
    stage(platform.stores.warehouse, platform.stores.landing, prefix, manifest)
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def test_staging_takes_as_much_memory_for_a_large_batch_as_for_a_small_one(
    on_s3: TestPlatform,
) -> None:
    context = multiprocessing.get_context("forkserver")
    peaks, sizes = [], []
    for parts in (2, 10):
        manifest = large_batch(on_s3, parts=parts, rows=8_000, text_bytes=1_000)
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_peak_of_staging, args=(on_s3, manifest, sender))
        child.start()
        sender.close()
        peaks.append(receiver.recv())
        child.join()
        sizes.append(manifest.size_bytes)
    more = sizes[1] - sizes[0]
    assert more > 60e6
    assert peaks[1] - peaks[0] < 0.5 * more, peaks


class Watched(io.BytesIO):
    """A file that notes how much is asked of it at once."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.largest = max(self.largest, len(content))
        return content


def test_an_upload_reads_a_piece_at_a_time(on_s3: TestPlatform) -> None:
    """The client's own default is 100 MiB, and changing it goes through a private name."""
    file = Watched()
    table = pa.table({"text": pa.array(secrets.token_urlsafe(1000) for _ in range(20_000))})
    pq.write_table(table, file)
    assert file.tell() > 2 * UPLOAD_PIECE_BYTES
    warehouse = on_s3.stores.warehouse
    columns = (Column("text", "STRING"),)
    manifest = large_batch(on_s3, parts=1, rows=1, text_bytes=1)
    table_id = warehouse.create_staging(manifest, "rows", columns)
    job = warehouse.load_file(table_id, columns, file, TABLE.source)
    warehouse.finish(job, source=TABLE.source, purpose="stage", batch_id=None)
    assert job.output_rows == 20_000
    assert 0 < file.largest <= UPLOAD_PIECE_BYTES
