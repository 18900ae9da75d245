"""The USGS stand-in: one world with its control, its truth and its memory across restarts.

Only seed, size, anchor, cap, clock offset and the moments of the stages are stored; the events are
made again from them. Planted features are for one test and are forgotten on restart.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.sources import usgs_api
from sandbox.sources.faults import Response
from sandbox.sources.server import ControlError, Request
from sandbox.sources.usgs_catalog import Catalog, Event, PayloadFiles
from sandbox.sources.usgs_generator import generate
from sandbox.sources.usgs_stages import CHANGES_MAX, advance

# The service in the addresses of its worlds.
SERVICE = "usgs"
SIZE_MAX = 400_000


@dataclass
class Recipe:
    """Everything a generated world is a function of, and its service's cap and clock."""

    anchor_ms: int
    seed: int = 1
    size: int = 1500
    cap: int = 20_000
    clock_offset_ms: int = 0
    stage_moments_ms: list[int] = field(default_factory=list)


class UsgsWorld:
    """A world by its name: from its stored recipe, from real payload files, or new."""

    def __init__(self, name: str, *, state_dir: Path, files: PayloadFiles | None = None) -> None:
        self._path = state_dir / f"{name}.usgs.json"
        self._files = files
        self._planted: list[Event] = []
        self._catalog: Catalog | None = files.catalog if files is not None else None
        if files is None and self._path.exists():
            self._recipe = Recipe(**json.loads(self._path.read_text(encoding="utf-8")))
        else:
            self._recipe = Recipe(anchor_ms=self._machine_ms())
            self._store()

    def now_ms(self) -> int:
        """The world's clock: shifted machine time, or when the newest payload was generated."""
        return self._machine_ms() + self._recipe.clock_offset_ms

    def answer(self, request: Request) -> Response:
        """The event service's answer."""
        return usgs_api.answer(
            request, self._events(), self._planted, self.now_ms(), self._recipe.cap
        )

    def truth(self) -> dict[str, Any]:
        """What a perfect copy must say now; planted features are not in it."""
        return self._events().truth()

    def state(self) -> dict[str, Any]:
        """The recipe, with the number of stages and where the events come from."""
        return {
            **asdict(self._recipe),
            "stages": len(self._recipe.stage_moments_ms),
            "now_ms": self.now_ms(),
            "planted": len(self._planted),
            "source": "generator" if self._files is None else "files",
        }

    def control(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Do `world`, `advance`, `clock` or `plant`. Raises ControlError."""
        match action:
            case "world":
                return self._create(payload)
            case "advance":
                return self._advance()
            case "clock":
                self._recipe.clock_offset_ms = _whole(payload, "offset_ms", 0)
                self._store()
                return {"now_ms": self.now_ms()}
            case "plant":
                return self._plant(payload)
            case _:
                raise ControlError(404, f"no control action {action!r}")

    def _create(self, payload: dict[str, Any]) -> dict[str, Any]:
        unknown = payload.keys() - {"seed", "size", "anchor_ms", "cap"}
        if unknown:
            raise ControlError(400, f"unknown: {', '.join(sorted(unknown))}")
        if self._files is not None and payload.keys() - {"cap"}:
            raise ControlError(409, "this world serves payload files; only its cap can be set")
        recipe = Recipe(
            anchor_ms=_whole(payload, "anchor_ms", self._machine_ms()),
            seed=_whole(payload, "seed", 1),
            size=_whole(payload, "size", 1500),
            cap=_whole(payload, "cap", 20_000),
        )
        if not 0 <= recipe.size <= SIZE_MAX:
            raise ControlError(400, f"size must lie in 0..{SIZE_MAX}")
        self._recipe = recipe
        self._planted = []
        if self._files is None:
            self._catalog = None
        self._store()
        return self.state()

    def _advance(self) -> dict[str, Any]:
        if self._files is not None:
            raise ControlError(409, "this world serves payload files and cannot advance")
        catalog = self._events()
        previous_ms = self._previous_moment_ms()
        moment_ms = max(self.now_ms(), previous_ms + CHANGES_MAX)
        stage = len(self._recipe.stage_moments_ms) + 1
        counts = advance(catalog, self._recipe.seed, stage, moment_ms, previous_ms)
        self._recipe.stage_moments_ms.append(moment_ms)
        self._store()
        return {"stage": stage, "moment_ms": moment_ms, **counts}

    def _plant(self, payload: dict[str, Any]) -> dict[str, Any]:
        features = payload.get("features")
        if not isinstance(features, list) or not all(isinstance(f, dict) for f in features):
            raise ControlError(400, 'plant takes {"features": [...], "deleted", "instead": false}')
        is_deleted = bool(payload.get("deleted", False))
        if payload.get("instead", False):
            # Of those planted before.
            self._planted = []
        self._planted += [Event(feature, [], is_deleted) for feature in features]
        return {"planted": len(self._planted)}

    def _events(self) -> Catalog:
        """The catalog at the current stage, made on first need."""
        if self._catalog is None:
            recipe = self._recipe
            catalog = generate(recipe.seed, recipe.size, recipe.anchor_ms)
            previous_ms = recipe.anchor_ms
            for stage, moment_ms in enumerate(recipe.stage_moments_ms, start=1):
                advance(catalog, recipe.seed, stage, moment_ms, previous_ms)
                previous_ms = moment_ms
            self._catalog = catalog
        return self._catalog

    def _previous_moment_ms(self) -> int:
        return [self._recipe.anchor_ms, *self._recipe.stage_moments_ms][-1]

    def _machine_ms(self) -> int:
        return self._files.generated_ms if self._files is not None else time.time_ns() // 1_000_000

    def _store(self) -> None:
        if self._files is not None:
            return
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self._recipe)), encoding="utf-8")
        draft.replace(self._path)


def _whole(payload: dict[str, Any], name: str, default: int) -> int:
    value = payload.get(name, default)
    if not isinstance(value, int):
        raise ControlError(400, f"{name} must be a whole number, not {value!r}")
    return value


WORLD = UsgsWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "USGS_BASE_URL": url,
        # The oldest event is of 1900: the first run reads all there is.
        "USGS_HISTORY_START": "1900-01-01",
    }
