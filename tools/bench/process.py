"""One measured piece of work in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from sandbox.stack import ROOT


def measured(module: str, *arguments: object) -> dict[str, Any]:
    """What `python -m module arguments` prints in its last line, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
