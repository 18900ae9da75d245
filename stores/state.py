"""Where this machine keeps what has to outlive a run."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


def state_home() -> Path:
    """`data-pipelines` under XDG's folder for state; it need not exist yet."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "data-pipelines"


def spool_path(given: str) -> Path:
    """The folder of SPOOL_DIRECTORY, or the usual one where that is empty."""
    return Path(given).expanduser() if given else state_home() / "spool"


@contextmanager
def locked_file(path: Path, seconds: float, held: Exception) -> Iterator[None]:
    """Nobody else has the lock of this file meanwhile. Raises `held` after so many seconds."""
    with path.open("a") as lock:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise held from None
                # flock has no time-out of its own.
                time.sleep(POLL_SECONDS)
        yield
