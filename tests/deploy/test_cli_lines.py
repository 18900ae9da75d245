"""Every line of gcloud and bq that scripts run and docs and messages print is one that they take.

Twice: by the table of flags in cli_flags.yaml, everywhere, and by the parsers of the Cloud SDK
itself, where one is installed. Neither asks Google anything.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_scripts import (
    DEPLOY,
    DEPLOYER,
    FEDERATED,
    ROOT,
    RUNNER,
    as_it_should_be,
    bound,
    dry_run,
    path,
    put,
    told_to_google,
)

__all__ = ["path"]

TESTING = Path(__file__).resolve().parents[2] / "testing"
TABLE = yaml.safe_load((TESTING / "cli_flags.yaml").read_text())
# Of every command, the rest are named there.
GLOBAL = {"gcloud": {"--project", "--quiet", "--format", "--flatten"}}


def split(text: str) -> list[list[str]]:
    """The lines of a text that are commands of these two."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = []
    for line in joined.splitlines():
        if re.match(r"\s*(\$ |sudo )?(gcloud|bq) ", line):
            words = shlex.split(line.strip().removeprefix("$ ").partition(" | ")[0])
            found.append(words)
    return found


@pytest.fixture
def lines(path: Path) -> list[list[str]]:
    """What the scripts call in every case of tests/deploy/test_scripts.py, print and document."""
    lines = dry_run(**FEDERATED)
    for missing in (0, 1):
        told, printed = told_to_google(path, missing)
        lines += split("\n".join(told)) + split(printed)
    # What is there is empty, and has no label yet.
    told, _ = told_to_google(path, 1, BUCKET="empty", FOREIGN="raw", THINGS="nothing")
    lines += split("\n".join(told))
    # Nothing is as it should be, and everything is there.
    odd = dict.fromkeys(as_it_should_be(), "odd\todd\todd") | {
        "storage buckets describe": '{"labels": {"managed_by": "data-pipelines"}}',
        "^bq .* show ": '{"labels": {"managed_by": "data-pipelines"}}',
        "billing projects describe": "0X0X0X-0X0X0X-0X0X0X",
        "storage buckets get-iam-policy": bound(RUNNER, "roles/owner"),
        "projects get-iam-policy": bound(RUNNER, "roles/owner") + bound(DEPLOYER, "roles/owner"),
        f"service-accounts get-iam-policy {DEPLOYER}": bound(
            RUNNER, "roles/iam.workloadIdentityUser"
        ),
    }
    told, printed = told_to_google(path, 0, answers=odd)
    lines += split("\n".join(told)) + split(printed)
    lines += pushed(path)
    for page in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"):
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines += split(block)
    lines = [words for words in lines if words[0] in ("gcloud", "bq")]
    unique = {json.dumps(words) for words in lines}
    assert len(unique) > 80
    return [json.loads(words) for words in sorted(unique)]


def pushed(path: Path) -> list[list[str]]:
    """What deploy/push.sh calls."""
    calls = path.parent / "pushed"
    put(path, "gcloud", '#!/bin/bash\nprintf "%s\\0" gcloud "$@" $\'\\n\' >>"$CALLS"\n')
    subprocess.run(
        [DEPLOY / "push.sh", "HEAD"],
        env={
            "PATH": f"{path}:/usr/bin:/bin",
            "CALLS": str(calls),
            **dict.fromkeys(("GCP_PROJECT", "GCP_ZONE", "GCP_VM"), "x"),
        },
        check=True,
    )
    found = [words.split("\0") for words in calls.read_text().split("\0\n\0")[:-1]]
    assert len(found) == 2
    return found


def command_of(words: list[str]) -> str:
    """The longest command of the table that a line begins with, flags left out."""
    bare = [word for word in words[1:] if not word.startswith("--")]
    for length in range(len(bare), 0, -1):
        if " ".join(bare[:length]) in TABLE[words[0]]:
            return " ".join(bare[:length])
    raise AssertionError(f"not in cli_flags.yaml: {shlex.join(words)}")


def flags_of(words: list[str]) -> set[str]:
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    return flags - GLOBAL.get(words[0], set())


def test_every_flag_is_in_the_table_and_the_table_has_no_other(lines: list[list[str]]) -> None:
    used: dict[tuple[str, str], set[str]] = {}
    for words in lines:
        used.setdefault((words[0], command_of(words)), set()).update(flags_of(words))
    table = {
        (tool, command): {f"--{flag}" for flag in flags}
        for tool in ("gcloud", "bq")
        for command, flags in TABLE[tool].items()
    }
    assert used == table
    for tool in ("gcloud", "bq"):
        assert TABLE["pages"][tool].startswith("https://cloud.google.com/")


def test_the_installed_cli_takes_every_line(lines: list[list[str]], tmp_path: Path) -> None:
    found = shutil.which("gcloud")
    if found is None:
        pytest.skip("no Cloud SDK is installed here: its parsers were not asked")
    sdk = Path(found).resolve().parents[1]
    env = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "config")}
    # Installed by its archive, it has a Python of its own.
    own = sdk / "platform" / "bundledpythonunix" / "bin" / "python3"
    done = subprocess.run(
        # -I: testing/platform.py is not Python's own module of that name.
        [own if own.exists() else sys.executable, "-I", TESTING / "parse_with_cli.py", sdk],
        input=json.dumps(lines),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    faults: Any = json.loads(done.stdout.splitlines()[-1])
    assert len(faults) == len(lines)
    wrong = {shlex.join(words): fault for words, fault in zip(lines, faults, strict=True) if fault}
    assert wrong == {}
