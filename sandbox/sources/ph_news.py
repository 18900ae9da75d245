"""The mediastack stand-in: one world with its plan and quota, its control and its truth.

Stored with the recipe are the requests counted in each month of the world's clock. Planted rows,
forced refusals and changes that are still to come are for one test and are forgotten on restart.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, NonNegativeInt

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
from sandbox.sources.world import Change, Recipe, Request, World

# The service in the addresses of its worlds.
SERVICE = "mediastack"
DEFAULT_KEY = "sandbox-mediastack-key"


class MediastackRecipe(Recipe):
    """What a world is a function of, its service's settings, and what was spent of its quota."""

    size: int = Field(default=300, ge=0, le=20_000)
    keys: list[str] = Field(default=[DEFAULT_KEY])
    monthly_requests: int = 100_000
    plan: Literal["free", "paid"] = "free"
    envelope: api.Envelope = "current"
    requests_by_month: dict[str, int] = Field(default_factory=dict)


@dataclass
class News:
    """The articles as they are listed now, top first, and those that were withdrawn."""

    rows: list[Article]
    withdrawn: list[Article] = field(default_factory=list)


class MediastackWorld(World[MediastackRecipe, News]):
    """A listing of news that changes from above, and at times amid."""

    recipe_type = MediastackRecipe

    def start(self) -> News:
        return News(generate(self.recipe.seed, self.recipe.size, self.recipe.anchor_ms))

    def apply(self, content: News, change: Change) -> dict[str, Any]:
        rows, seed, moment_ms = content.rows, self.recipe.seed, change.moment_ms
        match change.action:
            case "withdraw":
                gone = withdraw(rows, **change.payload)
                content.withdrawn += gone
                return {"withdrawn": len(gone)}
            case "late":
                list_late(rows, seed, change.number, moment_ms, **change.payload)
                return {"new": change.payload["count"]}
            case _:
                return advance(rows, seed, change.stage, moment_ms)

    def forget(self) -> None:
        self.planted: list[Any] = []
        self.forced_code = ""
        self.forced_times = 0

    def answer(self, request: Request) -> Response:
        """A page of news or a refusal. Every request is counted, whatever becomes of it."""
        counted = self.recipe.requests_by_month
        counted[self._month()] = counted.get(self._month(), 0) + 1
        self.store()
        try:
            self._admit(request)
            query = api.parse(request.params, is_free=self.recipe.plan == "free")
            response = api.page(query, self.content.rows, self.planted)
        except api.Refusal as refusal:
            response = api.refuse(refusal, self.recipe.envelope)
        self.arrive()
        return response

    def truth(self) -> dict[str, Any]:
        """Every article of ph ever listed, as it is now or was at last, without planted ones."""
        listed = [row for row in self.content.rows if is_wanted(row)]
        articles = {key(row): row for row in self.content.withdrawn + listed}
        return {"articles": list(articles.values())}

    def state(self) -> dict[str, Any]:
        """The recipe, what is left of this month, and how many rows are listed."""
        used = self.recipe.requests_by_month.get(self._month(), 0)
        return {
            **super().state(),
            "month": self._month(),
            "requests_counted": used,
            "requests_left": max(self.recipe.monthly_requests - used, 0),
            "rows": len(self.content.rows),
            "planted": len(self.planted),
            "forced_refusals": self.forced_times,
        }

    def do_advance(self, after_requests: int = 0) -> dict[str, Any]:
        """A batch comes on top."""
        return self.advance(after_requests)

    def do_withdraw(
        self, place: NonNegativeInt = 0, count: NonNegativeInt = 1, after_requests: int = 0
    ) -> dict[str, Any]:
        """Take articles away, from a place on."""
        return self.change("withdraw", {"place": place, "count": count}, after_requests)

    def do_late(
        self, place: NonNegativeInt = 0, count: NonNegativeInt = 1, after_requests: int = 0
    ) -> dict[str, Any]:
        """List new articles below `place` others."""
        return self.change("late", {"place": place, "count": count}, after_requests)

    def do_plant(self, articles: list[Any]) -> dict[str, Any]:
        """Put rows on top of every page's, whatever they are."""
        self.planted = articles + self.planted
        return {"planted": len(self.planted)}

    def do_refuse(self, code: str, times: int = 1) -> dict[str, Any]:
        """The next `times` requests meet this refusal; -1 means all, 0 none."""
        if code not in api.REFUSALS:
            raise ValueError(f"refuse takes a code out of {', '.join(api.REFUSALS)}")
        self.forced_code, self.forced_times = code, times
        return {"forced_refusals": times}

    def _admit(self, request: Request) -> None:
        """Raises Refusal: forced ones first, then path, key and quota."""
        if self.forced_times != 0:
            self.forced_times -= 1 if self.forced_times > 0 else 0
            raise api.Refusal(self.forced_code)
        if request.path != api.PATH or request.method != "GET":
            raise api.Refusal("invalid_api_function")
        access_key = request.params.get("access_key")
        if not access_key:
            raise api.Refusal("missing_access_key")
        if access_key not in self.recipe.keys:
            raise api.Refusal("invalid_access_key")
        if self.recipe.requests_by_month[self._month()] > self.recipe.monthly_requests:
            raise api.Refusal("usage_limit_reached")

    def _month(self) -> str:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC).strftime("%Y-%m")


WORLD = MediastackWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "MEDIASTACK_BASE_URL": url,
        "MEDIASTACK_ACCESS_KEY": DEFAULT_KEY,
        # So many that every second of a month allows a run.
        "MEDIASTACK_MONTHLY_REQUESTS": "1000000000",
    }
