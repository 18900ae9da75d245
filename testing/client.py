"""What the tests of every stand-in do: start one as a process, and talk to a world of it."""

import itertools
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx

ROOT = Path(__file__).resolve().parents[1]
SHARED_SAMPLES = ROOT.parent / "shared" / "samples"
NUMBERS = itertools.count()
# One for all, and never used: making it costs more than most of these tests.
TLS = ssl.create_default_context()


class StandInWorld:
    """One isolated world of a running stand-in; a source's test names the source."""

    source: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, base: str, name: str) -> None:
        self.url = f"{base}/{name}/{self.source}"
        # Of its own, so that no connection is used again that a fault of another world broke.
        self.http = httpx.Client(timeout=10, verify=TLS, headers=self.headers)

    @classmethod
    def new(cls, base: str) -> Self:
        """A world that nobody has touched."""
        return cls(base, f"world-{next(NUMBERS)}")

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(self.url + path, params=params)

    def control(self, action: str, payload: Any = None) -> Any:
        response = self.http.post(f"{self.url}/control/{action}", json=payload)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, action: str, payload: Any = None) -> tuple[int, str]:
        response = self.http.post(f"{self.url}/control/{action}", json=payload)
        return response.status_code, response.json()["error"]

    def look(self, page: str) -> Any:
        return self.http.get(f"{self.url}/{page}").json()


@contextmanager
def stand_in(state: Path, *options: str, **environment: str) -> Iterator[str]:
    """A stand-in process; yields its address."""
    command = [sys.executable, "-m", "sandbox.sources", "--port", "0", "--state", str(state)]
    process = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening on ").strip()
    finally:
        process.terminate()
        process.communicate(timeout=600)
    assert process.returncode == 0
