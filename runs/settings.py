"""The environment and `.env`, typed, and what a run is configured with by them.

`python -m blocks.register` and command lines read them.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar
from zoneinfo import available_timezones

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    HttpUrl,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.names import flow_of
from sources import SOURCES as NAMES
from sources.settings import (
    LANDING,
    SourceSettings,
    Wrong,
    matching,
    settings_of,
)
from stores.datasets import dbt_datasets, staging_of
from stores.federation import is_federation
from stores.settings import (
    LANDING_S3,
    GoogleAccount,
    PlatformSettings,
    S3Settings,
    WarehouseSettings,
)

ROOT = Path(__file__).resolve().parent.parent
# Names another file than `.env` beside the code; empty: no file is read.
ENV_FILE = "PIPELINES_ENV_FILE"

# What each source's own file says of its variables, as its flow is named.
OF_SOURCES: dict[str, type[SourceSettings]] = {
    flow_of(source): settings_of(source) for source in NAMES
}
# Every source, and what has to be set before it can run.
SOURCES: dict[str, tuple[str, ...]] = {name: kind.needs() for name, kind in OF_SOURCES.items()}

# Their value may also be the path of a file that holds it.
KEYS = (
    *("aws_access_key_id", "aws_secret_access_key", "slack_webhook_url", "alert_email_password"),
    *(key for kind in OF_SOURCES.values() for key in kind.secret_variables()),
)
# The columns of the file that Amazon's console gives out.
AWS_COLUMNS = {
    "aws_access_key_id": "access key id",
    "aws_secret_access_key": "secret access key",
}
KEY_FILE_SUFFIXES = (".txt", ".csv", ".json", ".key", ".pem")

# What pydantic says, in words for a person; anything else is said as pydantic has it.
WORDS = {
    "missing": "is not set",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "literal_error": "must be {expected}",
    "url_parsing": "must be an address such as https://host.example",
    "url_scheme": "must be an address such as https://host.example",
    "date_from_datetime_parsing": "must be a day such as 2026-01-31",
    "date_parsing": "must be a day such as 2026-01-31",
}


BUCKET = matching(
    r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
    "must be a bucket's name alone, such as my-landing: no gs:// or s3://, no folder",
)
ADDRESSES = r"[^@,]+@[^@,]+"


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be a time zone of the IANA database, such as Asia/Manila")
    return name


def _sources(text: str) -> str:
    if unknown := sorted(names_in(text) - SOURCES.keys()):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(SOURCES)} (several by comma)")
    return text


def names_in(text: str) -> set[str]:
    """The names of a list by comma."""
    return {name.strip() for name in text.split(",")} - {""}


def _webhook(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https?://[^\s/]+/\S*", secret.get_secret_value()):
        raise ValueError("must be an address such as https://hooks.slack.com/services/...")
    return secret


if TYPE_CHECKING:

    class AllVariables(BaseModel):
        """Of every source."""

else:
    # None is decoded: a text stands for whatever its field makes of it.
    AllVariables = create_model(
        "AllVariables",
        **{
            name: (Annotated[kind, NoDecode], default)
            for source in OF_SOURCES.values()
            for name, (kind, default) in source.typed_variables().items()
        },
    )


class Misconfigured(ValueError):
    """Variables are missing or wrong; the message has a line for each, without any value."""


def reason(error: Exception) -> str:
    """Why a file cannot be read; it never has what is in the file."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not a text"
    return (
        (error.strerror or type(error).__name__).lower()
        if isinstance(error, OSError)
        else str(error)
    )


