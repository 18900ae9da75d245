"""BigQuery, with a deadline, a byte limit, labels and an account of every job."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery
from google.cloud.bigquery import client as bigquery_client
from google.cloud.bigquery.retry import DEFAULT_RETRY

from core import ledger
from core.batch import Manifest
from core.schema import META, Column, Table
from core.sql import Names, fence_table, literal, staging_table

logger = logging.getLogger("pipelines.warehouse")

# How long Google's client repeats one call by itself, and how long a job may take.
RETRY = DEFAULT_RETRY.with_timeout(60)
CALL_TIMEOUT_SECONDS = 30.0
JOB_TIMEOUT_SECONDS = 900.0
# The client holds two copies of a piece of an upload in memory, and of 100 MiB by itself; there is
# no option for it (seen with 3.47; tests/tasks/test_merge.py watches it).
UPLOAD_PIECE_BYTES = 8 * 2**20
bigquery_client._DEFAULT_CHUNKSIZE = UPLOAD_PIECE_BYTES
# A staging table that nobody came back for removes itself.
STAGING_LIFETIME = timedelta(days=3)


@dataclass
class Warehouse:
    """The raw side of a BigQuery project. `jobs` holds what `flush_jobs` writes to `_jobs`."""

    client: Any
    project: str
    location: str
    raw_dataset: str
    maximum_bytes_billed: int
    jobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def staging_dataset(self) -> str:
        return f"{self.raw_dataset}_staging"

    @property
    def names(self) -> Names:
        return Names(self.project, self.raw_dataset, self.staging_dataset)

    def query(
        self,
        sql: str,
        *,
        source: str,
        purpose: str,
        batch_id: str | None = None,
        parameters: Sequence[Any] = (),
    ) -> list[dict[str, Any]]:
        """Run a statement or a script and return the rows of its (last) result."""
        job = self.submit(sql, source=source, purpose=purpose, parameters=parameters)
        return self.finish(job, source=source, purpose=purpose, batch_id=batch_id)

    def submit(self, sql: str, *, source: str, purpose: str, parameters: Sequence[Any] = ()) -> Any:
        config = bigquery.QueryJobConfig(
            maximum_bytes_billed=self.maximum_bytes_billed,
            labels={"source": source, "purpose": purpose},
            query_parameters=list(parameters),
            use_query_cache=False,
        )
        # With a job_retry the client repeats an insert for 40 minutes, whatever `retry` says; what
        # is worth another try is repeated where it is known to be safe.
        return self.client.query(
            sql, job_config=config, retry=RETRY, job_retry=None, timeout=CALL_TIMEOUT_SECONDS
        )

    def finish(
        self, job: Any, *, source: str, purpose: str, batch_id: str | None
    ) -> list[dict[str, Any]]:
        """Wait for a job, account for it, and return its rows (none for a load job)."""
        submitted_at = datetime.now(UTC)
        state = "failed"
        try:
            result = job.result(retry=RETRY, timeout=JOB_TIMEOUT_SECONDS)
            rows = [] if job.job_type == "load" else [dict(row.items()) for row in result]
            state = "succeeded"
        finally:
            self.jobs.append(
                {
                    "job_id": job.job_id,
                    "source": source,
                    "batch_id": batch_id,
                    "purpose": purpose,
                    "job_type": job.job_type,
                    "state": state,
                    "bytes_processed": getattr(job, "total_bytes_processed", None),
                    "bytes_billed": getattr(job, "total_bytes_billed", None),
                    "slot_ms": getattr(job, "slot_millis", None),
                    # The answer to an upload has no times.
                    "started_at": job.started or job.created or submitted_at,
                    "ended_at": job.ended,
                }
            )
        return rows

    def flush_jobs(self, source: str) -> None:
        """Write the account of the jobs so far to `_jobs` in one statement."""
        if not self.jobs:
            return
        listed, self.jobs = self.jobs, []
        names = [column.name for column in ledger.JOBS]
        rows = ",\n".join(f"({', '.join(literal(job[name]) for name in names)})" for job in listed)
        self.submit(
            f"INSERT INTO {self.names.raw('_jobs')} ({', '.join(names)}) VALUES\n{rows}",
            source=source,
            purpose="ledger",
        ).result(retry=RETRY, timeout=JOB_TIMEOUT_SECONDS)

    def insert_line(self, table: str, line: Mapping[str, Any], source: str) -> None:
        """Append one line to a ledger table; times named `..._at` may be "now" for BigQuery's."""
        values = [
            "CURRENT_TIMESTAMP()" if value == "now" else literal(value) for value in line.values()
        ]
        self.query(
            f"INSERT INTO {self.names.raw(table)} ({', '.join(line)}) SELECT {', '.join(values)}",
            source=source,
            purpose="ledger",
        )

    def ensure_ledger(self) -> None:
        """The datasets and the ledger tables exist, with every column of their declaration.

        One call when all is there. `_loads` is made last, so that it stands for the others.
        """
        with contextlib.suppress(NotFound):
            standing = self.client.get_table(
                f"{self.project}.{self.raw_dataset}._loads",
                retry=RETRY,
                timeout=CALL_TIMEOUT_SECONDS,
            )
            if standing.labels.get("columns") == ledger.FINGERPRINT:
                return
        self._ensure_dataset(self.raw_dataset)
        self._ensure_dataset(self.staging_dataset, STAGING_LIFETIME)
        for name, (columns, partition_by) in ledger.TABLES.items():
            self._ensure_table(
                name, columns, partition_by, ["source"], "Ledger of the platform.", ledger.LABELS
            )

    def _ensure_dataset(self, name: str, table_lifetime: timedelta | None = None) -> None:
        """It exists. Asked first: an account that may not make one is refused even if it stands."""
        dataset = bigquery.Dataset(f"{self.project}.{name}")
        dataset.location = self.location
        if table_lifetime:
            dataset.default_table_expiration_ms = int(table_lifetime.total_seconds() * 1000)
        try:
            self.client.get_dataset(dataset.reference, retry=RETRY, timeout=CALL_TIMEOUT_SECONDS)
        except NotFound:
            self.client.create_dataset(
                dataset, exists_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_SECONDS
            )

    def has_source(self, table: Table) -> bool:
        """Whether `ensure_source` was done once: the fence, which it makes last, exists."""
        try:
            self.client.get_table(
                f"{self.project}.{self.raw_dataset}.{fence_table(table.source)}",
                retry=RETRY,
                timeout=CALL_TIMEOUT_SECONDS,
            )
        except NotFound:
            return False
        return True

    def ensure_source(self, table: Table) -> None:
        """A source's raw table, with every column of its declaration, and its fence exist."""
        grain = f"one per {', '.join(table.key)}" if table.key else "as the source lists them"
        description = f"Raw rows of {table.source}, {grain}."
        columns = (*table.columns, *META)
        self._ensure_table(
            table.name,
            columns,
            table.partition_by,
            list(table.key),
            description,
            {"layer": "raw"},
        )
        fence = self.names.raw(fence_table(table.source))
        # One statement, so that two loaders cannot make the row twice. One of two that race may be
        # told that it exists, in spite of IF NOT EXISTS: then it does.
        with contextlib.suppress(Conflict):
            self.query(
                f"CREATE TABLE IF NOT EXISTS {fence} AS "
                f"SELECT {literal(table.source)} AS source, CAST(NULL AS STRING) AS batch_id, "
                "CAST(NULL AS TIMESTAMP) AS fenced_at",
                source=table.source,
                purpose="ledger",
            )

    def _ensure_table(
        self,
        name: str,
        columns: Sequence[Column],
        partition_by: str | None,
        clustering: list[str],
        description: str,
        labels: Mapping[str, str],
    ) -> None:
        """The table exists, has at least these columns, and is labelled."""
        schema = fields(columns)
        wanted = bigquery.Table(f"{self.project}.{self.raw_dataset}.{name}", schema=schema)
        wanted.description = description
        if partition_by:
            wanted.time_partitioning = bigquery.TimePartitioning(type_="MONTH", field=partition_by)
        wanted.clustering_fields = clustering or None
        wanted.labels = dict(labels)
        standing = self.client.create_table(
            wanted, exists_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_SECONDS
        )
        present = {column.name for column in standing.schema}
        missing = [column for column in schema if column.name not in present]
        if missing or standing.labels != wanted.labels:
            standing.schema = [*standing.schema, *missing]
            standing.labels = wanted.labels
            self.client.update_table(
                standing, ["schema", "labels"], retry=RETRY, timeout=CALL_TIMEOUT_SECONDS
            )

    def create_staging(self, manifest: Manifest, kind: str, columns: Iterable[Column]) -> str:
        """An empty staging table with the batch's columns that expires; its id for load jobs."""
        table_id = ".".join(
            (
                self.project,
                self.staging_dataset,
                staging_table(manifest.source, manifest.batch_id, kind),
            )
        )
        table = bigquery.Table(table_id, schema=fields(columns))
        table.expires = datetime.now(UTC) + STAGING_LIFETIME
        self.client.create_table(table, exists_ok=True, retry=RETRY, timeout=CALL_TIMEOUT_SECONDS)
        return table_id

    def staged_shape(self, name: str) -> tuple[list[str], int]:
        """Column names and number of rows of a staging table."""
        table = self.client.get_table(
            f"{self.project}.{self.staging_dataset}.{name}",
            retry=RETRY,
            timeout=CALL_TIMEOUT_SECONDS,
        )
        return [column.name for column in table.schema], int(table.num_rows)

    def drop_staging(self, manifest: Manifest) -> None:
        for kind in ("rows", "rejects"):
            self.drop_staged(staging_table(manifest.source, manifest.batch_id, kind))

    def drop_staged(self, name: str) -> None:
        self.client.delete_table(
            f"{self.project}.{self.staging_dataset}.{name}",
            not_found_ok=True,
            retry=RETRY,
            timeout=CALL_TIMEOUT_SECONDS,
        )

    def load_uris(
        self, table_id: str, columns: Iterable[Column], uris: Sequence[str], source: str
    ) -> Any:
        """Start a load job that makes the table hold exactly these Parquet objects' rows.

        When the answer to the call is lost, the client's next try is told that the job exists: of a
        query it then fetches the job, of a load it does not.
        """
        job_id = str(uuid.uuid4())
        try:
            return self.client.load_table_from_uri(
                list(uris),
                table_id,
                job_id=job_id,
                job_config=_to_stage(columns, source),
                retry=RETRY,
                timeout=CALL_TIMEOUT_SECONDS,
            )
        except Conflict:
            return self.client.get_job(job_id, retry=RETRY, timeout=CALL_TIMEOUT_SECONDS)

    def load_file(
        self, table_id: str, columns: Iterable[Column], file: IO[bytes], source: str
    ) -> Any:
        """Upload a Parquet file and start the job that makes the table hold exactly its rows.

        Sent in pieces, each of which the client repeats by itself, six times at most. Where it does
        not (too many requests; an upload that BigQuery does not know any more, as after an answer
        that was lost) all is sent again under the same job id, of which there is one at most.
        """
        job_id = str(uuid.uuid4())

        def send() -> Any:
            try:
                return self.client.load_table_from_file(
                    file,
                    table_id,
                    job_id=job_id,
                    rewind=True,
                    job_config=_to_stage(columns, source),
                    timeout=CALL_TIMEOUT_SECONDS,
                )
            except Conflict:
                return self.client.get_job(job_id, retry=RETRY, timeout=CALL_TIMEOUT_SECONDS)

        may_pass = RETRY._predicate
        again = RETRY.with_predicate(lambda error: may_pass(error) or isinstance(error, NotFound))
        return again(send)()


def _to_stage(columns: Iterable[Column], source: str) -> Any:
    return bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        schema=fields(columns),
        labels={"source": source, "purpose": "stage"},
    )


def fields(columns: Iterable[Column]) -> list[Any]:
    """BigQuery's schema of declared columns; everything is nullable, raw rejects by code."""
    return [
        bigquery.SchemaField(column.name, column.type, description=column.description or None)
        for column in columns
    ]
