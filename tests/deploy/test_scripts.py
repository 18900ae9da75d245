"""What scripts, units and workflows say: shellcheck, GitHub's schema, settings that Prefect reads,
limits that fit. tests/deploy/debian_12 runs them on a machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sources import SOURCES
from testing.rooms import PRODUCT

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), ROOT / "install.sh", ROOT / ".ci" / "run"])
LIBRARY = sorted((DEPLOY / "lib").glob("*.sh"))
SCRIPT = DEPLOY / "gcloud.sh"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
# Of 4,096 MB: kernel, Debian and Google's agents take 600, a command by hand or serving the rest.
UNITS_MEGABYTES = 2600
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
    assert len(LIBRARY) > 5
    tool("shellcheck", "--external-sources", *SCRIPTS, *LIBRARY)


def test_scripts_can_be_run_and_stop_at_the_first_error() -> None:
    for script in SCRIPTS:
        assert os.access(script, os.X_OK), script
        assert re.search(r"^set -eu", script.read_text(), flags=re.MULTILINE), script


def test_no_script_or_unit_names_a_version_of_postgresql() -> None:
    files = [
        path for path in DEPLOY.rglob("*") if path.suffix in (".sh", ".conf", ".service", ".py")
    ]
    assert len(files) > 20
    for path in files:
        assert not re.search(r"\b\d\d[/-]main|postgresql[@/]\d", path.read_text()), path


def python_of(directory: Path, name: str, version: str, *, pip: bool = True) -> Path:
    """A stand-in that says that it is this version; only 3.11 is asked for more."""
    lines = ["import glob, sys", f"sys.version_info = ({version.replace('.', ', ')}, 0)"]
    lines += [] if pip else ["sys.modules['ensurepip'] = None", "glob.glob = lambda _: []"]
    script = directory / name
    code = "; ".join([*lines, "exec(sys.argv[1])"])
    script.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "{code}" "$2"\n')
    script.chmod(0o755)
    return script


def installs(
    path: Path, script: str, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """A script of the project where there are few commands but those in `path`."""
    for name in ("sh", "cat", "env", "id"):
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(f"/bin/{name}" if name != "env" else "/usr/bin/env")
    return subprocess.run(
        [ROOT / script, *arguments],
        cwd=ROOT,
        env={"PATH": str(path), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_machines_python_is_found_by_its_version(path: Path) -> None:
    find = "deploy/find_python.sh"
    newer, other = python_of(path, "python3", "3.13"), python_of(path, "mine", "3.11")
    refused = installs(path, find)
    assert refused.returncode == 1
    assert "(python3.11: not there; python3: 3.13)" in refused.stderr
    assert "apt-get install python3.11 python3-pip-whl" in refused.stderr
    assert "PYTHON=/path/to/python3.11" in refused.stderr
    assert installs(path, find, str(other)).stdout == f"{other}\n"
    assert f"({newer}: 3.13)" in installs(path, find, str(newer)).stderr
    whole = python_of(path, "python3", "3.11")
    assert installs(path, find).stdout == f"{whole}\n"
    python_of(path, "python3.11", "3.11", pip=False)
    assert installs(path, find).stdout == f"{whole}\n"
    whole.unlink()
    assert "python3.11: 3.11 without a pip" in installs(path, find).stderr


def test_a_checkout_without_python_3_11_says_what_to_install(path: Path, tmp_path: Path) -> None:
    python_of(path, "python3", "3.13")
    done = installs(path, "install.sh", "", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.11 with a pip is needed and was not found")
    assert not (tmp_path / "venv").exists()


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


def test_actions_of_others_are_pinned_to_a_commit_and_say_its_version() -> None:
    used = [
        line.partition("uses: ")[2]
        for workflow in WORKFLOWS
        for line in workflow.read_text().splitlines()
        if "uses: " in line
    ]
    assert len(used) == 5
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_the_deployment_has_no_key_and_only_what_it_needs() -> None:
    text = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    assert "secrets." not in text
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    # As the federation's condition has it.
    assert workflow["jobs"]["deploy"]["environment"] == "production"


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
    assert sum(limits.values()) <= UNITS_MEGABYTES


def test_the_worker_reaps_before_it_starts_and_ends_its_runs_before_itself() -> None:
    unit = units()["data-pipelines-worker.service"]
    assert unit["ExecStartPre"].endswith("-m deploy.reap vm --force")
    assert unit["ExecStop"].endswith("stop_worker.sh $MAINPID")
    assert unit["OOMPolicy"] == "continue"


def test_no_service_is_refused_because_it_was_started_often() -> None:
    """By itself systemd refuses the sixth start within ten seconds, also one by a person."""
    services = {name: unit for name, unit in units().items() if name.endswith(".service")}
    assert len(services) == 4
    for name, unit in services.items():
        assert unit["StartLimitIntervalSec"] == "0", name


def run_dry(**variables: str) -> subprocess.CompletedProcess[str]:
    """Nothing may be asked: there is no gcloud on this path."""
    given = {"GCP_PROJECT": "p", "GCS_BUCKET": "p-landing", **variables}
    return subprocess.run(
        [SCRIPT, "--dry-run"],
        env={"PATH": "/usr/bin:/bin", **given},
        capture_output=True,
        text=True,
        check=False,
    )


def dry_run(**variables: str) -> list[list[str]]:
    done = run_dry(**variables)
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line, comments=True) for line in done.stdout.splitlines()]
    return [line for line in lines if line]


STAND_IN = """#!/bin/bash
# In one write: gcloud and curl in a pipe write at the same time.
printf '%s\\n' "$(printf '%q ' "${0##*/}" "$@")" >>"$CALLS"
[ "${0##*/}" != curl ] || cat >/dev/null # its configuration
case "$*" in
*add-iam-policy-binding* | *GRANT*)
    refused=$(cat "$CALLS.refused" 2>/dev/null || echo 0)
    if ((refused < ${REFUSALS:-0})); then
        echo $((refused + 1)) >"$CALLS.refused"
        echo "ERROR $refused: Service account does not exist." >&2
        exit 1
    fi
    exit
    ;;
