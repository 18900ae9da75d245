"""`python -m blocks.register --check`: the settings tried by real calls, in plain words.

What is asked is what a run will ask: a token, a query, an object written and removed, one request
of each source. Nothing stays behind but a request more in mediastack's month. A finding names the
variable to mend or the role to give; it never has a value of a secret in it.

Before that every host is asked whether it answers at all; one that does not is not asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from blocks import ALERTS, GCP, WAREHOUSE, probes
from blocks.hosts import Host, silent_hosts
from core.errors import without_secrets
from runs.settings import Settings
from sources.settings import BASE_URL
from stores.asking import Check, Fault
from stores.datasets import dbt_relations, raw_tables, staging_of
from stores.settings import LANDING_GCS, LANDING_S3

BUCKET = "write, list, read and delete"
# What the clients raise beside what each check explains itself.
GOOGLE_ERRORS = (GoogleAPIError, GoogleAuthError, RequestException)
ERRORS = (
    *(*GOOGLE_ERRORS, BotoCoreError, ClientError),
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
class Subject:
    """What is tried under the name of a block, and where the calls go, as far as the settings
    say."""

    name: str
    checks: list[tuple[str, Check]]
    hosts: list[Host]
    needs_google: bool = False


def findings(settings: Settings) -> Iterator[Finding]:
    """What is found of each block. Where no host answers, that is said and nothing else tried."""
    tried = list(subjects(settings))
    hosts = [host for subject in tried for host in subject.hosts]
    silent = silent_hosts(hosts)
    if hosts and len(silent) == len(hosts):
        host, cause = next(iter(silent.items()))
        yield Finding(
            "network",
            "hosts",
            fault=f"no network: none of {len(silent)} hosts answers, such as {host.name} ({cause});"
            " is this machine online, and HTTPS_PROXY right if it needs one?",
        )
        for subject in tried:
            yield Finding(subject.name, "every check", not_tried="no network")
    else:
        yield from check(settings, tried, silent)


def check(
    settings: Settings, subjects: Iterable[Subject], silent: Mapping[Host, str]
) -> Iterator[Finding]:
    """Try each subject; a finding as soon as it is known. Raises nothing for what can be explained.

    One is not asked whose host is `silent`, nor what needs Google's credentials when they are at
    fault: these come first. Anything else is tried, whatever failed before: it may fail for a
    reason of its own.
    """
    secrets = [one.get_secret_value() for one in settings.secrets.values()]
    has_credentials = False
    for subject in subjects:
        unanswered = "; ".join(
            f"{host} does not answer ({silent[host]})" for host in subject.hosts if host in silent
        )
        for what, attempt in subject.checks:
            finding = partial(Finding, subject.name, what)
            if subject.needs_google and not has_credentials:
                yield finding(not_tried="the credentials are at fault")
                continue
            try:
                if unanswered:
                    raise Fault(unanswered)
                found = finding(note=attempt() or "")
            except Fault as fault:
                found = finding(fault=str(fault))
            except ERRORS as error:
                said = probes.first_line(error)
                if not isinstance(error, GOOGLE_ERRORS):
                    said = f"{type(error).__name__}: {said}"
                found = finding(fault=without_secrets(said, secrets))
            if subject.name == GCP:
                has_credentials = not found.fault
            yield found


def subjects(settings: Settings) -> Iterator[Subject]:
    """What is tried of these settings, Google's credentials first."""
    warehouse, s3, alerts = settings.warehouse, settings.s3, settings.alerts
    google = settings.account
    token_url = google.content.get("token_uri") or google.content.get("token_url")
    hosts = [Host("", token_url)] if token_url else []
    yield Subject(GCP, [("credentials", partial(probes.token, settings))], hosts)
    gcs = partial(probes.gcs, google, warehouse, settings.gcs_bucket)
    yield Subject(LANDING_GCS, [(BUCKET, gcs)], [], needs_google=True)
    raw = warehouse.raw_dataset
    # What is made in each, where that has names of its own.
    names: dict[str, set[str]] = {raw: raw_tables(), staging_of(raw): set()}
    names |= dbt_relations(warehouse.dataset_prefix)
    of_warehouse: list[tuple[str, Check]] = [
        ("queries", partial(probes.query, google, warehouse, probes.QUERY)),
        ("billing", partial(probes.query, google, warehouse, probes.DML)),
        *(
            (f"dataset {name}", partial(probes.dataset, google, warehouse, name, made))
            for name, made in names.items()
        ),
        ("spool", partial(probes.spool, warehouse)),
    ]
    yield Subject(WAREHOUSE, of_warehouse, [], needs_google=True)
    hosts = []
    if alerts.slack_webhook_url:
        hosts.append(Host("SLACK_WEBHOOK_URL", alerts.slack_webhook_url.get_secret_value()))
    if alerts.email_host:
        hosts.append(Host("ALERT_EMAIL_HOST", f"smtp://{alerts.email_host}:{alerts.email_port}"))
    yield Subject(ALERTS, [("channels", partial(probes.channels, alerts))], hosts)
    if s3:
        region = f".{s3.region}" if s3.region else ""
        address = str(s3.endpoint_url or f"https://s3{region}.amazonaws.com")
        host = Host("AWS_ENDPOINT_URL, AWS_REGION", address)
        yield Subject(LANDING_S3, [(BUCKET, partial(probes.s3, s3, warehouse))], [host])
    for name, source in settings.sources.items():
        host = Host(source.variables()[BASE_URL].upper(), str(source.base_url))
        yield Subject(name, source.checks(google), [host], source.needs_google)
