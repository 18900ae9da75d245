"""Stops what its owner has started, when the owner is gone: `python -m sandbox.guard TOKEN`.

All that the owner starts carries the token in its environment, which children inherit. The owner
holds the other end of the guard's standard input. When that ends without a word, the owner has
died, however it happened (SIGKILL included), and whatever carries the token is stopped.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from sandbox import processes

ROOT = Path(__file__).resolve().parents[1]


class Guard:
    """The guard of this process, which is the owner. Keep it: when it is gone, all is stopped."""

    def __init__(self) -> None:
        token = secrets.token_hex(8)
        self.variables = {processes.OWNER: token}
        # A session of its own: what interrupts the owner's group does not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.guard", token],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def let_go(self) -> None:
        """What was started outlives this process, and the guard is gone."""
        with suppress(BrokenPipeError):  # somebody killed it
            self._process.communicate(b"let go")


def main() -> None:
    """Nothing that carries the token is alive, unless the owner has let go."""
    if not sys.stdin.buffer.read():
        processes.stop(None, sys.argv[1], children_first=False, variable=processes.OWNER)


if __name__ == "__main__":
    main()