class Settings(AllVariables, BaseSettings):
    """Names as in `.env.example`; the environment wins over `.env`.

    The value of a key may be the path of a file that holds it: a text with the key in its first
    line, or the CSV of Amazon's console for both AWS keys. Raises ValidationError with every fault.
    """

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    # Whether a key's file that cannot be read is a fault.
    needs_key_files: ClassVar[bool] = True

    gcp_project: Annotated[
        str, matching(r"[a-z][a-z0-9.:-]*", "must be a project's id, such as my-project-123")
    ]
    # Empty on a machine with an attached service account.
    gcp_service_account_file: Path | None = None
    bigquery_location: Annotated[
        str, matching(r"[A-Za-z0-9-]+", "must be a location, such as US or asia-southeast1")
    ] = "US"
    raw_dataset: Annotated[
        str, matching(r"[A-Za-z0-9_]{1,1000}", "may have letters, digits and underscores only")
    ] = "raw"
    # Before the names of the datasets that dbt builds.
    dbt_dataset_prefix: Annotated[
        str, matching(r"[A-Za-z0-9_]{0,1000}", "may have letters, digits and underscores only")
    ] = ""
    gcs_bucket: Annotated[str, BUCKET]
    # A second bucket, on S3. Without keys: by this role, or by what the machine has by itself.
    aws_role_arn: (
        Annotated[
            str,
            matching(
                r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+",
                "must be a role's name, such as arn:aws:iam::123456789012:role/data-pipelines",
            ),
        ]
        | None
    ) = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: (
        Annotated[str, matching(r"[a-z0-9-]+", "must be a region, such as ap-southeast-1")] | None
    ) = None
    aws_endpoint_url: HttpUrl | None = None
    s3_bucket: Annotated[str, BUCKET] | None = None
    maximum_bytes_billed: int = Field(default=10 * 2**30, ge=10 * 2**20)
    landing_retention_days: float = Field(default=7, ge=0, le=36_500)
    # Not before their runs are removed from Prefect: alerting/run_logs.py.
    log_retention_days: float = Field(default=730, ge=91, le=36_500)
    # Served by a web server; empty: the catalog is in the bucket only.
    catalog_directory: str = ""
    # Where answers wait that no bucket took; empty: by XDG.
    spool_directory: str = ""
    # Snapshots of the marts, and the pages made of them; empty: none are made.
    serving_directory: str = ""
    # How pages write times and money.
    home_timezone: Annotated[str, AfterValidator(_time_zone)] = "Asia/Manila"
    home_currency: Annotated[
        str, matching(r"[A-Z]{3}", "must be a currency's code of ISO 4217, such as PHP")
    ] = "PHP"
    # Which of the configured sources run, by comma; empty: all of them.
    sources: Annotated[str, AfterValidator(_sources)] = ""
    # Alerts: a Slack webhook, a mail server, both, or nobody is told.
    slack_webhook_url: Annotated[SecretStr, AfterValidator(_webhook)] | None = None
    alert_email_host: (
        Annotated[str, matching(r"[^\s/:]+", "must be a host, such as smtp.example.org")] | None
    ) = None
    alert_email_port: int = Field(default=587, ge=1, le=65535)
    alert_email_security: Literal["starttls", "tls", "none"] = "starttls"
    alert_email_user: str | None = None
    alert_email_password: SecretStr | None = None
    alert_email_from: (
        Annotated[str, matching(ADDRESSES, "must be an address such as me@example.org")] | None
    ) = None
    # several by comma
    alert_email_to: Annotated[
        str,
        matching(
            rf"({ADDRESSES})?(,{ADDRESSES})*,?\s*",
            "must be addresses such as me@example.org, several by comma",
        ),
    ] = ""
    alert_docs_url: str = "docs/operations.md"
    alert_not_started_minutes: float = Field(default=15, gt=0, allow_inf_nan=False)
    alert_running_hours: float = Field(default=6, gt=0, allow_inf_nan=False)
    alert_unloaded_hours: float = Field(default=24, gt=0, allow_inf_nan=False)
    alert_ledger_hours: float = Field(default=3, gt=0, allow_inf_nan=False)
    alert_request_share: float = Field(default=0.9, gt=0, le=1)
    alert_daily_bytes_billed: int = Field(default=32 * 2**30, ge=0)
    alert_disk_share: float = Field(default=0.9, gt=0, le=1)
    alert_state_file: Path | None = None
    # Where the worker on this machine answers (prefect worker start --with-healthcheck).
    worker_health_url: HttpUrl = HttpUrl("http://127.0.0.1:8080/health")

    @model_validator(mode="wrap")
    @classmethod
    def _every_fault_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        given, faults = with_files_read(data)
        if not cls.needs_key_files:
            faults = []
        unread = {name for name, _ in faults}
        if given.get("s3_bucket"):
            for kind in OF_SOURCES.values():
                if kind.model_fields[LANDING].default == LANDING_S3:
                    given.setdefault(kind.variables()[LANDING], LANDING_S3)
        faults += faults_of_several(given)
        try:
            settings = handler(given)
        except ValidationError as error:
            own = [(name_of(one), in_words(one)) for one in error.errors()]
            faults = [fault for fault in own if fault[0] not in unread] + faults
        else:
            for kind in OF_SOURCES.values():
                names = kind.variables()
                values = {field: getattr(settings, name) for field, name in names.items()}
                faults += [(names[field], told) for field, told in kind.faults(values)]
        if faults:
            raise ValidationError.from_exception_data(
                cls.__name__,
                # pydantic_settings may come through here twice.
                [_problem(*fault) for fault in dict.fromkeys(faults)],
                hide_input=True,
            )
        return settings


