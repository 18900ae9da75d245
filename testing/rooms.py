"""The rooms of the house in their order, as docs/architecture.md draws it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What each of them knows of the world outside.
ROOMS: dict[str, str] = dict(
    re.findall(
        r"^\| `(\w+)` \| .* \| ([\w ]*) ?\|$",
        (ROOT / "docs" / "architecture.md").read_text(),
        flags=re.MULTILINE,
    )
)
ORDER = tuple(ROOMS)
# What runs on a machine.
PRODUCT = ORDER[: ORDER.index("sandbox")]
