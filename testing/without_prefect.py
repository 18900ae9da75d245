"""An environment that has everything that is installed here but Prefect and its integrations."""

from __future__ import annotations

import site
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Without the installed packages of its own.
PYTHON = (sys.executable, "-S")


def without_prefect(directory: Path) -> dict[str, str]:
    """The variables of the environment, which is made in `directory`."""
    packages = directory / "packages"
    packages.mkdir()
    (installed,) = site.getsitepackages()
    for path in Path(installed).iterdir():
        if not path.name.startswith("prefect"):
            (packages / path.name).symlink_to(path)
    return {"PYTHONPATH": f"{ROOT}:{packages}"}
