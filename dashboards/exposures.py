"""The pages as dbt's exposures, so that the catalog's lineage ends where people are.

`python -m dashboards.exposures` writes dbt/models/_exposures.yml. What a page is made of is found
by making it without data: a page asks for each of its marts whether or not there are rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dashboards.data import Data
from dashboards.formats import Formats
from dashboards.site import PAGES, PRIVATE
from serving.snapshot import Manifest, Snapshot
from serving.status import TABLES

FILE = Path(__file__).resolve().parents[1] / "dbt" / "models" / "_exposures.yml"
HEADER = "# Made by `python -m dashboards.exposures` from the pages in dashboards/pages.\n"
# The group of the same name in _groups.yml.
OWNER = "Platform operations"


def exposures() -> list[dict[str, Any]]:
    """One per page, in the order of the navigation, as dbt declares them."""
    now = datetime.now(UTC)
    nothing = Snapshot(Path(), Manifest("", now))
    of_status = {table.name for table in TABLES}
    found = []
    for slug, title, make in PAGES:
        data = Data(nothing, "private", Formats(), now)
        lead = make(data).lead
        seen_by = "The owner alone sees it." if slug in PRIVATE else "It has a public version."
        found.append(
            {
                "name": title.lower(),
                "label": title,
                "type": "dashboard",
                "description": f"{lead} The page {slug}.html of the dashboards. {seen_by}",
                "owner": {"name": OWNER},
                "depends_on": [
                    f"ref('{mart}')" for mart in sorted(data.used) if mart not in of_status
                ],
            }
        )
    return found


def text() -> str:
    """The file's text."""
    return HEADER + yaml.safe_dump(
        {"exposures": exposures()}, sort_keys=False, allow_unicode=True, width=99
    )


if __name__ == "__main__":
    FILE.write_text(text())
