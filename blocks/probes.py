"""Calls that try what a run will ask: of Google, Amazon, the channels of alerts and the disk.

Each returns None or what a person should know, and raises Fault, or what the client raises. A fault
names the variable to mend or the role to give, and no secret. Nothing stays behind.
"""

from __future__ import annotations

import smtplib
import ssl
import uuid
from collections.abc import Collection

import httpx
from botocore.config import Config
from botocore.exceptions import ClientError
from google.api_core.exceptions import Forbidden, NotFound
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.storage.retry import DEFAULT_RETRY as STORAGE_RETRY

from core import ownership
from core.batch import source_prefix
from runs.alert_settings import AlertSettings
from runs.environment import Misconfigured
from runs.settings import Settings, google_account
from stores.amazon import s3_client
from stores.asking import SECONDS, Fault, name_of
from stores.datasets import foreign_tables, free_prefix, standing
from stores.federation import is_federation
from stores.google import (
    RedirectRefused,
    TokenRequest,
    bigquery_client,
    credentials_for,
    session_for,
    storage_client,
)
from stores.settings import GoogleAccount, S3Settings, WarehouseSettings

RETRY = DEFAULT_RETRY.with_timeout(SECONDS)
BUCKET_RETRY = STORAGE_RETRY.with_timeout(SECONDS)
# By the location of datasets: where a bucket is read from without a charge, first the same.
NEAR = {"us": ("us", "us-central1", "nam4"), "eu": ("eu", "europe-west4", "eur4")}
REGIONS = {"us": "us-", "eu": "europe-"}
QUERY = "SELECT 1"
# What a project without billing refuses; a temporary table is gone with the script.
DML = "CREATE OR REPLACE TEMP TABLE probe AS SELECT 1 AS n; DELETE FROM probe WHERE n = 2"


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


def token(settings: Settings) -> None:
    """With the scopes of the clients: credentials without any are given no token."""
    try:
        google = google_account(settings)
        credentials_for(google).refresh(TokenRequest())
    except Misconfigured as error:
        raise Fault(str(error)) from error
    except TransportError as error:
        raise Fault(f"Google's tokens: no network, or no answer ({first_line(error)})") from error
    except (GoogleAuthError, RedirectRefused) as error:
        refused = f"Google gives no token to {name_of(google)} ({type(error).__name__}):"
        if is_federation(google.content):
            raise Fault(
                f"{refused} is there a token at the credential_source of GCP_SERVICE_ACCOUNT_FILE,"
                " does the pool of its audience trust it, and has it"
                " roles/iam.workloadIdentityUser on the account?"
            ) from error
        raise Fault(
            f"{refused} is the key of GCP_SERVICE_ACCOUNT_FILE deleted, the account disabled, or"
            " this clock wrong?"
        ) from error


def query(google: GoogleAccount, block: WarehouseSettings, sql: str) -> None:
    config = bigquery.QueryJobConfig(maximum_bytes_billed=block.maximum_bytes_billed)
    client = bigquery_client(google, block.project, block.location)
    try:
        client.query(sql, job_config=config, retry=RETRY, job_retry=None, timeout=SECONDS).result(
            retry=RETRY, timeout=SECONDS
        )
    except Forbidden as error:
        told = first_line(error)
        # By its words alone: the reason may be that of a missing role.
        if "billing" in told.lower() or "free tier" in told.lower():
            raise Fault(
                f"project {block.project} has no billing account, and without one BigQuery changes"
                " no row: link one (the free tier stays free)"
            ) from error
        raise Fault(
            f"give roles/bigquery.jobUser on project {block.project}, and let the BigQuery API be"
            f" on; Google says: {told}"
        ) from error
    except NotFound as error:
        raise Fault(f"GCP_PROJECT={block.project}: there is no such project") from error


def dataset(
    google: GoogleAccount, block: WarehouseSettings, name: str, made: Collection[str]
) -> str | None:
    """Whether the dataset, and each table in it that has a name of `made`, is ours."""
    client = bigquery_client(google, block.project, block.location)
    where = f"{block.project}.{name}"
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


def gcs(google: GoogleAccount, warehouse: WarehouseSettings, name: str) -> str | None:
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
    if bucket_at in NEAR.get(datasets_at, (datasets_at,)):
        return None
    where = f"bucket {bucket} is in {location}, BIGQUERY_LOCATION is {wanted}"
    if bucket_at.startswith(REGIONS.get(datasets_at, "none")):
        free = NEAR[datasets_at][1]
        return f"{where}: loads are charged as transfer between regions, from {free} they are not"
    raise Fault(f"{where}: load jobs want them in one location")


def s3(settings: S3Settings, warehouse: WarehouseSettings) -> None:
    name = probe_name(warehouse)
    bucket = settings.bucket
    config = Config(connect_timeout=10, read_timeout=SECONDS, retries={"total_max_attempts": 2})
    try:
        client = s3_client(settings, config)
        client.put_object(Bucket=bucket, Key=name, Body=b"check")
        listed = client.list_objects_v2(Bucket=bucket, Prefix=name).get("Contents", [])
        content = client.get_object(Bucket=bucket, Key=name)["Body"].read()
        client.delete_object(Bucket=bucket, Key=name)
    except ClientError as error:
        code, action = error.response["Error"]["Code"], error.operation_name
        if code == "NoSuchBucket":
            raise Fault(f"S3_BUCKET={bucket}: there is no such bucket") from error
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            keys = "AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY"
            raise Fault(f"{keys} is not valid ({code})") from error
        if action == "AssumeRoleWithWebIdentity":
            raise Fault(
                f"AWS_ROLE_ARN: AWS does not give the role ({code}): its trust policy has to name"
                " this machine's service account by its number (deploy/aws-trust.json)"
            ) from error
        raise Fault(
            f"{action} was refused ({code}): allow s3:ListBucket on the bucket, s3:GetObject,"
            " s3:PutObject and s3:DeleteObject on what is in it (deploy/s3-policy.json)"
        ) from error
    if [one["Key"] for one in listed] != [name] or content != b"check":
        raise Fault("what was written is not what is listed or read")


def first_line(error: BaseException) -> str:
    """Google's own words, which name resources and have no secret in them."""
    text = str(getattr(error, "message", "") or error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:300]
