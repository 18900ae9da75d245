"""docs/install.md and operations.md on a Debian of its own, with systemd: `make test-deploy`.

One machine, installed once, on which these modules run in the order of their names: install and
check, run and watch, rotate, back up and restore, update, roll back and reboot. The page's commands
are run as they stand there; at the end none is left that was not run. Google and the sources are
the emulators and stand-ins of the sandbox, outside of the machine. What was measured is printed
(`-s`).
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from sandbox.parts import choose_ports, isolated
from sandbox.stack import Stack
from testing.debian import ROOT, wheels
from testing.machine import (
    BEFORE,
    ETC,
    INSTALL,
    SELF_SIGNED,
    WORKER,
    Machine,
    booted,
    measured,
)
from testing.page import Page
from testing.sinks import Sinks, open_sinks
from tests.conftest import STORES


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Nothing leaves the machine once the stack is up.
    older = tmp_path_factory.mktemp("before") / "requirements.lock"
    shown = subprocess.run(["git", "show", f"{BEFORE}:{older.name}"], cwd=ROOT, capture_output=True)
    if not shown.returncode:
        older.write_bytes(shown.stdout)
        wheels(older)
    stack = Stack(tmp_path_factory.mktemp("stack"), isolated(os.environ))
    before = dict(os.environ)
    try:
        stack.up(STORES)
        os.environ.update(stack.env())
        yield stack
    finally:
        os.environ.clear()
        os.environ.update(before)
        stack.down()


@pytest.fixture(scope="package")
def sinks() -> Iterator[Sinks]:
    with open_sinks() as sinks:
        yield sinks


@pytest.fixture(scope="package")
def ports() -> dict[str, int]:
    return dict(zip(("https", "prefect", "health"), choose_ports({}, ()).values(), strict=False))


@pytest.fixture(scope="package")
def page() -> Page:
    return Page()


@pytest.fixture(scope="package")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("debian")) as machine:
        yield machine


@pytest.fixture(scope="package")
def installed(
    debian: Machine, stack: Stack, sinks: Sinks, ports: dict[str, int], page: Page
) -> Machine:
    """Installed as the page says, then told where the emulators are."""
    # As after an apt-get with a locale that is not there.
    debian.run("pg_dropcluster", "--stop", *debian.postgresql.split("/"))
    began = time.monotonic()
    told = page.follow(
        debian,
        INSTALL,
        SELF_SIGNED,
        env=[
            f"HTTPS_LISTEN=127.0.0.1:{ports['https']}",
            f"PREFECT_PORT={ports['prefect']}",
            f"HEALTH_PORT={ports['health']}",
            "LC_ALL=en_PH.UTF-8",
        ],
    )
    measured("install", time.monotonic() - began)
    assert re.search("release [0-9a-f]{12} runs", told)
    assert "no block is saved" in told
    env = stack.env()
    account = (stack.directory / "service-account.json").read_text()
    write(debian, f"{ETC}/service-account.json", account)
    settings = {**env, **sinks.env, "GCP_SERVICE_ACCOUNT_FILE": f"{ETC}/service-account.json"}
    own = ["PREFECT_", "SANDBOX_", "XDG_", "PIPELINES_", "HTTP", "http", "NO_", "no_", "REQUESTS_"]
    own += ["WORKER_HEALTH_URL", "CATALOG_DIRECTORY", "SPOOL_DIRECTORY", "SERVING_DIRECTORY"]
    own += ["PAGES_URL", "DBT_SEND_", "DO_NOT_TRACK"]
    told_here = [pair for pair in settings.items() if not pair[0].startswith(tuple(own))]
    lines = [f"{name}='{value}'\n" for name, value in told_here]
    write(debian, f"{ETC}/.env", "".join(lines))
    emulators = "".join(
        f"{name}={env[name]}\n" for name in ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
    )
    debian.run("tee", "-a", f"{ETC}/worker.env", stdin=emulators)
    debian.run("systemctl", "restart", WORKER)
    return debian


def write(machine: Machine, path: str, content: str) -> None:
    """A file of the user pipelines, for nobody else."""
    machine.run("install", "-m", "0600", "-o", "pipelines", "-g", "pipelines", "/dev/null", path)
    machine.run("tee", path, stdin=content)
