"""A BigQuery emulator and a token endpoint for the tests of the dbt project."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from runs.build import PROJECT_DIR, environment, one_login
from testing.raw import Query

PROJECT = "dbt-tests"
ROOT = PROJECT_DIR.parent


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty BigQuery."""
    log = tmp_path_factory.mktemp("emulator") / "emulator.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["start", "--rest-port", str(port), "--grpc-port", "0", "--ephemeral"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.bigquery", *arguments],
            cwd=log.parent,
            env=os.environ | {"BQEMU_ENABLE_FORMAT_EXTENSIONS": "false", "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 600
        while not _is_ready(address):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=600)


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


class TokenEndpoint(BaseHTTPRequestHandler):
    """Gives a token for anything posted, counts them, and refuses to be a proxy."""

    given: ClassVar[int] = 0

    def do_POST(self) -> None:
        TokenEndpoint.given += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        token = {"access_token": "x", "expires_in": 3599, "token_type": "Bearer"}
        body = json.dumps(token).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is not the place."""


@pytest.fixture(scope="session")
def token_endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def dbt_env(
    emulator: str, token_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What a caller of the build passes in; the clients' own variables are set around it.

    For no longer than a module: other modules have a stack, and variables, of their own.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "client_email": f"dbt@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{token_endpoint}/token",
    }
    file = tmp_path_factory.mktemp("account") / "service_account.json"
    file.write_text(json.dumps(account))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGQUERY_EMULATOR_HOST", emulator)
        # google-auth asks iamcredentials.googleapis.com in the background: it gets no further.
        patch.setenv("HTTPS_PROXY", token_endpoint)
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name in ("RAW_DATASET", "DBT_TARGET", "DBT_DATASET_PREFIX"):
            patch.delenv(name, raising=False)
        yield {
            "GCP_PROJECT": PROJECT,
            "BIGQUERY_LOCATION": "US",
            "GCP_SERVICE_ACCOUNT_FILE": str(file),
        }


@pytest.fixture(scope="session")
def query(emulator: str) -> Query:
    """Runs a statement on the emulator; an error raises."""
    client = bigquery.Client(
        PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=ClientOptions(api_endpoint=emulator),
    )

    def run(sql: str) -> list[dict[str, Any]]:
        return [dict(row) for row in client.query(sql).result(timeout=60)]

    return run


@pytest.fixture(scope="session")
def target_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all builds: the first one parses the project, the others reuse it."""
    return tmp_path_factory.mktemp("dbt") / "target"


RunDbt = Callable[..., tuple[Any, list[Any]]]


@pytest.fixture(scope="module")
def run_dbt(dbt_env: dict[str, str], target_path: Path) -> RunDbt:
    """Runs dbt's own command line: what its runner returns, and the events it fired."""

    def run(command: str, *options: str, **variables: str) -> tuple[Any, list[Any]]:
        from dbt.cli.main import dbtRunner

        events: list[Any] = []
        common = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
        common += ["--target-path", str(target_path), "--log-path", str(target_path / "logs")]
        with environment(dbt_env | variables), one_login():
            # Of an option that is given twice dbt takes the last.
            result = dbtRunner(callbacks=[events.append]).invoke(
                [command, *common, "--quiet", *options]
            )
        return result, events

    return run
