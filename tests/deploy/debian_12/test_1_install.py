"""After `install.sh`: units and limits, who may read what, TLS and password, the blocks."""

from __future__ import annotations

import re

from sandbox.stack import Stack
from testing.machine import (
    ETC,
    ON_DEBIAN,
    PIPELINES,
    TIMERS,
    TLS,
    UNITS,
    WORKER,
    Machine,
)
from testing.page import Page

pytestmark = ON_DEBIAN


def test_every_unit_runs_and_is_sound(installed: Machine) -> None:
    for unit in UNITS:
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit
        assert installed.run("systemctl", "is-enabled", unit).strip() == "enabled", unit
    own = [f"{unit}.service" for unit in UNITS[:2]]
    own += [timer.replace(".timer", ".service") for timer in TIMERS]
    own_and_debians = (*own, "nginx.service", f"{installed.postgresql_unit}.service")
    # The smallest Debian has no manual pages, to which Debian's units point.
    verify = ("systemd-analyze", "verify", "--man=no")
    assert installed.run(*verify, *own_and_debians, *TIMERS) == ""
    limits = {}
    for unit in own_and_debians:
        told = installed.run("systemd-analyze", "security", "--no-pager", unit)
        exposure = float(re.findall(r"Overall exposure level .*: ([\d.]+)", told)[0])
        limit = installed.run("systemctl", "show", "--value", "--property=MemoryMax", unit)
        limits[unit] = int(limit)
        print(f"\n{unit}: exposure {exposure}, at most {limits[unit] / 2**20:.0f} MiB", end="")
        assert exposure < 4, told
    assert max(limits.values()) == limits[own[1]] == 1400 * 2**20


def test_what_google_would_be_told_is_printed(installed: Machine, page: Page) -> None:
    exports = (
        "export GCP_PROJECT=my-project GCS_BUCKET=my-landing",
        "export GITHUB_REPOSITORY=me/data-pipelines GITHUB_REPOSITORY_ID=123456789 "
        "GITHUB_OWNER_ID=12345678",
    )
    given = [
        setting
        for words in map(page.command, exports)
        for setting in words[words.index("export") + 1 :]
    ]
    told = page.follow(installed, "deploy/gcloud.sh --dry-run", env=given)
    assert "gcloud --project=my-project --quiet compute instances create data-pipelines" in told


def test_secrets_are_readable_by_their_owner_only(installed: Machine, stack: Stack) -> None:
    found = installed.run("find", ETC, TLS, "-type", "f", "-perm", "/077")
    # The one is public, the other is for nginx.
    names = sorted(line.split("/")[-1] for line in found.splitlines())
    assert names == ["certificate.pem", "users"]
    assert installed.run("stat", "--format=%a %U %G", f"{TLS}/users").strip() == "640 root www-data"
    for user, path in (("prefect", f"{ETC}/.env"), ("pipelines", f"{ETC}/server.env")):
        assert installed.attempt("runuser", "-u", user, "--", "cat", path).returncode != 0
    told = installed.run("journalctl", "--no-pager")
    assert f"Started {WORKER}" in told
    for secret in installed.secrets(stack):
        assert secret not in told


def test_nginx_serves_the_ui_with_tls_and_the_api_asks_for_the_password(
    installed: Machine, ports: dict[str, int]
) -> None:
    page = installed.browse(ports, "/")
    assert page.status_code in (200, 307)
    assert page.headers["strict-transport-security"]
    assert installed.browse(ports, "/api/health").status_code == 200
    assert installed.browse(ports, "/openapi.json").status_code == 404
    assert installed.browse(ports, "/api/admin/version").status_code == 401
    password = installed.password
    assert installed.browse(ports, "/api/admin/version", password).status_code == 200


def test_blocks_are_saved_tried_and_not_saved_again(
    installed: Machine, stack: Stack, page: Page
) -> None:
    first = page.follow(installed, f"{PIPELINES} python -m blocks.register")
    assert "saved finance/finance" in first
    second = page.follow(installed, f"{PIPELINES} python -m blocks.register")
    assert set(re.findall("^([a-z]+) ", second, re.M)) == {"unchanged"}
    tried = page.follow(installed, f"{PIPELINES} python -m blocks.register --check")
    assert "ok     finance          the sheet" in tried
    assert "FAULT" not in tried
    for secret in installed.secrets(stack):
        assert secret not in first + second + tried