class SettingsWithoutFiles(Settings):
    """For what has to work whatever became of a key's file: telling somebody."""

    needs_key_files: ClassVar[bool] = False


S = TypeVar("S", bound=Settings)


def _problem(name: str, told: str) -> InitErrorDetails:
    # The words may have braces of their own.
    error = PydanticCustomError("setting", "{told}", {"told": told})
    return InitErrorDetails(type=error, loc=(name,) if name else (), input=None)


def name_of(problem: Mapping[str, Any]) -> str:
    """The name of the field that pydantic complains of."""
    return str(problem["loc"][0]) if problem["loc"] else ""


def in_words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a field, without its value."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if words := WORDS.get(problem["type"]):
        limits = problem.get("ctx", {}).items()
        return words.format(**{name: _plain(value) for name, value in limits})
    return str(problem["msg"])


def _plain(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def faults_of_several(given: Mapping[str, Any]) -> list[Wrong]:
    """What is wrong with variables that belong together."""
    faults: list[Wrong] = []
    for one, other in (
        ("alert_email_user", "alert_email_password"),
        ("aws_access_key_id", "aws_secret_access_key"),
    ):
        if bool(given.get(one)) != bool(given.get(other)):
            missing, there = (one, other) if given.get(other) else (other, one)
            faults.append((missing, f"is not set, and {there.upper()} is: they go together"))
    if given.get("aws_role_arn"):
        faults += [
            (name, "is set, and AWS_ROLE_ARN as well: a role needs no key, remove one of them")
            for name in ("aws_access_key_id", "aws_secret_access_key")
            if given.get(name)
        ]
        if not given.get("aws_region"):
            faults.append(("aws_region", "is not set, and AWS_ROLE_ARN needs it"))
    if given.get("alert_email_host"):
        for name in ("alert_email_from", "alert_email_to"):
            if not given.get(name):
                faults.append((name, "is not set, and ALERT_EMAIL_HOST needs it"))
    raw = str(given.get("raw_dataset") or "raw")
    datasets = dbt_datasets(str(given.get("dbt_dataset_prefix") or ""))
    if both := sorted({raw, staging_of(raw)} & {*datasets}):
        faults.append(
            ("", f"RAW_DATASET and DBT_DATASET_PREFIX both make the dataset {both[0]}: change one")
        )
    named = names_in(str(given.get("sources") or ""))
    for source in SOURCES:
        if source in named:
            faults += [
                (name, f"is not set, and SOURCES names {source}") for name in unset(source, given)
            ]
    if not given.get("s3_bucket"):
        faults += [
            (name, f"{LANDING_S3} needs S3_BUCKET, which is not set")
            for name, value in given.items()
            if name.endswith("_landing") and value == LANDING_S3
        ]
    return faults


def with_files_read(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Wrong]]:
    """`data` with keys read from the files that they name, and what is wrong with those files."""
    given, faults = dict(data), list[Wrong]()
    for name in KEYS:
        value = data.get(name)
        if not isinstance(value, str) or (path := file_named(name, value)) is None:
            continue
        try:
            given |= read_key(name, path, data)
        except (OSError, ValueError) as error:
            faults.append((name, f"this is a path that cannot be read: {path} ({reason(error)})"))
    if account := data.get("gcp_service_account_file"):
        path = ROOT / Path(account).expanduser()
        try:
            check_account(path)
        except (OSError, ValueError) as error:
            faults.append(("gcp_service_account_file", f"{path}: {reason(error)}"))
        given["gcp_service_account_file"] = path
    return given, faults


