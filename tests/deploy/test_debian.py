"""docs/operations.md on a Debian of its own, booted with systemd: `make test-deploy`.

Its commands are run as they stand there, in one order: install, check, deploy, run, watch, stop in
the middle of a run, backfill, undo and replay, back up and restore, rotate, update, an update that
fails, roll back, reboot; at the end none is left that was not run. Google and the sources are the
emulators and stand-ins of the sandbox, outside of the machine. What was measured is printed (`-s`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.apply import declared
from sandbox.parts import choose_ports, isolated
from sandbox.stack import Stack
from testing.debian import ROOT, Debian, impossible, missing, wheels
from testing.page import OLDER_ARCHIVE, Page
from testing.platform import Lab
from testing.sinks import Sinks, open_sinks
from tests.conftest import STORES

pytestmark = [
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
PSQL = ("runuser", "-u", "postgres", "--", "psql", "prefect", "--tuples-only", "--no-align")
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
UPDATE = "sudo deploy/update.sh ARCHIVE-OR-DIRECTORY VERSION"
USGS, FINANCE, WATCH = "elt/usgs-earthquake", "elt/finance", "watch/alerts"
# Google Cloud is not here; what the script would do is read in tests/deploy/test_scripts.py. What a
# Debian without Python 3.11 needs is run in tests/deploy/test_debian_13.py.
NOT_HERE = {"deploy/gcloud.sh", OLDER_ARCHIVE}
# The last commit before this step: what is installed is updated from it, and may go back to it.
BEFORE = "61fc5d9"


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def sinks() -> Iterator[Sinks]:
    with open_sinks() as sinks:
        yield sinks


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(("https", "prefect", "health"), choose_ports({}, ()).values(), strict=False))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


def copy_of_code(directory: Path) -> Path:
    """What a checkout has, so that nobody's work beside it changes what is installed."""
    ignore = shutil.ignore_patterns(".git", ".sandbox*", ".venv*", "__pycache__", "target", "logs")
    shutil.copytree(ROOT, directory, ignore=ignore)
    return directory


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    if why := impossible():
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("debian")
    machine = Debian(directory / "tree", copy_of_code(directory / "src"))
    try:
        machine.make()
        machine.boot()
        yield machine
    finally:
        machine.remove()


@pytest.fixture(scope="module")
def installed(
    debian: Debian, stack: Stack, sinks: Sinks, ports: dict[str, int], page: Page
) -> Debian:
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


def measured(what: str, seconds: float) -> None:
    """A line of what the machine was seen to do, beside what else it had to do."""
    print(f"\nmeasured: {what}: {seconds:.1f} s (load {os.getloadavg()[0]:.1f})", flush=True)


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
    trusted = ssl.create_default_context(cadata=machine.read(f"{TLS}/certificate.pem"))
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


def is_well(machine: Debian, deployment: str = FINANCE) -> None:
    """A run goes all the way: API, password, blocks, worker, warehouse."""
    assert "Completed" in run_now(machine, deployment)


def ask(machine: Debian, sql: str) -> str:
    """What the Prefect database says."""
    return machine.run(*PSQL, "--command", sql).strip()


def runs_in(machine: Debian, state: str) -> int:
    """How many runs the Prefect database has in a state."""
    return int(ask(machine, f"SELECT COUNT(*) FROM flow_run WHERE state_type = '{state}'"))


def memory_of(machine: Debian, unit: str) -> float:
    """Megabytes of a unit's processes, of what they share a part each."""
    script = (
        f"for p in $(grep -l /{unit}.service /proc/[0-9]*/cgroup 2>/dev/null); do"
        # One may end in between.
        " cat ${p%cgroup}smaps_rollup; done 2>/dev/null"
        " | awk '/^Pss:/ {sum += $2} END {print sum + 0}'"
    )
    return int(machine.run("sh", "-c", script)) / 1024


def postgresql_unit(machine: Debian) -> str:
    return f"postgresql@{machine.postgresql.replace('/', '-')}"


def until(what: str, look: Callable[[], object]) -> float:
    """The seconds until `look` found it."""
    began = time.monotonic()
    while not look():
        assert time.monotonic() - began < WITHIN_SECONDS, f"not within {WITHIN_SECONDS} s: {what}"
        time.sleep(0.2)
    return time.monotonic() - began


