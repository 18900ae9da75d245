"""`python -m blocks.register --check`: the settings tried by real calls, in plain words.

What is asked is what a run will ask: a token, a query, an object written and removed, one request
of each source. Nothing stays behind but a request more in mediastack's month. A finding names the
variable to mend or the role to give; it never has a value of a secret in it.

Before that every host is asked whether it answers at all; one that does not is not asked again.
"""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.storage.retry import DEFAULT_RETRY as STORAGE_RETRY
from pydantic import BaseModel
from requests import RequestException

from alerting.settings import AlertSettings, alert_settings
from core import ownership
from core.batch import source_prefix
from runs.settings import (
    OF_SOURCES,
    Settings,
    not_configured,
    s3_settings,
    source_settings,
    warehouse_settings,
)
from sources.settings import BASE_URL
from stores.amazon import s3_client
from stores.asking import SECONDS, Check, Fault, name_of
from stores.datasets import (
    dbt_relations,
    foreign_tables,
    free_prefix,
    raw_tables,
    staging_of,
    standing,
)
from stores.federation import is_federation
from stores.google import (
    RedirectRefused,
    TokenRequest,
    bigquery_client,
    credentials_for,
    session_for,
    storage_client,
)
from stores.settings import LANDING_GCS, LANDING_S3, GoogleAccount, S3Settings, WarehouseSettings

# The names under which findings are told: those of the blocks.
GCP, WAREHOUSE, ALERTS = "gcp", "warehouse", "alerts"

# How long a host may take to say anything; all are asked at once.
HOST_SECONDS = 8.0
RETRY = DEFAULT_RETRY.with_timeout(SECONDS)
BUCKET_RETRY = STORAGE_RETRY.with_timeout(SECONDS)
# By the location of datasets: where a bucket is read from without a charge, first the same.
NEAR = {"us": ("us", "us-central1", "nam4"), "eu": ("eu", "europe-west4", "eur4")}
REGIONS = {"us": "us-", "eu": "europe-"}
# DML is what a project without billing refuses; a temporary table is gone with the script.
DML = "CREATE OR REPLACE TEMP TABLE probe AS SELECT 1 AS n; DELETE FROM probe WHERE n = 2"
# What the clients raise beside what each check explains itself.
ERRORS = (
    *(GoogleAPIError, GoogleAuthError, RequestException, BotoCoreError, ClientError),
    *(httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, TypeError),
)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. `note` is for a person to know, and no fault; `not_tried` says why
    a check would have told nothing."""

    block: str
    what: str
    fault: str = ""
    note: str = ""
    not_tried: str = ""

    def __str__(self) -> str:
        told = [("FAULT", self.fault), ("note ", self.note), ("-    ", self.not_tried)]
        state, text = next(((state, text) for state, text in told if text), ("ok   ", ""))
        if self.not_tried:
            text = f"not tried: {text}"
        return f"{state}  {self.block:<16} {self.what}{text and ': '}{text}"


@dataclass(frozen=True)
class Host:
    """Where a block's calls go: the variable that says so, if one does, and the address."""

    block: str
    variable: str
    address: str

    @property
    def name(self) -> str:
        return urlsplit(self.address).hostname or ""

    def __str__(self) -> str:
        return f"{self.variable}: {self.name}" if self.variable else self.name


@dataclass(frozen=True)
class Subject:
    """What is tried under the name of a block, and the settings that may hold secrets."""

    name: str
    settings: BaseModel
    checks: list[tuple[str, Check]]
    needs_google: bool = False


