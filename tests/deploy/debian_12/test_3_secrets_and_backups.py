"""Secrets, keys and the certificate are rotated; the database is backed up, lost and restored."""

from __future__ import annotations

import re
import time

import httpx
import pytest

from sandbox.stack import Stack
from testing.machine import (
    BACKUPS,
    ETC,
    HOST,
    ON_DEBIAN,
    RELEASE,
    SCRIPTS,
    SERVER,
    TLS,
    WORKER,
    Machine,
    measured,
    until,
)
from testing.page import Page

pytestmark = ON_DEBIAN


@pytest.fixture(scope="module")
def kept(installed: Machine, page: Page) -> tuple[str, str]:
    """A dump, and the server.env of its time, as kept in a safe place."""
    installed.is_well()
    page.follow(installed, "sudo systemctl start data-pipelines-backup")
    dumps = page.follow(installed, f"sudo ls {BACKUPS}").split()
    return sorted(dumps)[-1], installed.read(f"{ETC}/server.env")


@pytest.mark.parametrize("what", ["api", "encryption"])
def test_a_secret_is_rotated_by_one_command(
    installed: Machine, stack: Stack, page: Page, kept: tuple[str, str], what: str
) -> None:
    before = installed.secrets(stack)
    began = time.monotonic()
    told = page.follow(installed, f"{SCRIPTS}/rotate.sh {what}")
    measured(f"rotation of {what}", time.monotonic() - began)
    after = installed.secrets(stack)
    assert len(set(before) ^ set(after)) == 2
    for secret in {*before, *after}:
        assert secret not in told
    # Blocks are still readable, and clients still welcome.
    installed.is_well()


def test_a_database_that_was_lost_comes_back_with_the_keys_of_its_time(
    installed: Machine, page: Page, kept: tuple[str, str]
) -> None:
    """As on a new machine, whose password and key are others: those that were rotated meanwhile."""
    dump, server_env = kept
    restore = f"{SCRIPTS}/restore.sh {BACKUPS}/prefect-....dump"
    before = installed.runs_in("COMPLETED")
    bad = installed.attempt(
        *page.command(restore, {f"{BACKUPS}/prefect-....dump": "/etc/hostname"})
    )
    assert bad.returncode == 1
    assert "nothing was changed" in bad.stdout
    installed.run("sh", "-c", f"head -c -5000 {BACKUPS}/{dump} >{BACKUPS}/prefect-0.dump")
    bad = installed.attempt(*page.command(restore, {"prefect-....dump": "prefect-0.dump"}))
    assert bad.returncode == 1
    assert "the database is as it was" in bad.stdout
    assert installed.runs_in("COMPLETED") >= before > 0

    installed.ask("DELETE FROM flow_run")
    installed.run("tee", f"{ETC}/server.env", stdin=server_env)
    began = time.monotonic()
    page.follow(installed, restore, {"prefect-....dump": dump})
    measured("restore", time.monotonic() - began)
    assert installed.runs_in("COMPLETED") > 0
    assert f"PREFECT_SERVER_API_AUTH_STRING={installed.password}\n" in server_env
    installed.is_well()


def test_a_key_of_others_is_rotated_by_one_command(installed: Machine, page: Page) -> None:
    new = "sandbox-aws-secret-access-key-2"
    line = f"s/^AWS_SECRET_ACCESS_KEY=.*/AWS_SECRET_ACCESS_KEY='{new}'/"
    installed.run("sed", "-i", line, f"{ETC}/.env")
    told = page.follow(installed, f"{SCRIPTS}/rotate.sh blocks")
    assert "saved aws-credentials/aws" in told
    assert "unchanged finance/finance" in told
    assert new not in told
    installed.is_well("elt/nyc-fhv")


def stands(machine: Machine) -> set[str]:
    """What the watchdog finds, by its unit."""
    mark = machine.run("journalctl", "--show-cursor", "--lines=0").split("-- cursor: ")[1].strip()
    machine.run("systemctl", "start", "data-pipelines-watchdog")
    told = machine.run(
        *("journalctl", "--no-pager", "--output=cat", f"--after-cursor={mark}"),
        "--unit=data-pipelines-watchdog",
    )
    return set(re.findall("^stands: (.*)$", told, re.MULTILINE))


