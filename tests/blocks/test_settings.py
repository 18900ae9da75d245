"""What a person configures: clear errors, prefixes kept, no value printed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws.s3 import S3Bucket

from blocks.check import subjects
from blocks.register import all_blocks, main
from runs.environment import ENV_FILE, Misconfigured, unknown_variables
from runs.settings import ALL_VARIABLES, SOURCES, Settings, read_settings
from sandbox.identity import ensure_service_account
from sources.ph_news.settings import PhNews
from sources.usgs_earthquake.settings import UsgsEarthquake

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
    api = UsgsEarthquake.model_validate({"base_url": base})
    assert api.address("/query") == api.address("query") == joined


Registered = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registered(
    bare_environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Registered:
    """What `python -m blocks.register` says with no other variables of ours, and its exit code."""

    def run(env: dict[str, str], *options: str) -> tuple[int, str, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["blocks.register", *options])
        code = main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_every_fault_of_the_variables_is_told_at_once_without_a_value(
    options: tuple[str, ...], tmp_path: Path, registered: Registered
) -> None:
    env = {
        "GCS_BUCKET": "gs://s3cret-bucket",
        "GCP_SERVICE_ACCOUNT_FILE": str(tmp_path / "gone.json"),
        "RAW_DATASET": "s3cret dataset",
        "USGS_BASE_URL": "s3cret nonsense",
        "USGS_HISTORY_START": "2999-01-01",
        "USGS_LANDING": "landing-s3",
        "OPENWEATHER_API_KEY": str(tmp_path / "openweather.txt"),
        "OPENWEATHER_LOCATIONS": "Manila:95:120",
        "AWS_ACCESS_KEY_ID": "s3cret-id",
        "MEDIASTACK_MONTHLY_REQUESTS": "s3cret",
        "NYC_FHV_DATASET": "s3cret",
        "FINANCE_SHEET_URL": "my s3cret sheet",
        "SLACK_WEBHOOK_URL": "s3cret",
        "ALERT_EMAIL_HOST": "smtp.example.org",
        "ALERT_EMAIL_PORT": "99999",
        "LANDING_RETENTION_DAYS": "inf",
    }
    code, out, err = registered(env, *options)
    assert code == 1
    *lines, last = err.splitlines()
    assert len(lines) == len(set(lines))
    faults = dict(line.split(": ", 1) for line in lines)
    assert faults == {
        "GCP_PROJECT": "is not set",
        "GCP_SERVICE_ACCOUNT_FILE": f"{tmp_path}/gone.json: no such file or directory",
        "GCS_BUCKET": "must be a bucket's name alone, such as my-landing: no gs:// or s3://, no "
        "folder",
        "RAW_DATASET": "may have letters, digits and underscores only",
        "USGS_BASE_URL": "must be an address such as https://host.example",
        "USGS_HISTORY_START": "is in the future",
        "USGS_LANDING": "landing-s3 needs S3_BUCKET, which is not set",
        "OPENWEATHER_API_KEY": f"this is a path that cannot be read: {tmp_path}/openweather.txt "
        "(no such file or directory)",
        "OPENWEATHER_LOCATIONS": "'Manila:95:120': latitude: Input should be less than or equal "
        "to 90",
        "AWS_SECRET_ACCESS_KEY": "is not set, and AWS_ACCESS_KEY_ID is: they go together",
        "MEDIASTACK_MONTHLY_REQUESTS": "must be a whole number",
        "NYC_FHV_DATASET": "must be a dataset's id, such as 8wbx-tsch",
        "FINANCE_SHEET_URL": "is not the address of a Google sheet, which a browser shows as "
        "https://docs.google.com/spreadsheets/d/...",
        "SLACK_WEBHOOK_URL": "must be an address such as https://hooks.slack.com/services/...",
        "ALERT_EMAIL_FROM": "is not set, and ALERT_EMAIL_HOST needs it",
        "ALERT_EMAIL_TO": "is not set, and ALERT_EMAIL_HOST needs it",
        "ALERT_EMAIL_PORT": "must be at most 65535",
        "LANDING_RETENTION_DAYS": "must be at most 36500",
    }
    assert "s3cret" not in out + err
    assert last.startswith("Set these in the environment")


def test_a_prefect_server_that_does_not_answer_is_named(
    tmp_path: Path, registered: Registered
) -> None:
    account = tmp_path / "account.json"
    ensure_service_account(account, "p", "http://127.0.0.1:9/token")
    env = {"GCP_PROJECT": "p", "GCS_BUCKET": "a-b", "GCP_SERVICE_ACCOUNT_FILE": str(account)}
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        code, _, err = registered(env)
    assert code == 1
    assert "127.0.0.1:9, does not answer" in err
    assert "start one with prefect server start" in err


@pytest.mark.parametrize(
    ("raw", "prefix", "both"),
    [
        ("mine", "mine_", "mine_staging"),
        ("silver", "", "silver"),
        ("a_raw", "a_", ""),
        ("raw", "", ""),
    ],
)
def test_one_dataset_is_not_used_for_two_things(raw: str, prefix: str, both: str) -> None:
    given = {"gcp_project": "p", "gcs_bucket": "bucket"}
    given |= {"raw_dataset": raw, "dbt_dataset_prefix": prefix}
    if not both:
        assert Settings.from_variables(given).warehouse.dataset_prefix == prefix
        return
    with pytest.raises(Misconfigured) as refused:
        Settings.from_variables(given)
    told = f"RAW_DATASET and DBT_DATASET_PREFIX both make the dataset {both}"
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["raw_dataset", "dbt_dataset_prefix"])
def test_a_name_that_no_dataset_can_have_is_refused(name: str) -> None:
    given = {"gcp_project": "p", "gcs_bucket": "bucket", name: "my-data"}
    with pytest.raises(Misconfigured) as refused:
        Settings.from_variables(given)
    assert f"{name.upper()}: may have letters, digits and underscores only" in str(refused.value)


def test_copies_of_logs_are_not_removed_before_their_runs_are() -> None:
    given = {"gcp_project": "p", "gcs_bucket": "bucket"}
    assert Settings.from_variables(given).warehouse.log_retention_days == 730
    with pytest.raises(Misconfigured) as error:
        Settings.from_variables({**given, "log_retention_days": 90})
    assert "LOG_RETENTION_DAYS" in str(error.value)


def test_every_variable_of_the_settings_stands_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    missing = [name for name in ALL_VARIABLES if f"{name.upper()}=" not in example]
    assert missing == []


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({"USGS_LANDING": "landing-s3"}, "USGS_LANDING: landing-s3 needs S3_BUCKET"),
        (
            {"FINANCE_NEWEST_EVENT_WARN_HOURS": "30"},
            "FINANCE_NEWEST_EVENT_WARN_HOURS: must be less than FINANCE_NEWEST_EVENT_FAIL_HOURS, "
            "which is 24",
        ),
        (
            {"FINANCE_NEWEST_EVENT_FAIL_HOURS": "nan"},
            "FINANCE_NEWEST_EVENT_FAIL_HOURS: must be ",
        ),
        (
            {"SOURCES": "usgs-earthquake,usgs"},
            "SOURCES: 'usgs' is none of usgs-earthquake, openweather, ph-news, nyc-fhv, finance",
        ),
        (
            {"SOURCES": "nyc-fhv, openweather", "OPENWEATHER_API_KEY": "s3cret"},
            "OPENWEATHER_LOCATIONS: is not set, and SOURCES names openweather",
        ),
        (
            {"SOURCES": "finance"},
            "FINANCE_SHEET_URL: is not set, and SOURCES names finance",
        ),
        ({"USGS_LANDING": "s3"}, "USGS_LANDING: must be 'landing-gcs' or 'landing-s3'"),
        (
            {"S3_BUCKET": "b-b", "AWS_SECRET_ACCESS_KEY": "s3cret"},
            "AWS_ACCESS_KEY_ID: is not set, and AWS_SECRET_ACCESS_KEY is: they go together",
        ),
    ],
)
def test_what_cannot_be_is_refused(variables: dict[str, str], cause: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        settings(**variables)
    told = str(caught.value)
    assert cause in told
    assert "s3cret" not in told


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        (
            {"MEDIASTACK_LANGUAGES": "en,tl"},
            "MEDIASTACK_LANGUAGES: 'tl' is not a code",
        ),
        ({"MEDIASTACK_LANGUAGES": "en;ar"}, "MEDIASTACK_LANGUAGES: 'en;ar' is not"),
        ({"MEDIASTACK_COUNTRIES": "phl"}, "MEDIASTACK_COUNTRIES: 'phl' is not a code"),
        ({"MEDIASTACK_COUNTRIES": "-xx"}, "MEDIASTACK_COUNTRIES: '-xx' is not a code"),
    ],
)
def test_a_language_or_country_that_mediastack_does_not_know_is_named(
    variables: dict[str, str], cause: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        settings(**variables)
    assert cause in str(caught.value)


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, {"countries": "ph"}),
        ({"MEDIASTACK_COUNTRIES": "", "MEDIASTACK_LANGUAGES": ""}, {"countries": "ph"}),
        ({"MEDIASTACK_COUNTRIES": " , ", "MEDIASTACK_LANGUAGES": ","}, {"countries": "ph"}),
        (
            {"MEDIASTACK_COUNTRIES": "PH, sg,-us,ph", "MEDIASTACK_LANGUAGES": "-zh"},
            {"countries": "ph,sg,-us", "languages": "-zh"},
        ),
    ],
)
def test_the_news_are_the_philippines_in_every_language_unless_the_settings_say_otherwise(
    variables: dict[str, str],
    asked: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ensure_service_account(tmp_path / "account.json", "p", "http://127.0.0.1:9/token")
    given = {
        "GCP_PROJECT": "p",
        "GCS_BUCKET": "a-b",
        "GCP_SERVICE_ACCOUNT_FILE": str(tmp_path / "account.json"),
        "MEDIASTACK_ACCESS_KEY": "k",
        **variables,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    block: Any = all_blocks(read_settings())["ph-news"]
    assert isinstance(block, PhNews)
    assert block.filters == {**asked, "sort": "published_desc"}


@pytest.mark.usefixtures("bare_environment")
def test_a_bucket_on_s3_is_a_block_with_its_credentials_and_a_source_names_it(
    tmp_path: Path,
) -> None:
    ensure_service_account(tmp_path / "account.json", "p", "http://127.0.0.1:9/token")
    google = {"GCP_SERVICE_ACCOUNT_FILE": str(tmp_path / "account.json")}
    assert not {"aws", "landing-s3"} & all_blocks(settings(**google)).keys()
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    given = {"S3_BUCKET": "b-b", "USGS_LANDING": "landing-s3", **keys, **google}
    blocks: dict[str, Any] = {**all_blocks(settings(**given))}
    assert {"aws", "landing-s3"} <= blocks.keys()
    assert isinstance(blocks["landing-s3"], S3Bucket)
    assert blocks["landing-s3"].credentials is blocks["aws"]
    assert isinstance(blocks["usgs-earthquake"], UsgsEarthquake)
    assert blocks["usgs-earthquake"].landing == "landing-s3"
    assert "s3cret" not in str(blocks)


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "landing"),
    [
        ({}, "landing-gcs"),
        ({"S3_BUCKET": "b-b"}, "landing-s3"),
        ({"S3_BUCKET": "b-b", "NYC_FHV_LANDING": "landing-gcs"}, "landing-gcs"),
    ],
)
def test_vehicles_land_on_s3_where_there_is_a_bucket_and_google_alone_is_enough(
    variables: dict[str, str], landing: str
) -> None:
    found = settings(**variables)
    assert found.sources["nyc-fhv"].landing == landing
    assert "nyc-fhv" not in found.not_configured


ALL_KEYS = {
    "OPENWEATHER_API_KEY": "k",
    "OPENWEATHER_LOCATIONS": "Manila:14.5:120.9",
    "MEDIASTACK_ACCESS_KEY": "k",
    "FINANCE_SHEET_URL": "https://docs.google.com/spreadsheets/d/x/edit",
}


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "configured"),
    [
        ({}, {"usgs-earthquake", "nyc-fhv"}),
        (ALL_KEYS, set(SOURCES)),
        (ALL_KEYS | {"SOURCES": " , "}, set(SOURCES)),
        (ALL_KEYS | {"SOURCES": "finance, ph-news"}, {"finance", "ph-news"}),
        ({"MEDIASTACK_ACCESS_KEY": "k", "SOURCES": "usgs-earthquake"}, {"usgs-earthquake"}),
        ({"OPENWEATHER_API_KEY": "k"}, {"usgs-earthquake", "nyc-fhv"}),
    ],
)
def test_the_configured_sources_are_those_whose_needs_are_set_and_sources_limits_them(
    tmp_path: Path, variables: dict[str, str], configured: set[str]
) -> None:
    ensure_service_account(tmp_path / "account.json", "p", "http://127.0.0.1:9/token")
    account = str(tmp_path / "account.json")
    found = settings(**variables, GCP_SERVICE_ACCOUNT_FILE=account)
    missing = found.not_configured
    assert SOURCES.keys() - missing.keys() == configured
    assert all(missing.values())
    # Blocks, and the hosts that a check knocks at, are of the same.
    assert all_blocks(found).keys() & SOURCES.keys() == configured
    assert {one.name for one in subjects(found) if one.hosts} & SOURCES.keys() == configured


def settings(**variables: str) -> Settings:
    given = {"GCP_PROJECT": "p", "GCS_BUCKET": "a-b", **variables}
    return Settings.from_variables({name.lower(): value for name, value in given.items()})


FILES = {
    "key.txt": "\ufeffk3y\n\nwhat is more\n",
    "accessKeys.csv": "\ufeffAccess key ID,Secret access key\r\nAKIA,s/cr+t\r\n",
    "new.csv": "User name,Password,Access key ID,Secret access key,Console login link\nme,,A,s,x\n",
    "id.txt": "AKIA\n",
    "empty.txt": "\n",
    "other.csv": "name,value\na,b\n",
}
S3 = {"S3_BUCKET": "b-b"}


@pytest.fixture
def key_files(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.key").write_bytes(b"\xff\xfe\x00")
    return tmp_path


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variables", "read"),
    [
        ({"OPENWEATHER_API_KEY": "{}/key.txt"}, {"openweather_api_key": "k3y"}),
        ({"MEDIASTACK_ACCESS_KEY": "{}/key.txt"}, {"mediastack_access_key": "k3y"}),
        ({"SOCRATA_APP_TOKEN": "{}/key.txt"}, {"socrata_app_token": "k3y"}),
        ({"OPENWEATHER_API_KEY": "0123abc"}, {"openweather_api_key": "0123abc"}),
        (
            S3 | {"AWS_ACCESS_KEY_ID": "{}/accessKeys.csv"},
            {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s/cr+t"},
        ),
        (
            S3 | {"AWS_SECRET_ACCESS_KEY": "{}/new.csv"},
            {"aws_access_key_id": "A", "aws_secret_access_key": "s"},
        ),
        (
            S3 | {"AWS_ACCESS_KEY_ID": "{}/new.csv", "AWS_SECRET_ACCESS_KEY": "{}/accessKeys.csv"},
            {"aws_access_key_id": "A", "aws_secret_access_key": "s/cr+t"},
        ),
        (
            S3 | {"AWS_ACCESS_KEY_ID": "{}/id.txt", "AWS_SECRET_ACCESS_KEY": "/begins/so+40"},
            {"aws_access_key_id": "AKIA", "aws_secret_access_key": "/begins/so+40"},
        ),
    ],
)
def test_a_key_is_read_from_the_file_that_its_variable_names(
    key_files: Path, variables: dict[str, str], read: dict[str, str]
) -> None:
    found = settings(**{name: value.format(key_files) for name, value in variables.items()})
    values = {name: value.get_secret_value() for name, value in found.secrets.items()}
    if found.s3 and found.s3.access_key_id:
        values["aws_access_key_id"] = found.s3.access_key_id
    assert values == read


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("MEDIASTACK_ACCESS_KEY", "{}/gone", "no such file or directory"),
        ("MEDIASTACK_ACCESS_KEY", "gone.txt", "no such file or directory"),
        ("MEDIASTACK_ACCESS_KEY", "~/no/such/key", "no such file or directory"),
        ("MEDIASTACK_ACCESS_KEY", "{}", "is a directory"),
        ("OPENWEATHER_API_KEY", "{}/empty.txt", "it is empty"),
        ("OPENWEATHER_API_KEY", "{}/bytes.key", "it is not a text"),
        (
            "AWS_ACCESS_KEY_ID",
            "{}/other.csv",
            "it has no row under 'Access key ID,Secret access key'",
        ),
    ],
)
def test_a_path_that_cannot_be_read_is_told_with_variable_path_and_cause(
    key_files: Path, variable: str, value: str, cause: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        settings(**S3, **{variable: value.format(key_files)})
    told = str(caught.value)
    assert f"{variable}: this is a path that cannot be read: " in told
    assert f"({cause})" in told


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"client_email": "a@b"}'])
def test_a_file_that_is_no_service_accounts_key_is_named_with_its_variable(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "account.json"
    file.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        settings(GCP_SERVICE_ACCOUNT_FILE=str(file))
    assert f"GCP_SERVICE_ACCOUNT_FILE: {file}: is not " in str(caught.value)


@pytest.mark.usefixtures("bare_environment")
def test_the_example_with_project_and_bucket_is_a_configuration_without_an_unknown_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "env"
    monkeypatch.setenv(ENV_FILE, str(file))
    account = tmp_path / "account.json"
    ensure_service_account(account, "p", "http://127.0.0.1:9/token")
    monkeypatch.setenv("GCP_SERVICE_ACCOUNT_FILE", str(account))
    example = (ROOT / ".env.example").read_text()
    filled = example.replace("GCP_PROJECT=\n", "GCP_PROJECT=p\n")
    file.write_text(filled.replace("GCS_BUCKET=\n", "GCS_BUCKET=a-b\n"))
    found = read_settings()
    assert (found.warehouse.project, found.gcs_bucket) == ("p", "a-b")
    assert list(unknown_variables()) == []
    assert found.not_configured == {
        "openweather": "set OPENWEATHER_API_KEY and OPENWEATHER_LOCATIONS",
        "ph-news": "set MEDIASTACK_ACCESS_KEY",
        "finance": "set FINANCE_SHEET_URL",
    }
    monkeypatch.setenv("OPENWEATHER_API_KEY", "k")
    assert "openweather" not in all_blocks(read_settings())


def test_a_variable_that_nothing_reads_is_told_with_the_one_that_it_resembles(
    tmp_path: Path, registered: Registered
) -> None:
    file = tmp_path / "env"
    file.write_text("GCS_BUCKET=a-b\nOPENWEATHER_LOCATION=x\nPROJECT_ID=y\nPREFECT_HOME=z\n")
    code, _, err = registered({ENV_FILE: str(file)})
    assert code == 1
    told = [line for line in err.splitlines() if line.startswith("note")]
    assert len(told) == 2
    assert f"OPENWEATHER_LOCATION in {file} is no variable of this project" in told[0]
    assert "did you mean OPENWEATHER_LOCATIONS?" in told[0]
    assert "PROJECT_ID" in told[1]
    assert f"Set these in the environment or in {file}" in err
    assert "=y" not in err


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_an_env_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, registered: Registered
) -> None:
    file = tmp_path / "env"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    code, _, err = registered({ENV_FILE: str(file)})
    assert code == 1
    assert str(file) in err
