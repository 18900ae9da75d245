"""What people look at, after a build and between builds: snapshots of the marts, and their pages.

Nothing here ends a run that loaded: what could not be exported is remembered in the serving folder,
where `watch/alerts` sees it, and the next run of the source tries again. Meanwhile the last
snapshot and its pages are shown.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.errors import first_line
from core.steps import step
from core.task import task
from runs.build import describe
from runs.copies import keep_copies
from runs.dbt_build import run_build, target_path
from runs.due import Due
from runs.export import export
from serving.contract import AUDIENCES, Contract, write
from serving.places import Places
from serving.snapshot import publish
from stores.platform import Platform
from stores.settings import PlatformSettings

logger = logging.getLogger("pipelines.serve")

STATUS = "status"
# What a change of the platform's own status is shown on.
STATUS_PAGES = ("index", "operations")


@dataclass(frozen=True)
class Serving:
    """Where pages are, and how they write times and money."""

    places: Places
    time_zone: str
    currency: str

    def make_pages(self, only: Collection[str] = ()) -> None:
        """The pages, of the snapshots as they are now. Altair takes a second to import: a run that
        shows nothing does not pay for it."""
        from dashboards.formats import Formats
        from dashboards.publish import make_pages

        make_pages(self.places, Formats(self.time_zone, self.currency), only=only)


def serving_of(blocks: PlatformSettings) -> Serving | None:
    """The configured serving folder; None where there is none."""
    settings = blocks.warehouse
    if not settings.serving_directory:
        return None
    places = Places(Path(settings.serving_directory).expanduser())
    return Serving(places, settings.home_timezone, settings.home_currency)


def announce_build(blocks: PlatformSettings, source: str) -> None:
    """Say, before a build, that its marts will have to be exported: a run may die in between."""
    if serving := serving_of(blocks):
        serving.places.mark(source)


def serve_marts(platform: Platform, blocks: PlatformSettings, source: str) -> str | None:
    """Export the source's marts and make their pages, if a build was not exported yet.

    What was done, or why it could not be, in one line; None when there is nothing to do.
    """
    serving = serving_of(blocks)
    if serving is None:
        return None
    places = serving.places
    is_pending = source in {one.source for one in places.pending()}
    is_built = (target_path(platform.warehouse, source) / "manifest.json").exists()
    if not is_pending and (places.was_exported(source) or not is_built):
        return None
    try:
        places.mark(source)
        return export_marts(platform, blocks, serving, source)
    except Exception as error:  # noqa: BLE001 - whatever it is, the source was loaded
        cause = first_line(f"{type(error).__name__}: {error}", 400)
        logger.error("%s: the marts could not be exported: %s", source, cause)
        places.mark_failed(source, cause)
        return f"pages not updated: {cause}"


def build_and_serve(
    platform: Platform, blocks: PlatformSettings, source: str, due: Due | None
) -> str:
    """Make the build that is due, then export the marts; in one line what was done.

    Raises BuildFailed; what the build made of the marts is exported by a later run.
    """
    built = "marts up to date"
    if due:
        announce_build(blocks, source)
        built = describe(run_build(platform.warehouse, blocks.google, source, due))
    shown = serve_marts(platform, blocks, source)
    return f"{built}; {shown}" if shown else built


@task(name="export-marts", run_name="export {source}")
def export_marts(
    platform: Platform, blocks: PlatformSettings, serving: Serving, source: str
) -> str:
    """Both snapshots and both sites have the source's marts as they are. Raises ExportFailed and
    what BigQuery, the bucket or the disk raise."""
    manifest = target_path(platform.warehouse, source) / "manifest.json"
    exported = export(platform.warehouse, serving.places, manifest, source)
    with step("export.copy"):
        keep_copies(platform, serving.places)
    with step("export.pages"):
        serving.make_pages()
    serving.places.done(source)
    told = f"{len(exported.marts)} marts exported ({exported.rows:,} rows)"
    if exported.not_built:
        told += f", not built yet: {', '.join(exported.not_built)}"
    return told


def publish_status(
    blocks: PlatformSettings, tables: Mapping[Contract, Iterable[Mapping[str, Any]]]
) -> None:
    """The snapshots have these tables of status, and the pages that show them are made again.

    A failure is remembered as that of an export is.
    """
    serving = serving_of(blocks)
    if serving is None:
        return
    try:
        serving.places.mark(STATUS)
        now = datetime.now(UTC)
        batches = {contract: _batch(contract, rows) for contract, rows in tables.items()}
        for audience in AUDIENCES:
            root = serving.places.snapshot(audience)
            written = [
                write(root, part, [batch], now)
                for contract, batch in batches.items()
                if (part := contract.seen_by(audience))
            ]
            publish(root, written)
        serving.make_pages(STATUS_PAGES)
        serving.places.done(STATUS)
    except Exception as error:  # noqa: BLE001 - a look must not fail because it cannot be shown
        cause = first_line(f"{type(error).__name__}: {error}", 400)
        logger.error("the status could not be shown: %s", cause)
        serving.places.mark_failed(STATUS, cause)


def _batch(contract: Contract, rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    names = contract.schema.names
    listed = [{name: row.get(name) for name in names} for row in rows]
    return pa.RecordBatch.from_pylist(listed, schema=contract.schema)
