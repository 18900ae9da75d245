"""Processes that are really gone when they should be.

Each process carries a mark in its environment, which its children inherit. The mark finds what a
killed parent left behind (a flow run of a killed worker runs on, in a session of its own), and
makes sure that nothing else is ever signalled.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "SANDBOX_PART"
# The process that they are not to outlive: see sandbox/guard.py.
OWNER = "SANDBOX_OWNER"
CREATE_TIME_TOLERANCE_SECONDS = 2.0  # psutil derives it from the boot time, which NTP may shift
PR_SET_PDEATHSIG = 1
TERM_SECONDS = 10.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.05


class SurvivorsError(RuntimeError):
    """Processes outlived SIGKILL."""


def start(
    command: list[str], environment: Mapping[str, str], directory: Path, log: Path, mark: str
) -> subprocess.Popen[bytes]:
    """The command runs in a session of its own, marked, with output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_default_signals,
        )


def _default_signals() -> None:
    """Undo what a non-interactive shell does to background jobs: it ignores SIGINT for them.

    A Prefect worker that inherits this ignores SIGTERM too (seen with 3.8.8).
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_with_parent() -> None:
    """In a child, before it becomes the command: it is killed when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def find(pid: int, created_at: float, mark: str) -> psutil.Process | None:
    """The process that was started under this pid, or None when it is dead or the pid recycled."""
    try:
        process = psutil.Process(pid)
        if (
            process.status() != psutil.STATUS_ZOMBIE
            and abs(process.create_time() - created_at) < CREATE_TIME_TOLERANCE_SECONDS
            and process.environ().get(MARK) == mark
        ):
            return process
    except psutil.Error:  # gone, or another user's
        return None
    return None


def marked(mark: str, variable: str = MARK) -> list[psutil.Process]:
    """Every living process that carries the mark, whoever its parent is by now."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(variable) == mark:
                found.append(process)
        except psutil.Error:  # gone, a zombie, or another user's
            continue
    return found


def stop(
    root: psutil.Process | None, mark: str, *, children_first: bool, variable: str = MARK
) -> int:
    """Nothing with this mark, nor any child of `root`, is alive afterwards. How many were stopped.

    SIGTERM goes to the whole process group and to children that left it; what is left after a
    while gets SIGKILL. With `children_first` the children end before `root` is told to.
    Raises SurvivorsError.
    """
    family = _family(root, mark, variable)
    if children_first:
        children = [process for process in family if process != root]
        _terminate(children)
        _ended(children, TERM_SECONDS)
    if root is not None and root.is_running() and _group(root) == root.pid:
        outside = [process for process in family if _group(process) != root.pid]
        with suppress(ProcessLookupError):
            os.killpg(root.pid, signal.SIGTERM)
        _terminate(outside)
    else:
        _terminate(family)
    rest = {*_ended(family, TERM_SECONDS), *marked(mark, variable)}
    for process in rest:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    alive = [*_ended(rest, KILL_SECONDS), *marked(mark, variable)]
    if alive:
        raise SurvivorsError(f"{mark}: still alive after SIGKILL: {alive}")
    return len(family)


def _family(root: psutil.Process | None, mark: str, variable: str) -> list[psutil.Process]:
    """`root`, its descendants and all that is marked."""
    found = set(marked(mark, variable))
    if root is not None:
        try:
            found.update([root, *root.children(recursive=True)])
        except psutil.NoSuchProcess:
            found.discard(root)
    return list(found)


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _terminate(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()


def _ended(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still alive at the deadline; a zombie is not (whoever has to collect it)."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if _is_alive(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(POLL_SECONDS)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
