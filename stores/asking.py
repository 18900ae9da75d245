"""What all checks of settings have in common: a request, and a fault in words."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from stores.federation import is_federation
from stores.settings import GoogleAccount

SECONDS = 20.0

# Raises Fault or what a client raises; a text is for a person to know, and no fault.
Check = Callable[[], str | None]


class Fault(Exception):
    """Something is not as a run needs it; the message says what to do."""


def ask(
    url: str,
    params: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    key: str = "",
) -> None:
    """One request. Raises Fault without address, parameters or headers, where a key may stand."""
    host = httpx.URL(url).host
    try:
        response = httpx.get(url, params=params, headers=headers, timeout=SECONDS)
    except httpx.HTTPError as error:
        raise Fault(f"{host} does not answer ({type(error).__name__})") from None
    if response.status_code in (401, 403) and key:
        raise Fault(f"{host} refuses {key} (HTTP {response.status_code})")
    if response.status_code == 429:
        raise Fault(f"{host} says that its limit of requests is reached (HTTP 429)")
    if not response.is_success:
        raise Fault(f"{host} answers HTTP {response.status_code}")


def name_of(account: GoogleAccount) -> str:
    """Whom a role is to be given."""
    if account.info is None:
        return "the machine's service account"
    info = account.content
    if is_federation(info):
        # What only reads `.env` has no client of Google's in memory.
        from stores.google import federated

        return federated(info).service_account_email or "the identity of GCP_SERVICE_ACCOUNT_FILE"
    return str(info.get("client_email", "the service account"))