def check(subjects: Iterable[Subject], silent: Mapping[Host, str]) -> Iterator[Finding]:
    """Try each subject; a finding as soon as it is known. Raises nothing for what can be explained.

    One is not asked whose host is `silent`, nor what needs Google's credentials when they are at
    fault: these come first. Anything else is tried, whatever failed before: it may fail for a
    reason of its own.
    """
    has_credentials = False
    for subject in subjects:
        name = subject.name
        unanswered = [
            f"{host} does not answer ({cause})"
            for host, cause in silent.items()
            if host.block == name
        ]
        for what, attempt in subject.checks:
            if subject.needs_google and not has_credentials:
                yield Finding(name, what, not_tried="the credentials are at fault")
                continue
            try:
                if unanswered:
                    raise Fault("; ".join(unanswered))
                note = attempt()
            except Fault as fault:
                finding = Finding(name, what, fault=str(fault))
            except ERRORS as error:
                said = f"{type(error).__name__}: {first_line(error)}"
                finding = Finding(name, what, fault=without_secrets(said, subject.settings))
            else:
                finding = Finding(name, what, note=note or "")
            has_credentials = not finding.fault if name == GCP else has_credentials
            yield finding


def subjects(settings: Settings, google: GoogleAccount | None) -> Iterator[Subject]:
    """What is tried of these settings; without an account what is asked of Google is not."""
    warehouse, s3 = warehouse_settings(settings), s3_settings(settings)
    if google:
        yield Subject(GCP, google, [("credentials", lambda: token(google))])
        bucket = partial(gcs, settings.gcs_bucket, google, warehouse)
        yield Subject(LANDING_GCS, google, [("write, list, read and delete", bucket)], True)
    client = partial(client_of, warehouse, google or GoogleAccount())
    raw = warehouse.raw_dataset
    # What is made in each, where that has names of its own.
    names: dict[str, set[str]] = {raw: raw_tables(), staging_of(raw): set()}
    names |= dbt_relations(warehouse.dataset_prefix)
    of_warehouse: list[tuple[str, Check]] = [
        ("queries", lambda: query(client(), warehouse)),
        ("billing", lambda: billing(client(), warehouse)),
        *(
            (f"dataset {name}", partial(dataset, client, warehouse, name, made))
            for name, made in names.items()
        ),
        ("spool", lambda: spool(warehouse)),
    ]
    yield Subject(WAREHOUSE, warehouse, of_warehouse, True)
    alerts = alert_settings(settings)
    yield Subject(ALERTS, alerts, [("channels", lambda: channels(alerts))])
    if s3:
        yield Subject(
            LANDING_S3, s3, [("write, list, read and delete", lambda: try_s3(s3, warehouse))]
        )
    for name, source in source_settings(settings).items():
        if google or not source.needs_google:
            yield Subject(name, source, source.checks(google), source.needs_google)


def without_secrets(text: str, settings: BaseModel) -> str:
    for value in dict(settings).values():
        if hasattr(value, "get_secret_value") and isinstance(value.get_secret_value(), str):
            text = text.replace(value.get_secret_value() or text, "***")
    return text


def hosts_of(settings: Settings) -> list[Host]:
    """Where the calls of the configured blocks go, as far as that can be known before the first."""
    missing = not_configured(settings)
    hosts = [
        Host(name, variable.upper(), str(getattr(settings, variable)))
        for name, kind in OF_SOURCES.items()
        if name not in missing
        for variable in [kind.variables()[BASE_URL]]
    ]
    if file := settings.gcp_service_account_file:
        account = json.loads(file.read_text())
        hosts.append(Host(GCP, "", account.get("token_uri") or account["token_url"]))
    if settings.s3_bucket:
        region = f".{settings.aws_region}" if settings.aws_region else ""
        address = settings.aws_endpoint_url or f"https://s3{region}.amazonaws.com"
        hosts.append(Host(LANDING_S3, "AWS_ENDPOINT_URL, AWS_REGION", str(address)))
    if settings.slack_webhook_url:
        webhook = settings.slack_webhook_url.get_secret_value()
        hosts.append(Host(ALERTS, "SLACK_WEBHOOK_URL", webhook))
    if settings.alert_email_host:
        address = f"smtp://{settings.alert_email_host}:{settings.alert_email_port}"
        hosts.append(Host(ALERTS, "ALERT_EMAIL_HOST", address))
    return hosts


