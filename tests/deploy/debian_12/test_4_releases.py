"""Install again, update, go back and forward, reboot; then every command of the page was run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from core.batch import EARLIER_NAMES
from core.ledger import LOADS
from sandbox.stack import Stack
from testing.debian import ROOT, wheels
from testing.machine import (
    BEFORE,
    ETC,
    INSTALL,
    ON_DEBIAN,
    RELEASE,
    SCRIPTS,
    SELF_SIGNED,
    TLS,
    UNITS,
    USGS,
    WATCH,
    Machine,
    copy_of_code,
    measured,
    until,
)
from testing.page import OLDER_ARCHIVE, Page
from testing.platform import TestPlatform

pytestmark = ON_DEBIAN
LEDGER_NAMES = "sudo pipelines python -m deploy.ledger_names"
UPDATE = "sudo deploy/update.sh ARCHIVE-OR-DIRECTORY VERSION"
# Google Cloud is not here; what the script would do is read in tests/deploy/test_scripts.py. What a
# Debian without Python 3.11 needs is run in tests/deploy/test_debian_13.py.
NOT_HERE = {"deploy/gcloud.sh", OLDER_ARCHIVE}


def test_installing_again_changes_nothing(installed: Machine, page: Page) -> None:
    kept = (f"{ETC}/server.env", f"{ETC}/worker.env", f"{TLS}/certificate.pem", f"{TLS}/key.pem")
    before = [sorted(installed.read(path).splitlines()) for path in kept]
    assert "is installed already" in page.follow(installed, INSTALL, SELF_SIGNED)
    assert [sorted(installed.read(path).splitlines()) for path in kept] == before
    installed.is_well()


def test_a_push_goes_on_when_the_connection_is_lost(installed: Machine, tmp_path: Path) -> None:
    """From here, as GitHub does it: gcloud's two commands lead into the machine."""
    inside = " ".join(installed.inside)
    gcloud = f"""#!/bin/bash
case "$*" in
*" scp "*) exec {inside} tee "$(cut -d: -f2 <<<"${{@: -1}}")" <"${{@: -2:1}}" >/dev/null ;;
*) exec {inside} bash -c "$(sed 's/^--command=//' <<<"${{@: -1}}")" ;;
esac
"""
    (tmp_path / "gcloud").write_text(gcloud)
    (tmp_path / "gcloud").chmod(0o755)
    installed.run("tee", "/usr/local/bin/sudo", stdin='#!/bin/sh\nexec "$@"\n')
    installed.run("chmod", "0755", "/usr/local/bin/sudo")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    push = subprocess.Popen(
        [ROOT / "deploy" / "push.sh", commit],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            **dict.fromkeys(("GCP_PROJECT", "GCP_ZONE", "GCP_VM"), "x"),
        },
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert push.stdout
    assert any("draining the worker" in line for line in push.stdout)
    push.stdout.close()
    os.killpg(push.pid, signal.SIGKILL)
    push.wait()
    log = "/var/log/data-pipelines-update.log"
    until("it is done", lambda: f"release {commit} runs" in installed.read(log))
    assert installed.run("readlink", RELEASE).strip() == f"releases/{commit}"
    installed.is_well()


def test_an_update_switches_and_a_bad_one_goes_back(
    installed: Machine, page: Page, tmp_path: Path
) -> None:
    listing = f"{SCRIPTS}/rollback.sh --list"
    (one,) = re.findall(r"^(\w+) \(runs\)$", page.follow(installed, listing), re.MULTILINE)
    good = copy_of_code(tmp_path / "good")
    shutil.copytree(good, installed.tree / "root" / "good")
    began = time.monotonic()
    told = page.follow(installed, UPDATE, {"ARCHIVE-OR-DIRECTORY": "/root/good", "VERSION": "two"})
    measured("an update without a new lock", time.monotonic() - began)
    assert "release two runs" in told
    assert installed.run("readlink", RELEASE).strip() == "releases/two"

    bad = good / "flows" / "elt.py"
    bad.write_text(bad.read_text() + "\nraise RuntimeError('not well')\n")
    shutil.make_archive(str(installed.tree / "root" / "bad"), "tar", good)
    fill = {"ARCHIVE-OR-DIRECTORY": "/root/bad.tar", "VERSION": "three"}
    failed = installed.attempt(*page.command(UPDATE, fill))
    assert failed.returncode == 1
    assert "three was not well; two runs again" in failed.stdout
    installed.is_well()

    assert f"release {one} runs" in page.follow(installed, f"{SCRIPTS}/rollback.sh")
    installed.is_well()
    told = page.follow(installed, f"{SCRIPTS}/rollback.sh VERSION", {"VERSION": "two"})
    assert "release two runs" in told
    assert {"two (runs)", one} <= set(page.follow(installed, listing).splitlines())


