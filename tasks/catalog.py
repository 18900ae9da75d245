"""The data catalog: dbt's documentation with what really stands in BigQuery, as one HTML file.

It is in the landing bucket and in the folder that a web server serves. What it tells of tables is
metadata, which is free.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml
from google.api_core.exceptions import NotFound

from blocks.platform import PlatformBlocks
from core.batch import source_prefix
from core.errors import first_line
from core.steps import step
from core.values import as_json
from core.version import code_version
from tasks.build import PROJECT_DIR, environment, request_deadline
from tasks.due import dbt_environment, target_path
from tasks.landing import RETRY, TIMEOUT_SECONDS
from tasks.platform import Platform
from tasks.verb import verb
from tasks.warehouse import CALL_TIMEOUT_SECONDS, Warehouse
from tasks.warehouse import RETRY as BIGQUERY_RETRY

PAGE = "index.html"
# Written after the page: what the page was made of.
RECORD = "published.json"
REQUEST_SECONDS = 60.0


class CatalogFailed(Exception):
    """dbt could not make the catalog; the message says why."""


@dataclass(frozen=True)
class Catalog:
    """The published page. `not_built` are the relations that dbt knows and BigQuery does not have.

    `is_new` is false when nothing had changed since it was published.
    """

    address: str
    fingerprint: str
    published_at: datetime
    size_bytes: int
    relations: int
    columns: int
    not_built: tuple[str, ...]
    is_new: bool

    @property
    def message(self) -> str:
        """One line for lists of runs."""
        told = f"{self.relations} relations, {self.columns:,} columns, at {self.address}"
        if not self.is_new:
            return f"nothing changed since {self.published_at:%Y-%m-%d %H:%M} UTC: {told}"
        if self.not_built:
            told += f"; not built yet: {', '.join(self.not_built)}"
        return told


@verb(name="publish-catalog", retries=2, retry_delay_seconds=[5, 30])
def publish(platform: Platform, blocks: PlatformBlocks, *, force: bool = False) -> Catalog:
    """The catalog of what stands now is in the bucket and in the served folder.

    Made anew when the code, the models or a table have changed since it was published, or with
    `force`. Raises CatalogFailed.
    """
    platform.warehouse.ensure_ledger()
    bucket = blocks.gcs.get_bucket()
    settings = blocks.warehouse
    prefix = source_prefix(settings.project, settings.raw_dataset, "catalog")
    address = f"gs://{bucket.name}/{prefix}{PAGE}"
    with step("catalog.fingerprint"):
        wanted = fingerprint(platform)
    with step("catalog.read"):
        record = _read(bucket, f"{prefix}{RECORD}")
    if record and json.loads(record)["fingerprint"] == wanted and not force:
        page = _read(bucket, f"{prefix}{PAGE}") if _is_missing(blocks) else b""
        if page is not None:
            serve(blocks, page)
            return _catalog(address, json.loads(record), is_new=False)
    page, described = generate(blocks)
    record = json.dumps(
        {"fingerprint": wanted, "published_at": datetime.now(UTC).isoformat()} | described
    ).encode()
    with step("catalog.publish"):
        _write(bucket, f"{prefix}{PAGE}", page, "text/html; charset=utf-8")
        serve(blocks, page)
        _write(bucket, f"{prefix}{RECORD}", record, "application/json")
    return _catalog(address, json.loads(record), is_new=True)


def _catalog(address: str, record: Mapping[str, Any], *, is_new: bool) -> Catalog:
    return Catalog(
        address=address,
        fingerprint=record["fingerprint"],
        published_at=datetime.fromisoformat(record["published_at"]),
        size_bytes=record["size_bytes"],
        relations=record["relations"],
        columns=record["columns"],
        not_built=tuple(record["not_built"]),
        is_new=is_new,
    )


def fingerprint(platform: Platform) -> str:
    """Changes when the code, a model, the list of tables, or by the ledger a table's content does.

    What a person changes by hand is not in the ledger.
    """
    warehouse = platform.warehouse
    names = warehouse.names
    changes = warehouse.query(
        f"""
        SELECT source, 'load' AS change, MAX(applied_at) AS changed_at
        FROM {names.raw("_loads")} WHERE state = 'applied' GROUP BY source
        UNION ALL
        SELECT source, 'build' AS change, MAX(ended_at) AS changed_at
        FROM {names.raw("_builds")} GROUP BY source
        ORDER BY source, change
        """,
        source="catalog",
        purpose="ledger",
    )
    told = [code_version(), sorted(_tables(warehouse)), [list(row.values()) for row in changes]]
    return hashlib.sha256(as_json(told).encode()).hexdigest()[:16]


def _tables(warehouse: Warehouse) -> Iterator[tuple[str, str]]:
    """Name and type of all that stands in the raw dataset and in those that dbt builds."""
    for dataset in [warehouse.raw_dataset, *dbt_datasets()]:
        try:
            for table in warehouse.client.list_tables(
                f"{warehouse.project}.{dataset}",
                retry=BIGQUERY_RETRY,
                timeout=CALL_TIMEOUT_SECONDS,
            ):
                yield str(table.reference), str(table.table_type)
        except NotFound:
            continue


def dbt_datasets() -> list[str]:
    """The datasets of dbt's prod target: every `+schema` of dbt_project.yml."""
    project = yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text())

    def schemas(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for name, value in node.items():
                if name == "+schema":
                    yield str(value)
                else:
                    yield from schemas(value)

    prefix = os.environ.get("DBT_DATASET_PREFIX", "")
    return sorted({f"{prefix}{schema}" for schema in schemas(project)})


def generate(blocks: PlatformBlocks) -> tuple[bytes, dict[str, Any]]:
    """The page, and what is in it. Raises CatalogFailed.

    Models are parsed and not compiled: incremental ones ask BigQuery for their window when they
    are, which is billed. So the page shows a model's source and not its compiled SQL.
    """
    from dbt.cli.main import dbtRunner

    target = target_path(blocks, "catalog").resolve()
    arguments = ["--quiet", "--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
    arguments += ["--target-path", str(target), "--log-path", str(target / "logs")]
    with (
        step("catalog.dbt"),
        dbt_environment(blocks) as env,
        environment(env),
        request_deadline(REQUEST_SECONDS),
    ):
        # What is not compiled has no manifest but that of parsing.
        result = dbtRunner().invoke(["parse", *arguments])
        if result.success:
            generated = ["docs", "generate", "--static", "--no-compile"]
            result = dbtRunner(manifest=result.result).invoke([*generated, *arguments])
    if not result.success:
        errors = getattr(result.result, "errors", None) or ["dbt did not succeed"]
        raise CatalogFailed(f"dbt docs generate: {first_line(str(result.exception or errors[0]))}")
    page = (target / "static_index.html").read_bytes()
    catalog = json.loads((target / "catalog.json").read_text())
    manifest = json.loads((target / "manifest.json").read_text())
    return page, describe(page, manifest, catalog)


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


def served_page(blocks: PlatformBlocks) -> Path | None:
    """Where a web server finds the page; None when no folder is configured."""
    folder = blocks.warehouse.catalog_directory
    return Path(folder).expanduser() / PAGE if folder else None


def _is_missing(blocks: PlatformBlocks) -> bool:
    page = served_page(blocks)
    return page is not None and not page.exists()


def serve(blocks: PlatformBlocks, content: bytes) -> None:
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
