"""The Socrata stand-in: one world with its dataset's versions, its control and its truth.

Stored are the recipe and the changes; the vehicles are made again from them. Stale answers and an
ordered advance are for one test and are forgotten on restart.
"""

import re
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sandbox.sources import socrata_api as api
from sandbox.sources.faults import Response
from sandbox.sources.memory import Clock, recall, refuse_unknown, store, texts, whole
from sandbox.sources.server import ControlError, Request
from sandbox.sources.socrata_changes import apply, first_version
from sandbox.sources.socrata_dataset import Dataset
from sandbox.sources.socrata_query import Refusal, parse, platform_refusal

# The service in the addresses of its worlds.
SERVICE = "socrata"
DEFAULT_TOKEN = "sandbox-socrata-token"  # noqa: S105
SIZE_MAX = 1_000_000
# Truth names every row of a dataset up to this size, and gives the digest of any.
TRUTH_ROWS_MAX = 10_000
RESOURCE = re.compile(r"/resource/(?P<id>[^/.]+)\.(?P<form>json|csv)")
VIEW = re.compile(r"/api/views/(?P<id>[^/.]+)\.json")
CHANGES = ("advance", "shrink", "empty", "columns")
SETTINGS = {"tokens", "requests_per_window", "window_seconds"}


@dataclass
class Recipe:
    """What a world is a function of, and its service's settings.

    Without a token only `requests_per_window` requests are answered in any `window_seconds`.
    """

    anchor_ms: int
    seed: int = 1
    size: int = 2000
    tokens: list[str] = field(default_factory=lambda: [DEFAULT_TOKEN])
    requests_per_window: int | None = None
    window_seconds: int = 60
    clock: Clock = field(default_factory=Clock)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def stages(self) -> int:
        """How often the world advanced."""
        return sum(change["action"] == "advance" for change in self.changes)


@dataclass
class Memory:
    """What is made from the recipe when it is needed, and what a restart forgets."""

    newest: Dataset | None = None
    previous: Dataset | None = None
    stale_answers: int = 0
    advance_after: int | None = None
    calls_ms: deque[int] = field(default_factory=deque)


