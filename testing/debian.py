"""A Debian of one's own: a tree made by debootstrap, booted with systemd by systemd-nspawn.

Needs root, debootstrap, systemd-nspawn and Debian's mirror; the tree with its packages, and the
wheels of the lock, are made once and kept in `.sandbox-debian`. It shares the machine's network, so
its ports are chosen; it cannot limit memory, which needs a cgroup of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from sandbox.processes import OWNER

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".sandbox-debian"
MIRROR = "http://deb.debian.org/debian"
NEEDS = ("debootstrap", "systemd-nspawn", "nsenter", "setpriv", "unshare")
# install.sh would install them all the same; here once for all trees.
PACKAGES = ["ca-certificates", "curl", "nginx", "openssl", "postgresql", "procps", "python3"]
PACKAGES += ["python3-venv"]
BOOKWORM = "bookworm"  # Debian 12: PostgreSQL 15, Python 3.11
TRIXIE = "trixie"  # Debian 13: PostgreSQL 17, Python 3.13
BOOT_SECONDS = 1800
# Where control groups are on a machine that was not itself booted with systemd.
HIERARCHIES = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))


def missing() -> str:
    """Why there can be no such machine here, or nothing."""
    if os.geteuid():
        return "needs root"
    absent = [name for name in NEEDS if not shutil.which(name)]
    return f"needs {', '.join(absent)}" if absent else ""


def impossible(suite: str = BOOKWORM) -> str:
    """The same, for what takes a moment to find out."""
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        return "may not make namespaces: a container without the rights for a machine of its own"
    if not (CACHE / suite / ".complete").exists():
        try:
            httpx.head(f"{MIRROR}/dists/{suite}/Release", timeout=30).raise_for_status()
        except httpx.HTTPError as error:
            return f"needs Debian's mirror for a new tree: {error}"
    return ""


def base_tree(suite: str = BOOKWORM) -> Path:
    """A tree of that Debian with the packages, made when it is not there."""
    tree = CACHE / suite
    if not (tree / ".complete").exists():
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(exist_ok=True)
        # Whatever it mounts is gone with it, also when it is killed.
        private = ("unshare", "--mount", "debootstrap", "--variant=minbase")
        run(*private, "--include=systemd-sysv,dbus", suite, tree, MIRROR)
        nspawn = ("systemd-nspawn", "-D", tree, "--pipe", "--register=no", "--keep-unit")
        install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq"
        run(
            *(*nspawn, "--resolv-conf=replace-host", "sh", "-c"),
            f"{install} --no-install-recommends {' '.join(PACKAGES)}",
        )
        (tree / "etc" / "machine-id").write_text("")
        (tree / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        (tree / ".complete").touch()
    return tree


def wheels(lock: Path = ROOT / "requirements.lock") -> Path:
    """The lock's wheels; pip compares each with its hash again when it installs it."""
    directory = CACHE / "wheels"
    seen = directory / f"{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}.lock"
    if not seen.exists():
        directory.mkdir(parents=True, exist_ok=True)
        # A virtual environment that uv made has no pip.
        python = Path(sys.base_prefix) / "bin" / "python3.11"
        pip = (python, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
        run(*pip, "-r", lock, "-d", directory)
        shutil.copyfile(lock, seen)
    return directory


def run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}"


class Debian:
    """A machine in `tree`, which is copied from the base. `/src` in it is `source`, read-only."""

    def __init__(self, tree: Path, source: Path = ROOT, suite: str = BOOKWORM) -> None:
        self.tree = tree
        self._source = source
        self._suite = suite
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        # Of its own: two machines would share one, and one would be left.
        name = f"debian-{os.getpid()}"
        self._groups = [each / name for each in HIERARCHIES if (each / "cgroup.procs").exists()]

    def make(self) -> None:
        run("cp", "-a", "--reflink=auto", base_tree(self._suite), self.tree)

    def boot(self) -> None:
        """systemd runs and is through with booting."""
        for group in self._groups:
            group.mkdir(exist_ok=True)
        join = "".join(f"echo $$ >{group}/cgroup.procs && " for group in self._groups)
        # It is shut down when this process dies, however that comes.
        command = ["sh", "-c", f'{join}exec "$@"', "sh"]
        command += ["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "-D", str(self.tree)]
        command += ["--boot", "--register=no", "--keep-unit", "--console=passive", "--quiet"]
        command += [f"--bind-ro={wheels()}:/wheels", f"--bind-ro={self._source}:/src"]
        # Its own session: what ends the tests' group lets it shut down in order.
        # And no guard, which would not give it the time for that.
        self._nspawn = subprocess.Popen(
            command,
            env={name: value for name, value in os.environ.items() if name != OWNER},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            assert self._nspawn.poll() is None, f"systemd-nspawn ended: {self._nspawn.returncode}"
            children = psutil.Process(self._nspawn.pid).children()
            if children:
                self._leader = children[0].pid
                state = self.run("systemctl", "is-system-running", check=False).strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.2)
        raise AssertionError(f"not up after {BOOT_SECONDS} s")

    def run(
        self, *command: str, check: bool = True, env: Sequence[str] = (), stdin: str = ""
    ) -> str:
        """What a command in the machine, run by root, says on stdout and stderr."""
        done = self.attempt(*command, env=env, stdin=stdin)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    @property
    def postgresql(self) -> str:
        """Version and name of its PostgreSQL cluster, as in 15/main."""
        found = self.run("pg_lsclusters", "--no-header").split()
        return "/".join(found[:2])

    @property
    def inside(self) -> list[str]:
        """What makes a command one of root's in the machine; variables may stand before it."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ["nsenter", "--target", str(self._leader), "--all"]
        return [*enter, "env", "-i", path, "HOME=/root", "LANG=C.UTF-8"]

    def attempt(
        self, *command: str, env: Sequence[str] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.inside, *env, *command],
            cwd="/",
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def read(self, path: str) -> str:
        return (self.tree / path.lstrip("/")).read_text()

    def power_off(self) -> None:
        """Everything in it has ended."""
        if self._nspawn is None:
            return
        self._nspawn.send_signal(signal.SIGTERM)
        try:
            self._nspawn.wait(90)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(10)
        self._nspawn = None

    def remove(self) -> None:
        """The machine and its tree are gone. Raises AssertionError for what it left behind."""
        self.power_off()
        left = [process for process in psutil.process_iter(["name"]) if self._has(process)]
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if self._in(line)]
        assert not left and not mounts, f"left behind: {left} {mounts}"
        for group in self._groups:
            # One that has a process cannot be removed.
            inner = [path for path in group.rglob("*") if path.is_dir()]
            for each in [*sorted(inner, reverse=True), group]:
                each.rmdir()
        run("rm", "-rf", "--one-file-system", self.tree)

    def _has(self, process: psutil.Process) -> bool:
        try:
            return Path(f"/proc/{process.pid}/root").readlink() == self.tree
        except OSError:  # it has just ended
            return False

    def _in(self, mount: str) -> bool:
        return mount.split()[1].startswith(str(self.tree))
