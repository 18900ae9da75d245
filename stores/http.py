"""The one place where a request to a source is repeated.

A request gets four tries within a total deadline. What is repeated: 408, 425, 429, 5xx, 202
(Socrata is still working), timeouts, dropped connections, and bodies that are not what they say
they are. A `Retry-After` is honoured. Anything else that is not a success raises SourceHttpError at
once, and so does a redirect that leaves the configured origin (stores/origin.py): a key is sent
nowhere else. A source that knows better what its answers mean says so with `classify_response`, and
one whose requests are counted lets each be admitted first.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, Literal, TypeVar

import httpx

from core.errors import NoRequestLeft, SourceError, SourceHttpError, first_line, without_secrets
from core.steps import step
from core.values import parse_json
from stores.origin import MOST_REDIRECTS, Origin, may_follow, not_followed

T = TypeVar("T")

logger = logging.getLogger("pipelines.http")
# httpx logs whole URLs at INFO, and a key may stand in one.
logging.getLogger("httpx").setLevel(logging.WARNING)

TRIES = 4
DEADLINE_SECONDS = 180.0
LONGEST_WAIT_SECONDS = 60.0
MAX_BODY_BYTES = 512 * 2**20
REPEATABLE = {202, 408, 425, 429, 500, 502, 503, 504}
# Of a body that is not what it should be, so much is looked at.
HEAD_BYTES = 65_536
USER_AGENT = "data-pipelines/0.1 (personal data platform)"

# What an answer's status and body come to: `final`, since repeating will not help, `repeat`, or
# what its status says.
Verdict = Literal["final", "repeat"] | None
Classify = Callable[[int, str], Verdict]
Params = Mapping[str, str | int | float]
# What a body and its headers come to; ValueError, saying what the body is, when it is unusable.
Read = Callable[[bytes, Mapping[str, str]], T]


class Repeat(Exception):
    """A try that failed in a way that the next may not; `wait_seconds` when the server said so."""

    def __init__(self, cause: str, wait_seconds: float | None = None) -> None:
        super().__init__(cause)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A successful response: what its body came to, and the server's own clock."""

    body: T
    served_at: datetime | None


