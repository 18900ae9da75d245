"""What is known of incidents, kept in a file of this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from alerting.incidents import State
from stores.state import locked_file

logger = logging.getLogger("pipelines.alerts")

LOCK_SECONDS = 60.0
# Bytes of the file grow by so many, so that it has room for incidents to come.
ROOM = 64 * 1024


@contextmanager
def locked_state(path: Path) -> Iterator[tuple[State, Callable[[State], None]]]:
    """The state, and how to keep it, while no other inspection has it. Mode 0600.

    One that cannot be read is put aside: inspections go on without it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = TimeoutError(f"{path}: another inspection has held it for a minute")
    with locked_file(path.with_suffix(".lock"), LOCK_SECONDS, held):
        try:
            state = decode_state(path.read_bytes() if path.exists() else b"")
        except msgspec.MsgspecError as error:
            aside = path.with_suffix(".unreadable")
            logger.error("%s: %s; kept as %s", path, error, aside.name)
            path.replace(aside)
            state = State()
        yield state, lambda changed: write(path, changed)


def read_state(path: Path) -> State:
    """The state as it was last kept. Raises TimeoutError as `locked_state` does."""
    with locked_state(path) as (state, _):
        return state


def write(path: Path, state: State) -> None:
    """The file is replaced as a whole.

    The state of before stays, as the room that the next one is written into: a full disk, of which
    there is something to tell, has none to give.
    """
    new, old = path.with_suffix(".new"), path.with_suffix(".old")
    content = encode_state(state)
    content += b"\n" * (-len(content) % ROOM)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    old.unlink(missing_ok=True)
    if path.exists():
        os.link(path, old)
    new.replace(path)
    if old.exists():
        old.replace(new)


def decode_state(content: bytes) -> State:
    return msgspec.json.decode(content, type=State) if content else State()


def encode_state(state: State) -> bytes:
    return msgspec.json.format(msgspec.json.encode(state), indent=1)
