"""What a person configures: clear errors, prefixes kept, no value printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect_aws.s3 import S3Bucket
from pydantic import ValidationError

from blocks.register import all_blocks
from blocks.settings import Settings, explain
from blocks.urls import join
from blocks.usgs_earthquake import UsgsEarthquake
from sandbox.identity import ensure_service_account

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        ("https://a.example", "https://a.example/query"),
        ("https://a.example/", "https://a.example/query"),
        ("https://a.example/prefix/two", "https://a.example/prefix/two/query"),
        ("https://a.example/prefix/two/", "https://a.example/prefix/two/query"),
    ],
)
def test_a_path_prefix_is_kept(base: str, joined: str) -> None:
    assert join(base, "/query") == join(base, "query") == joined


def test_a_missing_variable_is_named_and_no_value_is_shown() -> None:
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GCP_", "GCS_", "USGS_", "PREFECT_"))
    }
    env |= {"GCS_BUCKET": "my-bucket", "USGS_BASE_URL": "s3cret nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "blocks.register"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "GCP_PROJECT: Field required" in done.stderr
    assert "USGS_BASE_URL: " in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert "my-bucket" not in done.stdout + done.stderr


def test_every_variable_of_the_settings_stands_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    missing = [name for name in Settings.model_fields if f"{name.upper()}=" not in example]
    assert missing == []


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor `.env` says anything."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({"USGS_LANDING": "landing-s3"}, "USGS_LANDING: landing-s3 needs S3_BUCKET"),
        ({"USGS_LANDING": "s3"}, "USGS_LANDING: Input should be 'landing-gcs' or 'landing-s3'"),
        (
            {"S3_BUCKET": "b-b", "AWS_SECRET_ACCESS_KEY": "s3cret"},
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together",
        ),
    ],
)
def test_s3_is_configured_as_a_whole(variables: dict[str, str], cause: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**variables)
    told = explain(caught.value)
    assert cause in told
    assert "s3cret" not in told + str(caught.value)


@pytest.mark.usefixtures("bare_environment")
def test_a_bucket_on_s3_is_a_block_with_its_credentials_and_a_source_names_it(
    tmp_path: Path,
) -> None:
    ensure_service_account(tmp_path / "account.json", "p", "http://127.0.0.1:9/token")
    google = {"GCP_SERVICE_ACCOUNT_FILE": str(tmp_path / "account.json")}
    assert not {"aws", "landing-s3"} & all_blocks(settings(**google)).keys()
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    given = {"S3_BUCKET": "b-b", "USGS_LANDING": "landing-s3", **keys, **google}
    blocks = all_blocks(settings(**given))
    assert {"aws", "landing-s3"} <= blocks.keys()
    assert isinstance(blocks["landing-s3"], S3Bucket)
    assert blocks["landing-s3"].credentials is blocks["aws"]
    assert isinstance(blocks["usgs-earthquake"], UsgsEarthquake)
    assert blocks["usgs-earthquake"].landing == "landing-s3"
    assert "s3cret" not in str(blocks)


def settings(**variables: str) -> Settings:
    given = {"GCP_PROJECT": "p", "GCS_BUCKET": "a-b", **variables}
    return Settings.model_validate({name.lower(): value for name, value in given.items()})