def test_a_certificate_is_rotated_before_it_ends(
    installed: Machine, ports: dict[str, int], page: Page
) -> None:
    rotate = f"{SCRIPTS}/rotate.sh certificate fullchain.pem privkey.pem"
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}")
    files = ("-keyout", "/root/k.pem", "-out", "/root/c.pem")
    ends = "the certificate ends soon"
    for days, told in ((10, {ends}), (90, set())):
        before = installed.read(f"{TLS}/certificate.pem")
        names = ("-days", str(days), "-addext", f"subjectAltName=DNS:{HOST}")
        installed.run("openssl", *made, *names, *files)
        page.follow(
            installed, rotate, {"fullchain.pem": "/root/c.pem", "privkey.pem": "/root/k.pem"}
        )
        served = installed.read(f"{TLS}/certificate.pem")
        assert served == installed.read("/root/c.pem") != before
        # By its own certificate nginx is trusted: it serves the new one.
        until("nginx has it", lambda: browse_health(installed, ports))
        assert stands(installed) & {ends} == told


def browse_health(machine: Machine, ports: dict[str, int]) -> bool:
    try:
        return machine.browse(ports, "/api/health").status_code == 200
    except httpx.ConnectError:
        return False


def test_a_backup_that_is_not_made_is_told_until_one_is(installed: Machine) -> None:
    folder, told = "/var/lib/data-pipelines-backup", "there is no new backup"
    assert told not in stands(installed)
    # Its owner stays the one that makes backups.
    installed.run("systemctl", "start", "data-pipelines-backup")
    installed.run("touch", "--date=27 hours ago", f"{folder}/last")
    assert told in stands(installed)
    # One that fails is none.
    try:
        installed.run("mv", BACKUPS, f"{BACKUPS}-away")
        assert installed.attempt("systemctl", "start", "data-pipelines-backup").returncode != 0
    finally:
        installed.run("mv", f"{BACKUPS}-away", BACKUPS)
    assert told in stands(installed)
    installed.run("systemctl", "start", "data-pipelines-backup")
    assert told not in stands(installed)


def test_a_command_by_hand_may_write_what_flow_runs_may(installed: Machine) -> None:
    installed.run("pipelines", "touch", "/var/www/data-pipelines/catalog/by-hand")
    assert installed.attempt("pipelines", "touch", f"{RELEASE}/by-hand").returncode != 0


@pytest.mark.parametrize("name", ["HUP", "TERM"])
def test_what_is_killed_half_way_leaves_all_running(installed: Machine, name: str) -> None:
    """In its drain: the pool is paused then, and the worker about to go."""
    until_drained = (
        f"{RELEASE}/deploy/rotate.sh api >/run/half-way 2>&1 & "
        "until grep -q 'draining the worker' /run/half-way; do sleep 0.1; done; "
        f"kill -s {name} $!; wait $!; code=$?; cat /run/half-way; exit $code"
    )
    done = installed.attempt("bash", "-c", until_drained)
    assert done.returncode != 0
    assert "this has ended half-way" in done.stdout
    installed.run("pipelines", "python", "-m", "deploy.verify", "vm", "--seconds", "60")
    installed.is_well()


def test_a_database_that_cannot_be_dumped_is_restored(
    installed: Machine, kept: tuple[str, str]
) -> None:
    """By a dump of now, as its key is that of now; a second time with no database there at all."""
    command = (f"{RELEASE}/deploy/restore.sh",)
    dump = installed.run("runuser", "-u", "postgres", "--", f"{RELEASE}/deploy/backup.sh").strip()
    installed.ask("ALTER TABLE flow_run RENAME TO broken")
    told = installed.run(*command, dump)
    (name,) = re.findall(r"prefect_\d{8}t\d{6}z", told)
    assert installed.runs_in("COMPLETED") > 0
    databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"
    assert installed.ask(databases) == f"postgres prefect {name} template0 template1"

    installed.run("systemctl", "stop", SERVER, WORKER)
    installed.run("runuser", "-u", "postgres", "--", "dropdb", name)
    installed.run("runuser", "-u", "postgres", "--", "dropdb", "--force", "prefect")
    installed.run(*command, dump)
    assert installed.ask(databases) == "postgres prefect template0 template1"
    installed.is_well()
