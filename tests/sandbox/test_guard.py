"""What was started ends with the process that started it, however that ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import processes
from sandbox.parts import isolated
from sandbox.stack import NAMES, ROOT

# As it is for a person, who has no guard yet.
BARE = {name: value for name, value in isolated(os.environ).items() if name != processes.OWNER}
WITHIN_SECONDS = 600
A_TEST = """
    import subprocess, sys, time
    from pathlib import Path

    from tests.sandbox.test_guard import STUBBORN

    def test_is_killed(stack_env):
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
        Path("DIRECTORY/ready").touch()
        time.sleep(600)
"""
# A test's own child, in a session of its own, which does not hear SIGTERM.
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"not within {WITHIN_SECONDS} s: {what}"
        time.sleep(0.05)


def living(directory: Path, marker: str) -> list[psutil.Process]:
    """Every process in whose environment the variable `marker` is this directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(marker) == str(directory):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "options"),
    [
        pytest.param(signal.SIGKILL, (), marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, (), marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, ("-n", "1"), marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, ("-n", "1"), marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, ("-n", "1"), marks=pytest.mark.slow),
    ],
)
def test_tests_that_are_killed_leave_no_process(
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
    number: signal.Signals,
    options: tuple[str, ...],
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *  # noqa: F403\n")
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(A_TEST).replace("DIRECTORY", str(tmp_path))
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    command += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), str(tmp_path)]
    tests = subprocess.Popen(
        [*command, "--basetemp", str(tmp_path / "temp")],
        cwd=ROOT,
        env={**BARE, "MINE": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    started.append(tests)

    def is_ready() -> bool:
        assert tests.poll() is None
        return (tmp_path / "ready").exists()

    until(is_ready, "the tests' stack")
    # The tests, their stack of five, the guard and their own child.
    assert len(living(tmp_path, "MINE")) >= 8
    tests.send_signal(number)
    tests.wait(WITHIN_SECONDS)
    until(lambda: not living(tmp_path, "MINE"), f"left: {living(tmp_path, 'MINE')}")


def left(state: Path) -> list[psutil.Process]:
    return [process for name in NAMES for process in processes.marked(f"{name}@{state}")]


@pytest.mark.parametrize("killed", ["up", "its parent"])
def test_an_up_that_is_killed_leaves_no_process(
    tmp_path: Path, started: list[subprocess.Popen[bytes]], killed: str
) -> None:
    up = [sys.executable, "-m", "sandbox", "up", "--state", str(tmp_path)]
    up += ["--parts", "token,gcs,prefect"]
    shell = subprocess.Popen(["sh", "-c", '"$@"; exit $?', "sh", *up], cwd=ROOT, env=BARE)
    started.append(shell)
    until(lambda: len(left(tmp_path)) >= 3, "three parts")
    (child,) = psutil.Process(shell.pid).children()
    victim = child if killed == "up" else psutil.Process(shell.pid)
    victim.send_signal(signal.SIGKILL)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "up")
    until(lambda: not left(tmp_path), f"left: {left(tmp_path)}")


def test_a_stack_outlives_the_command_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox"]
    state = ["--state", str(tmp_path)]
    subprocess.run([*command, "up", *state, "--parts", "token"], cwd=ROOT, env=BARE, check=True)
    try:
        (token,) = left(tmp_path)
        # A guard that had not let go would have stopped it by now.
        guards = [one for one in psutil.process_iter(["cmdline"]) if is_guard_of(one, token)]
        assert guards == []
        assert token.is_running()
    finally:
        subprocess.run([*command, "down", *state], cwd=ROOT, env=BARE, check=True)
    assert left(tmp_path) == []


def is_guard_of(process: psutil.Process, of: psutil.Process) -> bool:
    command = process.info["cmdline"] or []
    return "sandbox.guard" in command and command[-1] == of.environ()[processes.OWNER]
