"""What `make unit` runs starts no process."""

from __future__ import annotations

import os
from multiprocessing.context import ForkProcess, ForkServerProcess, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from sandbox.parts import isolated
from sandbox.stack import Stack
from testing.browser import browser


def test_a_unit_test_starts_no_emulator(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("unit")
    with pytest.raises(AssertionError, match=r"a unit test starts a process: .*sandbox\.bigquery"):
        Stack(tmp_path, isolated(os.environ)).up(["bigquery"])


def test_a_unit_test_starts_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with (
        pytest.raises(AssertionError, match=r"starts a process: .*chromium"),
        browser(tmp_path),
    ):
        pass


@pytest.mark.parametrize("kind", [ForkProcess, ForkServerProcess, SpawnProcess])
def test_a_unit_test_forks_no_child(kind: type[BaseProcess]) -> None:
    with pytest.raises(AssertionError, match="a unit test starts a process"):
        kind(target=print).start()
