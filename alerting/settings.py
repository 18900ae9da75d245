"""Where alerts go, and from when on something is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, SecretStr

from stores.state import state_home

if TYPE_CHECKING:
    from runs.settings import Settings


class AlertSettings(BaseModel):
    """Channels and limits. A channel that is not set is not used."""

    slack_webhook_url: SecretStr | None = Field(default=None, description="Slack's webhook.")
    email_host: str | None = Field(default=None, description="Mail server.")
    email_port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    email_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is protected."
    )
    email_user: str | None = Field(default=None, description="Login, if the server wants one.")
    email_password: SecretStr | None = Field(default=None, description="Its password.")
    email_from: str = Field(default="", description="Sender.")
    email_to: list[str] = Field(default_factory=list, description="Recipients.")
    docs_url: str = Field(
        default="docs/operations.md", description="Where docs/operations.md is read."
    )
    not_started_minutes: float = Field(default=15, gt=0, description="A run is late after these.")
    running_hours: float = Field(default=6, gt=0, description="A run takes too long after these.")
    unloaded_hours: float = Field(
        default=24, gt=0, description="A committed batch is loaded within these."
    )
    ledger_hours: float = Field(default=3, gt=0, description="A line is written within these.")
    request_share: float = Field(
        default=0.9, gt=0, le=1, description="Share of a plan's requests that is nearly all."
    )
    daily_bytes_billed: int = Field(
        default=32 * 2**30, ge=0, description="Bytes that may be billed in 24 hours."
    )
    disk_share: float = Field(default=0.9, gt=0, le=1, description="Share of a disk that is full.")
    state_file: str = Field(default="", description="What is known of incidents; empty: by XDG.")

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


def alert_settings(settings: Settings) -> AlertSettings:
    """What the environment says."""
    return AlertSettings(
        slack_webhook_url=settings.slack_webhook_url,
        email_host=settings.alert_email_host,
        email_port=settings.alert_email_port,
        email_security=settings.alert_email_security,
        email_user=settings.alert_email_user,
        email_password=settings.alert_email_password,
        email_from=settings.alert_email_from or "",
        email_to=[one.strip() for one in settings.alert_email_to.split(",") if one.strip()],
        docs_url=settings.alert_docs_url,
        not_started_minutes=settings.alert_not_started_minutes,
        running_hours=settings.alert_running_hours,
        unloaded_hours=settings.alert_unloaded_hours,
        ledger_hours=settings.alert_ledger_hours,
        request_share=settings.alert_request_share,
        daily_bytes_billed=settings.alert_daily_bytes_billed,
        disk_share=settings.alert_disk_share,
        state_file=str(settings.alert_state_file or ""),
    )