esac
for answer in "$ANSWERS"/*; do
    [ -e "$answer" ] || break
    read -r look <"$answer"
    [[ "${0##*/} $*" =~ $look ]] || continue
    tail -n +2 "$answer"
    exit
done
case "$*" in
*"projects describe"*projectNumber*) echo 42 ;;
*"instances describe"*"value(id)"*) echo 4711 ;;
*print-access-token*) echo s3cret-token ;;
*:getIamPolicy) echo '{"etag": "BwX="}' ;;
*:setIamPolicy) ;;
*"buckets describe"*)
    [ -n "$BUCKET" ] || exit "$MISSING"
    [ "$BUCKET" = ours ] && echo '{"labels": {"managed_by": "data-pipelines"}}' || echo '{}'
    ;;
*"storage ls"*) [ "$BUCKET" = empty ] || echo gs://p-landing/theirs.csv ;;
*" show "* | *" ls "*:*)
    last=${*: -1}
    [[ " $FOREIGN " == *" ${last##*:} "* ]] || exit "$MISSING"
    case "$*" in *"${THINGS:--json ls --max}"*) echo '[{"id": "theirs"}]' ;; *) echo '[]' ;; esac
    ;;
*describe* | *show*) exit "$MISSING" ;;
esac
"""
RUNNER = "pipelines@p.iam.gserviceaccount.com"
DEPLOYER = "pipelines-deploy@p.iam.gserviceaccount.com"
SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/spreadsheets.readonly",
)
APIS = (
    *("bigquery", "bigquerystorage", "billingbudgets", "cloudbilling", "cloudresourcemanager"),
    *("compute", "iam", "iamcredentials", "iap", "oslogin", "serviceusage", "sheets", "storage"),
    "sts",
)
CLAIMS = ("environment", "ref", "repository_id", "repository_owner_id")
TRUSTED = (
    "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/github/"
    "attribute.repository_id/123"
)
CONDITION = (
    "assertion.repository_id == '123' && assertion.repository_owner_id == '456' && "
    "assertion.ref == 'refs/heads/main' && assertion.environment == 'production'"
)
FEDERATED = {
    "GITHUB_REPOSITORY": "me/it",
    "GITHUB_REPOSITORY_ID": "123",
    "GITHUB_OWNER_ID": "456",
}


def bound(account: str, *roles: str) -> str:
    """How a policy is printed that gives a service account these roles, and somebody else one."""
    lines = [f"serviceAccount:{account}\t{role}\t\n" for role in roles]
    return "".join([*lines, "user:owner@example.org\troles/owner\t\n"])


def as_it_should_be() -> dict[str, str]:
    """What Google answers in a project that the command has set up: a look's form, the answer.

    The forms of gcloud's answers are those of its formatter (`gcloud meta list-from-json` gives
    them), names of JSON in order.
    """
    rules = [
        {
            "action": {"type": "Delete"},
            "condition": {"age": age, "matchesPrefix": [f"p.raw/{name}/" for name in names]},
        }
        for age, names in (
            (365, list(SOURCES)),
            (730, ["_logs"]),
            (90, ["_backup"]),
        )
    ]
    bucket = {
        "labels": {"managed_by": "data-pipelines"},
        "lifecycle_config": {"rule": rules},
        "location": "US-CENTRAL1",
        "public_access_prevention": "enforced",
        "soft_delete_policy": {"retentionDurationSeconds": "604800"},
        "uniform_bucket_level_access": True,
    }
    dataset = {
        "access": [{"role": "WRITER", "userByEmail": RUNNER}],
        "labels": {"managed_by": "data-pipelines"},
        "location": "US",
    }
    datasets = [
        {"datasetReference": {"datasetId": name, "projectId": "p"}}
        for name in ("raw", "raw_staging", "staging", "silver", "gold")
    ]
    tunnel = {
        "bindings": [
            {
                "role": "roles/iap.tunnelResourceAccessor",
                "members": [f"serviceAccount:{DEPLOYER}"],
            }
        ]
    }
    return {
        "services list": "\n".join(f"{api}.googleapis.com" for api in APIS),
        "storage buckets describe": json.dumps(bucket, sort_keys=True, indent=2),
        "storage buckets get-iam-policy": bound(
            RUNNER, "roles/storage.legacyBucketReader", "roles/storage.objectUser"
        ),
        "^bq .* show ": json.dumps(dataset),
        "^bq .* ls --max_results=1000": json.dumps(datasets),
        "projects get-iam-policy": bound(RUNNER, "roles/bigquery.jobUser")
        + bound(DEPLOYER, "roles/compute.viewer"),
        f"service-accounts get-iam-policy {DEPLOYER}": f"{TRUSTED}\troles/iam."
        "workloadIdentityUser\t\n",
        f"service-accounts get-iam-policy {RUNNER}": bound(
            DEPLOYER, "roles/iam.serviceAccountUser"
        ),
        "compute instances get-iam-policy": bound(DEPLOYER, "roles/compute.osAdminLogin"),
        "alpha services quota list": "102400",
        "billing projects describe": "0X0X0X-0X0X0X-0X0X0X",
        "billing budgets list": "0d4f\t40\tUSD",
        "rules describe data-pipelines-https": f"tcp\t443\t\t0.0.0.0/0\t{RUNNER}\tFalse",
        "rules describe data-pipelines-iap": f"tcp\t22\t\t35.235.240.0/20\t{RUNNER}\tFalse",
        "instances describe .*machineType": f"e2-medium\t{RUNNER}\t{','.join(SCOPES)}",
        "disks describe": "data-pipelines-daily",
        "providers describe": CONDITION
        + "\t"
        + "".join(f"attribute.{claim}=assertion.{claim};" for claim in CLAIMS)
        + "google.subject=assertion.sub",
        "^curl .*getIamPolicy": json.dumps(tunnel),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for stand-ins of commands that are not here."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def put(path: Path, name: str, text: str) -> None:
    (path / name).write_text(text)
    (path / name).chmod(0o755)


def told_to_google(
    path: Path,
    missing: int,
    *arguments: str,
    fails: bool = False,
    answers: dict[str, str] | None = None,
    **variables: str,
) -> tuple[list[str], str]:
    """What gcloud, bq and curl are called with, when all that is looked for is missing, or there;
    and what is printed, as an error where it fails. `answers` come before those."""
    calls = path.parent / f"calls-{missing}"
    calls.unlink(missing_ok=True)
    written = path.parent / "answers"
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir()
    given = answers if answers is not None else {} if missing else as_it_should_be()
    for number, (look, answer) in enumerate(given.items()):
        (written / f"{number:03}").write_text(f"{look}\n{answer}\n" if answer else f"{look}\n")
    for name in ("gcloud", "bq", "curl"):
        put(path, name, STAND_IN)
    put(path, "sleep", '#!/bin/bash\necho "sleep $1" >>"$CALLS"\n')
    done = subprocess.run(
        [SCRIPT, *arguments],
        env={
            "GCP_PROJECT": "p",
            "GCS_BUCKET": "p-landing",
            **FEDERATED,
            "PATH": f"{path}:/usr/bin:/bin",
            "CALLS": str(calls),
            "ANSWERS": str(written),
            "MISSING": str(missing),
            "BUCKET": "" if missing else "ours",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr
    assert "s3cret-token" not in calls.read_text() + done.stdout + done.stderr
    return calls.read_text().splitlines(), done.stderr if fails else done.stdout


LOOKS = r" (describe|show|ls|list|get-iam-policy) |:getIamPolicy|print-access-token"


def test_what_the_dry_run_prints_is_what_is_done(path: Path) -> None:
    def same(lines: list[str]) -> list[str]:
        return [re.sub(r"--lifecycle-file=\S+", "", line).strip() for line in lines]

    told, _ = told_to_google(path, 1, answers={"billing projects describe": "0X0X0X-0X0X0X-0X0X0X"})
    done = [line for line in told if not re.search(LOOKS, line)]
    (tunnel,) = [shlex.split(line) for line in done if line.startswith("curl ")]
    done = [line for line in done if not line.startswith("curl ")]
    printed = [shlex.join(command) for command in dry_run(**FEDERATED)]
    commands = [line for line in printed if line.startswith(("gcloud ", "bq "))]
    assert len(commands) > 30
    expected = [
        line.replace("PROJECT_NUMBER", "42").replace("BILLING_ACCOUNT", "0X0X0X-0X0X0X-0X0X0X")
        for line in commands
    ]
    assert same([shlex.join(shlex.split(line)) for line in done]) == same(expected)
    # gcloud has no command for this one: the policy of the VM's tunnel, with its etag.
    assert tunnel[-1] == (
        "https://iap.googleapis.com/v1/projects/42/iap_tunnel/zones/us-central1-a/instances/4711"
        ":setIamPolicy"
    )
    assert json.loads(tunnel[tunnel.index("--data") + 1]) == {
        "policy": {
            "bindings": [
                {
                    "role": "roles/iap.tunnelResourceAccessor",
                    "members": [f"serviceAccount:{DEPLOYER}"],
                }
            ],
            "etag": "BwX=",
        }
    }


def test_a_second_run_changes_nothing_and_finds_no_difference(path: Path) -> None:
    told, printed = told_to_google(path, 0)
    assert len(told) > 40
    assert [line for line in told if not re.search(LOOKS, line)] == []
    assert "DIFFERS" not in printed


def differing(path: Path, found: dict[str, str], **variables: Any) -> tuple[list[str], str]:
    """What is changed, and what is printed as different, when looks find something else."""
    answers = as_it_should_be()
    assert found.keys() <= answers.keys()
    told, printed = told_to_google(path, 0, answers={**answers, **found}, **variables)
    changed = [line.replace("\\", "") for line in told if not re.search(LOOKS, line)]
    return changed, printed


def test_what_differs_is_set_right(path: Path) -> None:
    label = {"managed_by": "data-pipelines"}
    cases = {
        "services list": ("bigquery.googleapis.com", "services enable bigquerystorage"),
        "storage buckets describe": (
            json.dumps({"labels": label, "location": "US"}),
            "buckets update gs://p-landing .*--lifecycle-file",
        ),
        "storage buckets get-iam-policy": (
            bound(RUNNER, "roles/storage.legacyBucketReader"),
            "--role=roles/storage.objectUser",
        ),
        "^bq .* show ": (json.dumps({"labels": label, "location": "US"}), "GRANT .* ON SCHEMA"),
        "alpha services quota list": ("", "quota update .*--value=102400 --force"),
        "billing budgets list": ("", "billing budgets create .*--budget-amount=40USD"),
        "rules describe data-pipelines-https": ("", "firewall-rules create data-pipelines-https"),
        "rules describe data-pipelines-iap": (
            f"tcp\t22\t\t0.0.0.0/0\t{RUNNER}\tFalse",
            "rules update data-pipelines-iap --allow=tcp:22 --source-ranges=35.235.240.0/20",
        ),
        "disks describe": ("", "disks add-resource-policies"),
        "providers describe": ("assertion.repository == 'me/it'\tx", "providers update-oidc"),
        "^curl .*getIamPolicy": ('{"etag": "x"}', "^curl .*setIamPolicy"),
    }
    changed, printed = differing(path, {look: answer for look, (answer, _) in cases.items()})
    assert "DIFFERS" not in printed
    for _, told in cases.values():
        assert [line for line in changed if re.search(told, line)], told
    expected = "|".join(told for _, told in cases.values())
    assert [line for line in changed if not re.search(expected, line)] == []


def test_what_only_a_person_can_decide_is_printed(path: Path) -> None:
    label, writer = {"managed_by": "data-pipelines"}, {"role": "WRITER", "userByEmail": RUNNER}
    cases = {
        "projects get-iam-policy": (
            bound(RUNNER, "roles/bigquery.jobUser", "roles/logging.logWriter")
            + bound(DEPLOYER, "roles/compute.viewer", "roles/iap.tunnelResourceAccessor")
            + f"serviceAccount:{DEPLOYER}\troles/run.admin\trequest.time < x\n",
            f"--member=serviceAccount:{DEPLOYER} --role=roles/iap.tunnelResourceAccessor "
            "--condition=None",
        ),
        f"service-accounts get-iam-policy {DEPLOYER}": (
            f"principalSet://x/attribute.repository/me/it\troles/iam.workloadIdentityUser\t\n"
            f"{TRUSTED}\troles/iam.workloadIdentityUser\t\n",
            "attribute.repository/me/it --role=roles/iam.workloadIdentityUser --all",
        ),
        "alpha services quota list": ("2048", "may bill 2048 MiB a day, not 100 GiB"),
        "billing budgets list": ("0d4f\t9\tUSD", "billing budgets update 0d4f"),
        "instances describe .*machineType": (f"e2-small\tx@y\t{SCOPES[0]}", "set-machine-type"),
        "^bq .* show ": (
            json.dumps({"access": [writer], "labels": label, "location": "EU"}),
            "dataset p:raw is not in US, and a dataset cannot move",
        ),
        "^curl .*getIamPolicy": (
            '{"bindings": [{"role": "roles/iap.tunnelResourceAccessor", "members": ["user:x@y"]}]}',
            "give it IAP-secured Tunnel User on data-pipelines",
        ),
    }
    changed, printed = differing(path, {look: answer for look, (answer, _) in cases.items()})
    assert changed == []
    for _, told in cases.values():
        assert told in printed.partition("# DIFFERS: ")[2]
    assert "set-service-account data-pipelines" in printed
    assert (
        "projects remove-iam-policy-binding p "
        f"--member=serviceAccount:{RUNNER} --role=roles/logging.logWriter --condition=None"
    ) in printed
    assert "roles/run.admin" not in printed
    # Two roles, account and type of the VM, and five datasets.
    assert printed.count("# DIFFERS: ") == len(cases) + 1 + 1 + 4
    changed, printed = differing(path, {"billing projects describe": ""})
    assert changed == []
    assert "gcloud --project=p billing budgets create" in printed.partition("# DIFFERS: ")[2]


def test_a_limit_of_queries_is_not_laid_on_the_datasets_of_others(path: Path) -> None:
    answers = as_it_should_be() | {"alpha services quota list": ""}
    theirs = {"datasetReference": {"datasetId": "theirs", "projectId": "p"}}
    answers["^bq .* ls --max_results=1000"] = json.dumps([theirs])
    told, printed = told_to_google(path, 0, answers=answers)
    assert [line for line in told if not re.search(LOOKS, line)] == []
    assert "it would bind the datasets of others as well ( theirs )" in printed
    assert "quota update" in printed
    told, printed = told_to_google(path, 0, answers=answers, GCP_DAILY_QUERY_GIB="none")
    assert "DIFFERS" not in printed


def test_a_new_bucket_is_where_storage_is_free_and_a_bucket_that_exists_stays(path: Path) -> None:
    def place(**variables: str) -> str:
        (made,) = [one for one in dry_run(**variables) if "buckets" in one and "create" in one]
        return options(made)["location"]

    assert place() == "us-central1"
    assert place(BIGQUERY_LOCATION="us-east1") == "us-east1"
    assert place(BIGQUERY_LOCATION="EU") == "europe-west4"
    assert place(GCS_LOCATION="us-west1") == "us-west1"
    look = "storage buckets describe"
    elsewhere = as_it_should_be()[look].replace("US-CENTRAL1", "US")
    changed, printed = differing(path, {look: elsewhere})
    assert (changed, "DIFFERS" in printed) == ([], False)
    changed, printed = differing(path, {look: elsewhere}, GCS_LOCATION="us-central1")
    assert changed == []
    assert "bucket gs://p-landing is not in us-central1, and a bucket cannot move" in printed


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
    told, _ = told_to_google(path, 0, GITHUB_REPOSITORY="me/other", GITHUB_REPOSITORY_ID="789")
    (update,) = [shlex.split(line) for line in told if "update-oidc" in line]
    assert "assertion.repository_id == '789'" in options(update)["attribute-condition"]


def test_a_repository_is_trusted_by_its_numbers_only(path: Path) -> None:
    for number in ("GITHUB_REPOSITORY_ID", "GITHUB_OWNER_ID"):
        for wrong in ("", "me/it", "12' || true || '"):
            done = run_dry(**FEDERATED | {number: wrong})
            assert done.returncode == 2
            assert "gh api repos/me/it --jq '.id, .owner.id'" in done.stderr
            assert done.stdout == ""


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
    told, _ = process.communicate(timeout=600)
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
    process.wait(600)
    deadline = time.monotonic() + 600
    while any(one.exists() for one in push.there):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (push.directory / "calls.update").exists()
    assert (push.directory / "log").read_text() == "begins\nthe end\nprefect.yaml\n"


def test_a_deployment_has_time_to_go_back() -> None:
    """Whatever may take its time on the machine: a new environment, then two releases' starts."""
    (drain,) = re.findall(r"DRAIN_SECONDS:-(\d+)", (DEPLOY / "lib" / "switch.sh").read_text())
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


