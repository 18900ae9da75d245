"""Asking a part whether it is there."""

import base64
import http.client
import json
import urllib.request
from collections.abc import Mapping
from typing import Any


def answers(url: str, method: str = "GET") -> bool:
    """Whether the answer is a success."""
    try:
        with _open(urllib.request.Request(url, method=method)):  # noqa: S310 - our own http URL
            return True
    except (OSError, http.client.HTTPException):
        return False


def _open(request: urllib.request.Request) -> Any:
    """Past any proxy. Raises HTTPError for a status that is no success, OSError, HTTPException."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return direct.open(request, timeout=5)


def prefect_api(variables: Mapping[str, str], method: str, path: str, content: Any = None) -> Any:
    """The API's JSON answer. Raises urllib.error.HTTPError and OSError."""
    request = urllib.request.Request(  # noqa: S310 - http or https, as the caller set it
        variables["PREFECT_API_URL"].rstrip("/") + path,
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
    )
    if secret := variables.get("PREFECT_API_AUTH_STRING"):
        token = base64.b64encode(secret.encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    with _open(request) as response:
        return json.load(response)
