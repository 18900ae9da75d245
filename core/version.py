"""Which code this is: a digest of the project's own files, with or without git."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = (
    *("core", "stores", "sources", "runs", "repair", "migration", "tasks", "blocks", "flows"),
    "dbt",
)
SUFFIXES = {".py", ".sql", ".yml", ".csv"}
MADE_BY_DBT = {"target", "logs", "dbt_packages"}


@cache
def code_version() -> str:
    """Twelve hex digits that change when the code or a model does."""
    digest = hashlib.sha256()
    for room in CODE:
        for path in sorted((ROOT / room).rglob("*")):
            inside = path.relative_to(ROOT)
            if path.suffix in SUFFIXES and not MADE_BY_DBT & set(inside.parts):
                digest.update(f"{inside}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
