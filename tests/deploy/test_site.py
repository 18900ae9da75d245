"""update, rollback, restore and rotation by their scripts, on a site of stand-ins: what is left
when something fails, or is killed, half-way. tests/deploy/debian_12 has them on a machine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.certificates import pair

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
# What a release has of its own. `$SITE/not-well/NAME` makes it one that is not.
ACTIVATE = """#!/bin/bash
set -e
echo "activate $1" >>"$SITE/calls"
ln -sfn "releases/$1" "$SITE/opt/data-pipelines/current"
[ ! -e "$SITE/slow" ] || { rm "$SITE/slow"; sleep 1; echo "a word"; }
[ ! -e "$SITE/not-well/$1" ]
"""
BACKUP = """#!/bin/bash
set -e
[ ! -e "$SITE/no-dump" ]
dump=$SITE/var/backups/data-pipelines/prefect-$(grep -c '^backup' "$SITE/calls" || true).dump
cp "$SITE/database" "$dump"
echo "backup $dump" >>"$SITE/calls"
echo "$dump"
"""
STAND_INS = {
    "id": "echo 0",
    "runuser": 'exec "${@:4}"',
    # The database is a file; dumps are copies.
    "createdb": "true",
    "dropdb": "true",
    "pg_restore": """
if [ "$1" = --list ]; then exec grep -v nothing; fi
cat >"$SITE/restored" && ! grep -q 'cut short' "$SITE/restored"
""",
    "psql": """
case "$*" in *--command=*) [ ! -e "$SITE/no-psql" ]; exit ;; esac
sql=$(cat)
aside=$(printf '%s\\n' "$@" | sed -n 's/^--set=aside=//p')
[ ! -e "$SITE/database" ] || mv "$SITE/database" "$SITE/$aside"
mv "$SITE/restored" "$SITE/database"
""",
    "systemctl": 'case "$*" in *is-active*) exit 0 ;; esac',
    "nginx": "true",
}


class Site:
    """A machine whose paths are under one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts = root / "deploy"
        shutil.copytree(DEPLOY, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))
        for part in (self.scripts / "lib").iterdir():
            part.write_text(re.sub(r"/(opt|etc|var|run)/", rf"{root}/\1/", part.read_text()))
        self.releases = root / "opt/data-pipelines/releases"
        self.etc = root / "etc/data-pipelines"
        self.tls = root / "etc/nginx/data-pipelines"
        for directory in (
            *(self.releases, self.releases.parent / "environments", self.etc, self.tls),
            *(root / "run/lock", root / "var/backups/data-pipelines", root / "not-well"),
            root / "bin",
        ):
            directory.mkdir(parents=True)
        (root / "calls").touch()
        (root / "database").write_text("rows\n")
        for name, script in STAND_INS.items():
            self.put(
                root / "bin" / name, f'#!/bin/bash\necho "{name} $*" >>"$SITE/calls"\n{script}'
            )
        self.etc.joinpath("server.env").write_text("PREFECT_SERVER_ENCRYPTION_KEY=old\n")
        self.etc.joinpath(".env").write_text("GCP_PROJECT=p\n")

    def put(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def release(self, name: str, prefect: str = "3.1", drain: str = "true") -> None:
        """A release that is whole. One that is called new knows the ledger's names of today."""
        directory = self.releases / name
        if name.startswith("new"):
            self.put(directory / "deploy/ledger_names.py", "")
        self.put(directory / "deploy/activate.sh", ACTIVATE)
        self.put(directory / "deploy/backup.sh", BACKUP)
        drains = f'#!/bin/bash\necho "pipelines $*" >>"$SITE/calls"\n{drain}\n'
        self.put(directory / "deploy/pipelines.sh", drains)
        (directory / "requirements.lock").write_text(f"prefect=={prefect} --hash\n")
        (directory / "prefect.yaml").touch()
        (directory / ".complete").touch()
        (directory / ".venv").unlink(missing_ok=True)
        environment = self.releases.parent / "environments" / prefect
        self.put(environment / "bin/python", "#!/bin/sh\n")
        (directory / ".venv").symlink_to(environment)

    def runs(self, name: str) -> None:
        current = self.releases.parent / "current"
        current.unlink(missing_ok=True)
        current.symlink_to(f"releases/{name}")

    @property
    def current(self) -> str:
        return (self.releases.parent / "current").resolve().name

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.root}/bin:/usr/bin:/bin", "SITE": str(self.root)}

    def start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # What the runner ignores, as under nohup, no shell could trap.
            ["env", "--default-signal", self.scripts / script, *arguments],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *arguments: str, fails: bool = False) -> str:
        process = self.start(script, *arguments)
        told, _ = process.communicate(timeout=600)
        assert (process.returncode != 0) == fails, told
        return told

    def update(self, name: str, *, fails: bool = False, prefect: str = "3.1") -> str:
        """update.sh, with a release that has been unpacked."""
        self.release(name, prefect)
        (self.root / "not-well" / name).unlink(missing_ok=True)
        if fails:
            (self.root / "not-well" / name).touch()
        return self.run("update.sh", "/nonexistent", name, fails=fails)

    def calls(self, command: str) -> list[str]:
        """What a stand-in, or a script of a release, was called with."""
        lines = (self.root / "calls").read_text().splitlines()
        return [line.removeprefix(f"{command} ") for line in lines if line.startswith(command)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "site")
    site.release("one")
    site.runs("one")
    return site


