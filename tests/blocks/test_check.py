"""`python -m blocks.register --check` against what answers as Google, Amazon and the sources do."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocks import probes
from blocks.check import Finding
from blocks.check import findings as findings_of
from blocks.register import all_blocks
from runs.environment import ROOT
from runs.settings import ALL_VARIABLES, Settings
from sandbox.identity import ensure_service_account
from stores.asking import Fault
from testing.rooms import PRODUCT

SECRETS = ("OPENWEATHER_API_KEY", "MEDIASTACK_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def findings(stack_env: dict[str, str]) -> Callable[..., dict[str, str]]:
    """What is found with some variables changed: `block what` and the fault, the rest aside."""

    def find(**changed: str) -> dict[str, str]:
        given = {**stack_env, **changed}
        known = {name: given[name.upper()] for name in ALL_VARIABLES if given.get(name.upper())}
        found = list(findings_of(Settings.from_variables(known)))
        told = "\n".join(map(str, found))
        assert not [name for name in SECRETS if given[name] in told]
        return {f"{one.block} {one.what}": one.fault for one in found if one.fault}

    return find


def test_a_configuration_that_works_has_no_fault_and_leaves_nothing_behind(
    findings: Callable[..., dict[str, str]], stack_env: dict[str, str]
) -> None:
    assert findings() == {}
    known = {name: stack_env[name.upper()] for name in ALL_VARIABLES if name.upper() in stack_env}
    settings = Settings.from_variables(known)
    blocks = all_blocks(settings)
    found = list(findings_of(settings))
    assert {one.block for one in found} == blocks.keys() - {"aws"}
    assert any(one.note for one in found if one.what.startswith("dataset"))
    bucket = blocks["landing-gcs"].get_bucket()  # type: ignore[attr-defined]
    assert list(bucket.client.list_blobs(bucket, prefix="_check/")) == []


@pytest.mark.parametrize(
    ("changed", "where", "cause"),
    [
        (
            {"GCS_BUCKET": "not-there"},
            "landing-gcs write",
            "GCS_BUCKET=not-there: there is no such",
        ),
        ({"S3_BUCKET": "not-there"}, "landing-s3 write", "S3_BUCKET=not-there: there is no such"),
        (
            {"SLACK_WEBHOOK_URL": "https://127.0.0.1:9/secret-hook"},
            "alerts channels",
            "SLACK_WEBHOOK_URL: 127.0.0.1 does not answer (ConnectError",
        ),
        (
            {"MEDIASTACK_ACCESS_KEY": "wrong-key"},
            "ph-news a request",
            "refuses MEDIASTACK_ACCESS_KEY",
        ),
        (
            {"OPENWEATHER_API_KEY": "wrong-key"},
            "openweather a request",
            "refuses OPENWEATHER_API_KEY",
        ),
        (
            {"FINANCE_WORKSHEET": "ledger"},
            "finance the sheet",
            "FINANCE_WORKSHEET=ledger: the sheet has no tab of this title; it has 'data', 'notes'",
        ),
        (
            {"FINANCE_SHEET_URL": "https://docs.google.com/spreadsheets/d/other/edit"},
            "finance the sheet",
            "FINANCE_SHEET_URL: there is no such sheet",
        ),
        ({"NYC_FHV_DATASET": "aaaa-bbbb"}, "nyc-fhv a request", "HTTP 404"),
        (
            {"USGS_BASE_URL": "http://127.0.0.1:9"},
            "usgs-earthquake",
            "USGS_BASE_URL: 127.0.0.1 does not answer (ConnectError",
        ),
    ],
)
def test_a_fault_says_what_to_mend(
    findings: Callable[..., dict[str, str]], changed: dict[str, str], where: str, cause: str
) -> None:
    found = findings(**changed)
    assert len(found) == 1
    [(block, fault)] = found.items()
    assert block.startswith(where)
    assert cause in fault


class Refusing(BaseHTTPRequestHandler):
    """Google without any role: what it answers to a call that an account may not make."""

    message = "Access Denied"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        error = {"code": 403, "message": self.message, "errors": [{"reason": "accessDenied"}]}
        body = json.dumps({"error": error}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_SHEETS_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    yield Refusing
    Refusing.message = "Access Denied"
    server.shutdown()
    thread.join()


def test_a_missing_role_is_named(
    stack_env: dict[str, str],
    refusing: type[Refusing],
    findings: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "SECONDS", 5.0)
    found = findings(GOOGLE_SHEETS_BASE_URL=os.environ["GOOGLE_SHEETS_BASE_URL"])
    account = f"sandbox@{stack_env['GCP_PROJECT']}.iam.gserviceaccount.com"
    bucket = found["landing-gcs write, list, read and delete"]
    assert f"give {account} roles/storage.legacyBucketReader and" in bucket
    assert "give roles/bigquery.jobUser on project" in found["warehouse queries"]
    assert "give roles/bigquery.dataEditor on dataset" in found["warehouse dataset raw"]
    assert f"share the sheet with {account} as a viewer" in found["finance the sheet"]
    refusing.message = "Billing has not been enabled. DML queries are not allowed in the free tier."
    assert "has no billing account" in findings()["warehouse billing"]


def test_a_revoked_key_is_a_fault(
    stack_env: dict[str, str], tmp_path: Path, findings: Callable[..., dict[str, str]]
) -> None:
    other = tmp_path / "account.json"
    token_uri = json.loads(Path(stack_env["GCP_SERVICE_ACCOUNT_FILE"]).read_text())["token_uri"]
    ensure_service_account(other, stack_env["GCP_PROJECT"], token_uri)
    found = findings(GCP_SERVICE_ACCOUNT_FILE=str(other))
    assert "is the key of GCP_SERVICE_ACCOUNT_FILE deleted" in found["gcp credentials"]


def test_the_machine_s_own_credentials_are_asked_with_the_scopes_of_the_clients(
    stack_env: dict[str, str],
    findings: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Google's default credentials have no scopes of their own."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", stack_env["GCP_SERVICE_ACCOUNT_FILE"])
    monkeypatch.delenv("GCP_SERVICE_ACCOUNT_FILE")
    assert findings(GCP_SERVICE_ACCOUNT_FILE="") == {}


def checked(*, unset: tuple[str, ...] = (), **changed: str) -> tuple[str, float]:
    """What `--check` prints with these variables, and for how many seconds it goes on."""
    env = {name: value for name, value in os.environ.items() if name not in unset}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "blocks.register", "--check"],
        env=env | changed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert not [name for name in SECRETS if env.get(name, "-") in done.stdout]
    return done.stdout, time.monotonic() - began


@pytest.fixture
def black_hole() -> Iterator[str]:
    """What takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.usefixtures("stack_env")
