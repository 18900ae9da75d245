"""New York City's for-hire vehicles into `raw.nyc_fhv__vehicles`.

The city rewrites the whole list every afternoon. A run asks when its rows last changed; if they
did, it reads all of them in pages, proves their number, and replaces the table in one step, unless
many rows are gone, or what came is not what the table declares: the run then fails, and one with
`allow_deletions` replaces them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.batch import Extracted, Window, notes
from core.errors import SourceError
from core.ledger import Cursor
from core.request import NOTHING_ELSE, Request
from core.rows import EncodedChunk, encode
from core.schema import Table
from core.stamps import in_utc, is_ahead
from core.task import task
from runs.upload import new_batch
from sources.nyc_fhv.mapping import (
    SOURCE,
    TABLE,
    cut_off,
    page_parameters,
    pages,
    read_count,
    read_page,
    updated_at_of,
)
from sources.nyc_fhv.settings import NycFhv
from stores.clock import Moment, moment_of
from stores.http import Http, open_http
from stores.platform import Platform

# Reads of a list from its beginning: it may be rewritten while it is read.
TAKES = 3
# Tries for a page that has not as many rows as it should: a body may be cut off.
PAGE_TRIES = 3


@task(name="extract", run_name="extract nyc-fhv", retries=2, retry_delay_seconds=[10, 60])
def extract(
    platform: Platform,
    api: NycFhv,
    window: Window,
    cursor: Cursor,
    request: Request = NOTHING_ELSE,
    table: Table = TABLE,
) -> Extracted:
    """A committed batch of the whole list, or one without news when it was read before.

    A list whose replacement was held back is taken again, so that runs fail until somebody
    decides. Raises SourceError when the service does not answer, says that it has no rows, or
    rewrites the list whenever it is read; CountMismatch when it gives fewer or more rows than it
    counts.
    """
    with open_http(SOURCE, api.secrets, read_timeout_seconds=60, headers=api.headers) as http:
        written = when_written(platform, http, api, cursor)
        if cursor.watermark and cursor.known_digests == written.stamps and not cursor.is_held:
            moment = Moment(cursor.watermark)
            with new_batch(platform, table, window, cursor, moment, http) as batch:
                return batch.unchanged(known_digests=written.stamps)
        for _ in range(TAKES):
            count, before = count_rows(http, api), written
            with new_batch(
                *(platform, table, window, cursor, written.moment, http),
                allow_absent=request.allow_deletions,
            ) as batch:
                for chunk in fetch(http, api, count):
                    batch.add(chunk)
                written = when_written(platform, http, api, cursor)
                if written.stamps == before.stamps:
                    return batch.commit(known_digests=written.stamps, source_count=count)
        raise SourceError(SOURCE, window, f"the list was rewritten {TAKES} times while read")


@dataclass(frozen=True)
class Written:
    """When a list was written: what Socrata stamped it with, and what orders it, UTC."""

    stamps: dict[str, str]
    moment: Moment


def when_written(platform: Platform, http: Http, api: NycFhv, cursor: Cursor) -> Written:
    """When the list was last written, by Socrata's metadata.

    A stamp from the future tells one list from another, but orders none: the moment at which it was
    read does. A list that came later is ordered later, whatever it is stamped with.
    """
    answer = http.get_json(api.metadata_url, {}, "metadata")
    updated_at = updated_at_of(answer.body, api.dataset)
    moment = moment_of(platform, SOURCE, answer.served_at)
    stamps = {"rowsUpdatedAt": in_utc(updated_at)}
    doubt = moment.doubt
    if is_ahead(updated_at, moment.at, datetime.now(UTC)):
        doubt = notes(doubt, f"rowsUpdatedAt is {in_utc(updated_at)}, in the future: not believed")
        updated_at = moment.at
    return Written(stamps, Moment(updated_at, doubt).after(cursor.watermark))


def count_rows(http: Http, api: NycFhv) -> int:
    """How many rows the service counts. SourceError when none: that proves nothing."""
    count = http.get(api.rows_url("json"), {"$select": "count(*)"}, "count", read_count).body
    if count == 0:
        raise SourceError(SOURCE, "count", "the service counts 0 rows, which proves nothing")
    return count


def fetch(http: Http, api: NycFhv, count: int) -> Iterator[EncodedChunk]:
    """All pages in order, at most `concurrency` of them under way or waiting."""
    offsets = pages(count, api.page_size)
    with ThreadPoolExecutor(api.concurrency, thread_name_prefix=SOURCE) as pool:
        under_way: deque[Future[EncodedChunk]] = deque()
        try:
            while True:
                while len(under_way) < api.concurrency and (offset := next(offsets, -1)) >= 0:
                    under_way.append(pool.submit(fetch_page, http, api, offset, count))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def fetch_page(http: Http, api: NycFhv, offset: int, count: int) -> EncodedChunk:
    """One page; the last try's when none is as it should be.

    A page that ends within a row may have lost the end of its last field. When every try ended at
    the same place the service may well write it so: it is kept, and its batch held. Raises
    SourceError when they ended in several places.
    """
    where, endings = f"rows from {offset:,}", set[str | None]()
    for _ in range(PAGE_TRIES):
        chunk, ending = http.get(
            api.rows_url("csv"),
            page_parameters(offset, api.page_size),
            where,
            lambda content, headers: (
                read_page(content, headers, offset),
                hashlib.sha256(content).hexdigest() if cut_off(content) else None,
            ),
        ).body
        is_full = chunk.extracted == min(api.page_size, count - offset)
        if is_full and not ending:
            return encode(chunk)
        endings.add(ending)
    if is_full and len(endings) > 1:
        raise SourceError(SOURCE, where, f"{PAGE_TRIES} tries ended within a row, each elsewhere")
    if ending:
        fault = f"{where}: no line end after the last in {PAGE_TRIES} tries, it may be cut off"
        chunk = replace(chunk, faults=(fault,))
    return encode(chunk)