def test_every_unit_runs_and_is_sound(installed: Debian) -> None:
    for unit in UNITS:
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit
        assert installed.run("systemctl", "is-enabled", unit).strip() == "enabled", unit
    own = [f"{unit}.service" for unit in UNITS[:2]]
    own += [timer.replace(".timer", ".service") for timer in TIMERS]
    own_and_debians = (*own, "nginx.service", f"{postgresql_unit(installed)}.service")
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


def test_what_google_would_be_told_is_printed(installed: Debian, page: Page) -> None:
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


def test_secrets_are_readable_by_their_owner_only(installed: Debian, stack: Stack) -> None:
    found = installed.run("find", ETC, TLS, "-type", "f", "-perm", "/077")
    # The one is public, the other is for nginx.
    names = sorted(line.split("/")[-1] for line in found.splitlines())
    assert names == ["certificate.pem", "users"]
    assert installed.run("stat", "--format=%a %U %G", f"{TLS}/users").strip() == "640 root www-data"
    for user, path in (("prefect", f"{ETC}/.env"), ("pipelines", f"{ETC}/server.env")):
        assert installed.attempt("runuser", "-u", user, "--", "cat", path).returncode != 0
    told = installed.run("journalctl", "--no-pager")
    assert f"Started {WORKER}" in told
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


def test_blocks_are_saved_tried_and_not_saved_again(
    installed: Debian, stack: Stack, page: Page
) -> None:
    first = page.follow(installed, f"{PIPELINES} python -m blocks.register")
    assert "saved finance/finance" in first
    second = page.follow(installed, f"{PIPELINES} python -m blocks.register")
    assert set(re.findall("^([a-z]+) ", second, re.M)) == {"unchanged"}
    tried = page.follow(installed, f"{PIPELINES} python -m blocks.register --check")
    assert "ok     finance          the sheet" in tried
    assert "FAULT" not in tried
    for secret in secrets_of(installed, stack):
        assert secret not in first + second + tried


def test_three_first_runs_at_once_fit_into_what_the_units_may_take(installed: Debian) -> None:
    """Each loads a source, builds its marts and makes the pages."""
    for source in ("finance", "nyc-fhv", "usgs-earthquake"):
        installed.run("pipelines", "prefect", "deployment", "run", f"elt/{source}")
    units = (SERVER, WORKER, postgresql_unit(installed), "nginx")
    peaks = dict.fromkeys(units, 0.0)
    most = 0
    count = "SELECT COUNT(*) FROM flow_run WHERE name LIKE 'elt %' AND state_type = "

    def are_over() -> bool:
        nonlocal most
        for unit in units:
            peaks[unit] = max(peaks[unit], memory_of(installed, unit))
        most = max(most, int(ask(installed, f"{count} 'RUNNING'")))
        return ask(installed, f"{count} 'COMPLETED'") == "3"

    until("three runs are Completed", are_over)
    assert most == 3, "they did not run at once"
    for unit, peak in peaks.items():
        limit = int(installed.run("systemctl", "show", "--value", "--property=MemoryMax", unit))
        allowed = limit / 2**20
        print(f"\nmeasured: most memory of {unit}: {peak:.0f} of {allowed:.0f} MB", end="")
        assert 1 < peak < allowed


def test_every_deployment_runs_from_the_command_line(installed: Debian, page: Page) -> None:
    assert "Completed" in page.follow(
        installed, f"{PIPELINES} prefect deployment run {USGS} --watch"
    )
    names = [one.name for one in declared() if one.name != USGS]
    assert len(names) > 9
    for name in names:
        is_well(installed, name)


def test_a_look_with_nothing_new_is_short(installed: Debian) -> None:
    began = time.monotonic()
    told = run_now(installed, FINANCE)
    measured("the command, a look with nothing new", time.monotonic() - began)
    (id_,) = re.findall(r"UUID: (\S+)", told)
    parts = ask(
        installed,
        "SELECT EXTRACT(EPOCH FROM end_time - created), EXTRACT(EPOCH FROM end_time - start_time) "
        f"FROM flow_run WHERE id = '{id_}' AND state_type = 'COMPLETED'",
    )
    whole, run = map(float, parts.split("|"))
    measured("from its creation to Completed", whole)
    measured("of which Running", run)