def key_of(site: Site) -> str:
    text = site.etc.joinpath("server.env").read_text()
    (key,) = re.findall("^PREFECT_SERVER_ENCRYPTION_KEY=(.*)$", text, re.MULTILINE)
    return str(key)


def test_a_rotation_that_was_interrupted_is_repeated(site: Site) -> None:
    """What ran before runs again, and makes the blocks with the key that is there."""
    (site.root / "no-psql").touch()
    site.run("rotate.sh", "encryption", fails=True)
    assert site.calls("activate") == ["one"]
    assert key_of(site) == "old"
    (site.root / "no-psql").unlink()
    site.run("rotate.sh", "encryption")
    assert site.calls("activate") == ["one", "one"]
    key = key_of(site)
    assert len(key) == 44 and key != "old"
    # The next one has a key of its own.
    site.run("rotate.sh", "encryption")
    assert key_of(site) not in ("old", key)


def test_no_block_is_given_up_that_cannot_be_made_again(site: Site) -> None:
    site.release("one", drain='case "$*" in *blocks.register*) exit 1 ;; esac')
    site.run("rotate.sh", "encryption", fails=True)
    site.etc.joinpath(".env").write_text("GCP_PROJECT=\n")
    site.release("one")
    assert "is not filled in" in site.run("rotate.sh", "encryption", fails=True)
    assert site.calls("psql") == site.calls("activate") == []
    assert key_of(site) == "old"


def test_blocks_are_made_from_the_file_before_they_are_removed(site: Site) -> None:
    site.run("rotate.sh", "encryption")
    calls = (site.root / "calls").read_text()
    steps = ["pipelines python -m blocks.register", "stop data-pipelines-worker"]
    steps += ["stop data-pipelines-server", "DELETE FROM block_document", "activate one"]
    assert all(step in calls for step in steps)
    assert sorted(steps, key=calls.index) == steps


def test_releases_that_were_not_well_push_out_none_that_was(site: Site) -> None:
    site.update("two")
    site.update("bad", fails=True)
    site.update("worse", fails=True)
    (site.releases / "cut-short").mkdir()
    site.update("three")
    assert {one.name for one in site.releases.iterdir()} == {"one", "two", "three"}
    for name in ("four", "five"):
        site.update(name)
    assert {one.name for one in site.releases.iterdir()} == {"three", "four", "five"}
    # One that is gone back to is not the newest, nor is the one that it came from.
    site.run("rollback.sh", "three")
    site.update("bad", fails=True)
    assert site.current == "three"
    assert "release five runs" in site.run("rollback.sh")


