"""BigQuery, with a deadline, a byte limit, labels and an account of every job."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, Any

from google.api_core.exceptions import Conflict, Forbidden, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import client as bigquery_client

from core import ledger, ownership
from core.batch import EARLIER_NAMES, Manifest
from core.errors import EarlierLedger
from core.ownership import NotOurs
from core.schema import META, Column, Table
from core.sql import Names, fence_table, literal, staging_table
from stores.datasets import foreign_tables, free_prefix, staging_of, standing
from stores.retry import Repeat, is_conflict, is_transient

# The one that repeats. Nothing that calls the warehouse repeats what it gave up.
RETRY = Repeat()
CALL_TIMEOUT_SECONDS = 30.0
JOB_TIMEOUT_SECONDS = 900.0
# The client holds two copies of a piece of an upload in memory, and of 100 MiB by itself; there is
# no option for it (seen with 3.47; tests/tasks/test_merge.py watches it).
UPLOAD_PIECE_BYTES = 8 * 2**20
bigquery_client._DEFAULT_CHUNKSIZE = UPLOAD_PIECE_BYTES
# What dbt-bigquery calls the label of every job that has the invocation's id.
DBT_INVOCATION = "dbt_invocation_id"
JOBS_PER_PAGE = 1_000
# A staging table that nobody came back for removes itself.
STAGING_LIFETIME = timedelta(days=3)


@dataclass
class Warehouse:
    """The platform's datasets in a BigQuery project. `jobs` is what `flush_jobs` writes to `_jobs`.

    Whatever is made has our label, and what is there already is asked for it first: nothing of
    anybody else's is changed (core/ownership.py).
    """

    client: Any
    project: str
    location: str
    raw_dataset: str
    # Before the names of the datasets that dbt builds.
    dataset_prefix: str
    maximum_bytes_billed: int
    jobs: list[dict[str, Any]] = field(default_factory=list)
    retry: Repeat = field(default_factory=lambda: RETRY)

    @property
    def staging_dataset(self) -> str:
        return staging_of(self.raw_dataset)

    @property
    def names(self) -> Names:
        return Names(self.project, self.raw_dataset, self.staging_dataset)

    @property
    def call(self) -> dict[str, Any]:
        """How every request to BigQuery is repeated and ends."""
        return {"retry": self.retry, "timeout": CALL_TIMEOUT_SECONDS}

    def query(
        self,
        sql: str,
        *,
        source: str,
        purpose: str,
        batch_id: str | None = None,
        parameters: Sequence[Any] = (),
    ) -> list[dict[str, Any]]:
        """Run a statement or a script and return the rows of its (last) result.

        One that fails in passing is run again, also where another transaction was first: a fenced
        script that comes here looks for what it did before it does it.
        """
        _, rows = self.run(
            lambda: self.submit(sql, source=source, purpose=purpose, parameters=parameters),
            source=source,
            purpose=purpose,
            batch_id=batch_id,
            passes=lambda error: is_transient(error) or is_conflict(error),
        )
        return rows

    def run(
        self,
        start: Callable[[], Any],
        *,
        source: str,
        purpose: str,
        batch_id: str | None = None,
        passes: Callable[[Exception], bool] = is_transient,
    ) -> tuple[Any, list[dict[str, Any]]]:
        """Start a job and wait for it: the job and its rows. One that failed is started again where
        its failure `passes`."""

        def attempt() -> tuple[Any, list[dict[str, Any]]]:
            job = start()
            return job, self.finish(job, source=source, purpose=purpose, batch_id=batch_id)

        return self.retry.run(attempt, passes, f"{source} {purpose}")

    def submit(self, sql: str, *, source: str, purpose: str, parameters: Sequence[Any] = ()) -> Any:
        config = bigquery.QueryJobConfig(
            maximum_bytes_billed=self.maximum_bytes_billed,
            labels={"source": source, "purpose": purpose},
            query_parameters=list(parameters),
            use_query_cache=False,
        )
        # With a job_retry the client would start a job again by itself, for 40 minutes.
        return self.client.query(sql, job_config=config, job_retry=None, **self.call)

    def finish(
        self, job: Any, *, source: str, purpose: str, batch_id: str | None
    ) -> list[dict[str, Any]]:
        """Wait for a job, account for it, and return its rows (a query's; none of others)."""
        submitted_at = datetime.now(UTC)
        state = "failed"

        def wait() -> list[dict[str, Any]]:
            # Without a retry of its own: the answer to jobs.getQueryResults does not tell a failed
            # call from a failed job, and asking for the job again does.
            result = job.result(retry=None, timeout=JOB_TIMEOUT_SECONDS)
            return [dict(row.items()) for row in result] if job.job_type == "query" else []

        try:
            rows = self.retry.run(
                wait,
                lambda error: is_transient(error) and not has_failed(job),
                f"{source} {purpose}",
            )
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
        self.query(
            f"INSERT INTO {self.names.raw('_jobs')} ({', '.join(names)}) VALUES\n{rows}",
            source=source,
            purpose="ledger",
        )
        # The account is not of itself.
        self.jobs = []

    def billed_by_dbt(self, invocation_id: str, since: datetime) -> int:
        """Bytes billed for the jobs of one invocation of dbt, which labels each with its id.

        Those that were made after `since`, by BigQuery's clock. A job list is free, and everybody
        may list their own jobs.
        https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/list
        """
        jobs = self.client.list_jobs(
            self.project,
            min_creation_time=since,
            state_filter="done",
            page_size=JOBS_PER_PAGE,
            **self.call,
        )
        return billed_of(jobs, {DBT_INVOCATION: invocation_id})

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

        One call when all is there. `_loads` is made last, so that it speaks for the others.
        Raises NotOurs, and EarlierLedger where it has the names of the release before, before
        anything is changed.
        """
        table_id = self.raw_id("_loads")
        loads = self.table_if_any(table_id)
        present = {column.name for column in loads.schema} if loads else set[str]()
        if earlier := present.intersection(EARLIER_NAMES.values()):
            raise EarlierLedger(table_id, earlier)
        if loads and ledger.LABELS.items() <= loads.labels.items():
            return
        self._ensure_dataset(self.raw_dataset)
        self._ensure_dataset(self.staging_dataset, STAGING_LIFETIME)
        for name, (columns, partition_by) in ledger.TABLES.items():
            self._ensure_table(
                name, columns, partition_by, ["source"], "Ledger of the platform.", ledger.LABELS
            )

    def ensure_marts(self, relations: Mapping[str, Collection[str]]) -> None:
        """The datasets that dbt builds exist, and no table that it would replace is foreign.

        `relations` are the names of what it makes in each. Raises NotOurs.
        """
        for dataset, names in relations.items():
            self._ensure_dataset(dataset)
            where = f"{self.project}.{dataset}"
            for foreign in foreign_tables(self.client, where, names, **self.call):
                raise self._foreign_table(foreign)

    def _ensure_dataset(self, name: str, table_lifetime: timedelta | None = None) -> None:
        """It exists and has our label. Asked first: an account that may not make one is refused
        even if there is one.

        Raises NotOurs when it has other things in it.
        """
        self._converge(name, partial(self._make_or_label, name, table_lifetime))

    def _converge(self, name: str, change: Callable[[], None]) -> None:
        """Repeat a change also where somebody else made one since the dataset or table was looked
        at (412), perhaps to what it is to be."""
        self.retry.run(change, lambda error: isinstance(error, PreconditionFailed), name)

    def _make_or_label(self, name: str, table_lifetime: timedelta | None) -> None:
        where, call = f"{self.project}.{name}", self.call
        found, dataset = standing(self.client, where, **call)
        if found == "missing":
            dataset = bigquery.Dataset(where)
            dataset.location = self.location
            dataset.labels = ownership.LABELS
            if table_lifetime:
                dataset.default_table_expiration_ms = int(table_lifetime.total_seconds() * 1000)
            with contextlib.suppress(Conflict):
                self.client.create_dataset(dataset, **call)
                return
            found, dataset = standing(self.client, where, **call)
        if found == "foreign":
            free = free_prefix(self.client, self.project, **call)
            raise NotOurs(ownership.foreign_dataset(where, free))
        if found == "empty":
            dataset.labels = {**dataset.labels, **ownership.LABELS}
            try:
                self.client.update_dataset(dataset, ["labels"], **call)
            except Forbidden as error:
                raise NotOurs(ownership.unlabelled_dataset(where)) from error

    def table(self, table_id: str) -> Any:
        """A table as BigQuery describes it, which is free. Raises NotFound."""
        return self.client.get_table(table_id, **self.call)

    def table_if_any(self, table_id: str) -> Any:
        """As `table`; None where there is none."""
        with contextlib.suppress(NotFound):
            return self.table(table_id)
        return None

    def own_table_if_any(self, table_id: str) -> Any:
        """As `table_if_any`. Raises NotOurs for a table of somebody else."""
        found = self.table_if_any(table_id)
        if found and not ownership.is_own_table(found.labels):
            raise self._foreign_table(table_id)
        return found

    def raw_id(self, name: str) -> str:
        """The id of a table of the raw dataset."""
        return f"{self.project}.{self.raw_dataset}.{name}"

    def staged_id(self, name: str) -> str:
        """The id of a staging table."""
        return f"{self.project}.{self.staging_dataset}.{name}"

    def _foreign_table(self, name: str) -> NotOurs:
        free = free_prefix(self.client, self.project, **self.call)
        return NotOurs(ownership.foreign_table(name, free))

    def has_source(self, table: Table) -> bool:
        """Whether `ensure_source` was done once: the fence, which it makes last, exists."""
        return self.table_if_any(self.raw_id(fence_table(table.source))) is not None

    def ensure_source(self, table: Table) -> None:
        """A source's raw table, with every column of its declaration, and its fence exist.

        Raises NotOurs.
        """
        grain = f"one per {', '.join(table.key)}" if table.key else "as the source lists them"
        description = f"Raw rows of {table.source}, {grain}."
        columns = (*table.columns, *META)
        self._ensure_table(
            table.name,
            columns,
            table.partition_by,
            list(table.key),
            description,
            {**ownership.LABELS, "layer": "raw"},
        )
        name = fence_table(table.source)
        if self.own_table_if_any(self.raw_id(name)):
            return
        fence = self.names.raw(name)
        # One statement, so that two loaders cannot make the row twice. One of two that race may be
        # told that it exists, in spite of IF NOT EXISTS: then it does.
        with contextlib.suppress(Conflict):
            self.query(
                f"CREATE TABLE IF NOT EXISTS {fence} OPTIONS ({ownership.LABELS_SQL}) AS "
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
        """The table exists, has at least these columns, and is labelled. Raises NotOurs."""
        schema, table_id = fields(columns), self.raw_id(name)
        wanted = bigquery.Table(table_id, schema=schema)
        wanted.description = description
        if partition_by:
            wanted.time_partitioning = bigquery.TimePartitioning(type_="MONTH", field=partition_by)
        wanted.clustering_fields = clustering or None
        wanted.labels = dict(labels)

        def converge() -> None:
            # Looked at first: a creation counts among the table's operations (five in ten seconds)
            # also where there is nothing to create.
            found = self.table_if_any(table_id) or self.client.create_table(
                wanted, exists_ok=True, **self.call
            )
            present = {column.name for column in found.schema}
            if not ownership.is_own_table(found.labels, present):
                raise self._foreign_table(table_id)
            missing = [column for column in schema if column.name not in present]
            # Labels of other people are no difference, and stay.
            if missing or not labels.items() <= found.labels.items():
                found.schema = [*found.schema, *missing]
                found.labels = {**found.labels, **labels}
                self.client.update_table(found, ["schema", "labels"], **self.call)

        self._converge(name, converge)

    def create_staging(self, manifest: Manifest, kind: str, columns: Iterable[Column]) -> str:
        """An empty staging table with the batch's columns that expires; its id for load jobs."""
        table_id = self.staged_id(staging_table(manifest.source, manifest.batch_id, kind))
        if self.table_if_any(table_id):
            return table_id
        table = bigquery.Table(table_id, schema=fields(columns))
        table.expires = datetime.now(UTC) + STAGING_LIFETIME
        table.labels = ownership.LABELS
        self.client.create_table(table, exists_ok=True, **self.call)
        return table_id

    def staged_shape(self, name: str) -> tuple[list[str], int]:
        """Column names and number of rows of a staging table."""
        table = self.table(self.staged_id(name))
        return [column.name for column in table.schema], int(table.num_rows)

    def drop_staging(self, manifest: Manifest) -> None:
        for kind in ("rows", "rejects"):
            self.drop_staged(staging_table(manifest.source, manifest.batch_id, kind))

    def drop_staged(self, name: str) -> None:
        self.client.delete_table(self.staged_id(name), not_found_ok=True, **self.call)

    def load_uris(
        self, table_id: str, columns: Iterable[Column], uris: Sequence[str], source: str
    ) -> Any:
        """Start a load job that makes the table hold exactly these Parquet objects' rows."""
        start = partial(self.client.load_table_from_uri, list(uris), retry=self.retry)
        return self._load(start, str(uuid.uuid4()), table_id, columns, source)

    def load_file(
        self, table_id: str, columns: Iterable[Column], file: IO[bytes], source: str
    ) -> Any:
        """Upload a Parquet file and start the job that makes the table hold exactly its rows.

        Sent in pieces. Where one does not arrive, or its answer does not, all is sent again under
        the same job id, of which there is one at most.
        """
        start = partial(self.client.load_table_from_file, file, rewind=True, num_retries=0)
        send = partial(self._load, start, str(uuid.uuid4()), table_id, columns, source)
        return self.retry.run(send, what=f"{source} upload")

    def _load(
        self,
        start: Callable[..., Any],
        job_id: str,
        table_id: str,
        columns: Iterable[Column],
        source: str,
    ) -> Any:
        """The load job of this id, started now or before.

        When the answer to the call is lost, the client's next try hears that the job exists: of a
        query it then fetches the job, of a load it does not.
        """
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            schema=fields(columns),
            labels={"source": source, "purpose": "stage"},
        )
        try:
            return start(table_id, job_id=job_id, job_config=config, timeout=CALL_TIMEOUT_SECONDS)
        except Conflict:
            return self.client.get_job(job_id, **self.call)


def has_failed(job: Any) -> bool:
    """Whether BigQuery's record of a job says that it failed, when it was last asked for."""
    return job.state == "DONE" and job.error_result is not None


def billed_of(jobs: Iterable[Any], labels: Mapping[str, str]) -> int:
    """Bytes billed for the query jobs that have these labels; of a script its parent counts."""
    return sum(
        job.total_bytes_billed or 0
        for job in jobs
        if job.job_type == "query" and labels.items() <= job.labels.items()
    )


def fields(columns: Iterable[Column]) -> list[Any]:
    """BigQuery's schema of declared columns; everything is nullable, raw rejects by code."""
    return [
        bigquery.SchemaField(column.name, column.type, description=column.description or None)
        for column in columns
    ]
