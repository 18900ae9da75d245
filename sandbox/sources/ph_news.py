"""The mediastack stand-in: one world with its plan and quota, its control and its truth.

Stored are the recipe, the changes of the listing and the requests counted in each month of the
world's clock; the articles are made again. Planted rows, forced refusals and changes that are still
to come are for one test and are forgotten on restart.
"""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from sandbox.sources import mediastack_api as api
from sandbox.sources.faults import Response
from sandbox.sources.mediastack_articles import (
    Article,
    advance,
    generate,
    is_wanted,
    key,
    list_late,
    withdraw,
)
from sandbox.sources.memory import Clock, recall, refuse_unknown, store, texts, whole
from sandbox.sources.server import ControlError, Request

# The service in the addresses of its worlds.
SERVICE = "mediastack"
DEFAULT_KEY = "sandbox-mediastack-key"
SIZE_MAX = 20_000
PLANS = ("free", "paid")
SETTINGS = {"keys", "monthly_requests", "plan", "envelope"}


@dataclass
class Recipe:
    """What a world is a function of, its service's settings, and what was spent of its quota."""

    anchor_ms: int
    seed: int = 1
    size: int = 300
    keys: list[str] = field(default_factory=lambda: [DEFAULT_KEY])
    monthly_requests: int = 100_000
    plan: str = "free"
    envelope: api.Envelope = "current"
    clock: Clock = field(default_factory=Clock)
    # What befell the listing, in order: {"change": ..., "moment_ms": ...} and its own settings.
    changes: list[dict[str, Any]] = field(default_factory=list)
    requests_by_month: dict[str, int] = field(default_factory=dict)