def test_no_network_is_told_as_such_within_twenty_seconds_and_nothing_else_is_tried(
    black_hole: str,
) -> None:
    outside = {
        "USGS_BASE_URL": "https://earthquake.usgs.gov",
        "OPENWEATHER_BASE_URL": "https://api.openweathermap.org",
        "MEDIASTACK_BASE_URL": "https://api.mediastack.com",
        "SOCRATA_BASE_URL": "https://data.cityofnewyork.us",
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), black_hole),
    }
    unset = ("GCP_SERVICE_ACCOUNT_FILE", "S3_BUCKET", "FINANCE_SHEET_URL", "SLACK_WEBHOOK_URL")
    told, seconds = checked(unset=unset, **outside)
    assert seconds < 20
    first, *rest = told.splitlines()
    assert first.startswith("FAULT  network          hosts: no network: none of 4 hosts answers")
    tried = [line for line in rest if "not tried: no network" not in line]
    assert tried == [
        "note   sources          configured: usgs-earthquake, openweather, ph-news, nyc-fhv",
        "note   finance          is not configured: set FINANCE_SHEET_URL",
    ]
    assert {line.split()[1] for line in rest} - {"sources", "finance"} == {
        *("gcp", "landing-gcs", "warehouse", "alerts"),
        *("usgs-earthquake", "openweather", "ph-news", "nyc-fhv"),
    }


@pytest.mark.usefixtures("stack_env")
def test_without_credentials_the_rest_is_tried_all_the_same() -> None:
    # A machine that is none of Google's.
    told, _ = checked(
        unset=("GCP_SERVICE_ACCOUNT_FILE",),
        NO_GCE_CHECK="true",
        HOME="/nowhere",
        USGS_BASE_URL="http://127.0.0.1:9",
    )
    for line in (
        "FAULT  gcp              credentials: GCP_SERVICE_ACCOUNT_FILE: is not set, and this",
        "-      warehouse        queries: not tried: the credentials are at fault",
        "FAULT  usgs-earthquake  a request: USGS_BASE_URL: 127.0.0.1 does not answer",
        "ok     openweather ",
    ):
        assert any(one.startswith(line) for one in told.splitlines()), line


@pytest.mark.slow
def test_what_needs_credentials_that_are_refused_is_not_tried(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "account.json"
    token_uri = json.loads(Path(stack_env["GCP_SERVICE_ACCOUNT_FILE"]).read_text())["token_uri"]
    ensure_service_account(other, stack_env["GCP_PROJECT"], token_uri)
    told, _ = checked(GCP_SERVICE_ACCOUNT_FILE=str(other))
    assert told.count("FAULT") == 1
    assert "finance          the sheet: not tried: the credentials are at fault" in told
    broken = json.loads(other.read_text()) | {"private_key": "-----BEGIN s3cret"}
    other.write_text(json.dumps(broken))
    told, _ = checked(GCP_SERVICE_ACCOUNT_FILE=str(other))
    assert f"GCP_SERVICE_ACCOUNT_FILE: {other}: its private_key cannot be read" in told
    assert "s3cret" not in told


def test_a_finding_is_a_line() -> None:
    assert str(Finding("gcp", "credentials")) == "ok     gcp              credentials"
    assert str(Finding("gcp", "credentials", fault="no")).startswith("FAULT  gcp")
    assert str(Finding("gcp", "credentials", note="so")).endswith("credentials: so")


@pytest.mark.parametrize(
    ("bucket", "datasets", "told"),
    [
        ("US", "US", None),
        ("US-CENTRAL1", "US", None),
        ("EUROPE-WEST4", "EU", None),
        ("ASIA-SOUTHEAST1", "asia-southeast1", None),
        ("US-WEST1", "US", "loads are charged as transfer between regions, from us-central1 they"),
    ],
)
def test_a_bucket_beside_the_datasets_is_read_without_a_charge(
    bucket: str, datasets: str, told: str | None
) -> None:
    said = probes.apart("b", bucket, datasets)
    assert said is None if told is None else told in str(said)


@pytest.mark.parametrize(("bucket", "datasets"), [("EU", "US"), ("US", "us-central1")])
def test_a_bucket_apart_from_the_datasets_is_a_fault(bucket: str, datasets: str) -> None:
    with pytest.raises(Fault, match="load jobs want them in one location"):
        probes.apart("b", bucket, datasets)


def test_nothing_asks_for_the_bucket_itself_which_takes_a_right_of_its_own() -> None:
    files = [file for room in PRODUCT for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 60
    for file in files:
        found = re.findall(r"\.(?:get_bucket|lookup_bucket|reload|exists)\(.*", file.read_text())
        assert [one for one in found if "bucket" in one or "reload" in one] == [], file
