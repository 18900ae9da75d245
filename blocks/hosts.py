"""Whether the hosts answer at all that the settings name; one that does not is not asked again."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from blocks.probes import first_line

# How long a host may take to say anything; all are asked at once.
SECONDS = 8.0


@dataclass(frozen=True)
class Host:
    """Where calls go: the variable that says so, if one does, and the address."""

    variable: str
    address: str

    @property
    def name(self) -> str:
        return urlsplit(self.address).hostname or ""

    def __str__(self) -> str:
        return f"{self.variable}: {self.name}" if self.variable else self.name


def silent_hosts(hosts: Collection[Host]) -> dict[Host, str]:
    """Those that do not answer within SECONDS, and why; all are asked at the same time.

    In threads that nobody waits for: a name server that does not answer knows no time-out.
    """
    causes: dict[Host, str] = {}

    def ask(host: Host) -> None:
        causes[host] = knock(host.address)

    threads = [threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {host: cause for host in hosts if (cause := causes.get(host, "no answer"))}


def knock(address: str) -> str:
    """Why a host does not answer; empty when it does, whatever it says. No path or key is sent."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "smtp":
            socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS).close()
        else:
            httpx.head(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/", timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # Whoever shows a certificate, be it one that only Google's client trusts, is there.
        return "" if is_of_tls(error) else f"{type(error).__name__}: {first_line(error)}"
    return ""


def is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
