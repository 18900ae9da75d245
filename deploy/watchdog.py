"""Sees what nothing inside Prefect can: that the worker or the server is dead.

    python -m deploy.watchdog

A systemd timer runs it every minute. It asks the health endpoints of server and worker, how full
the disk is, what waits on it for a bucket, how old the last backup and the certificate are and,
every ten minutes, how old the last line of the ledger is; while the server does answer, it inspects
the runs as the flow `watch` does. It needs neither of them to tell: it reads environment and
`.env` as `python -m blocks.register` does, and sends by itself. 1 when a message was not sent.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from alerting.channels import NotTold
from alerting.conditions import inspect_prefect, silence
from alerting.findings import Finding, Inspection, Kind
from alerting.incidents import State
from alerting.notify import notify
from alerting.secrets import pieces, saved_secrets, scrubber, secrets_of
from alerting.state_file import read_state
from core.batch import MANIFEST
from core.errors import first_line
from core.names import deployment_of, source_of
from runs.alert_settings import AlertSettings
from runs.environment import Misconfigured
from runs.settings import Settings, read_settings
from tasks.server import server_url

HEALTH_SECONDS = 10.0
# In which BigQuery has to say how old the ledger is; systemd ends all of it after 300 s.
LEDGER_SECONDS = 90.0
DISK_SHARE_TO_END = 0.02
LEDGER_EVERY = timedelta(minutes=10)
# A backup is made every day.
BACKUP_WITHIN = timedelta(hours=26)
CERTIFICATE_WITHIN = timedelta(days=14)
# The next run, an hour later, commits what the last one had to keep.
SPOOLED_WITHIN = timedelta(hours=2)
MOST_SPOOLED = 3


def inspect(settings: Settings, alerts: AlertSettings, state: State) -> tuple[Inspection, set[str]]:
    """All but the ledger is inspected; and the secrets that no message may hold."""
    now, secrets = datetime.now(UTC), known_secrets(settings)
    api = get_current_settings().api.url or ""
    absent = absent_sources(settings)
    inspection = Inspection(by="watchdog", at=now, covered={"health"})
    inspection.findings += health("worker", "the worker", str(settings.worker_health_url))
    if not inspection.findings:
        # A dead worker is why it is silent, and no reason to say that it is not any more.
        inspection.findings += silence(state, "watch", now)
        inspection.covered.add("watch")
    server = health("server", "the Prefect server", f"{api}/health")
    if not server:
        try:
            with get_client(sync_client=True) as client:
                secrets |= saved_secrets(client)
                inspect_prefect(client, inspection, state, alerts)
            # What the settings leave out runs on until that is registered.
            inspection.absent = {
                one for one in absent if deployment_of(one) not in inspection.names
            }
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            server = [dead("server", "the Prefect server", f"{api}: {cause(error)}")]
    inspection.findings += server
    inspection.findings += full_disk(alerts, state)
    inspection.findings += waiting_spool(settings.warehouse.spool_path, absent, now)
    inspection.findings += old_backup(os.environ.get("BACKUP_STAMP"), now)
    inspection.findings += old_certificate(os.environ.get("CERTIFICATE"), now)
    return inspection, secrets


def absent_sources(settings: Settings) -> set[str]:
    """Those that do not run here, as the ledger names them."""
    return {source_of(flow) for flow in settings.not_configured}


def health(kind: Kind, what: str, url: str) -> list[Finding]:
    """Nothing when the endpoint says that all is well."""
    try:
        httpx.get(url, timeout=HEALTH_SECONDS, trust_env=False).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return [dead(kind, what, f"{url}: {cause(error)}")]
    return []


def dead(kind: Kind, what: str, why: str) -> Finding:
    return Finding(f"health:{kind}", kind, "health", f"{what} does not answer", why)


def cause(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(str(error))}"


def full_disk(alerts: AlertSettings, state: State) -> list[Finding]:
    """The disk on which incidents are kept: the database's as well, which does without less.

    It is over when there is some more room than where it began.
    """
    at = next(path for path in alerts.state_path.parents if path.exists())
    disk = shutil.disk_usage(at)
    share = 1 - disk.free / disk.total
    if share < alerts.disk_share - ("disk" in state.incidents) * DISK_SHARE_TO_END:
        return []
    why = f"{share:.0%} of {disk.total / 2**30:.1f} GiB at {at} are in use"
    return [Finding("disk", "disk", "health", "the disk is nearly full", why)]


def waiting_spool(spool: Path, absent: Collection[str], now: datetime) -> list[Finding]:
    """Batches that runs keep on disk, since their bucket takes none, for too long or too many.

    Those of an absent source wait for its next run, if it ever runs here again.
    """
    kept_at: list[datetime] = []
    sources: set[str] = set()
    for path in spool.glob(f"*/*/*/{MANIFEST}"):
        source = path.parts[-3]
        if source not in absent:
            with suppress(FileNotFoundError):  # it may be gone by now
                kept_at.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
                sources.add(source)
    if not kept_at or (now - min(kept_at) <= SPOOLED_WITHIN and len(kept_at) <= MOST_SPOOLED):
        return []
    number = f"{len(kept_at)} batch{'es' * (len(kept_at) > 1)} of {', '.join(sorted(sources))}"
    why = f"{number} in {spool}, the oldest since {min(kept_at):%Y-%m-%d %H:%M} UTC"
    return [Finding("spool", "spool", "health", "answers wait on disk for their bucket", why)]


def old_backup(stamp: str | None, now: datetime) -> list[Finding]:
    """The last good backup is too old. Before the first one, its folder's age counts."""
    if not stamp:
        return []
    path = Path(stamp)
    made = path if path.exists() else path.parent
    if made.exists():
        at = datetime.fromtimestamp(made.stat().st_mtime, UTC)
        if now - at <= BACKUP_WITHIN:
            return []
        last = "the last good one is of" if made == path else "there was none since"
        why = f"{last} {at:%Y-%m-%d %H:%M} UTC"
    else:
        why = f"{made} is not there"
    return [Finding("backup", "backup", "health", "there is no new backup", why)]