def no_network(silent: Mapping[Host, str]) -> Finding:
    """What is said when no host answers."""
    host, cause = next(iter(silent.items()))
    return Finding(
        "network",
        "hosts",
        fault=f"no network: none of {len(silent)} hosts answers, such as {host.name} ({cause});"
        " is this machine online, and HTTPS_PROXY right if it needs one?",
    )


def silent_hosts(hosts: Iterable[Host]) -> dict[Host, str]:
    """Those that do not answer within HOST_SECONDS, and why; all are asked at the same time.

    In threads that nobody waits for: a name server that does not answer knows no time-out.
    """
    found: dict[Host, str] = dict.fromkeys(hosts, "no answer")
    lock = threading.Lock()
    answered: set[Host] = set()

    def ask_host(host: Host) -> None:
        cause = knock(host.address)
        with lock:
            if cause:
                found[host] = cause
            else:
                answered.add(host)

    threads = [threading.Thread(target=ask_host, args=(host,), daemon=True) for host in found]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + HOST_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    with lock:
        return {host: cause for host, cause in found.items() if host not in answered}


def knock(address: str) -> str:
    """Why a host does not answer; empty when it does, whatever it says. No path or key is sent."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "smtp":
            socket.create_connection((parts.hostname or "", parts.port or 0), HOST_SECONDS).close()
        else:
            httpx.head(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/", timeout=HOST_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # Whoever shows a certificate, be it one that only Google's client trusts, is there.
        return "" if is_of_tls(error) else f"{type(error).__name__}: {first_line(error)}"
    return ""


def is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def client_of(warehouse: WarehouseSettings, google: GoogleAccount) -> Any:
    return bigquery_client(google, warehouse.project, warehouse.location)


def channels(alerts: AlertSettings) -> str | None:
    """Slack knows the webhook, by what it says to an empty message, the mail server the login."""
    if not alerts.channels:
        return "nobody is told of failures: set SLACK_WEBHOOK_URL or ALERT_EMAIL_HOST"
    if alerts.slack_webhook_url:
        url = alerts.slack_webhook_url.get_secret_value()
        try:
            answer = httpx.post(url, json={}, timeout=SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Fault(f"SLACK_WEBHOOK_URL does not answer: {type(error).__name__}") from None
        if answer.status_code in (401, 403, 404, 410):
            raise Fault(f"SLACK_WEBHOOK_URL is not known there any more: {answer.status_code}")
    if alerts.email_host:
        where = f"ALERT_EMAIL_HOST={alerts.email_host}:{alerts.email_port}"
        connect = smtplib.SMTP_SSL if alerts.email_security == "tls" else smtplib.SMTP
        try:
            with connect(alerts.email_host, alerts.email_port, timeout=SECONDS) as server:
                if alerts.email_security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if alerts.email_user and alerts.email_password:
                    server.login(alerts.email_user, alerts.email_password.get_secret_value())
        except (smtplib.SMTPException, OSError) as error:
            raise Fault(f"{where}: {type(error).__name__}") from None
    return None


def token(google: GoogleAccount) -> None:
    """With the scopes of the clients: credentials without any are given no token."""
    try:
        credentials_for(google).refresh(TokenRequest())
    except DefaultCredentialsError as error:
        raise Fault(
            "there are no credentials: set GCP_SERVICE_ACCOUNT_FILE to the key file of a service"
            " account or to a federation's file; only a machine of Google's with one attached needs"
            " none"
        ) from error
    except TransportError as error:
        raise Fault(f"Google's tokens: no network, or no answer ({first_line(error)})") from error
    except (GoogleAuthError, RedirectRefused) as error:
        if google.info and is_federation(json.loads(google.info.get_secret_value())):
            raise Fault(
                f"Google gives no token to {name_of(google)} ({type(error).__name__}): is there a"
                " token at the credential_source of GCP_SERVICE_ACCOUNT_FILE, does the pool of its"
                " audience trust it, and has it roles/iam.workloadIdentityUser on the account?"
            ) from error
        raise Fault(
            f"Google gives no token to {name_of(google)} ({type(error).__name__}): is the key of"
            " GCP_SERVICE_ACCOUNT_FILE deleted, the account disabled, or this clock wrong?"
        ) from error


def query(client: Any, block: WarehouseSettings) -> None:
    run(client, "SELECT 1", f"roles/bigquery.jobUser on project {block.project}", block)


class NoBilling(Fault):
    """The project has no billing account, so that BigQuery changes no row of it."""


def billing(client: Any, block: WarehouseSettings) -> None:
    try:
        run(client, DML, f"roles/bigquery.jobUser on project {block.project}", block)
    except NoBilling as fault:
        raise Fault(
            f"project {block.project} has no billing account, and without one BigQuery changes"
            " no row: link one (the free tier stays free)"
        ) from fault


def run(client: Any, sql: str, role: str, block: WarehouseSettings) -> None:
    config = bigquery.QueryJobConfig(maximum_bytes_billed=block.maximum_bytes_billed)
    try:
        client.query(sql, job_config=config, retry=RETRY, job_retry=None, timeout=SECONDS).result(
            retry=RETRY, timeout=SECONDS
        )
    except Forbidden as error:
        said = first_line(error)
        # By its words alone: the reason may be that of a missing role.
        if "billing" in said.lower() or "free tier" in said.lower():
            raise NoBilling(f"billing: {said}") from error
        raise Fault(f"give {role}, and let the BigQuery API be on; Google says: {said}") from error
    except NotFound as error:
        raise Fault(f"GCP_PROJECT={block.project}: there is no such project") from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Fault(first_line(error)) from error


def dataset(
    make_client: Callable[[], Any], block: WarehouseSettings, name: str, made: Collection[str]
) -> str | None:
    """Whether the dataset, and each table in it that has a name of `made`, is ours."""
    client, where = make_client(), f"{block.project}.{name}"
    call = {"retry": RETRY, "timeout": SECONDS}
    try:
        whose, found = standing(client, where, **call)
        if whose == "missing":
            return (
                "is not there yet; the first run makes it, if it has roles/bigquery.user on the"
                " project, and deploy/gcloud.sh does with less"
            )
        if whose == "foreign":
            free = free_prefix(client, block.project, **call)
            raise Fault(ownership.foreign_dataset(where, free))
        foreign = foreign_tables(client, where, made, **call) if whose == "ours" else []
        if foreign:
            free = free_prefix(client, block.project, **call)
            raise Fault("; ".join(ownership.foreign_table(one, free) for one in foreign))
    except Forbidden as error:
        raise Fault(f"give roles/bigquery.dataEditor on dataset {where}") from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Fault(first_line(error)) from error
    if found.location.lower() != block.location.lower():
        raise Fault(
            f"{where} is in {found.location}, BIGQUERY_LOCATION is {block.location}: they must"
            " be the same, and a dataset cannot move"
        )
    return "is empty; the first run gives it our label" if whose == "empty" else None


def probe_name(warehouse: WarehouseSettings) -> str:
    """An object to write, list and remove, below the prefix of this installation."""
    prefix = source_prefix(warehouse.project, warehouse.raw_dataset, "_check")
    return f"{prefix}{uuid.uuid4().hex}"


def spool(block: WarehouseSettings) -> None:
    """Answers that no bucket takes can be kept on this machine."""
    folder = block.spool_path
    probe = folder / f".check-{uuid.uuid4().hex}"
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        probe.touch(0o600)
        probe.unlink()
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise Fault(f"SPOOL_DIRECTORY={folder} cannot be written to: {cause}") from error


def gcs(name: str, google: GoogleAccount, warehouse: WarehouseSettings) -> str | None:
    probe = probe_name(warehouse)
    # The first for load jobs, the second for what we do ourselves.
    roles = "roles/storage.legacyBucketReader and roles/storage.objectUser"
    role = f"give {name_of(google)} {roles} on bucket {name}"
    options = {"retry": BUCKET_RETRY, "timeout": SECONDS}
    try:
        client = storage_client(google, warehouse.project)
        # Without asking for it, which takes a right that nothing else needs.
        bucket = client.bucket(name)
        blob = bucket.blob(probe)
        blob.upload_from_string(b"check", checksum="md5", **options)
        listed = [one.name for one in client.list_blobs(bucket, prefix=probe, **options)]
        content = blob.download_as_bytes(**options)
        blob.delete(**options)
    except Forbidden as error:
        raise Fault(f"{role}; Google says: {first_line(error)}") from error
    except NotFound as error:
        raise Fault(
            f"GCS_BUCKET={name}: there is no such bucket; deploy/gcloud.sh makes it"
        ) from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Fault(first_line(error)) from error
    if listed != [probe] or content != b"check":
        raise Fault("what was written is not what is listed or read")
    return as_the_datasets(client.api_endpoint, name, google, warehouse.location)


def as_the_datasets(endpoint: str, bucket: str, google: GoogleAccount, wanted: str) -> str | None:
    """Load jobs want bucket and datasets in one place; asked is what who may list may ask."""
    layout = f"{endpoint}/storage/v1/b/{bucket}/storageLayout"
    with session_for(google) as session:
        answer = session.get(layout, timeout=SECONDS)
    if not answer.ok:
        return f"where the bucket is was not said: HTTP {answer.status_code}"
    return apart(bucket, answer.json()["location"], wanted)


def apart(bucket: str, location: str, wanted: str) -> str | None:
    """What is to be known of a bucket in one location and datasets in another. Raises Fault.

    By BigQuery's page on locations, "Load Cloud Storage data": without a charge it reads from the
    location of the dataset, and, where that is of many regions, from one region in it.
    """
    bucket_at, datasets_at = location.lower(), wanted.lower()
    if bucket_at in NEAR.get(datasets_at, (datasets_at,)) or not datasets_at:
        return None
    where = f"bucket {bucket} is in {location}, BIGQUERY_LOCATION is {wanted}"
    if bucket_at.startswith(REGIONS.get(datasets_at, "none")):
        free = NEAR[datasets_at][1]
        return f"{where}: loads are charged as transfer between regions, from {free} they are not"
    raise Fault(f"{where}: load jobs want them in one location")


def try_s3(s3: S3Settings, warehouse: WarehouseSettings) -> None:
    name = probe_name(warehouse)
    bucket = s3.bucket
    config = Config(connect_timeout=10, read_timeout=SECONDS, retries={"total_max_attempts": 2})
    try:
        client = s3_client(s3, config)
        client.put_object(Bucket=bucket, Key=name, Body=b"check")
        listed = client.list_objects_v2(Bucket=bucket, Prefix=name).get("Contents", [])
        content = client.get_object(Bucket=bucket, Key=name)["Body"].read()
        client.delete_object(Bucket=bucket, Key=name)
    except ClientError as error:
        code, action = error.response["Error"]["Code"], error.operation_name
        if code == "NoSuchBucket":
            raise Fault(f"S3_BUCKET={bucket}: there is no such bucket") from error
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise Fault(f"AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not valid ({code})") from (
                error
            )
        if action == "AssumeRoleWithWebIdentity":
            raise Fault(
                f"AWS_ROLE_ARN: AWS does not give the role ({code}): its trust policy has to name"
                " this machine's service account by its number (deploy/aws-trust.json)"
            ) from error
        raise Fault(
            f"{action} was refused ({code}): allow s3:ListBucket on the bucket, s3:GetObject,"
            " s3:PutObject and s3:DeleteObject on what is in it (deploy/s3-policy.json)"
        ) from error
    except BotoCoreError as error:
        raise Fault(f"{type(error).__name__}: {first_line(error)}") from error
    if [one["Key"] for one in listed] != [name] or content != b"check":
        raise Fault("what was written is not what is listed or read")


def first_line(error: BaseException) -> str:
    """Google's own words, which name resources and have no secret in them."""
    text = str(getattr(error, "message", "") or error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:300]
