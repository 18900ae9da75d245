"""Google's clients send their token to no other origin, and the request for it neither; and what a
federation's file is to every part that reads credentials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import google.auth
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import external_account, identity_pool
from google.oauth2.service_account import Credentials
from pydantic import SecretStr

from alerting.secrets import differing
from blocks.check import Finding, check, subjects
from blocks.platform import account_of, gcp_from
from runs.dbt_build import dbt_environment
from runs.environment import Misconfigured
from runs.settings import Settings, google_account
from stores.asking import name_of
from stores.google import RedirectRefused, bigquery_client, storage_client
from stores.platform import connect
from stores.settings import GoogleAccount, PlatformSettings
from testing.answering import Answering, Received, Reply, answering

pytestmark = pytest.mark.usefixtures("bare_environment")
TOKEN = {"access_token": "s3cret-token", "expires_in": 3599, "token_type": "Bearer"}


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()


@pytest.fixture
def elsewhere() -> Iterator[Answering]:
    with answering(lambda _: Reply(200, body=json.dumps(TOKEN).encode())) as server:
        yield server


def ask_bigquery(google: GoogleAccount) -> None:
    bigquery_client(google, "project", "US").get_dataset("raw", retry=None)


def ask_storage(google: GoogleAccount) -> None:
    storage_client(google, "project").bucket("landing").blob("x").download_as_bytes(retry=None)


ASK = pytest.mark.parametrize("ask", [ask_bigquery, ask_storage])


def ask_through(
    ask: Callable[[GoogleAccount], None], google: Answering, key: str, patch: pytest.MonkeyPatch
) -> None:
    """Token endpoint and API are both at `google`."""
    patch.setenv("BIGQUERY_EMULATOR_HOST", google.url)
    patch.setenv("STORAGE_EMULATOR_HOST", google.url)
    account: dict[str, Any] = {
        "client_email": "a@b.iam.gserviceaccount.com",
        "token_uri": f"{google.url}/token",
        "private_key": key,
    }
    ask(GoogleAccount(info=SecretStr(json.dumps(account))))


@ASK
@pytest.mark.parametrize("is_token", [True, False])
def test_a_redirect_elsewhere_is_refused(
    ask: Callable[[GoogleAccount], None],
    is_token: bool,
    elsewhere: Answering,
    private_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: Received) -> Reply:
        if (request.path == "/token") == is_token:
            return Reply(307, {"Location": f"{elsewhere.url}/token?x=1"})
        return Reply(200, body=json.dumps(TOKEN).encode())

    with answering(answer) as google:
        with pytest.raises(RedirectRefused) as refused:
            ask_through(ask, google, private_key, monkeypatch)
        assert f"redirects from {google.url} to {elsewhere.url}, which" in str(refused.value)
        assert str(refused.value).startswith("the token endpoint ") == is_token
        sent = [request for request in google.received if request.path == "/token"]
    assert len(sent) == 1
    assert "assertion=" in sent[0]
    assert elsewhere.received == []


@ASK
def test_a_redirect_within_the_origin_keeps_the_token(
    ask: Callable[[GoogleAccount], None], private_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = {"datasetReference": {"projectId": "project", "datasetId": "raw"}}

    def answer(request: Received) -> Reply:
        if request.path == "/token":
            return Reply(200, body=json.dumps(TOKEN).encode())
        if request.path == "/moved":
            return Reply(200, body=json.dumps(dataset).encode())
        return Reply(307, {"Location": "/moved"})

    with answering(answer) as google:
        ask_through(ask, google, private_key, monkeypatch)
        (moved,) = [request for request in google.received if request.path == "/moved"]
    assert "Bearer s3cret-token" in moved


AUDIENCE = (
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/home/providers/nas"
)
ACCOUNT = "pipelines@p.iam.gserviceaccount.com"


def federation(google_url: str, source: dict[str, Any]) -> dict[str, Any]:
    """As `gcloud iam workload-identity-pools create-cred-config` writes it."""
    return {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{google_url}/v1/token",
        "credential_source": source,
        "service_account_impersonation_url": (
            f"{google_url}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
        ),
    }


@pytest.fixture
def own_token(tmp_path: Path) -> Path:
    """The file that the machine's own provider renews."""
    file = tmp_path / "token"
    file.write_text("token-of-home")
    return file