def test_what_the_services_take_when_idle(installed: Debian, ports: dict[str, int]) -> None:
    """Memory as proportional shares, and the time until each answers again."""
    busy = "SELECT COUNT(*) FROM flow_run WHERE state_type IN ('PENDING', 'RUNNING')"

    def is_idle() -> bool:
        return ask(installed, busy) == "0"

    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        until("no run is at work", is_idle)
        time.sleep(5)  # a process ends a moment after its run
        units = (SERVER, WORKER, postgresql_unit(installed), "nginx")
        megabytes = {unit: memory_of(installed, unit) for unit in units}
        if is_idle():
            break
        assert time.monotonic() < deadline
    for unit, taken in megabytes.items():
        print(f"\nmeasured: idle memory of {unit}: {taken:.0f} MB", end="")
        assert 1 < taken < 900
    for unit, url in (
        (SERVER, f"http://127.0.0.1:{ports['prefect']}/api/health"),
        (WORKER, f"http://127.0.0.1:{ports['health']}/health"),
    ):
        installed.run("systemctl", "stop", unit)
        began = time.monotonic()
        installed.run("systemctl", "start", unit)
        installed.run(f"{RELEASE}/deploy/answers.sh", url, "600")
        measured(f"start of {unit} until it answers", time.monotonic() - began)


def test_applying_again_changes_nothing(installed: Debian, page: Page) -> None:
    def standing() -> str:
        return ask(
            installed,
            # The worker writes `status` and `last_polled`.
            "SELECT to_jsonb(d) - 'updated' - 'last_polled' - 'status' FROM deployment d"
            " ORDER BY id;"
            "SELECT to_jsonb(s) - 'updated' FROM deployment_schedule s ORDER BY id;"
            "SELECT to_jsonb(a) - 'updated' FROM automation a ORDER BY id",
        )

    before = standing()
    assert "hourly" in before
    told = page.follow(installed, f"{PIPELINES} python -m deploy.apply")
    assert f"deployed {FINANCE}" in told
    assert "removed" not in told
    told = installed.run("pipelines", "python", "-m", "blocks.automations")
    assert re.findall("^(\\w+) pipelines: ", told, re.MULTILINE) == ["unchanged", "unchanged"]
    assert standing() == before


def test_the_catalog_is_served_to_whoever_has_the_password(
    installed: Debian, ports: dict[str, int]
) -> None:
    is_well(installed, "data-catalog/hourly")
    assert browse(installed, ports, "/catalog/").status_code == 401
    assert browse(installed, ports, "/catalog/", "admin:wrong").status_code == 401
    page = browse(installed, ports, "/catalog/", password_of(installed))
    assert page.status_code == 200
    assert "finance__ledger" in page.text
    # What a page cannot say of itself. The rest of its policy is in it.
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert 'http-equiv="Content-Security-Policy"' in page.text


def test_the_dashboards_are_served_to_whoever_has_the_password(
    installed: Debian, ports: dict[str, int]
) -> None:
    is_well(installed, "elt/usgs-earthquake")
    assert browse(installed, ports, "/dashboards/").status_code == 401
    secret = password_of(installed)
    page = browse(installed, ports, "/dashboards/earthquakes.html", secret)
    assert page.status_code == 200
    assert "recent_earthquakes" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src")
    assert page.headers["cache-control"] == "no-cache"
    (script,) = re.findall(r'src="(vega-[0-9a-f]+\.js)"', page.text)
    kept = browse(installed, ports, f"/dashboards/{script}", secret)
    assert "max-age=315360000" in kept.headers["cache-control"]
    outside = browse(
        installed, ports, "/dashboards/..%2f..%2fsnapshots/private/current/manifest.json", secret
    )
    assert "sha256" not in outside.text
    served = "/var/www/data-pipelines/serving"
    modes = installed.run(
        "stat", "-c", "%a %G", f"{served}/pages/private", f"{served}/pages/public"
    )
    assert modes.split("\n")[:2] == ["2750 www-data", "755 pipelines"]
    # Somebody else on the machine reads neither.
    listed = installed.run(
        "sh", "-c", f"runuser -u nobody -- ls {served}/snapshots/private || true"
    )
    assert "parquet" not in listed


