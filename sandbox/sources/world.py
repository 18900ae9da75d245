"""What all stand-ins share: a world with its recipe, its clock, its changes and its control.

A source's stand-in is a subclass of World. It says what is served (`answer`) and what is true
(`truth`), which content the recipe makes (`start`), what a change does to it (`apply`), and what
else can be asked of it (`do_<action>`).
"""

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError, validate_call

from sandbox.sources.faults import Response

STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class Request:
    """One call of a source's API: path and query as the real host would see them."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes
    reaches_client: bool = True
    """Whether the answer's body gets through; a fault may break it."""

    @property
    def params(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last wins."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def uri(self) -> str:
        """Path and query as in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


class Refusal(Exception):
    """A request that the real service refuses, with its answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class ControlError(Exception):
    """A control call that cannot be done; carries the HTTP status of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def in_words(error: ValidationError) -> str:
    """What is wrong with a payload or a file, by field; of much only the first."""
    problems = error.errors()[:5]
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems)


@contextmanager
def refused_in_words() -> Iterator[None]:
    """What a control call cannot say is refused with its reason, as a ControlError."""
    try:
        yield
    except ValidationError as error:
        raise ControlError(400, in_words(error)) from None
    except ValueError as error:
        raise ControlError(400, str(error)) from None


def machine_ms() -> int:
    """The machine's time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Clock(BaseModel):
    """Machine time shifted by an offset, or standing still at a moment."""

    model_config = STRICT

    offset_ms: int = 0
    stopped_at_ms: int | None = None

    def now_ms(self) -> int:
        """The moment it shows, in epoch milliseconds."""
        return machine_ms() + self.offset_ms if self.stopped_at_ms is None else self.stopped_at_ms

    def move(self, milliseconds: int) -> None:
        """Set it forward; one that stands goes on standing."""
        if self.stopped_at_ms is None:
            self.offset_ms += milliseconds
        else:
            self.stopped_at_ms += milliseconds


class Change(BaseModel):
    """What happened to a world's content. `number` counts all changes, `stage` the advances."""

    model_config = STRICT

    action: str
    payload: dict[str, Any]
    number: int
    stage: int
    moment_ms: int


class Recipe(BaseModel):
    """What a world is a function of, and all that is stored of it. A source adds its own fields.

    `control/world` takes any of the fields, and `control/settings` changes them.
    """

    model_config = STRICT

    seed: int = 1
    # The moment around which the content is made.
    anchor_ms: int = Field(default_factory=machine_ms)
    clock: Clock = Field(default_factory=Clock)
    changes: list[Change] = Field(default_factory=list)

    @property
    def stages(self) -> int:
        """How often the world advanced."""
        return sum(change.action == "advance" for change in self.changes)


class Calls:
    """A client's calls of the last while."""

    def __init__(self) -> None:
        self._at_ms: deque[int] = deque()

    def admit(self, now_ms: int, window_ms: int, limit: int | None) -> bool:
        """Count a call if the window has room for it; None is no limit."""
        # A clock that was set back leaves calls in the future; they are of no window.
        while self._at_ms and not 0 <= now_ms - self._at_ms[0] < window_ms:
            self._at_ms.popleft()
        if limit is not None and len(self._at_ms) >= limit:
            return False
        self._at_ms.append(now_ms)
        return True


R = TypeVar("R", bound=Recipe)
C = TypeVar("C")


class World(Generic[R, C]):
    """One world: from the recipe in its file, or new. Calls are serialised.

    `control/<action>` is the method `do_<action>`. The payload's fields are its arguments, checked
    against their types; it raises ValueError for what cannot be.
    """

    recipe_type: type[R]
    _content: C | None
    _coming: list[tuple[int, str, dict[str, Any] | None]]

    def __init__(self, path: Path) -> None:
        self._path = path
        self.recipe = self.recall()
        self._begin()
        self.store()

    # What a source says of its own.

    def answer(self, request: Request) -> Response:
        """The real API's answer."""
        raise NotImplementedError

    def truth(self) -> dict[str, Any]:
        """What a perfect copy must say now."""
        raise NotImplementedError

    def start(self) -> C:
        """The content before all changes, made of the recipe."""
        raise NotImplementedError

    def apply(self, content: C, change: Change) -> dict[str, Any]:
        """Do a change, for the first time or again; what it did.

        Raises ValueError before anything has changed.
        """
        return {}

    def forget(self) -> None:
        """Set what is for one test, and is neither stored nor left in a new world."""

    def moment_ms(self) -> int:
        """When the next change happens."""
        return self.now_ms()

    def state(self) -> dict[str, Any]:
        """The recipe with the number of its changes, and the clock's moment."""
        return {
            **self.recipe.model_dump(mode="json", exclude={"changes"}),
            "changes": len(self.recipe.changes),
            "stages": self.recipe.stages,
            "now_ms": self.now_ms(),
        }

    # What all worlds do.

    def now_ms(self) -> int:
        """The world's clock in epoch milliseconds; dates every response."""
        return self.recipe.clock.now_ms()

    @property
    def content(self) -> C:
        """The content after all changes, made on first need."""
        if self._content is None:
            content = self.start()
            for change in self.recipe.changes:
                self.apply(content, change)
            self._content = content
        return self._content

    def change(
        self, action: str, payload: dict[str, Any] | None = None, after_requests: int = 0
    ) -> dict[str, Any]:
        """Change the content and store how; what it did. Raises ValueError.

        With `after_requests` the change waits until `arrive` has been called so often.
        """
        if after_requests > 0:
            self._coming.append((after_requests, action, payload))
            return {"after_requests": after_requests}
        done = Change(
            action=action,
            payload=payload or {},
            number=len(self.recipe.changes) + 1,
            stage=self.recipe.stages + (action == "advance"),
            moment_ms=self.moment_ms(),
        )
        counts = self.apply(self.content, done)
        self.recipe.changes.append(done)
        self.store()
        return counts

    def advance(self, after_requests: int = 0) -> dict[str, Any]:
        """One stage more, and what it did."""
        counts = self.change("advance", after_requests=after_requests)
        if after_requests > 0:
            return counts
        last = self.recipe.changes[-1]
        return {"stage": last.stage, "moment_ms": last.moment_ms, **counts}

    def arrive(self) -> None:
        """Let the changes come that waited for this request; `answer` calls it."""
        coming = [(after - 1, action, payload) for after, action, payload in self._coming]
        self._coming = [one for one in coming if one[0] > 0]
        for after, action, payload in coming:
            if after <= 0:
                self.change(action, payload)

    def control(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Do an action and store what came of it; its answer or the state. Raises ControlError."""
        own = getattr(self, f"do_{action}", None)
        if own is None:
            raise ControlError(404, f"no control action {action!r}")
        with refused_in_words():
            answer = validate_call(config=STRICT)(own)(**payload)
        self.store()
        return self.state() if answer is None else answer

    def do_world(self, **given: Any) -> None:
        """Another world in place of this one, of a recipe with the given fields."""
        self.recipe = self.recipe_type.model_validate(given)
        self._begin()

    def do_settings(self, **given: Any) -> None:
        """The same world with other values in fields of its recipe."""
        self.recipe = self.recipe_type.model_validate({**vars(self.recipe), **given})
        self._content = None

    def do_advance(self) -> dict[str, Any]:
        """One stage more."""
        return self.advance()

    def do_clock(self, now_ms: int | None = None, offset_ms: int | None = None) -> None:
        """`now_ms` stops the clock there, `offset_ms` lets it run so far from the machine's."""
        if now_ms is not None and offset_ms is not None:
            raise ValueError("clock takes now_ms or offset_ms, not both")
        self.recipe.clock = Clock(stopped_at_ms=now_ms, offset_ms=offset_ms or 0)

    def recall(self) -> R:
        """The recipe in the file; a new one without a file, or for one of another release."""
        if not self._path.exists():
            return self.recipe_type()
        try:
            return self.recipe_type.model_validate_json(self._path.read_bytes())
        except ValidationError as error:
            why = f"its recipe is not of this release ({in_words(error)})"
            print(f"{self._path}: a new world in place of the stored one, {why}", file=sys.stderr)
            return self.recipe_type()

    def store(self) -> None:
        """Write the recipe in one step; a reader sees the old one or the new one."""
        draft = self._path.with_suffix(".draft")
        draft.write_text(self.recipe.model_dump_json(), encoding="utf-8")
        draft.replace(self._path)

    def _begin(self) -> None:
        self._content = None
        self._coming = []
        self.forget()
