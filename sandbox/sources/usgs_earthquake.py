"""The USGS stand-in: one world with its control and its truth, generated or of real payloads.

Planted features are for one test and are forgotten on restart.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from sandbox.sources import usgs_api
from sandbox.sources.faults import Response
from sandbox.sources.usgs_catalog import Catalog, Event, PayloadFiles
from sandbox.sources.usgs_generator import generate
from sandbox.sources.usgs_stages import CHANGES_MAX, advance
from sandbox.sources.world import Change, Clock, ControlError, Recipe, Request, World

# The service in the addresses of its worlds.
SERVICE = "usgs"


class UsgsRecipe(Recipe):
    """What a generated world is a function of, and its service's cap."""

    size: int = Field(default=1500, ge=0, le=400_000)
    cap: int = 20_000

    @property
    def moments_ms(self) -> list[int]:
        """The anchor, and when each stage happened."""
        return [self.anchor_ms, *(change.moment_ms for change in self.changes)]


class UsgsWorld(World[UsgsRecipe, Catalog]):
    """A generated catalog at the current stage."""

    recipe_type = UsgsRecipe
    origin = "generator"

    def start(self) -> Catalog:
        return generate(self.recipe.seed, self.recipe.size, self.recipe.anchor_ms)

    def apply(self, content: Catalog, change: Change) -> dict[str, Any]:
        previous_ms = self.recipe.moments_ms[change.number - 1]
        return advance(content, self.recipe.seed, change.stage, change.moment_ms, previous_ms)

    def forget(self) -> None:
        self.planted: list[Event] = []

    def moment_ms(self) -> int:
        return max(self.now_ms(), self.recipe.moments_ms[-1] + CHANGES_MAX)

    def answer(self, request: Request) -> Response:
        """The event service's answer."""
        return usgs_api.answer(request, self.content, self.planted, self.now_ms(), self.recipe.cap)

    def truth(self) -> dict[str, Any]:
        """What a perfect copy must say now; planted features are not in it."""
        return self.content.truth()

    def state(self) -> dict[str, Any]:
        """The recipe, with the moments of the stages and where the events come from."""
        return {
            **super().state(),
            "stage_moments_ms": self.recipe.moments_ms[1:],
            "planted": len(self.planted),
            "source": self.origin,
        }

    def do_plant(
        self, features: list[dict[str, Any]], deleted: bool = False, instead: bool = False
    ) -> dict[str, Any]:
        """Serve these features as they are, with those planted before or instead of them."""
        kept = [] if instead else self.planted
        self.planted = kept + [Event(feature, [], deleted) for feature in features]
        return {"planted": len(self.planted)}


class FilesWorld(UsgsWorld):
    """Real payloads at the moment when the newest was generated. Nothing of it is stored."""

    origin = "files"

    def __init__(self, path: Path, files: PayloadFiles) -> None:
        self.files = files
        super().__init__(path)

    def start(self) -> Catalog:
        return self.files.catalog

    def apply(self, content: Catalog, change: Change) -> dict[str, Any]:
        raise ControlError(409, "this world serves payload files and cannot advance")

    def do_world(self, **given: Any) -> None:
        if given.keys() - {"cap"}:
            raise ControlError(409, "this world serves payload files; only its cap can be set")
        self.do_settings(**given)
        self.forget()

    def recall(self) -> UsgsRecipe:
        moment_ms = self.files.generated_ms
        return UsgsRecipe(anchor_ms=moment_ms, clock=Clock(stopped_at_ms=moment_ms))

    def store(self) -> None:
        """The files are all there is."""


WORLD = UsgsWorld


def variables(url: str) -> dict[str, str]:
    """What `.env` says where the service is a world at `url`."""
    return {
        "USGS_BASE_URL": url,
        # The oldest event is of 1900: the first run reads all there is.
        "USGS_HISTORY_START": "1900-01-01",
    }
