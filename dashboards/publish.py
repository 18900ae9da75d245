"""Both sites of the current snapshots: the owner's and the public one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from dashboards.formats import Formats
from dashboards.site import build
from serving.contract import AUDIENCES
from serving.places import Places
from serving.snapshot import NoSnapshot, Snapshot


def make_pages(
    places: Places,
    formats: Formats,
    now: datetime | None = None,
    only: Collection[str] = (),
) -> dict[str, dict[str, int]]:
    """Pages of each audience that has a snapshot are made of its current version; bytes by page.

    With `only`, those pages alone (dashboards/site.py).
    """
    made: dict[str, dict[str, int]] = {}
    for audience in AUDIENCES:
        try:
            snapshot = Snapshot.open(places.snapshot(audience))
        except NoSnapshot:
            continue
        made[audience] = build(snapshot, places.pages(audience), audience, formats, now, only)
    return made
