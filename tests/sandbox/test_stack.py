"""The stack starts, tells where it is, survives the death of a part, and goes away whole."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jwt
import psutil
import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials
from pydantic import HttpUrl, SecretStr

from sandbox import processes
from sandbox.identity import ensure_service_account
from sandbox.parts import isolated
from sandbox.stack import NAMES, ROOT, Stack, read_env
from sandbox.state_file import SandboxError
from stores.landing_s3 import S3Landing
from stores.settings import S3Settings

EMULATORS = ("token", "bigquery", "gcs")
CLEAN = isolated(os.environ)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack") / "state", CLEAN)
    stack.up(EMULATORS)
    yield stack
    stack.down()


def pids(stack: Stack) -> dict[str, int | None]:
    return {line.name: line.pid for line in stack.status()}


def left_over(stack: Stack) -> list[psutil.Process]:
    return [process for name in NAMES for process in processes.marked(f"{name}@{stack.directory}")]


def sandbox(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "sandbox", *map(str, arguments)]


# What up leaves behind


def test_env_and_key_are_readable_by_their_owner_only(stack: Stack) -> None:
    for name in ("env", "service-account.json"):
        assert stat.S_IMODE((stack.directory / name).stat().st_mode) == 0o600


def test_env_survives_a_shell_and_a_dotenv_reader_alike(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "a b", {**CLEAN, "GCS_BUCKET": 'has $HOME, "spaces" and #'})
    stack.up([])
    command = f". '{stack.directory}/env' && printf %s \"$GCS_BUCKET\""
    shell = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert shell.stdout == stack.env()["GCS_BUCKET"] == 'has $HOME, "spaces" and #'
    assert stack.env()["PREFECT_HOME"] == f"{stack.directory}/prefect"
    with pytest.raises(SandboxError, match="GCS_BUCKET: a quote"):
        Stack(tmp_path / "c", {**CLEAN, "GCS_BUCKET": "it's"}).up([])


def test_reading_env_before_the_first_up_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m sandbox up"):
        read_env(tmp_path)


# Google's identity


def test_google_signs_and_exchanges_a_token(stack: Stack) -> None:
    credentials = Credentials.from_service_account_file(
        stack.env()["GCP_SERVICE_ACCOUNT_FILE"], scopes=["https://example.test/scope"]
    )
    credentials.refresh(Request())
    assert credentials.token.startswith("sandbox.")
    assert credentials.valid


def test_a_token_signed_by_another_key_is_refused(stack: Stack, tmp_path: Path) -> None:
    account = json.loads((stack.directory / "service-account.json").read_text())
    ensure_service_account(tmp_path / "forged.json", "sandbox-project", account["token_uri"])
    forged = Credentials.from_service_account_file(tmp_path / "forged.json", scopes=["s"])
    with pytest.raises(RefreshError, match=r"invalid_grant.*Signature verification failed"):
        forged.refresh(Request())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "other@example.test"}, "Invalid issuer"),
        ({"exp": 1_000_000}, "Signature has expired"),
        ({"aud": "https://elsewhere.example.test/token"}, "Audience doesn't match"),
    ],
)
def test_a_wrong_claim_is_refused(stack: Stack, change: dict[str, object], reason: str) -> None:
    account = json.loads((stack.directory / "service-account.json").read_text())
    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "aud": account["token_uri"],
        "iat": now,
        "exp": now + 60,
    }
    assertion = jwt.encode({**claims, **change}, account["private_key"], algorithm="RS256")
    form = f"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(account["token_uri"], data=form.encode())  # noqa: S310
    answer = json.load(refusal.value)
    assert (refusal.value.code, answer["error"]) == (400, "invalid_grant")
    assert reason in answer["error_description"]


def test_the_key_is_kept_when_the_endpoint_moves(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    ensure_service_account(path, "p", "http://127.0.0.1:1/token")
    first = json.loads(path.read_text())
    ensure_service_account(path, "p", "http://127.0.0.1:2/token")
    assert json.loads(path.read_text()) == {**first, "token_uri": "http://127.0.0.1:2/token"}


# The emulators, through Google's own clients

CLIENTS = """
    import os, time
    import pyarrow, pyarrow.parquet
    from google.cloud import bigquery, storage
    from google.oauth2.service_account import Credentials

    account = Credentials.from_service_account_file(os.environ["GCP_SERVICE_ACCOUNT_FILE"])
    project = os.environ["GCP_PROJECT"]
    bucket = storage.Client(project, account).bucket(os.environ["GCS_BUCKET"])
    pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2, 3]}), "rows.parquet")
    bucket.blob("a/rows.parquet").upload_from_filename("rows.parquet")
    tables = bigquery.Client(project, account)
    tables.create_dataset("d", exists_ok=True)
    schema = [bigquery.SchemaField("n", "INT64")]
    tables.create_table(bigquery.Table(f"{project}.d.rows", schema))
    tables.load_table_from_uri(
        f"gs://{bucket.name}/a/*.parquet", "d.rows",
        job_config=bigquery.LoadJobConfig(
            source_format="PARQUET", schema=schema, write_disposition="WRITE_TRUNCATE"
        ),
    ).result(timeout=600)
    print(next(iter(tables.query("select sum(n) from d.rows").result()))[0])
    time.sleep(1)  # google-auth looks up its boundary in the background: let it try
