"""docs/operations.md on a Debian 12 of its own, booted with systemd: `make test-deploy`.

Install, check, deploy, run, stop in the middle of a run, back up, rotate, restore, update, an
update that fails, roll back, reboot. Google and the sources are the emulators and stand-ins of the
sandbox, outside of the machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.parts import isolated
from sandbox.stack import Stack
from tests.conftest import STORES
from tests.deploy.debian import ROOT, Debian, free_port, missing

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]
HOST = "platform.test"
RELEASE = "/opt/data-pipelines/current"
ETC = "/etc/data-pipelines"
PSQL = ("runuser", "-u", "postgres", "--", "psql", "prefect", "--tuples-only", "--command")
TIMERS = ("data-pipelines-backup.timer", "data-pipelines-watchdog.timer")
UNITS = ("data-pipelines-server", "data-pipelines-worker", "nginx", *TIMERS)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), isolated(os.environ))
    stack.up(STORES)
    yield stack
    stack.down()


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("https", "prefect", "health")}


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Debian]:
    machine = Debian(tmp_path_factory.mktemp("debian") / "tree")
    machine.make()
    machine.boot()
    try:
        yield machine
    finally:
        machine.power_off()
        shutil.rmtree(machine.tree)


@pytest.fixture(scope="module")
def installed(debian: Debian, stack: Stack, ports: dict[str, int]) -> Debian:
    """Installed as the docs say, then told where the emulators are."""
    told = debian.run(
        *("/src/deploy/install.sh", "--host", HOST, "--self-signed", "--version", "one"),
        env=[
            f"HTTPS_LISTEN=127.0.0.1:{ports['https']}",
            f"PREFECT_PORT={ports['prefect']}",
            f"HEALTH_PORT={ports['health']}",
        ],
    )
    assert "release one runs" in told
    assert "no block is saved" in told
    env = stack.env()
    account = (stack.directory / "service-account.json").read_text()
    write(debian, f"{ETC}/service-account.json", account)
    settings = {**env, "GCP_SERVICE_ACCOUNT_FILE": f"{ETC}/service-account.json"}
    mine = ("PREFECT_", "SANDBOX_", "XDG_", "PIPELINES_", "HTTP", "http", "NO_", "no_", "REQUESTS_")
    lines = [f"{name}='{value}'\n" for name, value in settings.items() if not name.startswith(mine)]
    write(debian, f"{ETC}/.env", "".join(lines))
    emulators = "".join(
        f"{name}={env[name]}\n" for name in ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
    )
    debian.run("tee", "-a", f"{ETC}/worker.env", stdin=emulators)
    debian.run("systemctl", "restart", "data-pipelines-worker")
    return debian


def write(machine: Debian, path: str, content: str) -> None:
    """A file of the user pipelines, for nobody else."""
    machine.run("install", "-m", "0600", "-o", "pipelines", "-g", "pipelines", "/dev/null", path)
    machine.run("tee", path, stdin=content)


def secrets_of(machine: Debian, stack: Stack) -> list[str]:
    lines = (machine.read(f"{ETC}/server.env") + machine.read(f"{ETC}/worker.env")).splitlines()
    own = [line.split("=", 1)[1] for line in lines if re.search("AUTH_STRING|ENCRYPTION", line)]
    env = stack.env()
    names = ("OPENWEATHER_API_KEY", "MEDIASTACK_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")
    account = json.loads((stack.directory / "service-account.json").read_text())
    return [*own, *(env[name] for name in names), account["private_key"].splitlines()[1]]


def browse(machine: Debian, ports: dict[str, int], path: str, password: str = "") -> httpx.Response:
    """What a browser gets through nginx, whose certificate it checks."""
    import ssl

    trusted = ssl.create_default_context(
        cadata=machine.read("/etc/nginx/data-pipelines/certificate.pem")
    )
    auth = tuple(password.split(":", 1)) if password else None
    with httpx.Client(verify=trusted, trust_env=False, timeout=30, auth=auth) as client:  # type: ignore[arg-type]
        return client.get(
            f"https://127.0.0.1:{ports['https']}{path}",
            headers={"Host": HOST},
            extensions={"sni_hostname": HOST},
        )


def password_of(machine: Debian) -> str:
    text = machine.read(f"{ETC}/worker.env")
    (password,) = re.findall("^PREFECT_API_AUTH_STRING=(.*)$", text, re.MULTILINE)
    return str(password)


def run_now(machine: Debian, deployment: str) -> str:
    return machine.run("pipelines", "prefect", "deployment", "run", deployment, "--watch")


def runs_in(machine: Debian, state: str) -> int:
    """How many runs the Prefect database has in a state."""
    counted = f"SELECT COUNT(*) FROM flow_run WHERE state_type = '{state}'"
    return int(machine.run(*PSQL, counted))


def test_every_unit_runs_and_is_sound(installed: Debian) -> None:
    for unit in UNITS:
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit
        assert installed.run("systemctl", "is-enabled", unit).strip() == "enabled", unit
    started = [timer.replace(".timer", ".service") for timer in TIMERS]
    own = [f"{unit}.service" for unit in UNITS[:2]] + started
    assert installed.run("systemd-analyze", "verify", *own, *TIMERS) == ""
    for unit in own:
        told = installed.run("systemd-analyze", "security", "--no-pager", unit)
        exposure = float(re.findall(r"Overall exposure level .*: ([\d.]+)", told)[0])
        assert exposure < 4, told


def test_secrets_are_readable_by_their_owner_only(installed: Debian, stack: Stack) -> None:
    found = installed.run("find", ETC, "/etc/nginx/data-pipelines", "-type", "f", "-perm", "/077")
    # The one is public, the other is for nginx.
    names = sorted(line.split("/")[-1] for line in found.splitlines())
    assert names == ["certificate.pem", "users"]
    shared = "/etc/nginx/data-pipelines/users"
    assert installed.run("stat", "--format=%a %U %G", shared).strip() == "640 root www-data"
    for user, path in (("prefect", f"{ETC}/.env"), ("pipelines", f"{ETC}/server.env")):
        assert installed.attempt("runuser", "-u", user, "--", "cat", path).returncode != 0
    told = installed.run("journalctl", "--no-pager")
    assert "Started data-pipelines-worker" in told
    for secret in secrets_of(installed, stack):
        assert secret not in told


def test_nginx_serves_the_ui_with_tls_and_the_api_asks_for_the_password(
    installed: Debian, ports: dict[str, int]
) -> None:
    page = browse(installed, ports, "/")
    assert page.status_code in (200, 307)
    assert page.headers["strict-transport-security"]
    assert browse(installed, ports, "/api/health").status_code == 200
    assert browse(installed, ports, "/openapi.json").status_code == 404
    assert browse(installed, ports, "/api/admin/version").status_code == 401
    password = password_of(installed)
    assert browse(installed, ports, "/api/admin/version", password).status_code == 200


def test_blocks_are_saved_tried_and_not_saved_again(installed: Debian, stack: Stack) -> None:
    first = installed.run("pipelines", "python", "-m", "blocks.register")
    assert "saved finance/finance" in first
    second = installed.run("pipelines", "python", "-m", "blocks.register")
    assert set(re.findall("^([a-z]+) ", second, re.M)) == {"unchanged"}
    tried = installed.run("pipelines", "python", "-m", "blocks.register", "--check")
    assert "ok     finance          the sheet" in tried
    assert "FAULT" not in tried
    for secret in secrets_of(installed, stack):
        assert secret not in first + second + tried


def test_a_deployment_runs_from_the_command_line(installed: Debian) -> None:
    assert "Completed" in run_now(installed, "elt/finance")
    started = time.monotonic()
    run_now(installed, "elt/finance")
    print(f"a look with nothing new: {time.monotonic() - started:.1f} s")
    assert "Completed" in run_now(installed, "cleanup/weekly")
    for unit in UNITS[:2]:
        pid = installed.run("systemctl", "show", "--value", "--property=MainPID", unit).strip()
        status = installed.run("cat", f"/proc/{pid}/status")
        print(unit, re.findall("VmRSS:.*", status))


def test_the_catalog_is_served_to_whoever_has_the_password(
    installed: Debian, ports: dict[str, int]
) -> None:
    assert "Completed" in run_now(installed, "data-catalog/hourly")
    assert browse(installed, ports, "/catalog/").status_code == 401
    page = browse(installed, ports, "/catalog/", password_of(installed))
    assert page.status_code == 200
    assert "finance__ledger" in page.text


def test_failed_runs_start_the_watch(installed: Debian) -> None:
    """The automations stand; without a channel the watchdog says that nobody can be told."""
    told = installed.run("pipelines", "python", "-m", "blocks.automations")
    assert re.findall("^(\\w+) pipelines: ", told, re.MULTILINE) == ["unchanged", "unchanged"]
    done = installed.attempt("pipelines", "python", "-m", "deploy.watchdog")
    assert done.returncode == 1
    assert "nobody can be told" in done.stdout + done.stderr


def test_a_stopped_worker_leaves_no_run_behind(installed: Debian) -> None:
    """Its runs end Crashed and their slots are free: the next run does not wait."""
    installed.run("pipelines", "prefect", "deployment", "run", "elt/usgs-earthquake")
    deadline = time.monotonic() + 120
    while not runs_in(installed, "RUNNING"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    installed.run("systemctl", "restart", "data-pipelines-worker")
    assert runs_in(installed, "CRASHED") > 0
    assert runs_in(installed, "RUNNING") == 0
    assert "Completed" in run_now(installed, "elt/usgs-earthquake")


def test_a_database_that_was_lost_comes_back(installed: Debian) -> None:
    installed.run("systemctl", "start", "data-pipelines-backup")
    directory = "/var/backups/data-pipelines"
    dump = sorted(installed.run("ls", directory).split())[-1]
    before = runs_in(installed, "COMPLETED")
    assert before > 0
    installed.run(*PSQL, "DELETE FROM flow_run")
    installed.run(f"{RELEASE}/deploy/restore.sh", f"{directory}/{dump}")
    assert runs_in(installed, "COMPLETED") == before
    bad = installed.attempt(f"{RELEASE}/deploy/restore.sh", "/etc/hostname")
    assert bad.returncode == 1
    assert "the database is as it was" in bad.stdout
    assert "Completed" in run_now(installed, "elt/finance")


@pytest.mark.parametrize("what", ["api", "encryption"])
def test_a_secret_is_rotated_by_one_command(installed: Debian, stack: Stack, what: str) -> None:
    before = secrets_of(installed, stack)
    told = installed.run(f"{RELEASE}/deploy/rotate.sh", what)
    after = secrets_of(installed, stack)
    assert len(set(before) ^ set(after)) == 2
    for secret in {*before, *after}:
        assert secret not in told
    # Blocks are still readable, and clients still welcome.
    assert "Completed" in run_now(installed, "elt/finance")


def test_an_update_switches_and_a_bad_one_goes_back(installed: Debian, tmp_path: Path) -> None:
    tree = tmp_path / "two"
    ignore = shutil.ignore_patterns(".git", ".sandbox*", ".venv*", "__pycache__", "target", "logs")
    shutil.copytree(ROOT, tree, ignore=ignore)
    (installed.tree / "root" / "two").parent.mkdir(exist_ok=True)
    shutil.copytree(tree, installed.tree / "root" / "two")
    told = installed.run(f"{RELEASE}/deploy/update.sh", "/root/two", "two")
    assert "release two runs" in told
    assert installed.run("readlink", RELEASE).strip() == "releases/two"

    bad = tree / "flows" / "elt.py"
    bad.write_text(bad.read_text() + "\nraise RuntimeError('not well')\n")
    shutil.copytree(tree, installed.tree / "root" / "three")
    failed = installed.attempt(f"{RELEASE}/deploy/update.sh", "/root/three", "three")
    assert failed.returncode == 1
    assert "three was not well; two runs again" in failed.stdout
    assert "Completed" in run_now(installed, "elt/finance")

    assert "release one runs" in installed.run(f"{RELEASE}/deploy/rollback.sh")
    assert "Completed" in run_now(installed, "elt/finance")


def test_all_comes_back_after_a_reboot(installed: Debian) -> None:
    installed.power_off()
    installed.boot()
    installed.run("pipelines", "python", "-m", "deploy.verify", "vm", "--seconds", "180")
    assert "Completed" in run_now(installed, "elt/finance")
