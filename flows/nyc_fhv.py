"""New York City's for-hire vehicles into `raw.nyc_fhv__vehicles`.

The city writes the whole list anew every afternoon. A run asks when its rows last changed; if they
did, it reads all of them in pages, proves their number, and replaces the table in one step, unless
many rows are gone: the run then fails, and one with `allow_deletions` replaces them.

Requires: blocks gcp-credentials/gcp, the landing bucket's, warehouse/warehouse and nyc-fhv/nyc-fhv
(`python -m blocks.register`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.nyc_fhv import NycFhv
from blocks.platform import load_block, load_blocks
from core.batch import Manifest, Window, new_batch_id
from core.errors import CountMismatch, SourceError
from core.ledger import Cursor, Look
from core.rows import Packed, pack
from core.steps import step
from sources.nyc_fhv import (
    SOURCE,
    TABLE,
    page_parameters,
    pages,
    read_count,
    read_page,
    updated_at_of,
)
from tasks.by_hand import by_hand
from tasks.http import Http, open_http
from tasks.platform import Platform, connect
from tasks.report import Outcome, report, run_name
from tasks.run import Extracted, run_source
from tasks.upload import add_page, commit, new_draft
from tasks.verb import verb

# The list may be written anew while it is read; so often it is read again from its beginning.
TAKES = 3
# Tries for a page that has not as many rows as it should: a body may be cut off.
PAGE_TRIES = 3


@verb(name="extract", task_run_name="extract nyc-fhv", retries=2, retry_delay_seconds=[10, 60])
def extract(
    platform: Platform, api: NycFhv, window: Window, cursor: Cursor, allow_deletions: bool
) -> Manifest | Look:
    """A committed batch of the whole list, or the line of a look at one that has not changed.

    A list whose replacement was held back is taken again, so that runs fail until somebody
    decides. Raises SourceError when the service does not answer, says that it has no rows, or
    writes the list anew whenever it is read; CountMismatch when it gives fewer or more rows than it
    counts.
    """
    with open_http(SOURCE, api.secrets, read_timeout_seconds=60, headers=api.headers) as http:
        updated_at = rows_updated_at(http, api)
        if cursor.watermark and updated_at <= cursor.watermark and not cursor.held:
            note = None
            if updated_at < cursor.watermark:
                note = f"rowsUpdatedAt went back to {updated_at:%Y-%m-%dT%H:%M:%SZ}"
            return Look(
                batch_id=new_batch_id(updated_at),
                window=window,
                observed_at=cursor.watermark,
                seen={},
                met_again=0,
                requests=http.requests,
                note=note,
            )
        for _ in range(TAKES):
            count = count_rows(http, api)
            draft = new_draft(platform, TABLE, "incremental", window, updated_at)
            for page in fetch(http, api, count):
                with step("extract.page"):
                    add_page(draft, page)
            before, updated_at = updated_at, rows_updated_at(http, api)
            if updated_at == before:
                break
        else:
            raise SourceError(SOURCE, window, f"the list was written anew {TAKES} times while read")
        if draft.next_row != count:
            raise CountMismatch(SOURCE, window, count, draft.next_row)
        return commit(
            draft,
            requests=http.requests,
            source_count=count,
            undos=cursor.undos,
            watermark=updated_at,
            allow_absent=allow_deletions,
        )


def rows_updated_at(http: Http, api: NycFhv) -> datetime:
    """When the list was last written, by Socrata's metadata."""
    return updated_at_of(http.get_json(api.metadata_url, {}, "metadata").body, api.dataset)


def count_rows(http: Http, api: NycFhv) -> int:
    """How many rows the service counts. SourceError when none: that proves nothing."""
    count = http.get(api.rows_url("json"), {"$select": "count(*)"}, "count", read_count).body
    if count == 0:
        raise SourceError(SOURCE, "count", "the service counts 0 rows, which proves nothing")
    return count


def fetch(http: Http, api: NycFhv, count: int) -> Iterator[Packed]:
    """All pages in order, at most `concurrency` of them under way or waiting."""
    offsets = pages(count, api.page_size)
    with ThreadPoolExecutor(api.concurrency, thread_name_prefix=SOURCE) as pool:
        under_way: deque[Future[Packed]] = deque()
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


def fetch_page(http: Http, api: NycFhv, offset: int, count: int) -> Packed:
    """One page; the last try's when none has as many rows as it should."""
    for _ in range(PAGE_TRIES):
        page = http.get(
            api.rows_url("csv"),
            page_parameters(offset, api.page_size),
            f"rows from {offset:,}",
            lambda content, headers: read_page(content, headers, offset),
        ).body
        if page.extracted == min(api.page_size, count - offset):
            break
    return pack(page)


def run(platform: Platform, api: NycFhv, allow_deletions: bool) -> Outcome:
    """One run: the whole list, if it was written anew."""
    return run_source(
        platform,
        TABLE,
        "incremental",
        lambda cursor: Window(cursor.watermark),
        lambda window, cursor: Extracted(extract(platform, api, window, cursor, allow_deletions)),
    )


@flow(name="nyc-fhv", flow_run_name=run_name, validate_parameters=True)
def nyc_fhv(allow_deletions: bool = False) -> State:
    """Load the list if it was written anew.

    Args:
        allow_deletions: Replace the table although many of its rows are gone from the list.
    """
    api = load_block(NycFhv, "nyc-fhv")
    outcome = run(connect(load_blocks(), api.landing), api, allow_deletions)
    report(outcome)
    return Completed(message=outcome.message)


if __name__ == "__main__":
    sys.exit(
        by_hand(
            TABLE,
            "New York City's for-hire vehicles as they stand.",
            NycFhv,
            lambda platform, api, options: run(platform, api, options.allow_deletions),
            takes_deletions=True,
        )
    )