def file_named(name: str, value: str) -> Path | None:
    """The file that a key's value names: one that is there, or by its form can only be a path.

    Amazon's secrets may begin with a slash but have no dot; a password may be anything.
    """
    try:
        path = ROOT / Path(value).expanduser()
        if path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):
        return None
    if name in ("alert_email_password", "slack_webhook_url"):
        return None
    starts = ("~/", "./", "../") if name == "aws_secret_access_key" else ("/", "~/", "./", "../")
    is_path = value.startswith(starts) or path.suffix.lower() in KEY_FILE_SUFFIXES
    return path if is_path else None


def read_key(name: str, path: Path, data: Mapping[str, Any]) -> dict[str, str]:
    """What a key's file holds. Raises OSError, and ValueError when there is no key in it."""
    with path.open(encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    if name not in AWS_COLUMNS or "," not in lines[0]:
        return {name: lines[0]}
    header, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines))
    columns = [column.lower() for column in header]
    if not rows or len(rows[0]) != len(columns) or not {*AWS_COLUMNS.values()} <= {*columns}:
        raise ValueError("it has no row under 'Access key ID,Secret access key'")
    row = dict(zip(columns, rows[0], strict=True))
    # The file has both: the other one need not be set.
    return {
        one: row[column] for one, column in AWS_COLUMNS.items() if one == name or not data.get(one)
    }


def check_account(path: Path) -> None:
    """Raise OSError or ValueError unless the file is a service account's key or a federation's."""
    try:
        info = json.loads(path.read_text())
    except ValueError:
        info = None
    if not isinstance(info, dict):
        info = {}
    if is_federation(info):
        texts = ("audience", "subject_token_type", "token_url")
        is_whole = isinstance(info.get("credential_source"), dict)
    else:
        texts, is_whole = ("client_email", "private_key", "token_uri"), True
    if not (is_whole and all(isinstance(info.get(name), str) for name in texts)):
        raise ValueError(
            "is not the key file of a service account, which is JSON with client_email, "
            "private_key and token_uri, nor a file of workload identity federation, which has "
            "audience, subject_token_type, token_url and credential_source"
        )


def env_file() -> Path | None:
    """The `.env` that is read, whether it is there or not; None for no file at all."""
    named = os.environ.get(ENV_FILE)
    if named is None:
        return ROOT / ".env"
    return Path(named).expanduser() if named else None


def read_settings() -> Settings:
    """The environment and `.env`. Raises Misconfigured, whose message names every fault."""
    return read(Settings)