class MediastackWorld:
    """A world by its name: from its stored recipe, or new."""

    def __init__(self, name: str, *, state_dir: Path) -> None:
        self._path = state_dir / f"{name}.mediastack.json"
        self._recipe = Recipe(**(recall(self._path) or {"anchor_ms": Clock().now_ms()}))
        self._rows: list[Article] | None = None
        self._planted: list[Any] = []
        self._forced_code = ""
        self._forced_times = 0
        self._withdrawn: list[Article] = []
        # Changes that come after so many more requests.
        self._coming: list[tuple[int, dict[str, Any]]] = []
        self._store()

    def now_ms(self) -> int:
        """The world's clock."""
        return self._recipe.clock.now_ms()

    def answer(self, request: Request) -> Response:
        """A page of news or a refusal. Every request is counted, whatever becomes of it."""
        counted = self._recipe.requests_by_month
        counted[self._month()] = counted.get(self._month(), 0) + 1
        self._store()
        try:
            self._admit(request)
            query = api.parse(request.params, is_free=self._recipe.plan == "free")
            response = api.page(query, self._listing(), self._planted)
        except api.Refusal as refusal:
            response = api.refuse(refusal, self._recipe.envelope)
        self._arrive()
        return response

    def truth(self) -> dict[str, Any]:
        """Every article of ph ever listed, as it is now or was at last, without planted ones."""
        listed = [row for row in self._listing() if is_wanted(row)]
        articles = {key(row): row for row in self._withdrawn + listed}
        return {"articles": list(articles.values())}

    def state(self) -> dict[str, Any]:
        """The recipe, what is left of this month, and how many rows are listed."""
        used = self._recipe.requests_by_month.get(self._month(), 0)
        return {
            **asdict(self._recipe),
            "stages": self._stages(),
            "now_ms": self.now_ms(),
            "month": self._month(),
            "requests_counted": used,
            "requests_left": max(self._recipe.monthly_requests - used, 0),
            "rows": len(self._listing()),
            "planted": len(self._planted),
            "forced_refusals": self._forced_times,
        }

    def control(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Do `world`, `settings`, `clock`, `plant`, `refuse`, or change the listing: `advance` puts
        a batch on top, `withdraw` takes `count` articles from `place` on away, `late` lists `count`
        new ones below `place` others; with `after_requests` after so many more answers.

        Raises ControlError.
        """
        match action:
            case "world":
                self._create(payload)
            case "settings":
                refuse_unknown(payload, SETTINGS)
                _set(self._recipe, payload)
            case "advance" | "withdraw" | "late":
                change = _change(action, payload)
                if "after_requests" in payload:
                    after = whole(payload, "after_requests", 0)
                    self._coming.append((after, change))
                    return {"after_requests": after}
                return self._befall(change)
            case "clock":
                self._recipe.clock.set(payload)
            case "plant":
                return self._plant(payload)
            case "refuse":
                return self._refuse(payload)
            case _:
                raise ControlError(404, f"no control action {action!r}")
        self._store()
        return self.state()

    def _admit(self, request: Request) -> None:
        """Raises Refusal: forced ones first, then path, key and quota."""
        if self._forced_times != 0:
            self._forced_times -= 1 if self._forced_times > 0 else 0
            raise api.Refusal(self._forced_code)
        if request.path != api.PATH or request.method != "GET":
            raise api.Refusal("invalid_api_function")
        access_key = request.params.get("access_key")
        if not access_key:
            raise api.Refusal("missing_access_key")
        if access_key not in self._recipe.keys:
            raise api.Refusal("invalid_access_key")
        if self._recipe.requests_by_month[self._month()] > self._recipe.monthly_requests:
            raise api.Refusal("usage_limit_reached")

    def _create(self, payload: dict[str, Any]) -> None:
        refuse_unknown(payload, SETTINGS | {"seed", "size", "anchor_ms"})
        recipe = Recipe(
            anchor_ms=whole(payload, "anchor_ms", Clock().now_ms()),
            seed=whole(payload, "seed", 1),
            size=whole(payload, "size", 300),
        )
        if not 0 <= recipe.size <= SIZE_MAX:
            raise ControlError(400, f"size must lie in 0..{SIZE_MAX}")
        _set(recipe, payload)
        self._recipe, self._rows = recipe, None
        self._planted, self._forced_times, self._coming = [], 0, []

    def _stages(self) -> int:
        return sum(change["change"] == "advance" for change in self._recipe.changes)

    def _befall(self, change: dict[str, Any]) -> dict[str, Any]:
        """Change the listing now, and remember that it was."""
        self._listing()
        change = {**change, "moment_ms": self.now_ms()}
        self._recipe.changes.append(change)
        counts = self._apply(change, len(self._recipe.changes))
        self._store()
        return {"moment_ms": change["moment_ms"], **counts}

    def _apply(self, change: dict[str, Any], number: int) -> dict[str, Any]:
        rows, seed, moment_ms = self._listing(), self._recipe.seed, change["moment_ms"]
        match change["change"]:
            case "withdraw":
                gone = withdraw(rows, change["place"], change["count"])
                self._withdrawn += gone
                return {"withdrawn": len(gone)}
            case "late":
                list_late(rows, seed, number, moment_ms, change["place"], change["count"])
                return {"new": change["count"]}
            case _:
                earlier = self._recipe.changes[:number]
                stage = sum(one["change"] == "advance" for one in earlier)
                return {"stage": stage, **advance(rows, seed, stage, moment_ms)}

    def _arrive(self) -> None:
        """Let the changes come that were ordered for after so many requests."""
        coming = [(after - 1, change) for after, change in self._coming]
        self._coming = [(after, change) for after, change in coming if after > 0]
        for after, change in coming:
            if after <= 0:
                self._befall(change)

    def _plant(self, payload: dict[str, Any]) -> dict[str, Any]:
        articles = payload.get("articles")
        if not isinstance(articles, list):
            raise ControlError(400, 'plant takes {"articles": [...]}')
        self._planted = articles + self._planted
        return {"planted": len(self._planted)}

    def _refuse(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The next `times` requests meet this refusal; -1 means all, 0 none."""
        refuse_unknown(payload, {"code", "times"})
        if payload.get("code") not in api.REFUSALS:
            raise ControlError(400, f"refuse takes a code out of {', '.join(api.REFUSALS)}")
        self._forced_code = payload["code"]
        self._forced_times = whole(payload, "times", 1)
        return {"forced_refusals": self._forced_times}

    def _listing(self) -> list[Article]:
        """The rows as they are listed now, top first, made on first need."""
        if self._rows is None:
            recipe = self._recipe
            self._rows = generate(recipe.seed, recipe.size, recipe.anchor_ms)
            self._withdrawn = []
            for number, change in enumerate(recipe.changes, start=1):
                self._apply(change, number)
        return self._rows

    def _month(self) -> str:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC).strftime("%Y-%m")

    def _store(self) -> None:
        store(self._path, asdict(self._recipe))


def _change(action: str, payload: dict[str, Any]) -> dict[str, Any]:
    """A change of the listing, as it is remembered. Raises ControlError."""
    if action == "advance":
        refuse_unknown(payload, {"after_requests"})
        return {"change": action}
    refuse_unknown(payload, {"after_requests", "place", "count"})
    change = {"place": whole(payload, "place", 0), "count": whole(payload, "count", 1)}
    if min(change.values()) < 0:
        raise ControlError(400, "place and count must not be negative")
    return {"change": action, **change}


def _set(recipe: Recipe, payload: dict[str, Any]) -> None:
    if payload.get("plan", recipe.plan) not in PLANS:
        raise ControlError(400, f"plan must be one of {', '.join(PLANS)}")
    if payload.get("envelope", recipe.envelope) not in get_args(api.Envelope):
        raise ControlError(400, f"envelope must be one of {', '.join(get_args(api.Envelope))}")
    recipe.keys = texts(payload, "keys", recipe.keys)
    recipe.monthly_requests = whole(payload, "monthly_requests", recipe.monthly_requests)
    recipe.plan = payload.get("plan", recipe.plan)
    recipe.envelope = payload.get("envelope", recipe.envelope)


WORLD = MediastackWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "MEDIASTACK_BASE_URL": url,
        "MEDIASTACK_ACCESS_KEY": "sandbox-mediastack-key",
        # So many that every second of a month allows a run.
        "MEDIASTACK_MONTHLY_REQUESTS": "1000000000",
    }
