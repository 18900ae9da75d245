"""Files of workload identity federation (AIP-4117)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_federation(info: Mapping[str, Any]) -> bool:
    """Whether this is the content of such a file."""
    return info.get("type") == "external_account"
