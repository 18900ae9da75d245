"""Where alerts go, and from when on something is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from stores.state import state_home
from stores.variables import Variables, matching, variable

ADDRESS = r"[^@,]+@[^@,]+"
Span = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


def _webhook(secret: SecretStr | None) -> SecretStr | None:
    if secret and not re.fullmatch(r"https?://[^\s/]+/\S*", secret.get_secret_value()):
        raise ValueError("must be an address such as https://hooks.slack.com/services/...")
    return secret


def _addresses(given: object) -> object:
    """What `.env` has as a text."""
    if not isinstance(given, str):
        return given
    if not re.fullmatch(rf"({ADDRESS})?(,{ADDRESS})*,?\s*", given):
        raise ValueError("must be addresses such as me@example.org, several by comma")
    return [one.strip() for one in given.split(",") if one.strip()]


class AlertSettings(Variables):
    """Channels and limits. A channel that is not set is not used."""

    slack_webhook_url: Annotated[SecretStr | None, AfterValidator(_webhook)] = variable(
        "SLACK_WEBHOOK_URL", "Slack's webhook.", default=None
    )
    email_host: Annotated[
        str | None, matching(r"[^\s/:]+", "must be a host, such as smtp.example.org")
    ] = variable("ALERT_EMAIL_HOST", "Mail server.", default=None)
    email_port: int = variable("ALERT_EMAIL_PORT", "Its port.", default=587, ge=1, le=65535)
    email_security: Literal["starttls", "tls", "none"] = variable(
        "ALERT_EMAIL_SECURITY", "How the connection is protected.", default="starttls"
    )
    email_user: str | None = variable(
        "ALERT_EMAIL_USER", "Login, if the server wants one.", default=None
    )
    email_password: SecretStr | None = variable(
        "ALERT_EMAIL_PASSWORD", "Its password.", default=None
    )
    email_from: Annotated[
        str, matching(f"({ADDRESS})?", "must be an address such as me@example.org")
    ] = variable("ALERT_EMAIL_FROM", "Sender.", default="")
    email_to: Annotated[list[str], BeforeValidator(_addresses)] = variable(
        "ALERT_EMAIL_TO", "Recipients.", default=[]
    )
    docs_url: str = variable(
        "ALERT_DOCS_URL", "Where docs/runbook.md is read.", default="docs/runbook.md"
    )
    not_started_minutes: Span = variable(
        "ALERT_NOT_STARTED_MINUTES", "A run is late after these.", default=15
    )
    running_hours: Span = variable(
        "ALERT_RUNNING_HOURS", "A run takes too long after these.", default=6
    )
    unloaded_hours: Span = variable(
        "ALERT_UNLOADED_HOURS", "A committed batch is loaded within these.", default=24
    )
    ledger_hours: Span = variable(
        "ALERT_LEDGER_HOURS", "A line is written within these.", default=3
    )
    request_share: Share = variable(
        "ALERT_REQUEST_SHARE", "Share of a plan's requests that is nearly all.", default=0.9
    )
    daily_bytes_billed: int = variable(
        "ALERT_DAILY_BYTES_BILLED",
        "Bytes that may be billed in 24 hours.",
        default=32 * 2**30,
        ge=0,
    )
    disk_share: Share = variable("ALERT_DISK_SHARE", "Share of a disk that is full.", default=0.9)
    state_file: str = variable(
        "ALERT_STATE_FILE", "What is known of incidents; empty: by XDG.", default=""
    )

    @property
    def channels(self) -> list[str]:
        return [
            *(["slack"] if self.slack_webhook_url else []),
            *(["email"] if self.email_host else []),
        ]

    @property
    def state_path(self) -> Path:
        if self.state_file:
            return Path(self.state_file).expanduser()
        return state_home() / "alerts.json"
