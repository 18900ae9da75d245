"""What scripts, units and workflows say: shellcheck, GitHub's schema, settings that Prefect reads,
limits that fit. tests/deploy/test_debian.py runs them on a machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), ROOT / "install.sh", ROOT / ".ci" / "run"])
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
VM_MEGABYTES = 4096 - 600  # less what kernel, Debian and Google's agents take
PARTS = ("server", "worker")
SECRETS = re.compile("AUTH_STRING|ENCRYPTION_KEY|PASSWORD|SECRET|ACCESS_KEY|API_KEY|TOKEN")


def tool(name: str, *arguments: object, stdin: str | None = None) -> None:
    done = subprocess.run(
        [str(BIN / name), *map(str, arguments)],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_nothing() -> None:
    assert len(SCRIPTS) > 10
    tool("shellcheck", "--external-sources", *SCRIPTS)


def test_scripts_can_be_run_and_stop_at_the_first_error() -> None:
    for script in SCRIPTS:
        if script.name == "lib.sh":
            continue
        assert os.access(script, os.X_OK), script
        assert re.search(r"^set -eu", script.read_text(), flags=re.MULTILINE), script


def test_workflows_are_as_github_wants_them() -> None:
    assert len(WORKFLOWS) == 2
    tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


def test_what_workflows_run_is_sound_and_no_input_of_others_is_pasted_into_it() -> None:
    shells = [
        step["run"]
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert shells
    for shell in shells:
        assert "${{" not in shell
        tool("shellcheck", "--shell=bash", "-", stdin=shell)
        assert (ROOT / shlex.split(shell)[0]).is_file(), shell


def test_the_deployment_has_no_key_and_only_what_it_needs() -> None:
    text = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    assert "secrets." not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read", "id-token": "write"}


def lines_of(file: Path) -> dict[str, str]:
    pairs = [line.split("=", 1) for line in file.read_text().splitlines() if "=" in line]
    return {name: value for name, value in pairs if not name.startswith("#")}


@pytest.mark.parametrize("name", ["server.env", "worker.env"])
def test_settings_are_read_by_prefect_and_none_is_secret(name: str, tmp_path: Path) -> None:
    given = lines_of(DEPLOY / "env" / name)
    assert given
    assert not [each for each in given if SECRETS.search(each)]
    environ = {**given, "PREFECT_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    code = (
        "from prefect.settings import get_current_settings as now; import json;"
        "print(json.dumps(now().to_environment_variables(exclude_unset=True)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    known = {each.removeprefix("PREFECT_UI").removeprefix("PREFECT_SERVER_UI") for each in taken}
    for each in given:
        if each.startswith("PREFECT_"):
            assert each.removeprefix("PREFECT_SERVER_UI") in known | taken.keys(), each


def units() -> dict[str, dict[str, str]]:
    return {path.name: lines_of(path) for path in (DEPLOY / "systemd").iterdir()}


def test_memory_limits_fit_the_machine() -> None:
    limits = {
        name: int(unit["MemoryMax"].removesuffix("M"))
        for name, unit in units().items()
        if "MemoryMax" in unit
    }
    assert {"data-pipelines-server.service", "data-pipelines-worker.service"} < limits.keys()
    assert len(limits) == 6
    assert sum(limits.values()) <= VM_MEGABYTES


def test_the_worker_reaps_before_it_starts_and_ends_its_runs_before_itself() -> None:
    unit = units()["data-pipelines-worker.service"]
    assert unit["ExecStartPre"].endswith("-m deploy.reap vm --force")
    assert unit["ExecStop"].endswith("stop_worker.sh $MAINPID")
    assert unit["OOMPolicy"] == "continue"


def dry_run(**variables: str) -> list[list[str]]:
    given = {"GCP_PROJECT": "p", "GCS_BUCKET": "p-landing", **variables}
    done = subprocess.run(
        [DEPLOY / "gcloud.sh", "--dry-run"],
        # Nothing may be asked: there is no gcloud on this path.
        env={"PATH": "/usr/bin:/bin", **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line, comments=True) for line in done.stdout.splitlines()]
    return [line for line in lines if line]


STAND_IN = """#!/bin/bash
printf '%q ' "${0##*/}" "$@" >>"$CALLS"
echo >>"$CALLS"
case "$*" in
*add-iam-policy-binding* | *GRANT*)
    refused=$(cat "$CALLS.refused" 2>/dev/null || echo 0)
    if ((refused < ${REFUSALS:-0})); then
        echo $((refused + 1)) >"$CALLS.refused"
        echo "ERROR $refused: Service account does not exist." >&2
        exit 1
    fi
    ;;