"""


def test_a_file_goes_through_the_bucket_into_a_table_and_nothing_leaves(
    stack: Stack, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CLIENTS)],
        cwd=tmp_path,
        env={**CLEAN, **stack.env()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "6\n", done.stderr
    # Nor was anything refused: what google-auth asks in the background is answered here.
    assert done.stderr == ""
    log = stack.directory / "logs" / "egress.log"
    assert not log.exists() or log.read_text() == ""


def test_a_query_prints_its_rows_or_why_there_are_none(stack: Stack) -> None:
    command = [sys.executable, "-m", "sandbox.query", "--state", str(stack.directory)]
    sql = "SELECT n, CONCAT('[', n, ']') AS text FROM UNNEST([1, 20]) AS n ORDER BY n"
    done = subprocess.run([*command, sql], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["n", "text", "1", "[1]", "20", "[20]", "2", "rows"], done
    wrong = subprocess.run([*command, "SELECT x"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: ")
    assert "Traceback" not in wrong.stderr


def test_a_query_of_a_demo_that_does_not_run_says_so_at_once(tmp_path: Path) -> None:
    # The variables are there, and nothing answers at their addresses.
    Stack(tmp_path, CLEAN).up([])
    command = [sys.executable, "-m", "sandbox.query", "--state", str(tmp_path), "SELECT 1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: the demo does not run: make demo\n")


def test_a_command_has_the_stack_s_variables_and_dbt_writes_outside_the_checkout(
    stack: Stack,
) -> None:
    command = sandbox("--state", stack.directory, "run")
    shell = [*command, "sh", "-c", 'echo "$GCP_PROJECT"; command -v dbt; command -v prefect']
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    project, *programs = done.stdout.split()
    assert project == stack.env()["GCP_PROJECT"]
    assert [Path(one).parent for one in programs] == 2 * [Path(sys.executable).parent]
    subprocess.run([*command, "dbt", "parse", "--quiet"], cwd=ROOT, check=True)
    assert (stack.directory / "dbt" / "target" / "manifest.json").is_file()
    assert not (ROOT / "dbt" / "target").exists() and not (ROOT / "dbt" / "logs").exists()
    gone = subprocess.run([*command, "no-such"], capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stderr) == (1, "error: no-such: No such file or directory\n")


def test_the_gate_refuses_at_once_and_notes_the_target(stack: Stack) -> None:
    proxy = urllib.request.ProxyHandler({"https": stack.env()["HTTPS_PROXY"]})
    began = time.monotonic()
    with pytest.raises(urllib.error.URLError, match="403"):
        urllib.request.build_opener(proxy).open("https://gate.example.test:8443/x", timeout=600)
    assert time.monotonic() - began < 30
    log = (stack.directory / "logs" / "egress.log").read_text()
    assert "gate.example.test:8443\n" in log
    (stack.directory / "logs" / "egress.log").write_text(
        log.replace("gate.example.test:8443\n", "")
    )


# Again, and after a death


def test_a_dead_part_is_shown_and_started_again_where_it_was(stack: Stack) -> None:
    before, env = pids(stack), stack.env()
    stack.up(EMULATORS)
    assert pids(stack) == before
    gcs = before["gcs"]
    assert gcs is not None
    victim = psutil.Process(gcs)
    victim.kill()
    victim.wait(timeout=600)

    status = subprocess.run(
        sandbox("status", "--state", stack.directory), cwd=ROOT, capture_output=True, text=True
    )
    assert status.returncode == 1
    assert [line.split()[:2] for line in status.stdout.splitlines()] == [
        ["token", "running"],
        ["bigquery", "running"],
        ["gcs", "dead"],
        ["s3", "stopped"],
        ["sources", "stopped"],
        ["prefect", "stopped"],
        ["pages", "stopped"],
        ["worker", "stopped"],
    ]

    stack.up(EMULATORS)
    after = pids(stack)
    assert {name for name in EMULATORS if after[name] != before[name]} == {"gcs"}
    assert stack.env() == env


def test_s3_comes_with_its_bucket_and_keeps_what_is_in_it_after_a_death_and_a_down(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stack = Stack(tmp_path, {**CLEAN, "S3_BUCKET": "bucket-of-mine"})
    request.addfinalizer(stack.down)
    stack.up(["s3"])
    env = stack.env()
    settings = S3Settings(
        bucket=env["S3_BUCKET"],
        access_key_id=env["AWS_ACCESS_KEY_ID"],
        secret_access_key=SecretStr(env["AWS_SECRET_ACCESS_KEY"]),
        region=env["AWS_REGION"],
        endpoint_url=HttpUrl(env["AWS_ENDPOINT_URL"]),
    )
    landing = S3Landing(settings)
    landing.put("a", b"a")
    landing.put("part/ü 1", b"1" * 100_000)
    stack.up(["s3"])
    before = list(landing.list(""))
    assert [stored.name for stored in before] == ["a", "part/ü 1"]
    s3 = next(line.pid for line in stack.status() if line.name == "s3")
    assert s3 is not None
    victim = psutil.Process(s3)
    victim.kill()
    victim.wait(timeout=600)
    stack.up(["s3"])
    assert list(landing.list("")) == before
    landing.put("b", b"b")
    landing.delete("part/ü 1")
    stack.down()
    stack.up(["s3"])
    assert {stored.name: landing.get(stored.name) for stored in landing.list("")} == {
        "a": b"a",
        "b": b"b",
    }
    assert not landing.put_if_absent("b", b"c")
    assert landing.put_if_absent("c", b"c")
    stack.down()
    log = tmp_path / "logs" / "egress.log"
    assert not log.exists() or log.read_text() == ""
    assert "sandbox-aws-secret" not in (tmp_path / "logs" / "s3.log").read_text()


# The caller's environment


def test_what_the_caller_set_wins_and_replaces_the_part(tmp_path: Path) -> None:
    caller = {
        **CLEAN,
        "USGS_BASE_URL": "https://usgs.example.test/feed",
        "SANDBOX_SOURCES_URL": "http://127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": "",
        "RAW_DATASET": "raw_of_mine",
        "NO_PROXY": "internal.example.test",
    }
    stack = Stack(tmp_path, caller)
    stack.up(["sources", "gcs"])
    conditions = {line.name: line.condition for line in stack.status()}
    env = stack.env()
    assert (conditions["sources"], conditions["gcs"]) == ("external", "external")
    assert left_over(stack) == []
    assert {name: env[name] for name in caller if name in env and name != "NO_PROXY"} == {
        "USGS_BASE_URL": "https://usgs.example.test/feed",
        "SANDBOX_SOURCES_URL": "http://127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": "",
        "RAW_DATASET": "raw_of_mine",
    }
    assert env["NO_PROXY"].split(",") == [
        *("127.0.0.1", "localhost", "::1"),
        *("usgs.example.test", "internal.example.test"),
    ]


def test_one_real_source_goes_by_the_gate_and_the_stand_ins_serve_the_others(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path, {**CLEAN, "SOCRATA_BASE_URL": "https://data.example.test"})
    stack.up(["token", "sources"])
    try:
        env = stack.env()
        parts = [line for line in stack.status() if line.name in ("token", "sources")]
        assert {line.condition for line in parts} == {"running"}
    finally:
        stack.down()
    assert env["NO_PROXY"] == "127.0.0.1,localhost,::1,data.example.test"
    assert env["USGS_BASE_URL"].startswith(env["SANDBOX_SOURCES_URL"])


def test_a_caller_who_has_read_env_replaces_nothing(tmp_path: Path) -> None:
    Stack(tmp_path, CLEAN).up([])
    first = read_env(tmp_path)
    again = Stack(tmp_path, {**CLEAN, **first})
    again.up([])
    assert again.env() == first
    assert {line.condition for line in again.status()} == {"stopped"}


# Failure and interruption


def test_a_part_that_dies_is_named_with_its_log_and_the_rest_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "bigquery").write_text("not a directory")
    done = subprocess.run(
        sandbox("up", "--state", tmp_path, "--parts", "token,bigquery,gcs"),
        cwd=tmp_path,
        env={**CLEAN, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error: bigquery died with exit code 2\n" in done.stderr
    assert f"{tmp_path}/logs/bigquery.log ends with:" in done.stderr
    assert "  | Error: Invalid value for '--data-dir'" in done.stderr
    stack = Stack(tmp_path, CLEAN)
    assert left_over(stack) == []
    assert {line.condition for line in stack.status()} == {"stopped"}


def test_an_unknown_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no such part: bigqeury"):
        Stack(tmp_path).up(["bigqeury"])


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_up_stops_what_it_started(tmp_path: Path, number: signal.Signals) -> None:
    up = subprocess.Popen(
        sandbox("up", "--state", tmp_path, "--parts", "token,gcs,prefect"),
        cwd=ROOT,
        env=CLEAN,
        stderr=subprocess.PIPE,
        # As a non-interactive shell starts a background job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    stack = Stack(tmp_path, CLEAN)
    while len(left_over(stack)) < 3:
        assert up.poll() is None
        time.sleep(0.02)
    up.send_signal(number)
    _, errors = up.communicate(timeout=600)
    assert up.returncode == 128 + number
    assert errors.decode() == f"interrupted by {number.name}\n"
    assert left_over(stack) == []


# Processes

STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if len(sys.argv) > 1:
        subprocess.Popen([sys.executable, __file__], start_new_session=True)
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("parent_killed_before", [False, True])
def test_children_that_left_the_session_and_ignore_sigterm_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent_killed_before: bool
) -> None:
    monkeypatch.setattr(processes, "TERM_SECONDS", 0.3)
    script, log, mark = tmp_path / "stubborn.py", tmp_path / "log", f"test@{tmp_path}"
    script.write_text(textwrap.dedent(STUBBORN))
    command = [sys.executable, str(script), "with a child"]
    parent = processes.start(command, CLEAN, tmp_path, log, mark)
    while log.read_text().count("ready") < 2:
        assert parent.poll() is None
        time.sleep(0.02)
    assert len(processes.marked(mark)) == 2
    root: psutil.Process | None = psutil.Process(parent.pid)
    if parent_killed_before:
        parent.kill()
        parent.wait()
        root = None
    stopped = processes.stop(root, mark, children_first=True)
    assert stopped == (1 if parent_killed_before else 2)
    assert processes.marked(mark) == []


def test_a_recycled_pid_is_not_taken_for_the_part(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = processes.start(command, CLEAN, tmp_path, tmp_path / "log", "a@here")
    created_at = psutil.Process(child.pid).create_time()
    while processes.find(child.pid, created_at, "a@here") is None:  # until exec has happened
        time.sleep(0.01)
    assert processes.find(child.pid, created_at - 60, "a@here") is None
    assert processes.find(child.pid, created_at, "a@elsewhere") is None
    child.kill()
    child.wait()
    assert processes.find(child.pid, created_at, "a@here") is None