def old_certificate(file: str | None, now: datetime) -> list[Finding]:
    """The certificate that nginx serves ends soon, or has ended."""
    if not file:
        return []
    from cryptography.x509 import load_pem_x509_certificate

    try:
        ends_at = load_pem_x509_certificate(Path(file).read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        title, why = "the certificate cannot be read", cause(error)
    else:
        if ends_at - now > CERTIFICATE_WITHIN:
            return []
        title = "the certificate ends soon"
        why = f"it is valid until {ends_at:%Y-%m-%d %H:%M} UTC"
    return [Finding("certificate", "certificate", "health", title, why)]


def age_of_ledger(settings: Settings, alerts: AlertSettings) -> list[Finding]:
    """Nothing when the ledger has a young line, and says so in time."""
    answer: Future[list[Finding]] = Future()

    def ask() -> None:
        try:
            answer.set_result(ask_age_of_ledger(settings, alerts))
        except BaseException as error:  # noqa: BLE001 — raised where it is asked for
            answer.set_exception(error)

    # It is left behind when it does not end: a job's own deadline is longer than the watchdog's.
    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(LEDGER_SECONDS)
    except TimeoutError:
        return [unreadable(f"no answer within {LEDGER_SECONDS:g} s")]


def ask_age_of_ledger(settings: Settings, alerts: AlertSettings) -> list[Finding]:
    # These take seconds to import: most inspections do without.
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    from alerting.ledger_conditions import ledger_age
    from alerting.read_freshness import declared_thresholds
    from runs.settings import platform_settings
    from stores.platform import connect
    from stores.retry import Repeat

    # Where no source runs every hour, a line may come as much later.
    limits = {
        source: clocks["last_look"].warn_after for source, clocks in declared_thresholds().items()
    }
    running = limits.keys() - absent_sources(settings)
    later = min(limits[source] for source in running) - min(limits.values())
    try:
        # Given up in time to say why.
        quick = Repeat(seconds=LEDGER_SECONDS * 2 / 3)
        warehouse = replace(connect(platform_settings(settings)).warehouse, retry=quick)
        return ledger_age(warehouse, timedelta(hours=alerts.ledger_hours) + later)
    except (GoogleAPIError, GoogleAuthError, Misconfigured, OSError) as error:
        return [unreadable(cause(error))]


def unreadable(why: str) -> Finding:
    title = "the ledger cannot be read"
    return Finding("ledger:unreadable", "ledger", "ledger-age", title, why)


def known_secrets(settings: Settings) -> set[str]:
    """Those of the environment and the key file."""
    secrets = secrets_of(settings)
    if auth := get_current_settings().api.auth_string:
        secrets.add(auth.get_secret_value())
    if settings.google_file and settings.google_file.exists():
        account = json.loads(settings.google_file.read_text())
        secrets |= pieces(account.get("private_key", ""))
    return secrets


def main() -> int:
    try:
        settings = read_settings(needs_key_files=False)
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return 1
    if not server_url():
        return 1
    alerts = settings.alerts
    if not alerts.channels:
        print("nobody can be told: set SLACK_WEBHOOK_URL or ALERT_EMAIL_HOST", file=sys.stderr)
        return 1
    state = read_state(alerts.state_path)
    inspection, secrets = inspect(settings, alerts, state)
    scrub = scrubber(secrets)
    is_told = say(alerts, inspection, scrub)
    # Told apart: BigQuery may keep it waiting.
    now, last = datetime.now(UTC), state.covered.get("ledger-age")
    if last is None or abs(now - last) >= LEDGER_EVERY:
        found = age_of_ledger(settings, alerts)
        inspection = Inspection(by="watchdog", at=now, findings=found, covered={"ledger-age"})
        is_told &= say(alerts, inspection, scrub)
    for incident in read_state(alerts.state_path).incidents.values():
        print(f"stands: {incident.finding.title}")
    return 0 if is_told else 1


def say(alerts: AlertSettings, inspection: Inspection, scrub: Callable[[str], str]) -> bool:
    """Tell, and print what was sent or why it was not."""
    try:
        told = notify(alerts, inspection, scrub)
    except (NotTold, TimeoutError) as error:
        print(error, file=sys.stderr)
        return False
    for line in told.sent:
        print(f"sent to {line}")
    return True


if __name__ == "__main__":
    sys.exit(main())