@dataclass
class Http:
    """A source's client. `requests` counts every request sent, repeated and redirected ones too.

    `before_request` is called before each of them, and lets none be sent by raising NoRequestLeft.
    `words` makes one line of the body of an answer that is repeated.
    An answer with one of the statuses in `waits_once_for` and a Retry-After is repeated once after
    that wait; the second such answer, or a wait of more than LONGEST_WAIT_SECONDS, is a refusal.
    """

    source: str
    client: httpx.Client
    secrets: Sequence[str] = ()
    tries: int = TRIES
    deadline_seconds: float = DEADLINE_SECONDS
    pause: Callable[[float], None] = time.sleep
    classify_response: Classify | None = field(default=None, kw_only=True)
    before_request: Callable[[], None] = field(default=lambda: None, kw_only=True)
    waits_once_for: frozenset[int] = field(default=frozenset(), kw_only=True)
    words: Callable[[str], str] = field(default=first_line, kw_only=True)
    requests: int = field(default=0, init=False)
    _counting: threading.Lock = field(default_factory=threading.Lock, init=False)

    def get_json(self, url: str, params: Params, window: object) -> Answer[object]:
        """GET `url` and parse its JSON. Raises what `get` raises."""
        return self.get(url, params, window, lambda content, _: parse_json(content))

    def get(self, url: str, params: Params, window: object, read: Read[T]) -> Answer[T]:
        """GET `url` and return what `read` makes of the body; its ValueError repeats the request.

        May be called by several threads at once. Raises SourceHttpError when the source declines or
        redirects elsewhere, SourceError when the tries or the time are used up, NoRequestLeft when
        not even the first try is admitted; beside these only what `before_request` raises.
        """
        deadline = time.monotonic() + self.deadline_seconds
        waited: list[float] = []
        causes: list[str] = []
        for number in range(1, self.tries + 1):
            try:
                return self._try(url, params, window, deadline, read, waited)
            except Repeat as repeat:
                cause = without_secrets(str(repeat), self.secrets)
                causes.append(cause)
                wait = repeat.wait_seconds
                if wait is None:
                    wait = random.uniform(0.5, 1.0) * 2 ** (number - 1)
                left = deadline - time.monotonic()
                if number == self.tries or wait > min(left, LONGEST_WAIT_SECONDS):
                    break
                logger.warning(
                    "%s, %s: %s; trying again in %.1f s", self.source, window, cause, wait
                )
                self.pause(wait)
            except NoRequestLeft as error:
                if not causes:
                    raise
                number -= 1
                causes.append(str(error))
                break
        told = f"gave up after {number} tries: {'; '.join(causes)}"
        raise SourceError(self.source, window, told)

    def _try(
        self,
        url: str,
        params: Params,
        window: object,
        deadline: float,
        read: Read[T],
        waited: list[float],
    ) -> Answer[T]:
        response, content = self._follow(url, params, window, deadline)
        status, head = response.status_code, _text(content[:HEAD_BYTES])
        wait = retry_after(response.headers)
        verdict = self.classify_response(status, _text(content)) if self.classify_response else None
        if status in self.waits_once_for and wait is not None:
            verdict = "final" if waited or wait > LONGEST_WAIT_SECONDS else "repeat"
            waited.append(wait)
        if verdict == "repeat" or (verdict is None and status in REPEATABLE):
            raise Repeat(f"HTTP {status}: {self.words(head)}", wait)
        if verdict == "final" or not response.is_success:
            # 204 counts as success, and so does an empty body, which is nothing to read.
            raise self._refused(window, status, head)
        try:
            body_read = read(content, response.headers)
        except ValueError as error:
            kind = response.headers.get("content-type", "no content type")
            said = f"{kind}, {len(content)} bytes: {first_line(head, 60)}"
            raise Repeat(f"HTTP {status} with {error} ({said})") from error
        return Answer(body_read, served_at(response.headers))

    def _follow(
        self, url: str, params: Params, window: object, deadline: float
    ) -> tuple[httpx.Response, bytes]:
        """The answer to a GET and its body, after at most MOST_REDIRECTS redirects.

        Each request is admitted and counted. Raises SourceHttpError for a redirect that is not
        followed.
        """
        request = None
        for left in range(MOST_REDIRECTS, -1, -1):
            self.before_request()
            request = request or self.client.build_request("GET", url, params=dict(params))
            with self._counting:
                self.requests += 1
            with step("extract.request"):
                response, content = self._exchange(request, deadline)
            if response.next_request is None:
                return response, content
            at, to = _origin(request.url), _origin(response.next_request.url)
            if left == 0 or not may_follow(at, to):
                raise self._refused(window, response.status_code, not_followed(at, to))
            request = response.next_request
        raise AssertionError("the last redirect is either followed or refused")

    def _exchange(self, request: httpx.Request, deadline: float) -> tuple[httpx.Response, bytes]:
        """One request and its answer, whatever it is; raises Repeat when there is none."""
        try:
            response = self.client.send(request, stream=True, follow_redirects=False)
            try:
                return response, b"".join(_chunks(response, deadline))
            finally:
                response.close()
        except httpx.TimeoutException as error:
            raise Repeat(f"timed out ({type(error).__name__})") from error
        except httpx.DecodingError as error:
            raise Repeat("the body could not be decompressed") from error
        except httpx.RequestError as error:
            raise Repeat(f"{type(error).__name__}: {error}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Repeat("a redirect to an address that cannot be read") from error

    def _refused(self, window: object, status: int, said: str) -> SourceHttpError:
        return SourceHttpError(self.source, window, status, without_secrets(said, self.secrets))


def _origin(url: httpx.URL) -> Origin:
    # `url.host` would decode an international name, and fails on one that is none.
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port)


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _chunks(response: httpx.Response, deadline: float) -> Iterator[bytes]:
    """The body's bytes; a slow drip ends at the deadline, an endless one at MAX_BODY_BYTES."""
    size = 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Repeat(f"a body of more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise Repeat("the body did not arrive within the deadline")
        yield chunk


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the server's word, which is a number or a date; None when it is neither.

    Not a number counts as no wait, and infinity as one that nobody has the patience for.
    """
    given = headers.get("retry-after")
    if given is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(given))
    until = http_date(given)
    if until is None:
        return None
    now = served_at(headers) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def served_at(headers: Mapping[str, str]) -> datetime | None:
    """The server's clock by its Date header, UTC; None when it tells none.

    So does one of before there was HTTP, or of the last year of all: nothing can be reckoned from
    it, and no batch could be named by it.
    """
    moment = http_date(headers.get("date", ""))
    return moment if moment and 1990 <= moment.year < 9999 else None


def http_date(text: str) -> datetime | None:
    """A date of HTTP in UTC, None for what is none.

    It is GMT also where it does not say so (RFC 9110, 5.6.7), or says `-0000`.
    """
    # The standard library raises each of these for one garbage or another.
    with contextlib.suppress(ValueError, TypeError, OverflowError, IndexError):
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    return None


@contextlib.contextmanager
def open_http(
    source: str,
    secrets: Sequence[str] = (),
    read_timeout_seconds: float = 30.0,
    *,
    classify_response: Classify | None = None,
    before_request: Callable[[], None] = lambda: None,
    waits_once_for: frozenset[int] = frozenset(),
    headers: Mapping[str, str] | None = None,
) -> Iterator[Http]:
    """An Http for one source, closed at the end; `headers` go with every request."""
    timeout = httpx.Timeout(read_timeout_seconds, connect=10.0)
    own = {"User-Agent": USER_AGENT, "Accept": "application/json", **(headers or {})}
    # Once for the client and its proxies, each of which would read all certificates again.
    tls = httpx.create_ssl_context()
    with httpx.Client(timeout=timeout, headers=own, verify=tls) as client:
        yield Http(
            source,
            client,
            secrets,
            classify_response=classify_response,
            before_request=before_request,
            waits_once_for=waits_once_for,
        )
