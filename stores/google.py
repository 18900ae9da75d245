"""Google's clients: a session that sends its credentials nowhere else, and reads tokens with care.

Their credentials are a service account's key, a file of workload identity federation, or the
machine's own.

google-auth takes whatever the token endpoint answers with 200 for a token, and fails on a page of
HTML with a TypeError that nobody repeats and that names nothing (2.62). Its session, and the one
that it asks for tokens with, follow redirects to anywhere: the signed request for a token is then
sent there as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import google.auth
import google.auth.credentials
import requests
from google.auth import aws, identity_pool
from google.auth.exceptions import RefreshError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.auth.transport.requests import Request as GoogleRequest
from google.cloud import bigquery, storage
from google.oauth2 import service_account

from stores.federation import is_federation
from stores.origin import MOST_REDIRECTS, may_follow, not_followed, origin_of
from stores.settings import GoogleAccount

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# Connect and read timeout of a request for a token; by itself google-auth waits for two minutes.
TOKEN_TIMEOUT_SECONDS = (10.0, 30.0)
# What may pass, beside 5xx.
REPEATABLE = {408, 425, 429}
# Of a token: Google's live for an hour.
LONGEST_LIFE_SECONDS = 99_999_999
# Where a federation's token becomes one of a service account.
IMPERSONATION = ":generateAccessToken"


class RedirectRefused(requests.RequestException):
    """A redirect that is not followed; the message names both hosts."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status = status


class NoToken(requests.ConnectionError):
    """The token endpoint answered something else; the message says what.

    All of Google's clients repeat it, as they do for a connection that failed.
    """


class StaysHome(requests.Session):
    """A session that follows MOST_REDIRECTS redirects within an origin, and no other.

    Raises RedirectRefused.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_redirects = MOST_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Raises RedirectRefused for a target that requests would fail on with another error."""
        try:
            target = super().get_redirect_target(resp)
            if target is not None:
                origin_of(target)
        except ValueError as error:
            at = origin_of(resp.url)
            cause = f"redirects from {at} to an address that cannot be read"
            raise RedirectRefused(resp.status_code, cause) from error
        return target

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Where requests decides who gets the credentials: here, whether a redirect is sent."""
        at, to = origin_of(response.url), origin_of(prepared_request.url or "")
        if not may_follow(at, to):
            raise RedirectRefused(response.status_code, not_followed(at, to))
        super().rebuild_auth(prepared_request, response)

    def resolve_redirects(self, resp: requests.Response, *args: Any, **kwargs: Any) -> Any:
        """Raises RedirectRefused also when there are too many."""
        try:
            yield from super().resolve_redirects(resp, *args, **kwargs)
        except requests.TooManyRedirects as error:
            last = resp if error.response is None else error.response
            at = origin_of(last.url)
            raise RedirectRefused(last.status_code, not_followed(at, at)) from error


class TokenRequest(GoogleRequest):
    """How credentials ask for a token: what is none never reaches google-auth.

    Raises TransportError for an answer that may pass, so that every client of Google's repeats it,
    RefreshError for one that will not, and RedirectRefused.
    """

    def __init__(self) -> None:
        super().__init__(StaysHome())

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Any = None,
        timeout: Any = None,
        **kwargs: Any,
    ) -> Any:
        try:
            answer = super().__call__(  # type: ignore[no-untyped-call]
                url, method, body, headers, TOKEN_TIMEOUT_SECONDS, **kwargs
            )
        except TransportError as error:
            if isinstance(refused := error.args[0], RedirectRefused):
                raise RedirectRefused(refused.status, f"the token endpoint {refused}") from error
            raise
        # A machine's own metadata server is asked with GET, and for other things, too.
        path = urlsplit(url).path
        if method == "POST" or path.endswith("/token"):
            kind = answer.headers.get("content-type", "")
            name = "accessToken" if path.endswith(IMPERSONATION) else "access_token"
            check_token(answer.status, kind, answer.data, name)
        return answer


class GoogleSession(StaysHome, AuthorizedSession):
    """An authorized session of Google's with both."""

    def __init__(self, credentials: Any) -> None:
        super().__init__(credentials, auth_request=TokenRequest())


def check_token(status: int, kind: str, content: bytes, name: str = "access_token") -> None:
    """Raises unless the answer is a token, or an error that google-auth can read.

    `name` is the token's own in the answer.

    No message has anything of the answer in it.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if status != 200:
        if isinstance(body, dict) and "error" in body:
            return
        if status >= 500 or status in REPEATABLE:
            raise passing(f"HTTP {status}")
        said = f"the token endpoint answered HTTP {status}"
        raise RefreshError(said, retryable=False)  # type: ignore[no-untyped-call]
    if not isinstance(body, dict):
        raise passing(f"HTTP 200 with a body that is no JSON object ({kind or 'no content type'})")
    token = body.get(name)
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise passing("HTTP 200 without an access token")
    if not is_lifetime(body.get("expires_in")):
        raise passing("HTTP 200 with a token whose lifetime is no number of seconds")


def passing(cause: str) -> TransportError:
    """An error as google-auth raises it for a failed request."""
    return TransportError(NoToken(f"the token endpoint answered {cause}"))  # type: ignore[no-untyped-call]


def is_lifetime(value: object) -> bool:
    """Seconds as a number or its digits; none at all is a token without an end."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= len(str(LONGEST_LIFE_SECONDS))
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= LONGEST_LIFE_SECONDS


def federated(info: Mapping[str, Any]) -> Any:
    """The credentials of such a file; nothing is asked yet.

    Their own token comes from a file, an address or AWS. Raises ValueError for any other source:
    a program, which Google's clients would run, is none that a setting may name.
    """
    source = info["credential_source"]
    kind: Any = aws.Credentials if "environment_id" in source else identity_pool.Credentials
    return kind.from_info(info, scopes=SCOPES)


@lru_cache(maxsize=8)
def of_key(info: str) -> Any:
    """The credentials of a key, its file's content as JSON. Raises ValueError.

    Its primes are tested when it is read, which takes 50 ms, and four clients of a run want it.
    """
    return service_account.Credentials.from_service_account_info(json.loads(info))


def credentials_for(account: GoogleAccount) -> Any:
    """The account's credentials, with scopes where they take any. Raises ValueError for a key or a
    federation that cannot be read, and DefaultCredentialsError where the machine has none."""
    if account.info is None:
        credentials, _ = google.auth.default()
    else:
        text = account.info.get_secret_value()
        info = json.loads(text)
        if is_federation(info):
            return federated(info)
        # A copy, with a token of its own.
        credentials = of_key(text).with_scopes(SCOPES)
    return google.auth.credentials.with_scopes_if_required(credentials, SCOPES)  # type: ignore[no-untyped-call]


def session_for(account: GoogleAccount) -> GoogleSession:
    """A session with the account's credentials."""
    return GoogleSession(credentials_for(account))


def bigquery_client(account: GoogleAccount, project: str, location: str) -> Any:
    """A client for BigQuery; nothing is sent yet."""
    session = session_for(account)
    return bigquery.Client(
        project=project, credentials=session.credentials, location=location, _http=session
    )


def storage_client(account: GoogleAccount, project: str) -> Any:
    """A client for Cloud Storage; nothing is sent yet."""
    session = session_for(account)
    return storage.Client(project=project, credentials=session.credentials, _http=session)