def read(kind: type[S]) -> S:
    file = env_file()
    try:
        return kind(_env_file=file)
    except ValidationError as error:
        raise Misconfigured(explain(error, file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {reason(error)}") from None


def explain(error: ValidationError, file: Path | None = None) -> str:
    """Which variables are missing or wrong, one per line, without their values."""
    lines = [
        ": ".join(filter(None, [name_of(problem).upper(), in_words(problem)]))
        for problem in error.errors()
    ]
    where = f"in the environment or in {file}" if file else "in the environment"
    return "\n".join([*lines, f"Set these {where} (.env.example explains them)."])


def unknown_variables() -> Iterable[str]:
    """What `.env` sets and nothing reads, in words."""
    file = env_file()
    if file is None or not file.is_file():
        return
    try:
        named = dotenv_values(file, interpolate=False)
    except (OSError, UnicodeDecodeError):
        # Whoever reads the settings says so.
        return
    example = (ROOT / ".env.example").read_text()
    known = {*re.findall(r"^#? ?([A-Z0-9_]+)=", example, re.MULTILINE)}
    known |= {name.upper() for name in Settings.model_fields}
    for name in named:
        if name.upper() in known or name.upper().startswith("PREFECT_"):
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.85)
        meant = f"; did you mean {close[0]}?" if close else ""
        yield f"{name} in {file} is no variable of this project and has no effect{meant}"


def not_configured(settings: Settings) -> dict[str, str]:
    """Every source that does not run, as its flow is named, and what keeps it from running.

    All other sources run. From here follow the blocks that are saved, and from these all that is
    deployed, watched, swept and shown (blocks/sources.py).
    """
    given, named = dict(settings), names_in(settings.sources)
    found: dict[str, str] = {}
    for source in SOURCES:
        if missing := unset(source, given):
            found[source] = f"set {' and '.join(name.upper() for name in missing)}"
        elif named and source not in named:
            found[source] = "SOURCES does not name it"
    return found


def unset(source: str, given: Mapping[str, Any]) -> list[str]:
    """The variables that a source needs and that are not set."""
    return [name for name in SOURCES[source] if not _plain_text(given.get(name))]


def _plain_text(value: Any) -> str:
    secret = value.get_secret_value() if isinstance(value, SecretStr) else value
    return str(secret or "").strip()


def platform_settings(settings: Settings) -> PlatformSettings:
    """What every source shares, as the environment describes it.

    Raises Misconfigured when there are no credentials of Google's to be had.
    """
    return PlatformSettings(
        google=google_account(settings),
        gcs_bucket=settings.gcs_bucket,
        s3=s3_settings(settings),
        warehouse=warehouse_settings(settings),
    )


def google_account(settings: Settings) -> GoogleAccount:
    """The file's account, a key's or a federation's, or the machine's. Raises Misconfigured."""
    # What only reads `.env` has no client of Google's in memory.
    from google.auth.exceptions import DefaultCredentialsError

    from stores.google import credentials_for

    file, info = settings.gcp_service_account_file, None
    try:
        if file:
            info = json.loads(file.read_text())
        account = GoogleAccount(info=SecretStr(json.dumps(info)) if info else None)
        credentials_for(account)
    except OSError as error:
        raise Misconfigured(f"GCP_SERVICE_ACCOUNT_FILE: {file}: {reason(error)}") from error
    except ValueError as error:
        # Not what the parser says of it: it would be a piece of the key.
        part = (
            "credential_source is no file, address or AWS"
            if info and is_federation(info)
            else "private_key cannot be read"
        )
        raise Misconfigured(f"GCP_SERVICE_ACCOUNT_FILE: {file}: its {part}") from error
    except DefaultCredentialsError as error:
        raise Misconfigured(
            "GCP_SERVICE_ACCOUNT_FILE: is not set, and this machine has no credentials of Google's:"
            " set it to the key file of a service account, or to a federation's file"
        ) from error
    return account


def warehouse_settings(settings: Settings) -> WarehouseSettings:
    return WarehouseSettings(
        project=settings.gcp_project,
        location=settings.bigquery_location,
        raw_dataset=settings.raw_dataset,
        dataset_prefix=settings.dbt_dataset_prefix,
        maximum_bytes_billed=settings.maximum_bytes_billed,
        landing_retention_days=settings.landing_retention_days,
        log_retention_days=settings.log_retention_days,
        catalog_directory=settings.catalog_directory,
        spool_directory=settings.spool_directory,
        serving_directory=settings.serving_directory,
        home_timezone=settings.home_timezone,
        home_currency=settings.home_currency,
    )


def s3_settings(settings: Settings) -> S3Settings | None:
    """The bucket on S3, if there is one. Without keys, those of the machine's role are used."""
    if not settings.s3_bucket:
        return None
    endpoint = settings.aws_endpoint_url
    return S3Settings(
        bucket=settings.s3_bucket,
        region=settings.aws_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
        role_arn=settings.aws_role_arn,
        options={"endpoint_url": str(endpoint)} if endpoint else {},
    )


def source_settings(settings: Settings) -> dict[str, SourceSettings]:
    """What each configured source is configured with, by the name of its flow."""
    missing = not_configured(settings)
    return {
        name: OF_SOURCES[name].from_variables(dict(settings))
        for name in SOURCES
        if name not in missing
    }