def roles_given(commands: list[list[str]]) -> dict[str, set[str]]:
    """The roles that a dry run gives to each service account, datasets' included."""
    roles: dict[str, set[str]] = {}
    for command in commands:
        given: dict[str, Any] = options(command)
        if "role" in given and "serviceAccount:" in given["member"]:
            roles.setdefault(given["member"].split(":")[1].split("@")[0], set()).add(given["role"])
        if granted := re.match(
            r"GRANT `(\S+)` ON SCHEMA .* TO 'serviceAccount:(\w+)@", command[-1]
        ):
            roles.setdefault(granted[2], set()).add(granted[1])
    return roles


def test_the_dry_run_gives_the_least_roles_and_no_key() -> None:
    commands = dry_run(**FEDERATED)
    assert not [command for command in commands if "keys" in command]
    assert roles_given(commands) == {
        "pipelines": {
            "roles/storage.objectUser",
            "roles/storage.legacyBucketReader",
            "roles/bigquery.jobUser",
            "roles/bigquery.dataEditor",
        },
        "pipelines-deploy": {
            "roles/compute.osAdminLogin",
            "roles/compute.viewer",
            "roles/iam.serviceAccountUser",
        },
    }
    on_project = [
        options(command)["role"]
        for command in commands
        if command[3:5] == ["projects", "add-iam-policy-binding"]
    ]
    assert on_project == ["roles/bigquery.jobUser", "roles/compute.viewer"]
    granted = [command[-1] for command in commands if "GRANT" in command[-1]]
    assert len(granted) == 5
    assert all("`roles/bigquery.dataEditor` ON SCHEMA" in grant for grant in granted)
    provider = next(options(one) for one in commands if "create-oidc" in one)
    assert provider["attribute-condition"] == CONDITION
    mapped = dict(pair.split("=") for pair in provider["attribute-mapping"].split(","))
    assert mapped == {
        "google.subject": "assertion.sub",
        **{f"attribute.{claim}": f"assertion.{claim}" for claim in CLAIMS},
    }


