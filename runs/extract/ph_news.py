"""PH news into `raw.ph_news__articles`.

Every run reads mediastack's news of the Philippines from the newest back to a whole page without an
unknown article, as far as the plan's requests reach. Each request is reserved in the ledger before
it is sent; a run for which none is left ends without sending any. Twice a day, and when more
articles are listed than were met, a run goes on to the end of the listing, if the plan has the
requests to spare.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

from google.cloud import bigquery

from core.batch import Extracted, Window
from core.errors import NoRequestLeft, SourceError, SourceHttpError
from core.ledger import Cursor
from core.steps import step
from core.task import task
from runs.upload import Facts, new_batch
from sources.ph_news.listing import (
    DEEPER_SHARE,
    FIRST_RUN_PAGES,
    Listing,
    Memory,
    Reading,
    above_gap,
    is_known_ground,
    is_news,
    listing_of,
    plan_digest,
    published_range,
)
from sources.ph_news.mapping import (
    HTTPS_RESTRICTED,
    SOURCE,
    TABLE,
    classify_response,
    error_code,
    to_record,
)
from sources.ph_news.settings import PhNews
from stores.bigquery import Warehouse
from stores.budget import budget
from stores.clock import Moment, moment_of
from stores.http import Answer, Http, Params, open_http
from stores.platform import Platform

logger = logging.getLogger("pipelines.ph_news")


# No retries here: the HTTP helper has repeated what may pass, and each request is counted.
@task(name="extract", run_name="extract ph-news {window}")
def extract(platform: Platform, api: PhNews, window: Window, cursor: Cursor) -> Extracted:
    """A committed batch of what was met, one without news, or only a note.

    Raises SourceError when nothing could be had.
    """
    memory = Memory.of(cursor.known_digests, urlencode(api.filters))
    reading = read(platform, api, cursor, memory)
    if reading.observed_at is None:
        return Extracted(note=reading.note)
    met = [article for listing in reading.listings for article in listing.articles]
    below = [article for listing in reading.deeper for article in listing.articles]
    late = [article for article in below if reading.is_unmet(article)]
    has_news = bool(late) or is_news(met, memory.rows)
    facts = Facts(
        known_digests=reading.remembered().known_digests(),
        source_count=len(met) + len(below),
        already_seen=len(below) - len(late) + (0 if has_news else len(met)),
        total=reading.total,
        depth=reading.depth,
        note=reading.note,
        failures=(reading.failure,) if reading.failure else (),
    )
    moment = Moment(reading.observed_at)
    with new_batch(platform, TABLE, window, cursor, moment, reading) as batch:
        if not has_news:
            return batch.unchanged(**facts)
        # Every row down to known ground, known or not, since each read moves when it was last seen;
        # of those below only what is new.
        for page in [*(listing.articles for listing in reading.listings), late]:
            batch.add(to_record(article, moment.at) for article in page)
        return batch.commit(**facts)


def read(platform: Platform, api: PhNews, cursor: Cursor, memory: Memory) -> Reading:
    """Page back until a whole page is known, the listing ends, or a request may not be sent.

    From known ground on to the end of the listing, when that is due and the plan has the requests
    to spare. A first run ends after FIRST_RUN_PAGES, and so does the next when a first one was cut
    short. Raises SourceError when not even the first page could be had.
    """
    reading = Reading(memory)
    secret = api.access_key.get_secret_value()
    plan = plan_digest(str(api.base_url), secret, api.monthly_requests)
    urls, offset = api.urls, 0
    if len(urls) > 1 and memory.is_plain(plan, cursor.watermark):
        urls.pop(0)
    has_tls = len(urls) > 1
    with (
        budget(platform.warehouse, TABLE, api.monthly_requests) as held,
        open_http(
            SOURCE,
            [secret],
            classify_response=classify_response,
            before_request=lambda: held.spend(DEEPER_SHARE if reading.is_deeper else 1.0),
        ) as http,
    ):
        while True:
            try:
                answer = get_page(http, api, urls, offset)
                listing = listing_of(answer.body, offset, f"offset {offset:,}")
            except NoRequestLeft as stop:
                reading.stop(offset, f"{stop} (plan: {api.monthly_requests:,} a month)")
                break
            except SourceError as error:
                if not reading.answers:
                    raise
                reading.failure = str(error)
                reading.stop(offset, error.cause)
                break
            finally:
                reading.requests = http.requests
            if reading.observed_at is None:
                moment = moment_of(platform, SOURCE, answer.served_at).after(cursor.watermark)
                reading.observed_at = moment.at
                if moment.doubt:
                    reading.notes.append(moment.doubt)
            offset = reading.add(listing)
            known = set() if reading.is_deeper else known_ids(platform.warehouse, [listing])
            reading.known |= known
            if offset < listing.next_offset:
                continue
            if listing.is_last(api.page_size):
                reading.end(reading.observed_at)
                break
            open_ids = above_gap(memory.rows)
            if not reading.is_deeper and is_known_ground(listing, known, open_ids):
                if not reading.is_due(reading.observed_at):
                    break
                if held.spare(DEEPER_SHARE) < reading.pages_left(offset, api.page_size):
                    per_month, now = api.monthly_requests, reading.observed_at
                    reading.put_off(offset, api.page_size, per_month, now)
                    break
                reading.is_deeper = True
            elif memory.expected is None and len(reading.answers) >= FIRST_RUN_PAGES:
                # No read has reached the end of the listing, known ground, or its first pages.
                reading.stop_first_run(offset)
                break
    if reading.deeper:
        reading.known |= known_ids(platform.warehouse, reading.deeper)
    if has_tls and reading.observed_at:
        refused_at = reading.observed_at if len(urls) == 1 else None
        reading.memory = replace(reading.memory, plain=plan, plain_at=refused_at)
    return reading


def get_page(http: Http, api: PhNews, urls: list[str], offset: int) -> Answer[object]:
    """One page of the listing. An address with TLS is dropped from `urls` if the plan has none.

    Raises SourceHttpError naming the service's error code.
    """
    window = f"offset {offset:,}"
    secret = api.access_key.get_secret_value()
    query: Params = {**api.filters, "limit": api.page_size, "offset": offset, "access_key": secret}
    try:
        return http.get_json(urls[0], query, window)
    except SourceHttpError as refused:
        if error_code(refused.body) != HTTPS_RESTRICTED or len(urls) == 1:
            raise
        urls.pop(0)
        logger.warning("%s; the plan has no TLS, so the next runs ask without it, too", refused)
        try:
            return http.get_json(urls[0], query, window)
        except NoRequestLeft:
            raise refused from None


def known_ids(warehouse: Warehouse, listings: Sequence[Listing]) -> set[str]:
    """Keys of these pages that the raw table has, sought in the partitions of their articles.

    A row whose publication was moved into another partition counts as unknown: one page more.
    """
    ids = [id_ for listing in listings for id_ in listing.ids]
    start, end = published_range(one for listing in listings for one in listing.articles)
    sql = f"""
    SELECT article_id FROM {warehouse.names.raw(TABLE.name)}
    WHERE
        article_id IN UNNEST(@ids)
        AND (published_at BETWEEN @start AND @end OR published_at IS NULL)
    """
    parameters = [
        bigquery.ArrayQueryParameter("ids", "STRING", ids),
        bigquery.ScalarQueryParameter("start", "TIMESTAMP", start),
        bigquery.ScalarQueryParameter("end", "TIMESTAMP", end),
    ]
    with step("extract.known"):
        rows = warehouse.query(sql, source=SOURCE, purpose="ledger", parameters=parameters)
    return {row["article_id"] for row in rows}
