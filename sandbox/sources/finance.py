"""The Google Sheets stand-in: one world with its control, its truth and its memory.

Seed, size, anchor, settings and the list of changes are stored; the ledger is made again from them.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.sources import sheets_api
from sandbox.sources.faults import Response
from sandbox.sources.server import ControlError, Request
from sandbox.sources.sheets_changes import apply
from sandbox.sources.sheets_generator import generate
from sandbox.sources.sheets_grid import Cell, Row, Tab
from sandbox.sources.sheets_ledger import COLUMNS, Ledger

# The service in the addresses of its worlds.
SERVICE = "sheets"
SIZE_MAX = 50_000
MINUTE_MS = 60_000
CHANGES = ("set", "append", "edit", "delete", "header", "duplicate")
READ = {"action": "read"}
NOTES: list[Row] = [
    ["How this ledger is kept"],
    [],
    ["CASH IN", "the fee, not the money"],
    ["updated_at", "changes when somebody thinks of it"],
]


@dataclass
class Recipe:
    """Everything a world is a function of. A read of changed content stands among the changes."""

    anchor_ms: int
    seed: int = 1
    size: int = 400
    columns: list[Cell] = field(default_factory=lambda: list(COLUMNS))
    is_untidy: bool = False
    reads_per_minute: int | None = None
    is_shared: bool = True
    clock_offset_ms: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)

    def stages(self) -> int:
        """How often the world advanced."""
        return sum(change["action"] == "advance" for change in self.changes)


class SheetsWorld:
    """A world by its name: from its stored recipe, or new."""

    def __init__(self, name: str, *, state_dir: Path) -> None:
        self._path = state_dir / f"{name}.sheets.json"
        self._ledger: Ledger | None = None
        self._read_minute = self._reads = 0
        if self._path.exists():
            self._recipe = Recipe(**json.loads(self._path.read_text(encoding="utf-8")))
        else:
            self._recipe = Recipe(anchor_ms=_machine_ms())
            self._store()

    def now_ms(self) -> int:
        """The world's clock: shifted machine time."""
        return _machine_ms() + self._recipe.clock_offset_ms

    def answer(self, request: Request) -> Response:
        """The API's answer. Ids that it shows count as served, whatever a fault makes of it."""
        ledger = self._content()
        tabs = [
            Tab(sheets_api.LEDGER, 0, [ledger.header, *ledger.rows], ledger.formats),
            Tab("notes", 1_234_567_890, NOTES, {}),
        ]
        response, shows_ledger = sheets_api.answer(
            request, tabs, is_shared=self._recipe.is_shared, count_read=self._count_read
        )
        if shows_ledger and self._recipe.changes[-1:] != [READ]:
            self._change(READ)
        return response

    def truth(self) -> dict[str, Any]:
        """What a perfect copy must say now. Raises ControlError while the id is missing."""
        try:
            return self._content().truth()
        except ValueError as error:
            raise ControlError(409, str(error)) from None

    def state(self) -> dict[str, Any]:
        """The recipe without its changes, with their number and what came of them."""
        return {
            **{name: value for name, value in asdict(self._recipe).items() if name != "changes"},
            "changes": sum(change != READ for change in self._recipe.changes),
            "stages": self._recipe.stages(),
            "rows": len(self._content().rows),
            "now_ms": self.now_ms(),
        }

    def control(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Do `world`, `advance`, `clock`, `share` or one of CHANGES. Raises ControlError."""
        match action:
            case "world":
                return self._create(payload)
            case "advance":
                stage, moment_ms = self._recipe.stages() + 1, self.now_ms()
                stamp = {"stage": stage, "moment_ms": moment_ms}
                return stamp | self._change({"action": "advance", **stamp})
            case "clock":
                self._recipe.clock_offset_ms = _whole(payload, "offset_ms", 0)
                self._store()
                return {"now_ms": self.now_ms()}
            case "share":
                self._recipe.is_shared = bool(payload.get("shared", True))
                self._store()
                return {"shared": self._recipe.is_shared}
            case change if change in CHANGES:
                return self._change({**payload, "action": change})
            case _:
                raise ControlError(404, f"no control action {action!r}")

    def _create(self, payload: dict[str, Any]) -> dict[str, Any]:
        own = {"seed", "size", "anchor_ms", "columns", "untidy", "reads_per_minute", "rows"}
        if unknown := payload.keys() - own:
            raise ControlError(400, f"unknown: {', '.join(sorted(unknown))}")
        quota = payload.get("reads_per_minute")
        recipe = Recipe(
            anchor_ms=_whole(payload, "anchor_ms", _machine_ms()),
            seed=_whole(payload, "seed", 1),
            size=_whole(payload, "size", 400),
            columns=payload.get("columns", list(COLUMNS)),
            is_untidy=bool(payload.get("untidy", False)),
            reads_per_minute=None if quota is None else _whole(payload, "reads_per_minute", 0),
        )
        if not 0 <= recipe.size <= SIZE_MAX:
            raise ControlError(400, f"size must lie in 0..{SIZE_MAX}")
        if "rows" in payload:
            recipe.size = 0
            recipe.changes.append({"action": "set", "rows": payload["rows"]})
        try:
            ledger = _make(recipe)
        except ValueError as error:
            raise ControlError(400, str(error)) from None
        self._recipe, self._ledger, self._reads = recipe, ledger, 0
        self._store()
        return self.state()

    def _change(self, change: dict[str, Any]) -> dict[str, Any]:
        """Apply and store a change; one that cannot be done leaves nothing behind."""
        ledger = self._content().copy()
        try:
            counts = apply(ledger, self._recipe.seed, change)
        except ValueError as error:
            raise ControlError(409 if change["action"] == "advance" else 400, str(error)) from None
        self._ledger = ledger
        self._recipe.changes.append(change)
        self._store()
        return counts

    def _content(self) -> Ledger:
        """The ledger after all changes, made on first need."""
        if self._ledger is None:
            self._ledger = _make(self._recipe)
        return self._ledger

    def _count_read(self) -> None:
        """One more read in this minute of the world's clock. Raises ApiError beyond the quota.

        Refused reads do not count; a restart forgets the count.
        """
        quota, minute = self._recipe.reads_per_minute, self.now_ms() // MINUTE_MS
        if minute != self._read_minute:
            self._read_minute, self._reads = minute, 0
        if quota is not None and self._reads >= quota:
            raise sheets_api.quota_error(quota)
        self._reads += 1

    def _store(self) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self._recipe)), encoding="utf-8")
        draft.replace(self._path)


def _make(recipe: Recipe) -> Ledger:
    """The ledger after all changes of the recipe. Raises ValueError."""
    ledger = generate(recipe.seed, recipe.size, recipe.anchor_ms, recipe.columns, recipe.is_untidy)
    for change in recipe.changes:
        apply(ledger, recipe.seed, change)
    return ledger


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


def _whole(payload: dict[str, Any], name: str, default: int) -> int:
    value = payload.get(name, default)
    if not isinstance(value, int):
        raise ControlError(400, f"{name} must be a whole number, not {value!r}")
    return value


WORLD = SheetsWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "GOOGLE_SHEETS_BASE_URL": url,
        "FINANCE_SHEET_URL": "https://docs.google.com/spreadsheets/d/sandbox-ledger/edit",
        "FINANCE_WORKSHEET": "data",
    }
