"""Where alerts go, and from when on something is one, as a block."""

from __future__ import annotations

from prefect.blocks.core import Block

from alerting.settings import AlertSettings

ALERTS = "alerts"


class Alerts(AlertSettings, Block):
    """Channels and limits. A channel that is not set is not used."""

    _block_type_name = "Alerts"
    _block_type_slug = "alerts"
    _description = "Where alerts go and from when on something is one; read by the flow watch."
