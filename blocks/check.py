"""`python -m blocks.register --check`: every block tried by real calls, in plain words.

What is asked is what a run will ask: a token, a query, an object written and removed, one request
of each source. Nothing stays behind but a request more in mediastack's month. A finding names the
variable to mend or the role to give; it never has a value of a secret in it.
"""

from __future__ import annotations

import smtplib
import ssl
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.storage.retry import DEFAULT_RETRY as STORAGE_RETRY
from gspread.exceptions import NoValidUrlKeyFound
from gspread.utils import absolute_range_name, extract_id_from_url
from prefect.blocks.core import Block
from prefect_aws.s3 import S3Bucket
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket
from requests import RequestException

from blocks.alerts import Alerts
from blocks.finance import Finance
from blocks.nyc_fhv import NycFhv
from blocks.openweather import OpenWeather
from blocks.ph_news import PhNews
from blocks.platform import GCP, WAREHOUSE, WarehouseSettings
from blocks.urls import join
from blocks.usgs_earthquake import UsgsEarthquake

SECONDS = 20.0
RETRY = DEFAULT_RETRY.with_timeout(SECONDS)
BUCKET_RETRY = STORAGE_RETRY.with_timeout(SECONDS)
# What dbt writes to, beside the raw dataset and its staging.
MARTS = ("staging", "silver", "gold")
SHEETS_SCOPE = "https://www.googleapis.com/auth/spreadsheets.readonly"
# DML is what a project without billing refuses; a temporary table is gone with the script.
DML = "CREATE OR REPLACE TEMP TABLE probe AS SELECT 1 AS n; DELETE FROM probe WHERE n = 2"


class Fault(Exception):
    """Something is not as a run needs it; the message says what to do."""


@dataclass(frozen=True)
class Finding:
    """What one check came to. `note` is for a person to know, and no fault."""

    block: str
    what: str
    fault: str = ""
    note: str = ""

    def __str__(self) -> str:
        state = "FAULT" if self.fault else "note " if self.note else "ok   "
        return f"{state}  {self.block:<16} {self.what}{self.fault and ': '}{self.fault}" + (
            f": {self.note}" if self.note else ""
        )


Check = Callable[[], str | None]


def check(blocks: dict[str, Block]) -> Iterator[Finding]:
    """Try each block; a finding as soon as it is known. Raises nothing for what can be explained.

    What builds on a block that failed is tried all the same: it may fail for a reason of its own.
    """
    for name, block in blocks.items():
        for what, attempt in checks_of(block, blocks):
            try:
                note = attempt()
            except Fault as fault:
                yield Finding(name, what, fault=str(fault))
            else:
                yield Finding(name, what, note=note or "")


def checks_of(block: Block, blocks: dict[str, Block]) -> list[tuple[str, Check]]:
    """What is tried for a block of this type."""
    match block:
        case GcpCredentials():
            return [("credentials", lambda: token(block))]
        case GcsBucket():
            return [("write, list, read and delete", lambda: gcs(block, blocks))]
        case S3Bucket():
            return [("write, list, read and delete", lambda: s3(block))]
        case WarehouseSettings():
            client = google(blocks).get_bigquery_client(
                project=block.project, location=block.location
            )
            names = (block.raw_dataset, f"{block.raw_dataset}_staging", *MARTS)
            return [
                ("queries", lambda: query(client, block)),
                ("billing", lambda: billing(client, block)),
                *((f"dataset {name}", dataset_check(client, block, name)) for name in names),
            ]
        case UsgsEarthquake():
            since = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
            params = {"format": "geojson", "starttime": since}
            return [("a request", lambda: ask(block.url("count"), params))]
        case OpenWeather():
            return [("a request with the key", lambda: openweather(block))]
        case PhNews():
            return [("a request with the key", lambda: ph_news(block))]
        case NycFhv():
            return [
                (
                    "a request",
                    lambda: ask(block.metadata_url, headers=block.headers, key="SOCRATA_APP_TOKEN"),
                )
            ]
        case Finance():
            return [("the sheet", lambda: sheet(block))]
        case Alerts():
            return [("channels", lambda: channels(block))]
    return []


def channels(alerts: Alerts) -> str | None:
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