def test_a_failed_run_and_a_stopped_worker_are_told(
    installed: Debian, stack: Stack, sinks: Sinks
) -> None:
    """The one by an automation, the other by the timer, whose journal says so."""
    lab = Lab("demo", stack.env(), "usgs_earthquake", raw_dataset="raw")

    def arrivals(title: str) -> int:
        return sum(title in one.subject for one in sinks.slack)

    def arrives(title: str) -> float:
        """The seconds until one more has come."""
        count = arrivals(title)
        return until(title, lambda: arrivals(title) > count)

    lab.control("faults", [{"kind": "status", "status": 403, "times": 50}])
    try:
        command = ("pipelines", "prefect", "deployment", "run", USGS, "--watch")
        assert installed.attempt(*command).returncode == 1
    finally:
        lab.control("faults", [])
    measured("a failed run is told", until("it is", lambda: arrivals(f"{USGS} failed")))
    told = next(one.text for one in sinks.slack if f"{USGS} failed" in one.subject)
    assert re.search(rf"\nrun: https://{re.escape(HOST)}(:\d+)?/runs/flow-run/\S{{36}}\n", told)
    is_well(installed, USGS)

    title = "the worker does not answer"
    installed.run("systemctl", "stop", WORKER)
    measured("a stopped worker is told", arrives(title))

    def journal() -> str:
        return installed.run("journalctl", "--no-pager", "--unit=data-pipelines-watchdog")

    until("the journal", lambda: f"sent to slack: [pipelines] {title}" in journal())
    installed.run("systemctl", "start", WORKER)
    measured("that it works again is told", arrives(title))
    told = journal()
    for secret in secrets_of(installed, stack):
        assert secret not in told + sinks.everything()


def test_a_stopped_worker_leaves_no_run_behind(installed: Debian) -> None:
    """Its runs end Crashed and their slots are free: the next run does not wait."""
    told = installed.run("pipelines", "prefect", "deployment", "run", USGS)
    (id_,) = re.findall(r"UUID: (\S+)", told)

    def state() -> str:
        return ask(installed, f"SELECT state_type FROM flow_run WHERE id = '{id_}'")

    until("it runs", lambda: state() == "RUNNING")
    began = time.monotonic()
    installed.run("systemctl", "stop", WORKER)
    measured("a worker with a run stops", time.monotonic() - began)
    installed.run("systemctl", "start", WORKER)
    assert state() == "CRASHED"
    is_well(installed, USGS)


def test_days_are_loaded_again_and_a_held_list_is_allowed(
    installed: Debian, stack: Stack, page: Page
) -> None:
    run = f"{PIPELINES} prefect deployment run"
    told = page.follow(installed, f"{run} {USGS} -p start=2026-01-01 -p end=2026-01-31 --watch")
    assert "Completed" in told
    lab = Lab("demo", stack.env(), "usgs_earthquake", raw_dataset="raw")
    backfills = [line for line in lab.ledger() if line["mode"] == "backfill"]
    assert [f"{line['window_start']:%Y-%m-%d}" for line in backfills] == ["2026-01-01"]
    told = page.follow(installed, f"{run} elt/nyc-fhv -p allow_deletions=true --watch")
    assert "Completed" in told


def test_a_batch_is_told_of_undone_and_replayed(
    installed: Debian, stack: Stack, page: Page
) -> None:
    command = f"{PIPELINES} python -m repair finance"
    lab = Lab("demo", stack.env(), "finance", raw_dataset="raw")
    key, row = next(iter(lab.rows().items()))
    told = page.follow(installed, f"{command} --who KEY", {"KEY": key[0]})
    batch = row["_batch_id"]
    assert batch in told
    rows = len(lab.rows())
    assert rows > 0
    told = page.follow(installed, f"{command} --undo BATCH --dry-run", {"BATCH": batch})
    assert "nothing was undone: a dry run" in told
    assert len(lab.rows()) == rows
    page.follow(installed, f"{command} --undo BATCH", {"BATCH": batch})
    assert len(lab.rows()) < rows
    page.follow(installed, f"{command} --replay BATCH", {"BATCH": batch})
    assert len(lab.rows()) == rows
    is_well(installed)
    lab.assert_equals_truth()


@pytest.fixture(scope="module")
def kept(installed: Debian, page: Page) -> tuple[str, str]:
    """A dump, and the server.env of its time, as kept in a safe place."""
    is_well(installed)
    page.follow(installed, "sudo systemctl start data-pipelines-backup")
    dumps = page.follow(installed, f"sudo ls {BACKUPS}").split()
    return sorted(dumps)[-1], installed.read(f"{ETC}/server.env")