class SocrataWorld:
    """A world by its name: from its stored recipe, or new."""

    def __init__(self, name: str, *, state_dir: Path) -> None:
        self._path = state_dir / f"{name}.socrata.json"
        self._recipe = Recipe(**(recall(self._path) or {"anchor_ms": Clock().now_ms()}))
        self._requests = 0
        self._memory = Memory()
        self._store()

    def now_ms(self) -> int:
        """The world's clock."""
        return self._recipe.clock.now_ms()

    def answer(self, request: Request) -> Response:
        """A page, the metadata, or a refusal."""
        self._requests += 1
        try:
            self._admit(request)
            response = self._respond(request)
        except Refusal as refusal:
            response = api.refuse(refusal)
        number = f"{self._recipe.seed}/request {self._requests}"
        response.headers["x-socrata-requestid"] = Random(number).randbytes(16).hex()
        return response

    def truth(self) -> dict[str, Any]:
        """The newest version. `rows` is absent above TRUTH_ROWS_MAX; `digest` is that of
        `socrata_dataset.digest` over each row's values in the order of `columns`.
        """
        dataset = self._newest()
        document = {
            "rows_updated_at": dataset.updated_at_s,
            "count": len(dataset),
            "columns": dataset.columns,
            "digest": dataset.digest,
        }
        if len(dataset) <= TRUTH_ROWS_MAX:
            rows = dataset.records()
            document["rows"] = [dict(zip(dataset.columns, row, strict=True)) for row in rows]
        return document

    def state(self) -> dict[str, Any]:
        """The recipe with the number of its changes, and what came of them."""
        dataset = self._newest()
        return {
            **{name: value for name, value in asdict(self._recipe).items() if name != "changes"},
            "changes": len(self._recipe.changes),
            "stages": self._recipe.stages(),
            "rows": len(dataset),
            "rows_updated_at": dataset.updated_at_s,
            "now_ms": self.now_ms(),
            "stale_answers": self._memory.stale_answers,
            "advance_after": self._memory.advance_after,
        }

    def control(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Do `world`, `settings`, `clock`, `stale` or one of CHANGES. Raises ControlError."""
        match action:
            case "world":
                self._create(payload)
            case "settings":
                refuse_unknown(payload, SETTINGS)
                _set(self._recipe, payload)
            case "clock":
                self._recipe.clock.set(payload)
            case "stale":
                return self._stale(payload)
            case "advance" if "after_requests" in payload:
                refuse_unknown(payload, {"after_requests"})
                self._memory.advance_after = whole(payload, "after_requests", 0)
                return {"after_requests": self._memory.advance_after}
            case change if change in CHANGES:
                return self._change({**payload, "action": change})
            case _:
                raise ControlError(404, f"no control action {action!r}")
        self._store()
        return self.state()

    def _admit(self, request: Request) -> None:
        """Check the token; without one, count the request against the pool. Raises Refusal."""
        given = {name.lower(): value for name, value in request.headers.items()}
        token = given.get("x-app-token") or request.params.get("$$app_token")
        if token is not None:
            if token not in self._recipe.tokens:
                raise platform_refusal(403, "permission_denied", "Invalid app_token specified")
            return
        now_ms, calls_ms = self.now_ms(), self._memory.calls_ms
        # A clock that was set back leaves calls in the future; they are of no window.
        while calls_ms and not 0 <= now_ms - calls_ms[0] < self._recipe.window_seconds * 1000:
            calls_ms.popleft()
        limit = self._recipe.requests_per_window
        if limit is not None and len(calls_ms) >= limit:
            # The real body is not known, nor whether Retry-After comes with it.
            raise platform_refusal(429, "too_many_requests", "Too many requests")
        calls_ms.append(now_ms)

    def _respond(self, request: Request) -> Response:
        found = RESOURCE.fullmatch(request.path) or VIEW.fullmatch(request.path)
        if found is None or request.method != "GET":
            raise platform_refusal(404, "not_found", "Not found")
        if found["id"] != api.DATASET_ID:
            raise platform_refusal(404, "dataset.missing", "Not found", id=found["id"])
        if found.re is VIEW:
            return api.metadata(self._newest())
        return self._resource(request, is_csv=found["form"] == "csv")

    def _resource(self, request: Request, *, is_csv: bool) -> Response:
        newest = self._newest()
        previous = self._memory.previous if self._memory.stale_answers > 0 else None
        dataset = newest if previous is None else previous
        query = parse(request.params, dataset)
        headers = api.headers(query, request.uri, dataset, newest.updated_at_s, is_csv)
        if api.is_known(request.headers, headers):
            response = Response(304)
        else:
            shuffle = f"{self._recipe.seed}/shuffle {self._requests}"
            response = api.page(query, dataset, is_csv, shuffle)
        response.headers |= headers
        self._memory.stale_answers -= previous is not None
        if query.columns is not None:
            self._arrive()
        return response

    def _create(self, payload: dict[str, Any]) -> None:
        refuse_unknown(payload, SETTINGS | {"seed", "size", "anchor_ms"})
        recipe = Recipe(
            anchor_ms=whole(payload, "anchor_ms", Clock().now_ms()),
            seed=whole(payload, "seed", 1),
            size=whole(payload, "size", 2000),
        )
        if not 0 <= recipe.size <= SIZE_MAX:
            raise ControlError(400, f"size must lie in 0..{SIZE_MAX}")
        _set(recipe, payload)
        self._recipe = recipe
        self._memory = Memory()

    def _change(self, change: dict[str, Any]) -> dict[str, Any]:
        """Make a version later than the newest, also while the clock stands still."""
        newest = self._newest()
        change["moment_s"] = max(self.now_ms() // 1000, newest.updated_at_s + 1)
        try:
            following, counts = apply(newest, change)
        except ValueError as error:
            raise ControlError(400, str(error)) from None
        self._memory.previous, self._memory.newest = newest, following
        self._recipe.changes.append(change)
        self._store()
        stage, moment_ms = self._recipe.stages(), following.updated_at_s * 1000
        return {"stage": stage, "moment_ms": moment_ms, **counts}

    def _arrive(self) -> None:
        """Let the version come that was ordered for after so many pages."""
        if self._memory.advance_after is not None:
            self._memory.advance_after -= 1
            if self._memory.advance_after <= 0:
                self._memory.advance_after = None
                self._change({"action": "advance"})

    def _stale(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The next answers come from the version before; metadata is never stale."""
        refuse_unknown(payload, {"answers"})
        self._newest()
        if self._memory.previous is None:
            raise ControlError(409, "no earlier version yet: advance first")
        self._memory.stale_answers = whole(payload, "answers", 1)
        return {"stale_answers": self._memory.stale_answers}

    def _newest(self) -> Dataset:
        """The version after all changes, made on first need."""
        recipe, memory = self._recipe, self._memory
        if memory.newest is None:
            newest = first_version(recipe.seed, recipe.size, recipe.anchor_ms // 1000)
            for change in recipe.changes:
                memory.previous = newest
                newest = apply(newest, change)[0]
            memory.newest = newest
        return memory.newest

    def _store(self) -> None:
        store(self._path, asdict(self._recipe))


def _set(recipe: Recipe, payload: dict[str, Any]) -> None:
    recipe.tokens = texts(payload, "tokens", recipe.tokens)
    recipe.window_seconds = whole(payload, "window_seconds", recipe.window_seconds)
    if payload.get("requests_per_window", recipe.requests_per_window) is None:
        recipe.requests_per_window = None
    else:
        limit = recipe.requests_per_window
        recipe.requests_per_window = whole(payload, "requests_per_window", limit or 0)


WORLD = SocrataWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "SOCRATA_BASE_URL": url,
        "SOCRATA_APP_TOKEN": "sandbox-socrata-token",
    }