*"projects describe"*) echo 42 ;;
*"disks describe"*) ((MISSING)) || echo data-pipelines-daily ;;
*"instances describe"*machineType*) echo e2-medium ;;
*describe* | *show*) exit "$MISSING" ;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for stand-ins of commands that are not here."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def put(path: Path, name: str, text: str) -> None:
    (path / name).write_text(text)
    (path / name).chmod(0o755)


def told_to_google(
    path: Path, missing: int, *, fails: bool = False, **variables: str
) -> tuple[list[str], str]:
    """What gcloud and bq are called with, when all that is looked for is missing, or there; and
    what is printed, as an error where it fails."""
    calls = path.parent / f"calls-{missing}"
    calls.unlink(missing_ok=True)
    for name in ("gcloud", "bq"):
        put(path, name, STAND_IN)
    put(path, "sleep", '#!/bin/bash\necho "sleep $1" >>"$CALLS"\n')
    done = subprocess.run(
        [DEPLOY / "gcloud.sh"],
        env={
            "GCP_PROJECT": "p",
            "GCS_BUCKET": "p-landing",
            "GITHUB_REPOSITORY": "me/it",
            "PATH": f"{path}:/usr/bin:/bin",
            "CALLS": str(calls),
            "MISSING": str(missing),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return calls.read_text().splitlines(), done.stderr if fails else done.stdout


def test_what_the_dry_run_prints_is_what_is_done(path: Path) -> None:
    def same(lines: list[str]) -> list[str]:
        return [re.sub(r"--lifecycle-file=\S+", "", line).strip() for line in lines]

    told, _ = told_to_google(path, 1)
    done = [line for line in told if not re.search(" describe | show ", line)]
    printed = [shlex.join(command) for command in dry_run(GITHUB_REPOSITORY="me/it")]
    commands = [line for line in printed if line.startswith(("gcloud ", "bq "))]
    assert len(commands) > 30
    expected = [line.replace("PROJECT_NUMBER", "42") for line in commands]
    assert same([shlex.join(shlex.split(line)) for line in done]) == same(expected)


def test_what_stands_in_google_cloud_is_not_made_again(path: Path) -> None:
    told, _ = told_to_google(path, 0)
    words = [set(shlex.split(line)) for line in told]
    assert len(words) > 30
    made = {"create", "create-oidc", "snapshot-schedule", "mk", "add-resource-policies"}
    assert not [each & made for each in words if each & made]


def test_an_account_that_was_just_made_is_waited_for(path: Path) -> None:
    at_once, _ = told_to_google(path, 1)
    told, _ = told_to_google(path, 1, REFUSALS="3")
    waits = ["sleep 2", "sleep 4", "sleep 8"]
    assert [line for line in told if line.startswith("sleep")] == waits
    assert len(told) == len(at_once) + 2 * len(waits)
    (path.parent / "calls-1.refused").unlink()
    told, error = told_to_google(path, 1, fails=True, REFUSALS="99")
    waited = sum(int(line.split()[1]) for line in told if line.startswith("sleep"))
    assert 120 <= waited <= 130
    assert error.splitlines()[-1] == "ERROR 6: Service account does not exist."


def test_another_repository_becomes_the_one_that_deploys(path: Path) -> None:
    told, _ = told_to_google(path, 0, GITHUB_REPOSITORY="me/other")
    (update,) = [shlex.split(line) for line in told if "update-oidc" in line]
    assert "'me/other'" in options(update)["attribute-condition"]


def test_what_was_changed_by_hand_is_set_right_and_a_machine_is_not_stopped(path: Path) -> None:
    told, printed = told_to_google(path, 0)
    rules = [line for line in told if "firewall-rules update" in line]
    assert ["--allow=tcp:443" in line for line in rules] == [True, False]
    assert "set-machine-type" not in printed
    told, printed = told_to_google(path, 0, GCP_MACHINE_TYPE="e2-standard-2")
    assert "set-machine-type data-pipelines --zone=us-central1-a --machine-type=e2-st" in printed
    assert not [line for line in told if re.search("set-machine-type|instances stop", line)]


PUSHED = "/var/log/data-pipelines-update.log"
GCLOUD = """#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
*" scp "*) cp "${@: -2:1}" "$(cut -d: -f2 <<<"${@: -1}")" ;;
*) exec bash -c "$(sed 's/^--command=//' <<<"${@: -1}")" ;;
esac
"""
UPDATE = """#!/bin/bash
set -e
echo "begins"
sleep "$SLEEP"
echo "the end" && tar --list --file="$1" | grep -x prefect.yaml && echo "$@" >"$CALLS.update"
exit "$CODE"
"""


@dataclass
class Push:
    """A commit of a repository of its own, whose VM is this machine, and gcloud's two commands are
    cp and bash. systemd runs what it is given in a session of its own."""

    directory: Path
    commit: str
    bin: Path

    def start(self, code: int = 0, seconds: float = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.directory / "deploy" / "push.sh", self.commit],
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "CALLS": f"{self.directory}/calls",
                "CODE": str(code),
                "SLEEP": str(seconds),
                **dict.fromkeys(("GCP_PROJECT", "GCP_ZONE", "GCP_VM"), "x"),
            },
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def there(self) -> list[Path]:
        place = f"/tmp/data-pipelines-{self.commit}"  # noqa: S108  # where push.sh puts it
        return [Path(place), Path(f"{place}.tar")]


@pytest.fixture
def push(path: Path) -> Push:
    repository = path.parent / "repository"
    (repository / "deploy").mkdir(parents=True)
    script = (DEPLOY / "push.sh").read_text()
    assert PUSHED in script
    put(repository / "deploy", "push.sh", script.replace(PUSHED, f"{repository}/log"))
    put(repository / "deploy", "update.sh", UPDATE)
    (repository / "prefect.yaml").touch()
    put(path, "gcloud", GCLOUD)
    put(path, "sudo", '#!/bin/bash\nexec "$@"\n')
    detached = 'while [[ $1 == --* ]]; do shift; done\nexec setsid --wait "$@"\n'
    put(path, "systemd-run", f"#!/bin/bash\n{detached}")
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    return Push(repository, commit, path)


@pytest.mark.parametrize("code", [0, 1])
def test_a_push_hands_the_commit_to_its_own_update(push: Push, code: int) -> None:
    process = push.start(code)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == code, told
    there, archive = push.there
    assert (push.directory / "calls.update").read_text() == f"{archive} {push.commit}\n"
    assert told == "begins\nthe end\nprefect.yaml\n" == (push.directory / "log").read_text()
    assert not there.exists() and not archive.exists()
    # A key is made wherever there is none: those of others would fill the account's profile.
    calls = (push.directory / "calls").read_text().splitlines()
    sent = [line for line in calls if " scp " in line or " ssh " in line]
    assert len(sent) == 2
    assert all(" --ssh-key-expire-after=1h " in line for line in sent)


def test_an_update_goes_on_when_the_connection_is_lost(push: Push) -> None:
    process = push.start(seconds=2)
    assert process.stdout
    assert process.stdout.readline() == "begins\n"
    process.stdout.close()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    deadline = time.monotonic() + 30
    while any(one.exists() for one in push.there):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (push.directory / "calls.update").exists()
    assert (push.directory / "log").read_text() == "begins\nthe end\nprefect.yaml\n"


def test_a_deployment_has_time_to_go_back() -> None:
    """Whatever may take its time on the machine: a new environment, then two releases' starts."""
    library = (DEPLOY / "lib.sh").read_text()
    (drain,) = re.findall(r"DRAIN_SECONDS:-(\d+)", library)
    (verify,) = re.findall(
        r"deploy.verify vm --seconds (\d+)", (DEPLOY / "activate.sh").read_text()
    )
    starts = [int(units()[f"data-pipelines-{one}.service"]["TimeoutStartSec"]) for one in PARTS]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    minutes = workflow["jobs"]["deploy"]["timeout-minutes"]
    assert minutes * 60 > 600 + int(drain) + 2 * (sum(starts) + int(verify))


def options(command: list[str]) -> dict[str, str]:
    pairs = [word[2:].partition("=") for word in command if word.startswith("--")]
    return {name: value for name, _, value in pairs}


def test_the_dry_run_opens_443_only_and_ssh_for_googles_proxy() -> None:
    rules = {
        options(command)["allow"]: options(command)["source-ranges"]
        for command in dry_run()
        if "firewall-rules" in command
    }
    assert rules == {"tcp:443": "0.0.0.0/0", "tcp:22": "35.235.240.0/20"}


def test_the_dry_run_gives_the_least_roles_and_no_key() -> None:
    commands = dry_run(GITHUB_REPOSITORY="me/data-pipelines")
    roles: dict[str, set[str]] = {}
    for command in commands:
        assert "keys" not in command
        given: dict[str, Any] = options(command)
        if "role" in given and "serviceAccount:" in given["member"]:
            roles.setdefault(given["member"].split(":")[1].split("@")[0], set()).add(given["role"])
    assert roles == {
        "pipelines": {
            "roles/storage.objectAdmin",
            "roles/storage.legacyBucketReader",
            "roles/bigquery.jobUser",
            "roles/logging.logWriter",
            "roles/monitoring.metricWriter",
        },
        "pipelines-deploy": {
            "roles/compute.osAdminLogin",
            "roles/iap.tunnelResourceAccessor",
            "roles/compute.viewer",
            "roles/iam.serviceAccountUser",
        },
    }
    granted = [command[-1] for command in commands if "GRANT" in command[-1]]
    assert len(granted) == 5
    assert all("`roles/bigquery.dataEditor` ON SCHEMA" in grant for grant in granted)
    condition = next(options(one) for one in commands if "create-oidc" in one)
    assert "refs/heads/main" in condition["attribute-condition"]


def test_landing_is_kept_for_at_least_90_days_and_staging_expires() -> None:
    text = (DEPLOY / "gcloud.sh").read_text()
    rules = re.findall(r'^\{"rule": .*$', text, flags=re.MULTILINE)
    assert len(rules) == 1
    assert all(rule["condition"]["age"] >= 90 for rule in json.loads(rules[0])["rule"])
    made = {command[-1]: options(command) for command in dry_run() if command[0] == "bq"}
    assert made["p:raw_staging"]["default_table_expiration"] == "259200"
    assert "default_table_expiration" not in made["p:raw"]


def test_the_image_holds_the_code_and_does_not_run_as_root() -> None:
    lines = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    copied = {
        word for line in lines if line[:1] == ["COPY"] for word in line[1:-1] if "--" not in word
    }
    ignored = (ROOT / ".dockerignore").read_text()
    for name in copied:
        if not name.startswith("/"):
            assert (ROOT / name).exists()
            assert f"!{name}\n" in ignored
    assert {"blocks", "core", "dbt", "flows", "sources", "tasks", "requirements.lock"} <= copied
    installs = [line for line in lines if "install" in line]
    assert [line[-4:] for line in installs] == [
        ["--no-deps", "--require-hashes", "-r", "requirements.lock"]
    ]
    users = [line[1] for line in lines if line[:1] == ["USER"]]
    assert users == ["pipelines"]
