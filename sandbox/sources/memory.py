"""What stand-ins keep across restarts: a world's clock, and its recipe in a file."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.sources.server import ControlError


@dataclass
class Clock:
    """Machine time shifted by an offset, or standing still at a moment."""

    offset_ms: int = 0
    stopped_at_ms: int | None = None

    def now_ms(self) -> int:
        """The moment it shows, in epoch milliseconds."""
        if self.stopped_at_ms is not None:
            return self.stopped_at_ms
        return time.time_ns() // 1_000_000 + self.offset_ms

    def set(self, payload: dict[str, Any]) -> None:
        """`{"now_ms": n}` stops it there, `{"offset_ms": n}` lets it run. Raises ControlError."""
        refuse_unknown(payload, {"now_ms", "offset_ms"})
        if len(payload) > 1:
            raise ControlError(400, "clock takes now_ms or offset_ms, not both")
        self.stopped_at_ms = whole(payload, "now_ms", 0) if "now_ms" in payload else None
        self.offset_ms = whole(payload, "offset_ms", 0)

    def move(self, milliseconds: int) -> None:
        """Set it forward; one that stands goes on standing."""
        if self.stopped_at_ms is not None:
            self.stopped_at_ms += milliseconds
        else:
            self.offset_ms += milliseconds


def store(path: Path, recipe: dict[str, Any]) -> None:
    """Write a recipe in one step; a reader sees the old one or the new one."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(recipe), encoding="utf-8")
    draft.replace(path)


def recall(path: Path) -> dict[str, Any] | None:
    """The recipe in the file, with its clock made again; None where nothing was stored."""
    if not path.exists():
        return None
    recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**recipe, "clock": Clock(**recipe["clock"])}


def whole(payload: dict[str, Any], name: str, default: int) -> int:
    """A whole number of a control call. Raises ControlError."""
    value = payload.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ControlError(400, f"{name} must be a whole number, not {value!r}")
    return value


def texts(payload: dict[str, Any], name: str, default: list[str]) -> list[str]:
    """A list of strings of a control call. Raises ControlError."""
    value = payload.get(name, default)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ControlError(400, f"{name} must be a list of strings, not {value!r}")
    return value


def refuse_unknown(payload: dict[str, Any], known: set[str]) -> None:
    """Raises ControlError if a control call names something that is not known."""
    if unknown := payload.keys() - known:
        raise ControlError(400, f"unknown: {', '.join(sorted(unknown))}")
