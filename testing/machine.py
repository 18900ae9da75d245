"""The platform as it is installed on a Debian: its places and units, and what tests ask of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sandbox.stack import Stack
from testing.debian import BOOKWORM, ROOT, Debian, impossible, missing

ON_DEBIAN = [
    pytest.mark.matrix,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]

HOST = "platform.test"
# What does not come at all; how long it took is measured.
WITHIN_SECONDS = 1800
RELEASE = "/opt/data-pipelines/current"
ETC = "/etc/data-pipelines"
BACKUPS = "/var/backups/data-pipelines"
TLS = "/etc/nginx/data-pipelines"
TIMERS = ("data-pipelines-backup.timer", "data-pipelines-watchdog.timer")
SERVER, WORKER = "data-pipelines-server", "data-pipelines-worker"
UNITS = (SERVER, WORKER, "nginx", *TIMERS)
PIPELINES = "sudo pipelines"
SCRIPTS = "sudo /opt/data-pipelines/current/deploy"
INSTALL = (
    "sudo deploy/install.sh --host platform.example.org --certificate fullchain.pem"
    " --key privkey.pem"
)
SELF_SIGNED = {
    "platform.example.org": HOST,
    "--certificate fullchain.pem --key privkey.pem": "--self-signed",
}
USGS, FINANCE, WATCH = "elt/usgs-earthquake", "elt/finance", "watch/alerts"
# The last commit before this step: what is installed is updated from it, and may go back to it.
BEFORE = "61fc5d9"


def copy_of_code(directory: Path) -> Path:
    """What a checkout has, so that nobody's work beside it changes what is installed."""
    ignore = shutil.ignore_patterns(".git", ".sandbox*", ".venv*", "__pycache__", "target", "logs")
    shutil.copytree(ROOT, directory, ignore=ignore)
    return directory


class Machine(Debian):
    """A Debian with the platform on it."""

    def secrets(self, stack: Stack) -> list[str]:
        lines = (self.read(f"{ETC}/server.env") + self.read(f"{ETC}/worker.env")).splitlines()
        own = [line.split("=", 1)[1] for line in lines if re.search("AUTH_STRING|ENCRYPTION", line)]
        env = stack.env()
        names = ("OPENWEATHER_API_KEY", "MEDIASTACK_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")
        account = json.loads((stack.directory / "service-account.json").read_text())
        return [*own, *(env[name] for name in names), account["private_key"].splitlines()[1]]

    def browse(self, ports: dict[str, int], path: str, password: str = "") -> httpx.Response:
        """What a browser gets through nginx, whose certificate it checks."""
        trusted = ssl.create_default_context(cadata=self.read(f"{TLS}/certificate.pem"))
        auth = tuple(password.split(":", 1)) if password else None
        with httpx.Client(verify=trusted, trust_env=False, timeout=30, auth=auth) as client:  # type: ignore[arg-type]
            return client.get(
                f"https://127.0.0.1:{ports['https']}{path}",
                headers={"Host": HOST},
                extensions={"sni_hostname": HOST},
            )

    @property
    def password(self) -> str:
        text = self.read(f"{ETC}/worker.env")
        (password,) = re.findall("^PREFECT_API_AUTH_STRING=(.*)$", text, re.MULTILINE)
        return str(password)

    def run_now(self, deployment: str) -> str:
        return self.run("pipelines", "prefect", "deployment", "run", deployment, "--watch")

    def is_well(self, deployment: str = FINANCE) -> None:
        """A run goes all the way: API, password, blocks, worker, warehouse."""
        assert "Completed" in self.run_now(deployment)

    def ask(self, sql: str) -> str:
        """What the Prefect database says."""
        psql = ("runuser", "-u", "postgres", "--", "psql", "prefect", "--tuples-only", "--no-align")
        return self.run(*psql, "--command", sql).strip()

    def runs_in(self, state: str) -> int:
        """How many runs the Prefect database has in a state."""
        return int(self.ask(f"SELECT COUNT(*) FROM flow_run WHERE state_type = '{state}'"))

    def memory_of(self, unit: str) -> float:
        """Megabytes of a unit's processes, of what they share a part each."""
        script = (
            f"for p in $(grep -l /{unit}.service /proc/[0-9]*/cgroup 2>/dev/null); do"
            # One may end in between.
            " cat ${p%cgroup}smaps_rollup; done 2>/dev/null"
            " | awk '/^Pss:/ {sum += $2} END {print sum + 0}'"
        )
        return int(self.run("sh", "-c", script)) / 1024

    @property
    def postgresql_unit(self) -> str:
        return f"postgresql@{self.postgresql.replace('/', '-')}"


@contextmanager
def booted(directory: Path, suite: str = BOOKWORM) -> Iterator[Machine]:
    """A machine of that Debian, gone afterwards, whose `/src` is a copy of the code."""
    if why := impossible(suite):
        pytest.skip(why)
    machine = Machine(directory / "tree", copy_of_code(directory / "src"), suite)
    try:
        machine.make()
        machine.boot()
        yield machine
    finally:
        machine.remove()


def measured(what: str, seconds: float) -> None:
    """A line of what the machine was seen to do, beside what else it had to do."""
    print(f"\nmeasured: {what}: {seconds:.1f} s (load {os.getloadavg()[0]:.1f})", flush=True)


def until(what: str, look: Callable[[], object]) -> float:
    """The seconds until `look` found it."""
    began = time.monotonic()
    while not look():
        assert time.monotonic() - began < WITHIN_SECONDS, f"not within {WITHIN_SECONDS} s: {what}"
        time.sleep(0.2)
    return time.monotonic() - began
