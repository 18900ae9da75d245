"""A role of Amazon's is taken with Google's word for the machine, and no key rests anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from botocore.config import Config
from google.auth.compute_engine import _metadata

from runs.environment import Misconfigured
from runs.settings import Settings, read_settings
from stores.amazon import AUDIENCE, TOKEN_FILE, s3_client
from stores.landing import LandingError
from stores.landing_s3 import S3Landing
from testing.answering import Answering, Received, Reply, answering

pytestmark = pytest.mark.usefixtures("bare_environment")
ROLE = "arn:aws:iam::123456789012:role/data-pipelines"
NUMBER = "104000000000000000001"
POLICIES = Path(__file__).resolve().parents[2] / "deploy"
ASSUMED = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA{number:016}</AccessKeyId>
<SecretAccessKey>short-secret</SecretAccessKey><SessionToken>session-{number}</SessionToken>
<Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class Cloud:
    """The machine's metadata server, Amazon's STS and S3, on one port."""

    def __init__(self) -> None:
        # Of keys of a role: those with less than ten minutes left are renewed before they are used.
        self.life = timedelta(hours=1)
        self.assumed: list[dict[str, Any]] = []

    def __call__(self, request: Received) -> Reply:
        url = urlsplit(request.path)
        flavor = {"Metadata-Flavor": "Google", "Content-Type": "application/json"}
        if "recursive" in url.query:
            who = {"email": "pipelines@p.iam.gserviceaccount.com", "aliases": ["default"]}
            return Reply(200, flavor, json.dumps(who).encode())
        if url.path.endswith("/identity"):
            asked = parse_qs(url.query)
            assert asked["audience"] == [AUDIENCE]
            claims = {
                "iss": "https://accounts.google.com",
                "aud": AUDIENCE,
                "azp": NUMBER,
                "sub": NUMBER,
                "exp": int((datetime.now(UTC) + timedelta(hours=1)).timestamp()),
            }
            token = jwt.encode(claims, "k" * 32)
            return Reply(200, flavor | {"Content-Type": "text/html"}, token.encode())
        if request.method == "POST" and b"AssumeRoleWithWebIdentity" in request.body:
            form = {name: value[0] for name, value in parse_qs(request.body.decode()).items()}
            self.assumed.append(form)
            end = datetime.now(UTC) + self.life
            text = ASSUMED.format(number=len(self.assumed), end=f"{end:%Y-%m-%dT%H:%M:%SZ}")
            return Reply(200, {"Content-Type": "text/xml"}, text.encode())
        if "bucket" in url.path:
            return Reply(200, {"ETag": '"0"'})
        return Reply(200, flavor)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def server(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    with answering(cloud) as at:
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", at.host)
        monkeypatch.setenv("GCE_METADATA_IP", at.host)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", at.url)
        for name in ("GOOGLE_APPLICATION_CREDENTIALS", TOKEN_FILE):
            monkeypatch.delenv(name, raising=False)
        yield at


def settings(url: str) -> Settings:
    return Settings.from_variables(
        {
            "gcp_project": "p",
            "gcs_bucket": "landing",
            "s3_bucket": "bucket",
            "aws_role_arn": ROLE,
            "aws_region": "ap-southeast-1",
            "aws_endpoint_url": url,
        }
    )


def test_a_machine_of_googles_reads_s3_by_a_role_and_renews_its_keys(
    server: Answering, cloud: Cloud
) -> None:
    block = settings(server.url).s3
    assert block is not None
    client = s3_client(block, Config())
    for _ in range(2):
        client.put_object(Bucket="bucket", Key="p.raw/x", Body=b"x")
    (form,) = cloud.assumed
    assert form["RoleArn"] == ROLE
    claims = jwt.decode(form["WebIdentityToken"], options={"verify_signature": False})
    (statement,) = json.loads((POLICIES / "aws-trust.json").read_text())["Statement"]
    assert statement["Action"] == f"sts:{form['Action']}"
    # Of a token with azp, AWS calls azp aud, and aud oaud.
    assert statement["Condition"]["StringEquals"] == {
        "accounts.google.com:aud": "SERVICE_ACCOUNT_NUMBER",
        "accounts.google.com:sub": "SERVICE_ACCOUNT_NUMBER",
        "accounts.google.com:oaud": claims["aud"],
    }
    assert claims["azp"] == claims["sub"] == NUMBER
    written = [request for request in server.received if request.method == "PUT"]
    assert len(written) == 2
    assert all("ASIA0000000000000001" in request for request in written)
    assert all("session-1" in request for request in written)

    # Keys that are about to end are renewed, with another token.
    cloud.life = timedelta(minutes=1)
    client = s3_client(block, Config())
    for _ in range(2):
        client.put_object(Bucket="bucket", Key="p.raw/x", Body=b"x")
    assert len(cloud.assumed) > 2


def test_a_token_of_another_provider_is_read_from_its_file(
    server: Answering, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("token-of-the-cluster")
    monkeypatch.setenv(TOKEN_FILE, str(file))
    block = settings(server.url).s3
    assert block is not None
    s3_client(block, Config()).put_object(Bucket="bucket", Key="x", Body=b"")
    assert [form["WebIdentityToken"] for form in cloud.assumed] == ["token-of-the-cluster"]


def test_a_machine_without_a_service_account_is_told_so(
    server: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = lambda _: Reply(404)
    block = settings(server.url).s3
    assert block is not None
    with pytest.raises(LandingError, match="this machine has no token of Google's for AWS_ROLE"):
        S3Landing(block).get("p.raw/x")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"AWS_ROLE_ARN": "data-pipelines"}, "AWS_ROLE_ARN: must be a role's name"),
        ({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}, "a role needs no key"),
        ({"AWS_REGION": ""}, "AWS_REGION: is not set, and AWS_ROLE_ARN needs it"),
    ],
)
def test_what_does_not_go_with_a_role_is_said(
    given: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"GCP_PROJECT": "p", "GCS_BUCKET": "a-b", "S3_BUCKET": "b-c", "AWS_REGION": "x-1"}
    for name, value in ({"AWS_ROLE_ARN": ROLE} | usual | given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as raised:
        read_settings()
    assert told in str(raised.value)
