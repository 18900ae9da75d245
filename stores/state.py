"""Where this machine keeps what has to outlive a run."""

from __future__ import annotations

import os
from pathlib import Path


def state_home() -> Path:
    """`data-pipelines` under XDG's folder for state; it need not exist yet."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "data-pipelines"


def spool_path(given: str) -> Path:
    """The folder of SPOOL_DIRECTORY, or the usual one where that is empty."""
    return Path(given).expanduser() if given else state_home() / "spool"