def ledger_columns(stack: Stack) -> set[str]:
    warehouse = TestPlatform("demo", stack.env(), raw_dataset="raw").stores.warehouse
    return {column.name for column in warehouse.table(warehouse.raw_id("_loads")).schema}


def test_the_release_before_this_step_is_updated_from_and_gone_back_to(
    installed: Machine, page: Page, stack: Stack
) -> None:
    before = installed.tree / "root" / "before"
    before.mkdir()
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, stdout=subprocess.PIPE)
    if archive.returncode:
        pytest.skip(f"{BEFORE} is not in this clone")
    subprocess.run(["tar", "--extract"], cwd=before, input=archive.stdout, check=True)
    wheels(before / "requirements.lock")
    # It has other labels for the ledger. It builds no marts here, by no schedule either: by their
    # label, dbt's own, they are not known to be ours (core/ownership.py), and releases since would
    # refuse them.
    installed.ask(
        "UPDATE deployment_schedule SET active = false;"
        "DELETE FROM flow_run WHERE auto_scheduled AND state_type = 'SCHEDULED'",
    )
    # By its own scripts, as it would have been installed.
    told = installed.run("/root/before/deploy/update.sh", "/root/before", "before")
    assert "release before runs" in told
    installed.is_well(WATCH)

    fill = {"ARCHIVE-OR-DIRECTORY": "/src", "VERSION": "after"}
    assert "release after runs" in page.follow(installed, UPDATE, fill)
    assert ledger_columns(stack) == {column.name for column in LOADS}
    assert "has this release's names" in page.follow(installed, LEDGER_NAMES)
    installed.is_well(USGS)
    installed.is_well()

    assert "release before runs" in page.follow(installed, f"{SCRIPTS}/rollback.sh")
    assert ledger_columns(stack) & {*EARLIER_NAMES, *EARLIER_NAMES.values()} == {
        *EARLIER_NAMES.values()
    }
    installed.is_well(WATCH)
    # Extracted and loaded, without a build.
    assert "would be" not in installed.run("pipelines", "python", "-m", "flows.usgs_earthquake")
    # By way of the newest, so that none later goes back to that which is older than this step.
    installed.run(f"{RELEASE}/deploy/rollback.sh", "after")
    assert ledger_columns(stack) == {column.name for column in LOADS}
    told = page.follow(installed, f"{SCRIPTS}/rollback.sh VERSION", {"VERSION": "two"})
    assert "release two runs" in told
    installed.ask("UPDATE deployment_schedule SET active = true")
    installed.is_well()


def test_with_prefect_its_database_goes_back_and_forward(installed: Machine) -> None:
    """Two releases of one Prefect, of which one says that it is another's."""
    rollback = f"{RELEASE}/deploy/rollback.sh"
    dump = installed.run("runuser", "-u", "postgres", "--", f"{RELEASE}/deploy/backup.sh")
    installed.run("tee", f"{RELEASE}/.database-before", stdin=dump)
    lock = f"{RELEASE}/requirements.lock"
    installed.run("sed", "-i", "s/^prefect==[^ ]*/prefect==9.9.9/", lock)
    before = installed.runs_in("COMPLETED")
    installed.is_well()
    after = installed.runs_in("COMPLETED")
    assert after > before
    assert "Prefect changes from 9.9.9 to 3" in installed.run(rollback)
    assert before <= installed.runs_in("COMPLETED") < after
    installed.is_well()
    assert "release two runs" in installed.run(rollback)
    assert installed.runs_in("COMPLETED") >= after
    installed.is_well()


def test_all_comes_back_after_a_reboot(installed: Machine) -> None:
    installed.power_off()
    installed.boot()
    installed.run("pipelines", "python", "-m", "deploy.verify", "vm", "--seconds", "180")
    installed.is_well()
    for unit in UNITS:
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit


def test_every_command_of_the_page_was_run(installed: Machine, page: Page) -> None:
    assert page.commands - page.followed == NOT_HERE
