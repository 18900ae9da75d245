"""`python -m blocks.register --check` against what answers as Google, Amazon and the sources do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocks import check as module
from blocks.check import Finding, check
from blocks.register import all_blocks
from blocks.settings import Settings
from sandbox.identity import ensure_service_account

SECRETS = ("OPENWEATHER_API_KEY", "MEDIASTACK_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def findings(stack_env: dict[str, str]) -> Callable[..., dict[str, str]]:
    """What is found with some variables changed: `block what` and the fault, the rest aside."""

    def find(**changed: str) -> dict[str, str]:
        given = {**stack_env, **changed}
        known = {
            name: given[name.upper()] for name in Settings.model_fields if name.upper() in given
        }
        found = list(check(all_blocks(Settings.model_validate(known))))
        told = "\n".join(map(str, found))
        assert not [name for name in SECRETS if given[name] in told]
        return {f"{one.block} {one.what}": one.fault for one in found if one.fault}

    return find


def test_a_configuration_that_works_has_no_fault_and_leaves_nothing_behind(
    findings: Callable[..., dict[str, str]], stack_env: dict[str, str]
) -> None:
    assert findings() == {}
    known = {
        name: stack_env[name.upper()] for name in Settings.model_fields if name.upper() in stack_env
    }
    blocks = all_blocks(Settings.model_validate(known))
    found = list(check(blocks))
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
            "SLACK_WEBHOOK_URL does not answer: ConnectError",
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
        ({"FINANCE_WORKSHEET": "nothing"}, "finance the sheet", "FINANCE_WORKSHEET=nothing"),
        ({"FINANCE_SHEET_URL": "https://docs.example/x"}, "finance the sheet", "FINANCE_SHEET_URL"),
        ({"NYC_FHV_DATASET": "aaaa-bbbb"}, "nyc-fhv a request", "HTTP 404"),
        ({"USGS_BASE_URL": "http://127.0.0.1:9"}, "usgs-earthquake", "127.0.0.1 does not answer"),
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
    monkeypatch.setattr(module, "SECONDS", 5.0)
    found = findings(GOOGLE_SHEETS_BASE_URL=os.environ["GOOGLE_SHEETS_BASE_URL"])
    account = f"sandbox@{stack_env['GCP_PROJECT']}.iam.gserviceaccount.com"
    bucket = found["landing-gcs write, list, read and delete"]
    assert f"give {account} roles/storage.objectAdmin on bucket" in bucket
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


def test_a_finding_is_a_line() -> None:
    assert str(Finding("gcp", "credentials")) == "ok     gcp              credentials"
    assert str(Finding("gcp", "credentials", fault="no")).startswith("FAULT  gcp")
    assert str(Finding("gcp", "credentials", note="so")).endswith("credentials: so")
