"""The data catalog: dbt's documentation with what BigQuery really has, as one HTML file.

It is in the landing bucket and in the folder that a web server serves. What it tells of tables is
metadata, which is free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
from google.api_core.exceptions import NotFound
from msgspec.structs import replace

from core import ledger
from core.batch import source_prefix
from core.errors import first_line
from core.ownership import is_own_table
from core.schema import META, Table
from core.steps import step
from core.task import task
from core.values import as_json
from core.version import code_version
from runs.build import environment, paths, request_deadline
from runs.catalog_page import one_page
from runs.dbt_build import dbt_environment, target_path
from stores.bigquery import CALL_TIMEOUT_SECONDS, Warehouse
from stores.datasets import dbt_datasets, dbt_relations
from stores.google import storage_client
from stores.landing import RETRY, TIMEOUT_SECONDS
from stores.platform import Platform
from stores.settings import GoogleAccount, PlatformSettings

PAGE = "index.html"
# Written after the page: what the page was made of.
RECORD = "published.json"
REQUEST_SECONDS = 60.0


class CatalogFailed(Exception):
    """dbt could not make the catalog; the message says why."""


class Catalog(msgspec.Struct, frozen=True):
    """The published page. `not_built` are the relations that dbt knows and BigQuery does not have.

    `is_new` is false when nothing had changed since it was published.
    """

    fingerprint: str
    published_at: datetime
    size_bytes: int
    relations: int
    columns: int
    not_built: tuple[str, ...]
    address: str = ""
    is_new: bool = False

    @property
    def message(self) -> str:
        """One line for lists of runs."""
        told = f"{self.relations} relations, {self.columns:,} columns, at {self.address}"
        if not self.is_new:
            return f"nothing changed since {self.published_at:%Y-%m-%d %H:%M} UTC: {told}"
        if self.not_built:
            told += f"; not built yet: {', '.join(self.not_built)}"
        return told


@task(name="publish-catalog", retries=2, retry_delay_seconds=[5, 30])
def publish(
    platform: Platform, blocks: PlatformSettings, tables: Iterable[Table], *, force: bool = False
) -> Catalog:
    """The catalog of what there is now is in the bucket and in the served folder.

    `tables` are the raw ones: what their columns are is written there alone, not in dbt's files.
    Made again when the code, the models or a table have changed since it was published, or with
    `force`. Raises CatalogFailed, and NotOurs where a dataset is somebody else's.
    """
    platform.warehouse.ensure_ledger()
    platform.warehouse.ensure_marts(dbt_relations(platform.warehouse.dataset_prefix))
    # The block's own `get_bucket` asks for the bucket, which takes a right that nothing else needs.
    client = storage_client(blocks.google, blocks.warehouse.project)
    bucket = client.bucket(blocks.gcs_bucket)
    settings = blocks.warehouse
    prefix = source_prefix(settings.project, settings.raw_dataset, "catalog")
    address = f"gs://{bucket.name}/{prefix}{PAGE}"
    with step("catalog.fingerprint"):
        wanted = fingerprint(platform)
    with step("catalog.read"):
        record = _read(bucket, f"{prefix}{RECORD}")
    last = msgspec.json.decode(record, type=Catalog) if record else None
    if last and last.fingerprint == wanted and not force:
        page = _read(bucket, f"{prefix}{PAGE}") if _is_missing(blocks) else b""
        if page is not None:
            serve(blocks, page)
            return replace(last, address=address, is_new=False)
    page, described = generate(platform.warehouse, blocks.google, tables)
    catalog = Catalog(wanted, datetime.now(UTC), **described, address=address, is_new=True)
    with step("catalog.publish"):
        _write(bucket, f"{prefix}{PAGE}", page, "text/html; charset=utf-8")
        serve(blocks, page)
        _write(bucket, f"{prefix}{RECORD}", msgspec.json.encode(catalog), "application/json")
    return catalog


def fingerprint(platform: Platform) -> str:
    """Changes when the code, a model, the list of tables, or a table's content does.

    Raw tables say when they were last changed, and for all marts the table of builds does. That is
    metadata, which is free. The ledger, which changes with every look at a source, does not count.
    """
    warehouse = platform.warehouse
    tables = sorted(_tables(warehouse))
    raw = warehouse.raw_id("")
    loaded = [name for name, _ in tables if name.startswith(raw) and name[len(raw)] != "_"]
    changed_at = [warehouse.table(name).modified.isoformat() for name in (*loaded, f"{raw}_builds")]
    told = [code_version(), tables, changed_at]
    return hashlib.sha256(as_json(told).encode()).hexdigest()[:16]


def _tables(warehouse: Warehouse) -> Iterator[tuple[str, str]]:
    """Name and type of what is ours in the raw dataset and in those that dbt builds."""
    for dataset in [warehouse.raw_dataset, *dbt_datasets(warehouse.dataset_prefix)]:
        try:
            for table in warehouse.client.list_tables(
                f"{warehouse.project}.{dataset}",
                retry=warehouse.retry,
                timeout=CALL_TIMEOUT_SECONDS,
            ):
                if is_own_table(table.labels):
                    yield str(table.reference), str(table.table_type)
        except NotFound:
            continue


def generate(
    warehouse: Warehouse, google: GoogleAccount, tables: Iterable[Table]
) -> tuple[bytes, dict[str, Any]]:
    """The page, and what is in it. Raises CatalogFailed and UnknownPage.

    Models are parsed and not compiled: incremental ones ask BigQuery for their window when they
    are, which is billed. So the page shows a model's source and not its compiled SQL.
    """
    from dbt.cli.main import dbtRunner

    target = target_path(warehouse, "catalog").resolve()
    arguments = ["--quiet", *paths(target)]
    with (
        step("catalog.dbt"),
        dbt_environment(warehouse, google) as env,
        environment(env),
        request_deadline(REQUEST_SECONDS),
    ):
        # What is not compiled has no manifest but that of parsing.
        result = dbtRunner().invoke(["parse", *arguments])
        if result.success:
            generated = ["docs", "generate", "--no-compile"]
            result = dbtRunner(manifest=result.result).invoke([*generated, *arguments])
    if not result.success:
        errors = getattr(result.result, "errors", None) or ["dbt did not succeed"]
        raise CatalogFailed(f"dbt docs generate: {first_line(str(result.exception or errors[0]))}")
    template, parsed, catalog = (
        (target / name).read_text(encoding="utf-8")
        for name in ("index.html", "manifest.json", "catalog.json")
    )
    manifest = json.loads(parsed)
    describe_columns(manifest, tables)
    page = one_page(template, json.dumps(manifest), catalog)
    return page, describe(page, manifest, json.loads(catalog))


def describe_columns(manifest: Mapping[str, Any], tables: Iterable[Table]) -> None:
    """The columns of dbt's sources have the texts of the tables' declarations."""
    declared = {table.name: (*table.columns, *META) for table in tables}
    declared |= {name: columns for name, (columns, _) in ledger.TABLES.items()}
    for source in manifest["sources"].values():
        for column in declared.get(source["identifier"], ()):
            found = source["columns"].setdefault(column.name, {"name": column.name})
            found["description"] = column.description


def describe(
    page: bytes, manifest: Mapping[str, Any], catalog: Mapping[str, Any]
) -> dict[str, Any]:
    """Counts of what the page tells, and the names of what is not there to be told of."""
    found = {**catalog["nodes"], **catalog["sources"]}
    wanted = {
        unique_id: f"{node['schema']}.{node.get('identifier') or node['alias']}"
        for unique_id, node in {**manifest["nodes"], **manifest["sources"]}.items()
        if node["resource_type"] in ("model", "seed", "snapshot", "source")
    }
    return {
        "size_bytes": len(page),
        "relations": len(found),
        "columns": sum(len(table["columns"]) for table in found.values()),
        "not_built": sorted(name for unique_id, name in wanted.items() if unique_id not in found),
    }


def served_page(blocks: PlatformSettings) -> Path | None:
    """Where a web server finds the page; None when no folder is configured."""
    folder = blocks.warehouse.catalog_directory
    return Path(folder).expanduser() / PAGE if folder else None


def _is_missing(blocks: PlatformSettings) -> bool:
    page = served_page(blocks)
    return page is not None and not page.exists()


def serve(blocks: PlatformSettings, content: bytes) -> None:
    """Put the page into the served folder, in one step; nothing to do for an empty one."""
    page = served_page(blocks)
    if page is None or not content:
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=page.parent, prefix=".catalog-", delete=False) as file:
        file.write(content)
    written = Path(file.name)
    written.chmod(0o644)
    written.replace(page)


def _read(bucket: Any, name: str) -> bytes | None:
    try:
        content: bytes = bucket.blob(name).download_as_bytes(retry=RETRY, timeout=TIMEOUT_SECONDS)
    except NotFound:
        return None
    return content


def _write(bucket: Any, name: str, content: bytes, content_type: str) -> None:
    blob = bucket.blob(name)
    blob.cache_control = "no-cache"
    blob.upload_from_string(
        content, content_type=content_type, checksum="md5", retry=RETRY, timeout=TIMEOUT_SECONDS
    )
