"""USGS earthquakes into `raw.usgs_earthquake__events`.

Every run reads what changed since the last one: new, revised, late, renamed and deleted events of
any time. With `start` and `end` it reads a range of event times instead, whatever has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from core.batch import Extracted, Window
from core.errors import CountMismatch, SourceHttpError
from core.ledger import Cursor
from core.request import NOTHING_ELSE, Request
from core.task import task
from runs.upload import Facts, new_batch
from sources.usgs_earthquake.mapping import (
    MOST_SEEN,
    SOURCE,
    TABLE,
    Count,
    Query,
    count_in,
    features_of,
    is_past_cap,
    known_digests,
    queries,
    split,
    to_record,
    unseen,
)
from sources.usgs_earthquake.settings import UsgsEarthquake
from stores.clock import moment_of
from stores.http import Http, open_http
from stores.platform import Platform

# Asks for a page again when it does not have as many events as the service counts.
PAGE_TRIES = 3


@task(name="extract", run_name="extract usgs {window}", retries=2, retry_delay_seconds=[10, 60])
def extract(
    platform: Platform,
    api: UsgsEarthquake,
    window: Window,
    cursor: Cursor,
    request: Request = NOTHING_ELSE,
) -> Extracted:
    """A committed batch of what the service has for the window, or one without news.

    After a read by a clock that is not believed, the next one goes on from where this one did.
    Raises SourceError when the service does not answer, CountMismatch when it gives fewer or more
    events than it counts.
    """
    incremental = request.mode == "incremental"
    before = cursor.known_digests if incremental else {}
    with open_http(SOURCE) as http:
        moment = moment_of(platform, SOURCE, source_clock(http, api))
        with new_batch(platform, TABLE, window, cursor, moment, http, mode=request.mode) as batch:
            if moment.doubt:
                batch.watermark = cursor.watermark
            planned = [
                piece
                for query in queries(
                    window,
                    moment.at,
                    is_backfill=not incremental,
                    history_start=api.history_start,
                )
                for piece in split(query, count(http, api, query), lambda q: count(http, api, q))
            ]
            read, known = 0, dict[str, str]()
            for query, features in fetch(http, api, planned):
                fresh = unseen(features, before)
                batch.add(to_record(feature, query.listing) for feature in fresh)
                read += len(features)
                known |= known_digests(features, (batch.watermark or moment.at) - TABLE.overlap)
            facts = Facts(
                known_digests=known if incremental and len(known) <= MOST_SEEN else {},
                source_count=read,
                already_seen=read - batch.next_row,
            )
            return batch.commit(**facts) if batch.next_row else batch.unchanged(**facts)


def source_clock(http: Http, api: UsgsEarthquake) -> datetime | None:
    """The service's own time before anything is read; None if it tells none.

    Nothing stronger than magnitude 9.9 has happened: the smallest answer that bears a date.
    """
    parameters = {"format": "geojson", "minmagnitude": "9.9"}
    answer = http.get_json(api.url("count"), parameters, "its clock")
    return answer.served_at


def count(http: Http, api: UsgsEarthquake, query: Query) -> Count:
    """How many events the service says a query matches, and its cap."""
    answer = http.get_json(api.url("count"), query.parameters(), query)
    return count_in(answer.body, query)


def fetch(
    http: Http, api: UsgsEarthquake, planned: list[tuple[Query, int]]
) -> Iterator[tuple[Query, list[object]]]:
    """The events of each query, as many as were counted.

    Events may arrive between count and page, so a page that differs is counted and read again, with
    a window that ends a second later, because both answers may stand in a cache for a minute.
    """
    for query, expected in planned:
        for attempt in range(1, PAGE_TRIES + 1):
            asked = replace(query, end=query.end + timedelta(seconds=attempt - 1))
            if attempt > 1:
                expected = count(http, api, asked).events
            try:
                features = features_of(
                    http.get_json(api.url("query"), asked.parameters(), asked).body, asked
                )
            except SourceHttpError as refused:
                if not is_past_cap(refused):
                    raise
                # It grew since it was counted.
                grown = count(http, api, asked)
                yield from fetch(
                    http, api, list(split(asked, grown, lambda q: count(http, api, q)))
                )
                break
            if len(features) == expected:
                yield asked, features
                break
        else:
            raise CountMismatch(SOURCE, query, expected, len(features))
