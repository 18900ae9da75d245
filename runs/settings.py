"""The settings that a run is configured with: of the platform, of alerts and of every source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, HttpUrl, SecretStr, ValidationError

from core.names import flow_of
from runs.alert_settings import AlertSettings
from runs.environment import (
    AWS_COLUMNS,
    Misconfigured,
    in_words,
    misconfigured,
    reason,
    variables_set,
    with_files_read,
)
from sources import SOURCES as NAMES
from sources.settings import LANDING, SourceSettings, settings_of
from stores.datasets import dbt_datasets, staging_of
from stores.federation import is_federation
from stores.settings import (
    LANDING_GCS,
    LANDING_S3,
    Bucket,
    GoogleAccount,
    PlatformSettings,
    S3Settings,
    WarehouseSettings,
)
from stores.variables import Variables, Wrong, variable

# What each source's own file says of its variables, as its flow is named.
OF_SOURCES: dict[str, type[SourceSettings]] = {
    flow_of(source): settings_of(source) for source in NAMES
}
# Every source, and what has to be set before it can run.
SOURCES: dict[str, tuple[str, ...]] = {name: kind.needs() for name, kind in OF_SOURCES.items()}

# What is set together, and what needs what.
PAIRS = (
    ("alert_email_user", "alert_email_password"),
    ("aws_access_key_id", "aws_secret_access_key"),
)
NEEDS = (
    ("aws_role_arn", "aws_region"),
    ("alert_email_host", "alert_email_from"),
    ("alert_email_host", "alert_email_to"),
)
V = TypeVar("V", bound=Variables)


def _sources(text: str) -> str:
    if unknown := sorted(names_in(text) - SOURCES.keys()):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(SOURCES)} (several by comma)")
    return text


def names_in(text: str) -> set[str]:
    """The names of a list by comma."""
    return {name.strip() for name in text.split(",")} - {""}


class Settings(Variables):
    """What the variables of `.env.example` say, by what they configure."""

    # None on a machine with an attached service account.
    google_file: Path | None = variable("GCP_SERVICE_ACCOUNT_FILE", default=None)
    gcs_bucket: Bucket = variable("GCS_BUCKET")
    # Which of the configured sources run, by comma; empty: all of them.
    only: Annotated[str, AfterValidator(_sources)] = variable("SOURCES", default="")
    # Where the worker on this machine answers (prefect worker start --with-healthcheck).
    worker_health_url: HttpUrl = variable(
        "WORKER_HEALTH_URL", default=HttpUrl("http://127.0.0.1:8080/health")
    )
    warehouse: WarehouseSettings
    # None without a bucket.
    s3: S3Settings | None
    alerts: AlertSettings
    # Of each source that runs, as its flow is named.
    sources: dict[str, SourceSettings]
    # What keeps each other one from running. From here follow the blocks that are saved, and from
    # these all that is deployed, watched, swept and shown (blocks/sources.py).
    not_configured: dict[str, str]
    # By their variables, those of sources that do not run as well.
    secrets: dict[str, SecretStr]

    @classmethod
    def from_variables(cls, given: Mapping[str, Any], *, needs_key_files: bool = True) -> Self:
        """The settings that the variables describe, by their names in lower case.

        The value of a key may be the path of a file that holds it: a text with the key in its first
        line, or the CSV of Amazon's console for both AWS keys. Without `needs_key_files` one that
        cannot be read is no fault. Raises Misconfigured with every fault.
        """
        given, unread = with_files_read(given, KEYS)
        if not needs_key_files:
            unread = []
        faults = faults_of_several(given)
        sources, not_configured = of_sources(given, faults)
        settings = part(
            cls,
            given,
            faults,
            warehouse=part(WarehouseSettings, given, faults),
            s3=part(S3Settings, given, faults, not_set=""),
            alerts=part(AlertSettings, given, faults),
            sources=sources,
            not_configured=not_configured,
            secrets={name: given[name] for name in SECRETS if name in given},
        )
        files = {name for name, _ in unread}
        faults = unread + [fault for fault in faults if fault[0] not in files]
        if faults or settings is None:
            raise misconfigured(faults)
        return settings

    @property
    def account(self) -> GoogleAccount:
        """The file's, or the machine's, not tried. Raises OSError and ValueError."""
        if self.google_file is None:
            return GoogleAccount()
        content = json.loads(self.google_file.read_text())
        return GoogleAccount(info=SecretStr(json.dumps(content)))


DECLARED: tuple[type[Variables], ...] = (
    *(Settings, WarehouseSettings, S3Settings, AlertSettings),
    *OF_SOURCES.values(),
)
# Every variable there is, in lower case, and those of them whose values are secret.
ALL_VARIABLES = [name for kind in DECLARED for name in kind.variables().values()]
SECRETS = [name for kind in DECLARED for name in kind.secret_variables()]
# Their value may also be the path of a file that holds it.
KEYS = {*AWS_COLUMNS, *SECRETS}


def part(
    kind: type[V],
    given: Mapping[str, Any],
    faults: list[Wrong],
    *,
    not_set: str = "is not set",
    **parts: Any,
) -> V | None:
    """The settings of one kind; None, and what is wrong added to `faults`, where there are none.

    `not_set` is said of a variable that is missing; empty: that is no fault.
    """
    names = kind.variables()
    values = {field: given[name] for field, name in names.items() if name in given}
    try:
        return kind(**values, **parts)
    except ValidationError as error:
        for one in error.errors():
            name = names.get(str(one["loc"][0]))
            told = not_set if one["type"] == "missing" else in_words(one)
            # Of parts that are wrong the faults are known.
            if name and told:
                faults.append((name, told))
        return None


def of_sources(
    given: Mapping[str, Any], faults: list[Wrong]
) -> tuple[dict[str, SourceSettings | None], dict[str, str]]:
    """The settings of each source that runs, and what keeps each other one from running.

    By the names of their flows; `faults` as in `part`.
    """
    named = names_in(str(given.get("sources", "")))
    found: dict[str, SourceSettings | None] = {}
    not_configured: dict[str, str] = {}
    for name, kind in OF_SOURCES.items():
        landing = {} if "s3_bucket" in given else {kind.variables()[LANDING]: LANDING_GCS}
        not_set = f"is not set, and SOURCES names {name}" if name in named else ""
        settings = part(kind, {**landing, **given}, faults, not_set=not_set)
        if missing := [need.upper() for need in SOURCES[name] if need not in given]:
            not_configured[name] = f"set {' and '.join(missing)}"
        elif named and name not in named:
            not_configured[name] = "SOURCES does not name it"
        else:
            found[name] = settings
    return found, not_configured


def faults_of_several(given: Mapping[str, Any]) -> list[Wrong]:
    """What is wrong with variables that belong together."""
    faults: list[Wrong] = []
    for pair in PAIRS:
        for missing, there in (pair, pair[::-1]):
            if missing not in given and there in given:
                faults.append((missing, f"is not set, and {there.upper()} is: they go together"))
    for there, needed in NEEDS:
        if there in given and needed not in given:
            faults.append((needed, f"is not set, and {there.upper()} needs it"))
    for name, value in given.items():
        if name in AWS_COLUMNS and "aws_role_arn" in given:
            told = "is set, and AWS_ROLE_ARN as well: a role needs no key, remove one of them"
            faults.append((name, told))
        if name.endswith("_landing") and value == LANDING_S3 and "s3_bucket" not in given:
            faults.append((name, f"{LANDING_S3} needs S3_BUCKET, which is not set"))
    raw = str(given.get("raw_dataset", "raw"))
    datasets = dbt_datasets(str(given.get("dbt_dataset_prefix", "")))
    if both := sorted({raw, staging_of(raw)} & {*datasets}):
        told = f"RAW_DATASET and DBT_DATASET_PREFIX both make the dataset {both[0]}: change one"
        faults.append(("", told))
    return faults


def read_settings(*, needs_key_files: bool = True) -> Settings:
    """Of the environment and `.env`. Raises Misconfigured, whose message names every fault."""
    return Settings.from_variables(variables_set(), needs_key_files=needs_key_files)


def platform_settings(settings: Settings) -> PlatformSettings:
    """What every source shares, as the environment describes it.

    Raises Misconfigured when there are no credentials of Google's to be had.
    """
    return PlatformSettings(
        google=google_account(settings),
        gcs_bucket=settings.gcs_bucket,
        s3=settings.s3,
        warehouse=settings.warehouse,
    )


def google_account(settings: Settings) -> GoogleAccount:
    """The file's account, a key's or a federation's, or the machine's. Raises Misconfigured."""
    # What only reads `.env` has no client of Google's in memory.
    from google.auth.exceptions import DefaultCredentialsError

    from stores.google import credentials_for

    file, account = settings.google_file, GoogleAccount()
    try:
        account = settings.account
        credentials_for(account)
    except OSError as error:
        raise Misconfigured(f"GCP_SERVICE_ACCOUNT_FILE: {file}: {reason(error)}") from error
    except ValueError as error:
        # Not what the parser says of it: it would be a piece of the key.
        part = (
            "credential_source is no file, address or AWS"
            if is_federation(account.content)
            else "private_key cannot be read"
        )
        raise Misconfigured(f"GCP_SERVICE_ACCOUNT_FILE: {file}: its {part}") from error
    except DefaultCredentialsError as error:
        raise Misconfigured(
            "GCP_SERVICE_ACCOUNT_FILE: is not set, and this machine has no credentials of Google's:"
            " set it to the key file of a service account, or to a federation's file"
        ) from error
    return account
