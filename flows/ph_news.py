"""PH news into `raw.ph_news__articles`.

Every run reads mediastack's English news of the Philippines from the newest back to a whole page
without an unknown article, as far as the plan's requests reach. Each request is reserved in the
ledger before it is sent; a run for which none is left ends without sending any.

Requires: blocks gcp-credentials/gcp, gcs-bucket/landing-gcs (s3-bucket/landing-s3 to land there),
warehouse/warehouse and ph-news/ph-news (`python -m blocks.register`).
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.cloud import bigquery
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.ph_news import PhNews
from blocks.platform import load_block, load_blocks
from core.batch import Window, new_batch_id
from core.errors import NoRequestLeft, Refused, SourceError
from core.ledger import Cursor, Look
from core.rows import to_page
from core.steps import step
from sources.ph_news import (
    HTTPS_RESTRICTED,
    MOST_LISTED,
    SOURCE,
    TABLE,
    Listing,
    above_gap,
    error_code,
    is_known_ground,
    is_news,
    judge,
    listing_of,
    observed_at,
    parameters,
    published_range,
    remembered,
    to_record,
)
from tasks.budget import budget
from tasks.by_hand import by_hand
from tasks.http import Answer, Http, open_http
from tasks.platform import Platform, connect
from tasks.report import Outcome, report, run_name
from tasks.run import Extracted, run_source
from tasks.upload import add_page, commit, new_draft
from tasks.verb import verb
from tasks.warehouse import Warehouse

logger = logging.getLogger("pipelines.ph_news")


@dataclass
class Reading:
    """What one read met, top first: at most MOST_LISTED articles.

    `gap` says what was not reached, `failure` why when the source is to blame; `is_open` when the
    next reads should go on until they reach known ground.
    """

    listings: list[Listing] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    observed_at: datetime | None = None
    requests: int = 0
    gap: str | None = None
    is_open: bool = False
    failure: str | None = None


# No retries here: the HTTP helper has repeated what may pass, and each request is counted.
@verb(name="extract", task_run_name="extract ph-news {window}")
def extract(platform: Platform, api: PhNews, window: Window, cursor: Cursor) -> Extracted:
    """A committed batch of what was met, the line of a look without news, or only a note.

    Raises SourceError when nothing could be had.
    """
    reading = read(platform, api, cursor)
    if reading.observed_at is None:
        return Extracted(note=reading.gap)
    articles = [article for listing in reading.listings for article in listing.articles]
    seen = remembered(reading.listings, reading.known, cursor.seen, has_gap=reading.is_open)
    failures = (reading.failure,) if reading.failure else ()
    if not is_news(articles, cursor.seen):
        line = Look(
            batch_id=new_batch_id(reading.observed_at),
            mode="incremental",
            window=window,
            seen=seen,
            met_again=len(articles),
            source_count=len(articles),
            requests=reading.requests,
            observed_at=reading.observed_at,
            note=reading.gap,
        )
        return Extracted(line, reading.gap, failures)
    draft = new_draft(platform, TABLE, "incremental", window, reading.observed_at)
    for listing in reading.listings:
        # Every row, known or not, since each read moves when it was last seen.
        records = (to_record(article, reading.observed_at) for article in listing.articles)
        with step("extract.page"):
            add_page(draft, to_page(records, TABLE, draft.next_row))
    manifest = commit(
        draft,
        requests=reading.requests,
        source_count=len(articles),
        undos=cursor.undos,
        watermark=reading.observed_at,
        seen=seen,
        note=reading.gap,
    )
    return Extracted(manifest, reading.gap, failures)


def read(platform: Platform, api: PhNews, cursor: Cursor) -> Reading:
    """Page back until a whole page is known, the listing ends, or a request may not be sent.

    Raises SourceError when not even the first page could be had.
    """
    reading = Reading()
    open_ids = above_gap(cursor.seen)
    urls, offset = api.urls, 0
    with (
        budget(platform.warehouse, TABLE, api.monthly_requests) as held,
        open_http(
            SOURCE, [api.access_key.get_secret_value()], judge=judge, admit=held.spend
        ) as http,
    ):
        while True:
            try:
                answer = get_page(http, api, urls, offset)
                listing = listing_of(answer.body, offset, f"offset {offset:,}")
            except NoRequestLeft as stop:
                reading.gap = f"{stop} (plan: {api.monthly_requests:,} a month)"
                if reading.listings:
                    reading.gap = f"gap: older than offset {offset:,} not read; {reading.gap}"
                    reading.is_open = True
                break
            except SourceError as error:
                if not reading.listings:
                    raise
                reading.failure = str(error)
                reading.gap = f"gap: older than offset {offset:,} not read; {error.cause}"
                reading.is_open = True
                break
            finally:
                reading.requests = http.requests
            if reading.observed_at is None:
                served_at = answer.served_at or datetime.now(UTC)
                reading.observed_at = observed_at(served_at, cursor.watermark)
            reading.listings.append(listing)
            known = known_ids(platform.warehouse, listing)
            reading.known |= known
            if is_known_ground(listing, known, open_ids):
                break
            offset = listing.next_offset
            if listing.is_last(api.page_size):
                if offset >= MOST_LISTED:
                    reading.gap = f"gap: the service lists no more than {MOST_LISTED:,} articles"
                break
    return reading


def get_page(http: Http, api: PhNews, urls: list[str], offset: int) -> Answer[object]:
    """One page of the listing. An address with TLS is dropped from `urls` if the plan has none.

    Raises Refused naming the service's error code.
    """
    window = f"offset {offset:,}"
    secret = api.access_key.get_secret_value()
    query = {**parameters(offset, api.page_size), "access_key": secret}
    try:
        return http.get_json(urls[0], query, window)
    except Refused as refused:
        if error_code(refused.body) != HTTPS_RESTRICTED or len(urls) == 1:
            raise
        urls.pop(0)
        logger.warning("%s; a base_url with http:// would save this request", refused)
        try:
            return http.get_json(urls[0], query, window)
        except NoRequestLeft:
            raise refused from None


def known_ids(warehouse: Warehouse, listing: Listing) -> set[str]:
    """Keys of a page that stand in the raw table, sought in the partitions of its articles.

    A row whose publication was moved into another partition counts as unknown: one page more.
    """
    start, end = published_range(listing)
    sql = f"""
    SELECT article_id FROM {warehouse.names.raw(TABLE.name)}
    WHERE
        article_id IN UNNEST(@ids)
        AND (published_at BETWEEN @start AND @end OR published_at IS NULL)
    """
    parameters = [
        bigquery.ArrayQueryParameter("ids", "STRING", listing.ids),
        bigquery.ScalarQueryParameter("start", "TIMESTAMP", start),
        bigquery.ScalarQueryParameter("end", "TIMESTAMP", end),
    ]
    with step("extract.known"):
        rows = warehouse.query(sql, source=SOURCE, purpose="ledger", parameters=parameters)
    return {row["article_id"] for row in rows}


def run(platform: Platform, api: PhNews) -> Outcome:
    """One run: what is new since the last one."""
    return run_source(
        platform,
        TABLE,
        "incremental",
        lambda cursor: Window(cursor.watermark),
        lambda window, cursor: extract(platform, api, window, cursor),
    )


@flow(
    name="ph-news",
    flow_run_name=run_name,
    validate_parameters=True,
)
def ph_news() -> State:
    """Load what is new, within the plan's requests."""
    api = load_block(PhNews, "ph-news")
    outcome = run(connect(load_blocks(), api.landing), api)
    report(outcome)
    return Completed(message=outcome.message)


if __name__ == "__main__":
    sys.exit(
        by_hand(
            TABLE,
            "Philippine news, within the plan's requests.",
            PhNews,
            lambda platform, api, options: run(platform, api),
        )
    )