@pytest.fixture
def exchange() -> Iterator[Answering]:
    """Google's part: home's token becomes one of the federation, and that one of the account."""

    def answer(request: Received) -> Reply:
        given = {name.lower(): value for name, value in request.headers.items()}.get(
            "authorization"
        )
        if request.path == "/v1/token":
            form = parse_qs(request.body.decode())
            assert form["subject_token"] == ["token-of-home"]
            assert form["audience"] == [AUDIENCE]
            said: dict[str, Any] = {
                "access_token": "federated",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": 3599,
            }
        elif request.path.endswith(":generateAccessToken"):
            assert given == "Bearer federated"
            end = datetime.now(UTC) + timedelta(hours=1)
            said = {"accessToken": "s3cret-token", "expireTime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        else:
            assert given == "Bearer s3cret-token"
            said = {"datasetReference": {"projectId": "project", "datasetId": "raw"}}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    with answering(answer) as server:
        yield server


def settings_with(info: dict[str, Any], file: Path) -> Settings:
    file.write_text(json.dumps(info))
    given = {"gcp_project": "project", "gcs_bucket": "landing"}
    return Settings.from_variables({**given, "gcp_service_account_file": str(file)})


def check_credentials(settings: Settings) -> Finding:
    first = next(subjects(settings))
    (found,) = check(settings, [first], {})
    return found


@ASK
def test_a_federations_file_serves_as_a_key(
    ask: Callable[[GoogleAccount], None],
    exchange: Answering,
    own_token: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", exchange.url)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", exchange.url)
    info = federation(exchange.url, {"file": str(own_token)})
    settings = settings_with(info, tmp_path / "federation.json")
    google = google_account(settings)
    ask(google)
    # Prefect's block of it is made and read as one of a key is.
    assert account_of(gcp_from(google, "project")) == google
    assert [one.path.partition("?")[0] for one in exchange.received][:2] == [
        "/v1/token",
        f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken",
    ]
    assert len(exchange.received) == 3
    # --check asks for a token, and knows whom to give a role, and which host has to answer.
    assert check_credentials(settings).fault == ""
    assert name_of(google) == ACCOUNT
    assert f"{exchange.url}/v1/token" in [host.address for host in next(subjects(settings)).hosts]
    own_token.unlink()
    found = check_credentials(settings)
    assert f"Google gives no token to {ACCOUNT} (RefreshError): is there a token at" in found.fault
    assert "token-of-home" not in found.fault


def test_a_federations_file_that_names_a_program_is_refused(tmp_path: Path) -> None:
    info = federation("https://sts.googleapis.com", {"executable": {"command": "/bin/true"}})
    settings = settings_with(info, tmp_path / "federation.json")
    with pytest.raises(Misconfigured, match="its credential_source is no file, address or AWS"):
        google_account(settings)


def test_dbt_and_alerts_know_a_federation(
    own_token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = federation("https://sts.googleapis.com", {"file": str(own_token)})
    settings = settings_with(info, tmp_path / "federation.json")
    shared = PlatformSettings(google_account(settings), "b", None, settings.warehouse)
    # It would ask Google for the project's name.
    monkeypatch.setattr(external_account.Credentials, "get_project_id", lambda *_, **__: None)
    with dbt_environment(connect(shared).warehouse, shared.google) as env:
        assert env["GCP_SERVICE_ACCOUNT_FILE"] == ""  # dbt's method is oauth
        file = Path(env["GOOGLE_APPLICATION_CREDENTIALS"])
        assert file.stat().st_mode & 0o777 == 0o600
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        found, _ = google.auth.default()
        assert isinstance(found, identity_pool.Credentials)
        assert json.loads(file.read_text()) == info
    assert not file.exists()
    # What an alert may not say: nothing of this file.
    assert differing(info, "********") == set()


def test_prefects_block_reads_keys_only_by_itself() -> None:
    """Once it reads federations, blocks/platform.py need not teach it."""
    with pytest.raises(ValueError, match="client_email"):
        Credentials.from_service_account_info(federation("https://sts.googleapis.com", {}))