def test_landing_is_kept_for_at_least_90_days_and_staging_expires() -> None:
    conditions = lifecycle(RAW_DATASET="mine")
    assert all(one["age"] >= 90 for one in conditions)
    ages = {prefix: one["age"] for one in conditions for prefix in one["matchesPrefix"]}
    batches = {f"p.mine/{source}/" for source in SOURCES}
    assert {prefix for prefix, age in ages.items() if age == 365} == batches
    assert ages.keys() - batches == {"p.mine/_logs/", "p.mine/_backup/"}
    longer = lifecycle(RAW_DATASET="mine", LOG_RETENTION_DAYS="800")
    assert [one["age"] for one in longer if one["matchesPrefix"] == ["p.mine/_logs/"]] == [800]
    made = {command[-1]: options(command) for command in dry_run() if command[0] == "bq"}
    assert made["p:raw_staging"]["default_table_expiration"] == "259200"
    assert "default_table_expiration" not in made["p:raw"]


def lifecycle(**variables: str) -> list[dict[str, Any]]:
    """The conditions under which the bucket removes something by itself."""
    (text,) = re.findall(r"^# (\{\"rule.*)$", run_dry(**variables).stdout, flags=re.MULTILINE)
    rules = json.loads(text)["rule"]
    assert all(rule["action"] == {"type": "Delete"} for rule in rules)
    return [rule["condition"] for rule in rules]


