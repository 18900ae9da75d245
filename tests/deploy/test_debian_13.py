"""install.sh on another Debian, with another PostgreSQL and nginx, and without Python 3.11 until a
person has named an archive that has it (docs/install.md, "Debian 13 and others").

No source is configured here: what runs on it is tried in tests/deploy/debian_12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from sandbox.parts import choose_ports
from testing.debian import TRIXIE
from testing.machine import (
    BACKUPS,
    ETC,
    INSTALL,
    ON_DEBIAN,
    RELEASE,
    SCRIPTS,
    SELF_SIGNED,
    UNITS,
    Machine,
    booted,
)
from testing.page import OLDER_ARCHIVE, Page

pytestmark = ON_DEBIAN


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("debian"), TRIXIE) as machine:
        yield machine


@pytest.fixture(scope="module")
def listen() -> list[str]:
    https, prefect, health, *_ = choose_ports({}, ()).values()
    return [
        f"HTTPS_LISTEN=127.0.0.1:{https}",
        f"PREFECT_PORT={prefect}",
        f"HEALTH_PORT={health}",
    ]


@pytest.fixture(scope="module")
def refused(bare: Machine, page: Page, listen: list[str]) -> str:
    """What installing says while there is no Python 3.11."""
    failed = bare.attempt(*page.command(INSTALL, SELF_SIGNED), env=listen)
    assert failed.returncode == 1
    return failed.stdout


@pytest.fixture(scope="module")
def installed(bare: Machine, page: Page, listen: list[str], refused: str) -> Machine:
    page.follow(bare, OLDER_ARCHIVE)
    told = page.follow(bare, INSTALL, SELF_SIGNED, env=listen)
    assert "installing python3.11" in told
    assert re.search("release [0-9a-f]{12} runs", told)
    # nginx warns of what its version does not like any more.
    assert "[warn]" not in told
    return bare


def test_without_python_3_11_nothing_is_changed_and_it_says_what_to_install(
    bare: Machine, refused: str
) -> None:
    assert "Python 3.11 with a pip is needed and was not found" in refused
    assert re.search(r"python3: 3\.1[^1]", refused)
    assert "apt-get install python3.11 python3-pip-whl" in refused
    assert not (bare.tree / "opt" / "data-pipelines").exists()
    assert not (bare.tree / "etc" / "data-pipelines").exists()


def test_a_python_that_services_do_not_see_is_refused(installed: Machine, page: Page) -> None:
    installed.run("cp", "/usr/bin/python3.11", "/root/python3.11")
    named = ["PYTHON=/root/python3.11"]
    failed = installed.attempt(*page.command(INSTALL, SELF_SIGNED), env=named)
    assert failed.returncode == 1
    assert "error: /root/python3.11" in failed.stdout
    assert not (installed.tree / "etc" / "data-pipelines" / "install.env").exists()


def test_it_runs_on_this_machines_versions(installed: Machine) -> None:
    major, name = installed.postgresql.split("/")
    assert (int(major) > 15, name) == (True, "main")
    units = (*UNITS, installed.postgresql_unit)
    for unit in units:
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit
    verified = (f"{installed.postgresql_unit}.service", "nginx.service")
    assert installed.run("systemd-analyze", "verify", "--man=no", *verified) == ""
    for unit in verified:
        limit = installed.run("systemctl", "show", "--value", "--property=MemoryMax", unit)
        assert int(limit) <= 400 * 2**20
    settings = f"/etc/postgresql/{installed.postgresql}/conf.d/data-pipelines.conf"
    assert "listen_addresses = ''" in installed.read(settings)
    assert installed.ask("SHOW listen_addresses") == ""
    assert installed.ask("SHOW server_version").split(".")[0] == major
    python = installed.run(f"{RELEASE}/.venv/bin/python", "--version")
    assert python.startswith("Python 3.11.")


def test_nginx_speaks_http_2(installed: Machine, listen: list[str]) -> None:
    address = listen[0].split("=")[1]
    told = installed.run(
        *("curl", "--silent", "--insecure", "--output", "/dev/null"),
        *("--write-out", "%{http_version} %{http_code}", f"https://{address}/api/health"),
    )
    assert told == "2 200"


def test_its_database_is_backed_up_and_restored(installed: Machine, page: Page) -> None:
    count = "SELECT COUNT(*) FROM deployment"
    before = int(installed.ask(count))
    assert before > 10
    page.follow(installed, "sudo systemctl start data-pipelines-backup")
    dump = sorted(page.follow(installed, f"sudo ls {BACKUPS}").split())[-1]
    installed.ask("DELETE FROM deployment")
    restore = f"{SCRIPTS}/restore.sh {BACKUPS}/prefect-....dump"
    assert "restored from" in page.follow(installed, restore, {"prefect-....dump": dump})
    assert int(installed.ask(count)) == before


def test_installing_again_with_a_named_python_keeps_it_for_updates(
    installed: Machine, page: Page
) -> None:
    before = installed.read(f"{ETC}/server.env")
    named = ["PYTHON=/usr/bin/python3.11"]
    told = page.follow(installed, INSTALL, SELF_SIGNED, env=named)
    assert "is installed already" in told
    assert sorted(installed.read(f"{ETC}/server.env").splitlines()) == sorted(before.splitlines())
    assert installed.read(f"{ETC}/install.env") == "PYTHON=/usr/bin/python3.11\n"


def test_all_comes_back_after_a_reboot(installed: Machine) -> None:
    installed.power_off()
    installed.boot()
    installed.run("pipelines", "python", "-m", "deploy.verify", "vm", "--seconds", "180")
    for unit in (*UNITS, installed.postgresql_unit):
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit
