"""What no message may hold: which secrets exist, and how they are cut out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from pydantic import BaseModel, SecretStr

from core.errors import without_secrets
from stores.federation import is_federation
from tasks.server import every

# Shorter than this, a value is a word and not a secret.
SECRET_CHARACTERS = 6
# What is secret in a service account's key file, which is hidden completely; its other values are
# names and addresses.
SECRET_NAME = re.compile(r"(?i)key|secret|passw|token$")
# What looks like a secret, wherever it came from: a source's error may echo one that is not ours.
SECRET_SHAPES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.S),
    re.compile(r"(?<=://)[^\s/@]+:[^\s/@]+(?=@)"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"https://hooks\.slack\.com/\S+"),
    re.compile(
        r"(?i)(?<=[?&\s\"'{,(])(?:api_?key|access_?key|app_?id|appid|token|secret|password|passwd"
        r"|signature|x-amz-[a-z-]+|authorization)[\"']?\s*[=:]\s*[\"']?[^\s&\"',;)}]+"
    ),
)


def scrubber(secrets: Iterable[str]) -> Callable[[str], str]:
    """What cuts out of a text these secrets and whatever looks like one."""
    # Else one that begins another would leave its tail.
    longest_first = sorted(set(secrets), key=len, reverse=True)
    return lambda text: without_shapes(without_secrets(text, longest_first))


def without_shapes(text: str) -> str:
    """`text` without what looks like a key, a password, a token or an address that holds one."""
    text = f" {text}"
    for shape in SECRET_SHAPES:
        text = shape.sub("***", text)
    return text[1:]


def saved_secrets(client: SyncPrefectClient) -> set[str]:
    """Every secret of every saved block."""
    found: set[str] = set()
    hidden = {
        document.id: document.data
        for document in every(client.read_block_documents, include_secrets=False)
    }
    for document in every(client.read_block_documents, include_secrets=True):
        found |= differing(document.data, hidden.get(document.id))
    return found


def differing(clear: Any, hidden: Any) -> set[str]:
    """The texts in `clear` that are obfuscated in `hidden`."""
    if isinstance(clear, dict):
        # Of a key or a federation's file, all is hidden and little is secret.
        if clear.get("type") == "service_account" or is_federation(clear):
            hidden = {name: value for name, value in clear.items() if not SECRET_NAME.search(name)}
        inner = hidden if isinstance(hidden, dict) else {}
        return {text for name, value in clear.items() for text in differing(value, inner.get(name))}
    if isinstance(clear, list):
        inner_list = hidden if isinstance(hidden, list) else []
        in_order = zip(clear, [*inner_list, *[None] * len(clear)], strict=False)
        return {text for one, two in in_order for text in differing(one, two)}
    if isinstance(clear, str) and clear != hidden:
        return pieces(clear)
    return set()


def secrets_of(model: BaseModel | Mapping[str, Any]) -> set[str]:
    """Every secret of a model, such as the settings or a block."""
    found: set[str] = set()
    for value in dict(model).values():
        if isinstance(value, SecretStr):
            found |= pieces(value.get_secret_value())
        elif isinstance(value, BaseModel | Mapping):
            found |= secrets_of(value)
    return found


def pieces(secret: str) -> set[str]:
    """A secret and, of one of several lines such as a private key, its lines."""
    lines = [line.strip() for line in secret.splitlines()]
    return {one for one in (secret, *lines) if len(one) >= SECRET_CHARACTERS and "-----" not in one}