def changes(told: list[str]) -> list[str]:
    """The calls that change something, but for the APIs that are switched on before all."""
    return [line for line in told if not re.search(f"{LOOKS}|services enable", line)]


@pytest.mark.parametrize("things", ["ls --max", "ls --routines", "ls --models"])
def test_a_foreign_dataset_is_refused_before_anything_is_changed(path: Path, things: str) -> None:
    foreign: dict[str, Any] = {"FOREIGN": "raw silver", "THINGS": f"json {things}"}
    told, error = told_to_google(path, 1, fails=True, **foreign)
    assert changes(told) == []
    for name in ("raw", "silver"):
        assert f"dataset p:{name} is not ours: it has something in it and no label" in error
    assert "RAW_DATASET=pipelines_raw DBT_DATASET_PREFIX=pipelines_, which is free" in error
    foreign["FOREIGN"] += " pipelines_gold"
    _, error = told_to_google(path, 1, fails=True, **foreign)
    assert "RAW_DATASET=pipelines2_raw DBT_DATASET_PREFIX=pipelines2_, which is free" in error

    # A name of its own, or the person's word, and it goes on.
    told, _ = told_to_google(
        path, 1, RAW_DATASET="pipelines2_raw", DBT_DATASET_PREFIX="pipelines2_", **foreign
    )
    touched = [line for line in changes(told) if line.startswith("bq ")]
    assert len(touched) == 10
    assert all("pipelines2" in line for line in touched)
    told, error = told_to_google(path, 1, "--adopt", "raw", fails=True, **foreign)
    assert changes(told) == []
    assert "dataset p:raw " not in error
    told, _ = told_to_google(path, 1, "--adopt", "raw", "--adopt", "silver", **foreign)
    updates = [shlex.split(line) for line in changes(told) if " update --dataset" in line]
    # Its expiry and description stay its owner's.
    label = "--set_label=managed_by:data-pipelines"
    assert [words[2:] for words in updates] == [
        ["update", "--dataset", label, f"p:{name}"] for name in ("raw", "silver")
    ]