@pytest.mark.parametrize("what", ["api", "encryption"])
def test_a_secret_is_rotated_by_one_command(
    installed: Debian, stack: Stack, page: Page, kept: tuple[str, str], what: str
) -> None:
    before = secrets_of(installed, stack)
    began = time.monotonic()
    told = page.follow(installed, f"{SCRIPTS}/rotate.sh {what}")
    measured(f"rotation of {what}", time.monotonic() - began)
    after = secrets_of(installed, stack)
    assert len(set(before) ^ set(after)) == 2
    for secret in {*before, *after}:
        assert secret not in told
    # Blocks are still readable, and clients still welcome.
    is_well(installed)


def test_a_database_that_was_lost_comes_back_with_the_keys_of_its_time(
    installed: Debian, page: Page, kept: tuple[str, str]
) -> None:
    """As on a new machine, whose password and key are others: those that were rotated meanwhile."""
    dump, server_env = kept
    restore = f"{SCRIPTS}/restore.sh {BACKUPS}/prefect-....dump"
    before = runs_in(installed, "COMPLETED")
    bad = installed.attempt(
        *page.command(restore, {f"{BACKUPS}/prefect-....dump": "/etc/hostname"})
    )
    assert bad.returncode == 1
    assert "nothing was changed" in bad.stdout
    installed.run("sh", "-c", f"head -c -5000 {BACKUPS}/{dump} >{BACKUPS}/prefect-0.dump")
    bad = installed.attempt(*page.command(restore, {"prefect-....dump": "prefect-0.dump"}))
    assert bad.returncode == 1
    assert "the database is as it was" in bad.stdout
    assert runs_in(installed, "COMPLETED") >= before > 0

    ask(installed, "DELETE FROM flow_run")
    installed.run("tee", f"{ETC}/server.env", stdin=server_env)
    began = time.monotonic()
    page.follow(installed, restore, {"prefect-....dump": dump})
    measured("restore", time.monotonic() - began)
    assert runs_in(installed, "COMPLETED") > 0
    assert f"PREFECT_SERVER_API_AUTH_STRING={password_of(installed)}\n" in server_env
    is_well(installed)


def test_a_key_of_others_is_rotated_by_one_command(installed: Debian, page: Page) -> None:
    new = "sandbox-aws-secret-access-key-2"
    line = f"s/^AWS_SECRET_ACCESS_KEY=.*/AWS_SECRET_ACCESS_KEY='{new}'/"
    installed.run("sed", "-i", line, f"{ETC}/.env")
    told = page.follow(installed, f"{SCRIPTS}/rotate.sh blocks")
    assert "saved aws-credentials/aws" in told
    assert "unchanged finance/finance" in told
    assert new not in told
    is_well(installed, "elt/nyc-fhv")


def stands(machine: Debian) -> set[str]:
    """What the watchdog finds, by its unit."""
    mark = machine.run("journalctl", "--show-cursor", "--lines=0").split("-- cursor: ")[1].strip()
    machine.run("systemctl", "start", "data-pipelines-watchdog")
    told = machine.run(
        *("journalctl", "--no-pager", "--output=cat", f"--after-cursor={mark}"),
        "--unit=data-pipelines-watchdog",
    )
    return set(re.findall("^stands: (.*)$", told, re.MULTILINE))