def test_one_that_was_not_well_is_kept_once_it_is(site: Site) -> None:
    site.update("two", fails=True)
    assert (site.releases / "two" / ".failed").exists()
    site.update("two")
    assert not (site.releases / "two" / ".failed").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("update.sh", "/nonexistent", "two"),
        ("rollback.sh", "two"),
        ("rotate.sh", "api"),
        ("rotate.sh", "encryption"),
        ("restore.sh", "dump"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_killed_after_the_drain_leaves_a_release_that_runs(
    site: Site, command: tuple[str, ...], signum: int
) -> None:
    """Also where nobody reads any more what it says, as after a lost connection."""
    drain = 'case "$*" in *deploy.drain*) touch "$SITE/drained"; sleep 1 ;; esac'
    site.release("one", drain=drain)
    site.release("two")
    (site.root / "dump").write_text("rows\n")
    script, *arguments = (word.replace("dump", f"{site.root}/dump") for word in command)
    process = site.start(script, *arguments)
    until((site.root / "drained").exists)
    process.send_signal(signum)
    assert process.stdout
    process.stdout.close()
    assert process.wait(30) == 1
    assert site.calls("activate") == ["one"]


def test_an_update_whose_words_nobody_reads_is_done_all_the_same(site: Site) -> None:
    site.release("two")
    (site.root / "slow").touch()
    process = site.start("update.sh", "/nonexistent", "two")
    until(lambda: site.calls("activate"))
    assert process.stdout
    process.stdout.close()
    assert process.wait(30) == 1
    assert site.calls("activate") == ["two", "two"]
    assert not (site.releases / "two" / ".failed").exists()


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 600
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_update_that_cannot_dump_the_database_changes_nothing(site: Site) -> None:
    (site.root / "no-dump").touch()
    site.release("two", prefect="3.2")
    told = site.run("update.sh", "/nonexistent", "two", fails=True)
    assert "half-way: release one is started again" in told
    assert site.calls("activate") == ["one"]


def test_a_release_that_is_not_well_is_tried_once(site: Site) -> None:
    (site.root / "not-well" / "one").touch()
    site.update("two", fails=True)
    assert site.calls("activate") == ["two", "one"]
    site.run("rotate.sh", "api", fails=True)
    assert site.calls("activate") == ["two", "one", "one"]


def test_prefects_database_goes_back_and_forward_with_its_version(site: Site) -> None:
    """A dump is what stood, so nothing that Prefect recorded is gone."""
    database = site.root / "database"
    site.update("two", prefect="3.2")
    database.write_text("rows of 3.2\n")
    assert "release one runs" in site.run("rollback.sh")
    assert database.read_text() == "rows\n"
    database.write_text("rows of 3.1\n")
    assert "release two runs" in site.run("rollback.sh")
    assert database.read_text() == "rows of 3.2\n"
    (site.root / "not-well" / "one").touch()
    assert "two runs again" in site.run("rollback.sh", fails=True)
    assert database.read_text() == "rows of 3.2\n"


BACK = "python -m deploy.ledger_names --back"


def test_a_release_of_before_finds_the_names_that_it_knows_in_the_ledger(site: Site) -> None:
    """The release that is left changes them, whose worker is stopped, before the other one runs."""
    named = site.releases.parent / ".ledger-named"
    site.update("new")
    named.touch()
    site.update("newer")
    site.run("rollback.sh")
    assert BACK not in site.calls("pipelines") and named.exists()
    site.run("rollback.sh", "one")
    assert not named.exists()
    calls = (site.root / "calls").read_text().splitlines()
    back, stop = calls.index(f"pipelines {BACK}"), "systemctl stop data-pipelines-worker"
    assert stop in calls[:back] and calls[back + 1 :].index("activate one") >= 0
    assert site.calls("activate")[-2:] == ["new", "one"]
    # And so does one that was not well.
    site.update("newer", fails=True)
    assert site.calls("pipelines")[-1] == BACK
    assert site.current == "one"


def test_a_ledger_that_cannot_be_renamed_keeps_the_release_that_knows_it(site: Site) -> None:
    named = site.releases.parent / ".ledger-named"
    site.release("new", drain='[[ "$*" != *--back ]]')
    site.run("update.sh", "/nonexistent", "new")
    named.touch()
    told = site.run("rollback.sh", fails=True)
    assert "does not know the ledger's names" in told
    assert (site.current, site.calls("activate")) == ("new", ["new", "new"])
    # What was renamed before it failed is named again.
    assert site.calls("pipelines")[-2:] == [BACK, BACK.removesuffix(" --back")]
    assert named.exists()


@pytest.mark.parametrize("stands", [True, False])
def test_a_database_that_cannot_be_dumped_is_restored_and_kept(site: Site, stands: bool) -> None:
    database = site.root / "database"
    database.write_text("broken\n")
    if not stands:  # as after one that was killed while it changed them
        database.unlink()
    (site.root / "no-dump").touch()
    dump = site.root / "dump"
    dump.write_text("rows\n")
    told = site.run("restore.sh", str(dump))
    assert f"restored from {dump}" in told
    assert database.read_text() == "rows\n"
    kept = [site.root / name for name in re.findall(r"prefect_\d{8}t\d{6}z", told)]
    assert [one.exists() for one in kept] == [stands]
    assert site.calls("activate") == ["one"]


def test_a_dump_that_cannot_be_loaded_leaves_the_database_alone(site: Site) -> None:
    dump = site.root / "dump"
    dump.write_text("cut short\n")
    told = site.run("restore.sh", str(dump), fails=True)
    assert "the database is as it was" in told
    assert (site.root / "database").read_text() == "rows\n"
    assert site.calls("activate") == ["one"]


def test_a_certificate_is_rotated_without_a_release(site: Site) -> None:
    good, other = pair(site.root, "good"), pair(site.root, "other")
    assert "nginx serves a certificate that is valid until " in site.run(
        "rotate.sh", "certificate", *good
    )
    served = site.tls / "certificate.pem"
    assert served.read_text() == Path(good[0]).read_text()
    assert (served.stat().st_mode & 0o777, (site.tls / "key.pem").stat().st_mode & 0o777) == (
        0o644,
        0o600,
    )
    assert site.calls("systemctl") == ["reload nginx"]

    expired = pair(site.root, "expired", days=-1)
    text = site.root / "text"
    text.write_text("none\n")
    chain = site.root / "chain"
    chain.write_text(f"{Path(good[0]).read_text()}-----BEGIN CERTIFICATE-----\nnone\n")
    for bad, why in {
        (other[0], good[1]): "is not the key of",
        expired: "has expired",
        (str(text), str(text)): "is not a certificate",
        (str(chain), good[1]): "cannot be read whole",
        (other[0],): "usage: rotate.sh certificate",
    }.items():
        assert why in site.run("rotate.sh", "certificate", *bad, fails=True)
    assert served.read_text() == Path(good[0]).read_text()
    assert site.calls("systemctl") == ["reload nginx"]
    site.etc.joinpath("server.env").write_text("DATA_PIPELINES_HOST=platform.test\n")
    site.run("rotate.sh", "certificate", "--self-signed")
    assert served.read_text() != Path(good[0]).read_text()
    assert site.calls("systemctl") == ["reload nginx"] * 2
    assert site.calls("activate") == []


def test_what_is_known_of_a_release_is_not_copied_with_it(site: Site) -> None:
    """As where one that is installed is installed again under another name."""
    site.update("two", prefect="3.2")
    (site.releases / "two" / ".failed").touch()
    script = f"""
        . {site.scripts}/lib/releases.sh
        make_environment() {{ mkdir -p $1/.venv/bin; ln -s /bin/true $1/.venv/bin/python; }}
        rm {site.releases}/two/.complete
        make_release {site.releases}/two three
    """
    subprocess.run(["bash", "-ec", script], env=site.env, check=True, capture_output=True)
    marks = {one.name for one in (site.releases / "three").glob(".*")}
    assert marks == {".complete", ".env", ".venv"}
