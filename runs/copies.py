"""Copies of the snapshots in the landing bucket, below `_snapshots/`.

Files are named by their content, so what is there already is not sent again; a version's manifest
is written last. Sweep, recovery and the listing of batches look below the sources' prefixes only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.batch import source_prefix
from serving.contract import AUDIENCES
from serving.places import Places
from serving.snapshot import MANIFEST, Snapshot, encode, read_manifest
from stores.platform import Platform

SNAPSHOTS = "_snapshots"
KEPT_VERSIONS = 2
KEPT_FOR = timedelta(days=1)


def keep_copies(platform: Platform, places: Places) -> None:
    """The current version of each snapshot is in the bucket; those before the last two are not."""
    for audience in AUDIENCES:
        snapshot = Snapshot.open(places.snapshot(audience))
        prefix = (
            source_prefix(platform.warehouse.project, platform.warehouse.raw_dataset, SNAPSHOTS)
            + f"{audience}/"
        )
        there = {stored.name: stored for stored in platform.landing.list(prefix)}
        manifest = snapshot.manifest
        wanted = {f"{prefix}marts/{mart.file}": mart.file for mart in manifest.marts.values()}
        for name, file in wanted.items():
            if name not in there:
                platform.landing.put(name, (snapshot.directory / file).read_bytes())
        name = f"{prefix}{manifest.version}/{MANIFEST}"
        if name not in there:
            platform.landing.put(name, encode(manifest))
        manifests = sorted({*(one for one in there if one.endswith(f"/{MANIFEST}")), name})
        kept = set(manifests[-KEPT_VERSIONS:]) | set(wanted)
        for older in manifests[-KEPT_VERSIONS:-1]:
            version = older.removeprefix(prefix).partition("/")[0]
            folder = places.snapshot(audience) / "versions" / version
            if (folder / MANIFEST).exists():
                marts = read_manifest(folder).marts.values()
                kept |= {f"{prefix}marts/{mart.file}" for mart in marts}
        for name, stored in there.items():
            if name not in kept and datetime.now(UTC) - stored.created_at > KEPT_FOR:
                platform.landing.delete(name)
