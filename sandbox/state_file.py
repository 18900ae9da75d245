"""What `up` leaves for the next `up`, `status` and `down`: state.json, and a lock beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox.secret_file import write_private
from stores.state import locked_file

LOCK_SECONDS = 120.0


class SandboxError(RuntimeError):
    """The stack is not in the wanted state; the message says which part and why."""


@dataclass(frozen=True)
class Record:
    """A part that was started and not yet stopped."""

    pid: int
    created_at: float
    port: int | None
    log: str
    fingerprint: str


@dataclass
class State:
    """`own` are the variables as generated, `external` the parts that the caller replaced."""

    parts: dict[str, Record] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)


def load(directory: Path) -> State:
    """The state as last saved, or an empty one."""
    try:
        content: dict[str, Any] = json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        return State()
    parts = {name: Record(**record) for name, record in content.pop("parts").items()}
    return State(parts=parts, **content)


def save(directory: Path, state: State) -> None:
    """A reader sees the old state or the new one."""
    write_private(directory / "state.json", json.dumps(asdict(state), indent=2) + "\n")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One `up` or `down` at a time. Raises SandboxError when another goes on for long."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / "lock"
    with locked_file(lock, LOCK_SECONDS, SandboxError(f"another up or down holds {lock}")):
        yield
