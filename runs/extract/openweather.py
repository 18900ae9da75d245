"""Current weather of OpenWeather into `raw.openweather__observations`.

Every run asks once for each configured location and keeps what it has not seen yet. What is not
asked for now is gone: the service has no past, so an answer is committed even while BigQuery is
down.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core.batch import Extracted, Window
from core.errors import SourceError, SourceHttpError, without_secrets
from core.ledger import Cursor
from core.task import task
from runs.upload import Facts, new_batch
from sources.openweather.mapping import (
    OF_THE_ACCOUNT,
    SOURCE,
    TABLE,
    WAITS_ONCE_FOR,
    Query,
    classify_response,
    digest,
    reply_of,
    spacing_seconds,
    to_record,
)
from sources.openweather.settings import OpenWeather
from stores.clock import moment_of
from stores.http import Http, open_http
from stores.platform import Platform

# A poll that takes longer leaves the remaining locations to the next one, an hour later.
POLL_SECONDS = 1800.0


@dataclass
class Poll:
    """What each location answered, and the causes of those that did not."""

    bodies: dict[Query, Mapping[str, object]] = field(default_factory=dict)
    failures: dict[Query, str] = field(default_factory=dict)
    served_at: datetime | None = None


# Without retries: each request has its own, and another poll would ask again for what is in hand.
@task(name="extract", run_name="extract openweather {window}")
def extract(platform: Platform, api: OpenWeather, window: Window, cursor: Cursor) -> Extracted:
    """A committed batch of the new observations, or one without news.

    It asks for now: the window only tells the gap since the last poll. A location that fails is
    named in `failures`, the others stand. Raises SourceError when none answers.
    """
    with open_http(
        SOURCE,
        [api.api_key.get_secret_value()],
        classify_response=classify_response,
        waits_once_for=WAITS_ONCE_FOR,
    ) as http:
        found = poll(http, api)
    failures = tuple(f"{query}: {cause}" for query, cause in found.failures.items())
    if not found.bodies:
        raise SourceError(SOURCE, window, f"no location answered: {'; '.join(failures)}")
    read = {query.location: digest(body, query) for query, body in found.bodies.items()}
    fresh = {
        query: body
        for query, body in found.bodies.items()
        if cursor.known_digests.get(query.location) != read[query.location]
    }
    # A location that fails now will give again what it gave before.
    asked = {query.location for query in (*found.bodies, *found.failures)}
    facts = Facts(
        known_digests={name: old for name, old in cursor.known_digests.items() if name in asked}
        | read,
        already_seen=len(found.bodies) - len(fresh),
        failures=failures,
    )
    moment = moment_of(platform, SOURCE, found.served_at)
    with new_batch(platform, TABLE, window, cursor, moment, http) as batch:
        batch.add(to_record(body, query) for query, body in fresh.items())
        return batch.commit(**facts) if fresh else batch.unchanged(**facts)


def poll(http: Http, api: OpenWeather) -> Poll:
    """One request per location; none after a refusal that concerns the whole account."""
    wanted = [Query(at.name, at.latitude, at.longitude, api.units) for at in api.locations]
    spacing = spacing_seconds(len(wanted))
    deadline = time.monotonic() + POLL_SECONDS
    found = Poll()
    ended: str | None = None
    for number, query in enumerate(wanted):
        if ended is None and time.monotonic() > deadline:
            ended = f"the poll took more than {POLL_SECONDS:.0f} s"
        if ended is not None:
            found.failures[query] = f"not asked, because {ended}"
            continue
        if number and spacing:
            http.pause(spacing)
        try:
            body, served_at = ask(http, api, query)
        except SourceError as error:
            found.failures[query] = error.cause
            if isinstance(error, SourceHttpError) and error.status in OF_THE_ACCOUNT:
                ended = f"{query} was refused with {error.status}"
            continue
        found.bodies[query] = body
        found.served_at = found.served_at or served_at
    return found


def ask(http: Http, api: OpenWeather, query: Query) -> tuple[Mapping[str, object], datetime | None]:
    """The weather at one location, and the service's clock.

    Raises SourceHttpError also for an error inside an HTTP 200.
    """
    key = api.api_key.get_secret_value()
    answer = http.get_json(api.url("weather"), query.parameters(key), query)
    status, message, body = reply_of(answer.body, query)
    if status != 200:
        raise SourceHttpError(SOURCE, query, status, without_secrets(message, http.secrets))
    return body, answer.served_at
