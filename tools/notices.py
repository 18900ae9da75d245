"""`python -m tools.notices`: THIRD-PARTY.md, the licences of what a machine installs.

Names are those of requirements.lock, licences what each package's own metadata say.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
FILE = ROOT / "THIRD-PARTY.md"
HEAD = """# Third-party software

This project's own licence is in [LICENSE](LICENSE). It installs the packages below, each under its
own licence, and contains the files in `dashboards/vendor`, whose licences are in
[LICENSES.txt](dashboards/vendor/LICENSES.txt). `python -m tools.notices` writes this page.

| package | licence |
|---|---|
"""
# Longer is the text of the licence and not its name.
LONGEST_NAME = 60


def page() -> str:
    return HEAD + "".join(f"| {name} | {licence_of(name)} |\n" for name in locked())


def locked() -> list[str]:
    """The packages of the lock that this platform installs."""
    names = re.findall(r"^([\w.-]+)==", LOCK.read_text(), flags=re.MULTILINE)
    return [name for name in names if is_installed(name)]


def is_installed(name: str) -> bool:
    try:
        metadata(name)
    except PackageNotFoundError:
        return False
    return True


def licence_of(name: str) -> str:
    """Raises ValueError for a package that names none."""
    told: Any = metadata(name)
    if expression := told.get("License-Expression"):
        return str(expression)
    classified = [
        one.rpartition(" :: ")[2]
        for one in told.get_all("Classifier") or ()
        if one.startswith("License :: ") and one != "License :: OSI Approved"
    ]
    if classified:
        return ", ".join(sorted(set(classified)))
    first = (told.get("License") or "").strip()
    if first and len(first) <= LONGEST_NAME and "\n" not in first:
        return first
    raise ValueError(f"{name} names no licence in its metadata")


if __name__ == "__main__":
    FILE.write_text(page())