def google(blocks: dict[str, Block]) -> Any:
    return blocks[GCP]


def account(credentials: Any) -> str:
    """Whom a role is to be given."""
    given = credentials.service_account_info
    if given is None:
        return "the machine's service account"
    return str(given.get_secret_value().get("client_email", "the service account"))


def token(block: Any) -> None:
    try:
        credentials = block.get_credentials_from_service_account()
        credentials.refresh(Request())
    except GoogleAuthError as error:
        raise Fault(
            f"Google gives no token to {account(block)} ({type(error).__name__}): is the key of"
            " GCP_SERVICE_ACCOUNT_FILE deleted, the account disabled, or this clock wrong?"
        ) from error


def query(client: Any, block: WarehouseSettings) -> None:
    run(client, "SELECT 1", f"roles/bigquery.jobUser on project {block.project}", block)


def billing(client: Any, block: WarehouseSettings) -> None:
    try:
        run(client, DML, f"roles/bigquery.jobUser on project {block.project}", block)
    except Fault as fault:
        if "billing" in str(fault).lower():
            raise Fault(
                f"project {block.project} has no billing account, and without one BigQuery changes"
                " no row: link one (the free tier stays free)"
            ) from fault
        raise


def run(client: Any, sql: str, role: str, block: WarehouseSettings) -> None:
    config = bigquery.QueryJobConfig(maximum_bytes_billed=block.maximum_bytes_billed)
    try:
        client.query(sql, job_config=config, retry=RETRY, job_retry=None, timeout=SECONDS).result(
            retry=RETRY, timeout=SECONDS
        )
    except Forbidden as error:
        said = first_line(error)
        if "billing" in said.lower() or "free tier" in said.lower():
            raise Fault(f"billing: {said}") from error
        raise Fault(f"give {role}, and let the BigQuery API be on; Google says: {said}") from error
    except NotFound as error:
        raise Fault(f"GCP_PROJECT={block.project}: there is no such project") from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Fault(first_line(error)) from error


def dataset_check(client: Any, block: WarehouseSettings, name: str) -> Check:
    return lambda: dataset(client, block, name)


def dataset(client: Any, block: WarehouseSettings, name: str) -> str | None:
    where = f"{block.project}.{name}"
    try:
        standing = client.get_dataset(where, retry=RETRY, timeout=SECONDS)
    except NotFound:
        return (
            "is not there yet; the first run makes it, if it has roles/bigquery.user on the"
            " project, and deploy/gcloud.sh does with less"
        )
    except Forbidden as error:
        raise Fault(f"give roles/bigquery.dataEditor on dataset {where}") from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Fault(first_line(error)) from error
    if standing.location.lower() != block.location.lower():
        raise Fault(
            f"{where} is in {standing.location}, BIGQUERY_LOCATION is {block.location}: they must"
            " be the same, and a dataset cannot move"
        )
    return None


def gcs(block: Any, blocks: dict[str, Block]) -> str | None:
    name = f"_check/{uuid.uuid4().hex}"
    role = f"give {account(google(blocks))} roles/storage.objectAdmin on bucket {block.bucket}"
    options = {"retry": BUCKET_RETRY, "timeout": SECONDS}
    try:
        bucket = block.get_bucket()
        blob = bucket.blob(name)
        blob.upload_from_string(b"check", checksum="md5", **options)
        listed = [one.name for one in bucket.client.list_blobs(bucket, prefix=name, **options)]
        content = blob.download_as_bytes(**options)
        blob.delete(**options)
    except Forbidden as error:
        raise Fault(f"{role}; Google says: {first_line(error)}") from error
    except NotFound as error:
        raise Fault(
            f"GCS_BUCKET={block.bucket}: there is no such bucket; deploy/gcloud.sh makes it"
        ) from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Fault(first_line(error)) from error
    if listed != [name] or content != b"check":
        raise Fault("what was written is not what is listed or read")
    return same_location(block, blocks)


