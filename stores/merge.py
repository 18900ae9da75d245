"""The parts of a batch as one file: an upload job takes one, and a load job reads only gs://.

A staging table per part would need none of this, but a full USGS history has some 200 parts, a
transaction on BigQuery may touch 100 tables, and each costs at least 10 MB per query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import IO

import pyarrow.parquet as pq

from core.batch import InvalidManifest, Part
from stores.landing import Landing

# What is held in memory while parts are copied: rows, and bytes read ahead per column.
ROWS_AT_ONCE = 10_000
READ_AHEAD_BYTES = 2**20


@contextmanager
def merged(landing: Landing, prefix: str, parts: Sequence[Part]) -> Iterator[IO[bytes]]:
    """A temporary Parquet file with the rows of all parts, in their order.

    The disk holds the batch (TMPDIR) and memory a slice of one part, however many there are. Raises
    MissingObject for a part that is gone, InvalidManifest for one whose bytes are not those
    that were uploaded.
    """
    if len(parts) == 1:
        with fetched(landing, prefix, parts[0]) as file:
            yield file
        return
    with TemporaryFile() as whole:
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for part in parts:
                with fetched(landing, prefix, part) as file:
                    rows = pq.ParquetFile(file, buffer_size=READ_AHEAD_BYTES)
                    writer = writer or stack.enter_context(
                        pq.ParquetWriter(whole, rows.schema_arrow, compression="zstd")
                    )
                    for slice_ in rows.iter_batches(ROWS_AT_ONCE, use_threads=False):
                        writer.write_batch(slice_)
        yield whole


@contextmanager
def fetched(landing: Landing, prefix: str, part: Part) -> Iterator[IO[bytes]]:
    """A temporary file with the bytes of a part, which are those of the manifest."""
    with TemporaryFile() as file:
        landing.download(f"{prefix}{part.name}", file)
        file.seek(0)
        md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 != part.md5:
            raise InvalidManifest(
                f"{landing.address}/{prefix}{part.name}: its MD5 is {md5}, "
                f"{part.md5} in the manifest"
            )
        file.seek(0)
        yield file