def test_a_foreign_bucket_is_refused_and_cannot_be_taken(path: Path) -> None:
    for arguments in ([], ["--adopt", "p-landing"]):
        told, error = told_to_google(path, 1, *arguments, fails=True, BUCKET="theirs")
        assert changes(told) == []
        assert "bucket gs://p-landing is not ours" in error
    for bucket in ("ours", "empty"):
        told, _ = told_to_google(path, 1, BUCKET=bucket)
        (update,) = [line for line in told if "buckets update" in line]
        assert "--update-labels=managed_by=data-pipelines" in update
        assert not [line for line in told if "buckets create" in line]


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
    assert {*PRODUCT, "dbt", "prefect.yaml", "requirements.lock"} <= copied
    (compiled,) = [line for line in lines if "compileall" in line]
    library = (DEPLOY / "lib" / "releases.sh").read_text()
    (installed,) = re.findall(r"compileall -q ([a-z ]+)\)", library)
    assert {*compiled[compiled.index("-q") + 1 :]} == {*installed.split()} == {*PRODUCT}
    installs = [line for line in lines if "install" in line]
    assert [line[-4:] for line in installs] == [
        ["--no-deps", "--require-hashes", "-r", "requirements.lock"]
    ]
    users = [line[1] for line in lines if line[:1] == ["USER"]]
    assert users == ["pipelines"]