def same_location(block: Any, blocks: dict[str, Block]) -> str | None:
    """Load jobs want bucket and datasets in one location."""
    settings = blocks.get(WAREHOUSE)
    wanted = getattr(settings, "location", "")
    try:
        bucket = block.get_bucket()
        bucket.reload(retry=BUCKET_RETRY, timeout=SECONDS)
    except GoogleAPIError:
        return "where the bucket is cannot be seen without roles/storage.legacyBucketReader"
    if (bucket.location or "").lower() not in ("", wanted.lower()):
        raise Fault(
            f"bucket {block.bucket} is in {bucket.location}, BIGQUERY_LOCATION is {wanted}: load"
            " jobs want them in one location"
        )
    return None


def s3(block: Any) -> None:
    name = f"_check/{uuid.uuid4().hex}"
    bucket = block.bucket_name
    config = Config(connect_timeout=10, read_timeout=SECONDS, retries={"total_max_attempts": 2})
    try:
        credentials = block.credentials
        parameters = credentials.aws_client_parameters.get_params_override()
        config = config.merge(parameters.pop("config", Config()))
        client = credentials.get_boto3_session().client("s3", config=config, **parameters)
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
        raise Fault(
            f"{action} was refused ({code}): allow s3:ListBucket on the bucket, s3:GetObject,"
            " s3:PutObject and s3:DeleteObject on what is in it"
        ) from error
    except BotoCoreError as error:
        raise Fault(f"{type(error).__name__}: {first_line(error)}") from error
    if [one["Key"] for one in listed] != [name] or content != b"check":
        raise Fault("what was written is not what is listed or read")


def ask(
    url: str,
    params: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    key: str = "",
) -> None:
    """One request. Raises Fault without address, parameters or headers, where a key may stand."""
    host = httpx.URL(url).host
    try:
        response = httpx.get(url, params=params, headers=headers, timeout=SECONDS)
    except httpx.HTTPError as error:
        raise Fault(f"{host} does not answer ({type(error).__name__})") from None
    if response.status_code in (401, 403) and key:
        raise Fault(f"{host} refuses {key} (HTTP {response.status_code})")
    if response.status_code == 429:
        raise Fault(f"{host} says that its limit of requests is reached (HTTP 429)")
    if not response.is_success:
        raise Fault(f"{host} answers HTTP {response.status_code}")


def openweather(block: OpenWeather) -> None:
    place = block.locations[0]
    params = {
        "lat": str(place.latitude),
        "lon": str(place.longitude),
        "appid": block.api_key.get_secret_value(),
    }
    ask(block.url("weather"), params, key="OPENWEATHER_API_KEY")


def ph_news(block: PhNews) -> None:
    params = {
        "access_key": block.access_key.get_secret_value(),
        "countries": "ph",
        "limit": "1",
    }
    faults = []
    for url in block.urls:
        try:
            ask(url, params, key="MEDIASTACK_ACCESS_KEY")
        except Fault as fault:
            faults.append(fault)
        else:
            return
    raise faults[-1]


def sheet(block: Finance) -> None:
    try:
        key = extract_id_from_url(block.sheet_url)
    except NoValidUrlKeyFound as error:
        raise Fault("FINANCE_SHEET_URL is not the address of a Google sheet") from error
    who = account(block.gcp_credentials)
    try:
        credentials: Any = block.gcp_credentials.get_credentials_from_service_account()
        if hasattr(credentials, "with_scopes"):
            credentials = credentials.with_scopes([SHEETS_SCOPE])
        first_row = f"{absolute_range_name(block.worksheet)}!1:1"
        opened: Any = AuthorizedSession
        with opened(credentials) as session:
            response = session.get(
                join(block.base_url, f"v4/spreadsheets/{key}/values/{first_row}"), timeout=SECONDS
            )
    except (GoogleAuthError, RequestException) as error:
        raise Fault(f"Google does not answer {who} ({type(error).__name__})") from error
    status = response.status_code
    if status == 403:
        raise Fault(f"share the sheet with {who} as a viewer, and let the Google Sheets API be on")
    if status == 404:
        raise Fault("FINANCE_SHEET_URL: there is no such sheet")
    if status == 400:
        raise Fault(f"FINANCE_WORKSHEET={block.worksheet}: the sheet has no tab of this title")
    if not response.ok:
        raise Fault(f"Google Sheets answers HTTP {status}")


def first_line(error: BaseException) -> str:
    """Google's own words, which name resources and have no secret in them."""
    text = str(getattr(error, "message", "") or error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:300]
