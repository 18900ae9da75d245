"""The Socrata stand-in: one world with its dataset's versions, its control and its truth.

Stale answers and an ordered advance are for one test and are forgotten on restart.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from pydantic import Field

from sandbox.sources import socrata_api as api
from sandbox.sources.faults import Response
from sandbox.sources.socrata_changes import apply, first_version
from sandbox.sources.socrata_dataset import Dataset
from sandbox.sources.socrata_query import parse, platform_refusal
from sandbox.sources.world import Calls, Change, ControlError, Recipe, Refusal, Request, World

# The service in the addresses of its worlds.
SERVICE = "socrata"
DEFAULT_TOKEN = "sandbox-socrata-token"  # noqa: S105
# Truth names every row of a dataset up to this size, and gives the digest of any.
TRUTH_ROWS_MAX = 10_000
RESOURCE = re.compile(r"/resource/(?P<id>[^/.]+)\.(?P<form>json|csv)")
VIEW = re.compile(r"/api/views/(?P<id>[^/.]+)\.json")
ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,60}$")]


class SocrataRecipe(Recipe):
    """What a world is a function of, and its service's settings.

    Without a token only `requests_per_window` requests are answered in any `window_seconds`.
    """

    size: int = Field(default=2000, ge=0, le=1_000_000)
    tokens: list[str] = Field(default=[DEFAULT_TOKEN])
    requests_per_window: int | None = None
    window_seconds: int = 60


@dataclass
class Versions:
    """The newest version of the dataset, and the one before."""

    newest: Dataset
    previous: Dataset | None = None


class SocrataWorld(World[SocrataRecipe, Versions]):
    """A dataset that is replaced, version by version."""

    recipe_type = SocrataRecipe

    def start(self) -> Versions:
        recipe = self.recipe
        return Versions(first_version(recipe.seed, recipe.size, recipe.anchor_ms // 1000))

    def apply(self, content: Versions, change: Change) -> dict[str, Any]:
        following, counts = apply(content.newest, change)
        content.previous, content.newest = content.newest, following
        return counts

    def forget(self) -> None:
        self.requests = 0
        self.stale_answers = 0
        self.calls = Calls()

    def moment_ms(self) -> int:
        """A version is later than the newest, also while the clock stands still."""
        return max(self.now_ms() // 1000, self.content.newest.updated_at_s + 1) * 1000

    def answer(self, request: Request) -> Response:
        """A page, the metadata, or a refusal."""
        self.requests += 1
        try:
            self._admit(request)
            response = self._respond(request)
        except Refusal as refusal:
            response = refusal.response
        number = f"{self.recipe.seed}/request {self.requests}"
        response.headers["x-socrata-requestid"] = Random(number).randbytes(16).hex()
        return response

    def truth(self) -> dict[str, Any]:
        """The newest version. `rows` is absent above TRUTH_ROWS_MAX; `digest` is that of
        `socrata_dataset.digest` over each row's values in the order of `columns`.
        """
        dataset = self.content.newest
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
        """The recipe, and what the newest version is."""
        return {
            **super().state(),
            "rows": len(self.content.newest),
            "rows_updated_at": self.content.newest.updated_at_s,
            "stale_answers": self.stale_answers,
        }

    def do_advance(self, after_requests: int = 0) -> dict[str, Any]:
        """The dataset is replaced."""
        return self.advance(after_requests)

    def do_shrink(self, share: Annotated[float, Field(ge=0, le=1)]) -> dict[str, Any]:
        """A share of the rows goes."""
        return self.change("shrink", {"share": share})

    def do_empty(self) -> dict[str, Any]:
        return self.change("empty")

    def do_columns(
        self, add: Sequence[ColumnName] = (), remove: Sequence[ColumnName] = ()
    ) -> dict[str, Any]:
        return self.change("columns", {"add": add, "remove": remove})

    def do_stale(self, answers: int = 1) -> dict[str, Any]:
        """The next answers come from the version before; metadata is never stale."""
        if self.content.previous is None:
            raise ControlError(409, "no earlier version yet: advance first")
        self.stale_answers = answers
        return {"stale_answers": answers}

    def _admit(self, request: Request) -> None:
        """Check the token; without one, count the request against the pool. Raises Refusal."""
        recipe = self.recipe
        token = request.headers.get("x-app-token") or request.params.get("$$app_token")
        if token is not None:
            if token not in recipe.tokens:
                raise platform_refusal(403, "permission_denied", "Invalid app_token specified")
            return
        window_ms, limit = recipe.window_seconds * 1000, recipe.requests_per_window
        if not self.calls.admit(self.now_ms(), window_ms, limit):
            # The real body is not known, nor whether Retry-After comes with it.
            raise platform_refusal(429, "too_many_requests", "Too many requests")

    def _respond(self, request: Request) -> Response:
        found = RESOURCE.fullmatch(request.path) or VIEW.fullmatch(request.path)
        if found is None or request.method != "GET":
            raise platform_refusal(404, "not_found", "Not found")
        if found["id"] != api.DATASET_ID:
            raise platform_refusal(404, "dataset.missing", "Not found", id=found["id"])
        if found.re is VIEW:
            return api.metadata(self.content.newest)
        return self._resource(request, is_csv=found["form"] == "csv")

    def _resource(self, request: Request, *, is_csv: bool) -> Response:
        newest = self.content.newest
        previous = self.content.previous if self.stale_answers > 0 else None
        dataset = newest if previous is None else previous
        query = parse(request.params, dataset)
        headers = api.headers(query, request.uri, dataset, newest.updated_at_s, is_csv)
        if api.is_known(request.headers, headers):
            response = Response(304)
        else:
            shuffle = f"{self.recipe.seed}/shuffle {self.requests}"
            response = api.page(query, dataset, is_csv, shuffle)
        response.headers |= headers
        self.stale_answers -= previous is not None
        if query.columns is not None:
            self.arrive()
        return response


WORLD = SocrataWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "SOCRATA_BASE_URL": url,
        "SOCRATA_APP_TOKEN": DEFAULT_TOKEN,
    }