def test_a_certificate_is_rotated_before_it_ends(
    installed: Debian, ports: dict[str, int], page: Page
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


def browse_health(machine: Debian, ports: dict[str, int]) -> bool:
    try:
        return browse(machine, ports, "/api/health").status_code == 200
    except httpx.ConnectError:
        return False


def test_a_backup_that_is_not_made_is_told_until_one_is(installed: Debian) -> None:
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


def test_a_command_by_hand_may_write_what_flow_runs_may(installed: Debian) -> None:
    installed.run("pipelines", "touch", "/var/www/data-pipelines/catalog/by-hand")
    assert installed.attempt("pipelines", "touch", f"{RELEASE}/by-hand").returncode != 0


@pytest.mark.parametrize("name", ["HUP", "TERM"])
def test_what_is_killed_half_way_leaves_all_running(installed: Debian, name: str) -> None:
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
    is_well(installed)


def test_a_database_that_cannot_be_dumped_is_restored(
    installed: Debian, kept: tuple[str, str]
) -> None:
    """By a dump of now, as its key is that of now; a second time with no database there at all."""
    command = (f"{RELEASE}/deploy/restore.sh",)
    dump = installed.run("runuser", "-u", "postgres", "--", f"{RELEASE}/deploy/backup.sh").strip()
    ask(installed, "ALTER TABLE flow_run RENAME TO broken")
    told = installed.run(*command, dump)
    (name,) = re.findall(r"prefect_\d{8}t\d{6}z", told)
    assert runs_in(installed, "COMPLETED") > 0
    databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"
    assert ask(installed, databases) == f"postgres prefect {name} template0 template1"

    installed.run("systemctl", "stop", SERVER, WORKER)
    installed.run("runuser", "-u", "postgres", "--", "dropdb", name)
    installed.run("runuser", "-u", "postgres", "--", "dropdb", "--force", "prefect")
    installed.run(*command, dump)
    assert ask(installed, databases) == "postgres prefect template0 template1"
    is_well(installed)


def test_installing_again_changes_nothing(installed: Debian, page: Page) -> None:
    kept = (f"{ETC}/server.env", f"{ETC}/worker.env", f"{TLS}/certificate.pem", f"{TLS}/key.pem")
    before = [sorted(installed.read(path).splitlines()) for path in kept]
    assert "is installed already" in page.follow(installed, INSTALL, SELF_SIGNED)
    assert [sorted(installed.read(path).splitlines()) for path in kept] == before
    is_well(installed)


def test_a_push_goes_on_when_the_connection_is_lost(installed: Debian, tmp_path: Path) -> None:
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
    is_well(installed)


def test_an_update_switches_and_a_bad_one_goes_back(
    installed: Debian, page: Page, tmp_path: Path
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
    is_well(installed)

    assert f"release {one} runs" in page.follow(installed, f"{SCRIPTS}/rollback.sh")
    is_well(installed)
    told = page.follow(installed, f"{SCRIPTS}/rollback.sh VERSION", {"VERSION": "two"})
    assert "release two runs" in told
    assert {"two (runs)", one} <= set(page.follow(installed, listing).splitlines())


def test_the_release_before_this_step_is_updated_from_and_gone_back_to(
    installed: Debian, page: Page
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
    ask(
        installed,
        "UPDATE deployment_schedule SET active = false;"
        "DELETE FROM flow_run WHERE auto_scheduled AND state_type = 'SCHEDULED'",
    )
    # By its own scripts, as it would have been installed.
    told = installed.run("/root/before/deploy/update.sh", "/root/before", "before")
    assert "release before runs" in told
    is_well(installed, WATCH)

    fill = {"ARCHIVE-OR-DIRECTORY": "/src", "VERSION": "after"}
    assert "release after runs" in page.follow(installed, UPDATE, fill)
    is_well(installed, USGS)
    is_well(installed)

    assert "release before runs" in page.follow(installed, f"{SCRIPTS}/rollback.sh")
    is_well(installed, WATCH)
    # By way of the newest, so that none later goes back to that which is older than this step.
    installed.run(f"{RELEASE}/deploy/rollback.sh", "after")
    told = page.follow(installed, f"{SCRIPTS}/rollback.sh VERSION", {"VERSION": "two"})
    assert "release two runs" in told
    ask(installed, "UPDATE deployment_schedule SET active = true")
    is_well(installed)


def test_with_prefect_its_database_goes_back_and_forward(installed: Debian) -> None:
    """Two releases of one Prefect, of which one says that it is another's."""
    rollback = f"{RELEASE}/deploy/rollback.sh"
    dump = installed.run("runuser", "-u", "postgres", "--", f"{RELEASE}/deploy/backup.sh")
    installed.run("tee", f"{RELEASE}/.database-before", stdin=dump)
    lock = f"{RELEASE}/requirements.lock"
    installed.run("sed", "-i", "s/^prefect==[^ ]*/prefect==9.9.9/", lock)
    before = runs_in(installed, "COMPLETED")
    is_well(installed)
    after = runs_in(installed, "COMPLETED")
    assert after > before
    assert "Prefect changes from 9.9.9 to 3" in installed.run(rollback)
    assert before <= runs_in(installed, "COMPLETED") < after
    is_well(installed)
    assert "release two runs" in installed.run(rollback)
    assert runs_in(installed, "COMPLETED") >= after
    is_well(installed)


def test_all_comes_back_after_a_reboot(installed: Debian) -> None:
    installed.power_off()
    installed.boot()
    installed.run("pipelines", "python", "-m", "deploy.verify", "vm", "--seconds", "180")
    is_well(installed)
    for unit in UNITS:
        assert installed.run("systemctl", "is-active", unit).strip() == "active", unit


def test_every_command_of_the_page_was_run(installed: Debian, page: Page) -> None:
    assert page.commands - page.followed == NOT_HERE
