"""What BigQuery refuses and its emulator does not, by the wire, as its documentation has it.

- Operations on a table's metadata: five in ten seconds, fifty of a partitioned table. Creations,
  patches, DDL, load and copy jobs count; DML does not (Quotas and limits, Standard tables and
  Partitioned tables). A call is refused with 403 rateLimitExceeded, a job fails with that reason.
- A patch with another `If-Match` than the table's etag is answered with 412 (tables.patch).
- A load job reads Parquet by the names of its columns, not by their places (Loading Parquet data).
- A job that names a dataset of another location does not find it (Dataset locations).
- A job whose data has no fault of form is accepted first and fails then; jobs.get tells why, and
  jobs.getQueryResults answers with the HTTP status of the reason (Error messages).
"""

from __future__ import annotations

import http.client
import io
import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pyarrow.parquet as pq

OPERATIONS = 5
OPERATIONS_PARTITIONED = 50
WINDOW_SECONDS = 10.0
# Reason to HTTP status and message, as Google's services send them; tests fill in no more.
REASONS: dict[str, tuple[int, str]] = {
    "accessDenied": (403, "Access Denied: Project p: User does not have permission"),
    "backendError": (503, "Visibility check was unavailable. Please retry the request"),
    "badGateway": (502, "Bad Gateway"),
    "billingTierLimitExceeded": (
        400,
        "Query exceeded resource limits for tier 1. Tier 2 or higher required.",
    ),
    "bytesBilledLimitExceeded": (
        500,
        "Query exceeded limit for bytes billed: 163595928. 164626432 or higher required.",
    ),
    "conditionNotMet": (412, "Precondition check failed."),
    "internalError": (
        500,
        "An internal error occurred and the request could not be completed.",
    ),
    "invalid": (
        400,
        "Error while reading data, error message: Input file is not in Parquet format.",
    ),
    "invalidQuery": (400, "Syntax error: Unexpected keyword"),
    "jobBackendError": (400, "The job encountered an error during execution. Retrying may help."),
    "jobInternalError": (400, "The job encountered an internal error. Retrying may help."),
    "jobRateLimitExceeded": (400, "Exceeded rate limits for jobs"),
    "notFound": (404, "Not found: Dataset p:raw_staging was not found in location EU"),
    "quotaExceeded": (
        403,
        "Quota exceeded: Your project exceeded quota for free query bytes scanned.",
    ),
    "rateLimitExceeded": (
        403,
        "Exceeded rate limits: too many table update operations for this table. For more "
        "information, see https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
    ),
    "resourcesExceeded": (400, "Resources exceeded during query execution"),
    "responseTooLarge": (403, "Response too large to return"),
    "tableUnavailable": (400, "Table is currently unavailable. Please retry."),
}
ABORTED = (
    "Transaction is aborted due to concurrent update against table "
    "p:raw._fence. Transaction ID: 5f4a"
)
OUTSTANDING = (
    "Resources exceeded during query execution: Too many DML statements outstanding against table "
    "p:raw._fence, limit is 20"
)
ELSEWHERE = "Cannot read and write in different locations: source: US, destination: EU"
# Other messages of a reason.
MESSAGES = {
    "aborted": ("invalidQuery", ABORTED),
    "outstanding": ("resourcesExceeded", OUTSTANDING),
    "elsewhere": ("invalid", ELSEWHERE),
}
DDL = re.compile(
    r"\b(?:CREATE(?:\s+OR\s+REPLACE)?\s+(?:SNAPSHOT\s+|MATERIALIZED\s+)?(?:TABLE|VIEW)"
    r"(?:\s+IF\s+NOT\s+EXISTS)?|(?:ALTER|DROP)\s+(?:TABLE|VIEW)(?:\s+IF\s+EXISTS)?)\s+"
    r"(?P<name>[\w.`-]+)",
    re.IGNORECASE,
)
# Before its query, which may have windows.
PARTITIONED = re.compile(r"(?:(?!\bAS\b).)*\bPARTITION\s+BY\b", re.IGNORECASE | re.DOTALL)
DATASET = re.compile(r"`([\w-]+)`\.`(\w+)`\.`?\w+")
TABLE_PATH = re.compile(r"/projects/([^/]+)/datasets/([^/]+)/tables(?:/([^/]+))?$")


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def json_answer(status: int, body: Mapping[str, Any]) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(body).encode())


def error_answer(status: int, reason: str, message: str) -> Answer:
    """An error as Google's services send it."""
    error = {"message": message, "domain": "global", "reason": reason}
    return json_answer(status, {"error": {"code": status, "message": message, "errors": [error]}})


def refused(reason: str, message: str = "") -> Answer:
    status, usual = REASONS[reason]
    return error_answer(status, reason, message or usual)


@dataclass
class Upload:
    """A resumable upload: its job, the bytes so far, and the answer to the last of them."""

    job: dict[str, Any]
    content: bytearray = field(default_factory=bytearray)
    answer: Answer | None = None

    @property
    def job_id(self) -> str:
        return str(self.job["jobReference"]["jobId"])


class Strict:
    """In front of the emulator at `target`; `buckets` is where the load jobs' objects are."""

    def __init__(self, target: str, buckets: str | None, window_seconds: float) -> None:
        self.window_seconds = window_seconds
        # Operations that were refused, by table.
        self.refused: dict[str, int] = defaultdict(int)
        self._target, self._buckets = target, buckets
        self._operations: dict[str, deque[float]] = defaultdict(deque)
        self._partitioned: dict[str, bool] = {}
        # What jobs.get says of jobs that the emulator does not know.
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._uploads: dict[str, Upload] = {}
        self._jobs: set[str] = set()
        self._lock = threading.RLock()
        # A patch and what it is compared with are one step.
        self.patching = threading.Lock()

    def reset(self) -> None:
        """Forget the operations so far."""
        with self._lock:
            self._operations.clear()
            self.refused.clear()

    def fail(self, job: dict[str, Any], reason: str, message: str = "") -> Answer:
        """Accept a job that will be found to have failed; nothing is done."""
        error = {"reason": reason, "message": message or REASONS[reason][1]}
        if reason == "rateLimitExceeded":
            error["location"] = "table.write"
        accepted = {"kind": "bigquery#job", "id": job["jobReference"]["jobId"], **job}
        with self._lock:
            self._outcomes[job["jobReference"]["jobId"]] = {
                **accepted,
                "status": {"state": "DONE", "errorResult": error, "errors": [error]},
            }
        return json_answer(200, {**accepted, "status": {"state": "RUNNING"}})

    def refusal(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        """What BigQuery would say where the emulator is too kind; None where it is not."""
        url = urlsplit(path)
        if method == "GET":
            return self._outcome(url.path)
        if url.path.startswith("/upload/"):
            return self._upload(method, path, headers, body)
        if method == "POST" and url.path.endswith("/jobs"):
            return self._job(json.loads(body))
        if (found := TABLE_PATH.search(url.path)) and method in ("POST", "PATCH", "PUT"):
            resource = json.loads(body)
            name = found[3] or resource["tableReference"]["tableId"]
            return self._table(method, (found[1], found[2], name), headers, resource)
        return None

    def answered(self, method: str, path: str, body: bytes, answer: Answer) -> None:
        """Note what came of an upload: that it has begun, or how its job ended."""
        if "/upload/" not in path:
            return
        with self._lock:
            upload = self._uploads.get(upload_id(path))
            if method == "POST":
                for name, value in answer.headers:
                    if name.lower() == "location":
                        self._uploads[upload_id(value)] = Upload(json.loads(body))
            elif upload and answer.status == 200:
                upload.answer = answer
                # The emulator gives the job another id.
                reference = {"jobReference": upload.job["jobReference"]}
                outcome = json.loads(answer.body) | reference
                self._outcomes.setdefault(upload.job_id, outcome)

    def _outcome(self, path: str) -> Answer | None:
        job = self._outcomes.get(path.rpartition("/")[2])
        if job is None:
            return None
        if "/queries/" in path:
            error = job["status"]["errorResult"]
            return refused(error["reason"], error["message"])
        return json_answer(200, job)

    def _table(
        self,
        method: str,
        table: tuple[str, str, str],
        headers: Mapping[str, str],
        resource: dict[str, Any],
    ) -> Answer | None:
        if method == "POST" and resource.get("timePartitioning"):
            self._partitioned[".".join(table)] = True
        if not self._may(".".join(table)):
            return refused("rateLimitExceeded")
        given = headers.get("If-Match")
        if method != "POST" and given and given != (self._described(*table) or {}).get("etag"):
            return refused("conditionNotMet")
        return None

    def _job(self, job: dict[str, Any]) -> Answer | None:
        load = job["configuration"].get("load")
        if load:
            if (answer := self._misplaced(job, [dataset_of(load)])) is not None:
                return answer
            if not self._may(table_of(load)):
                return self.fail(job, "rateLimitExceeded")
            for uri in load.get("sourceUris", ()):
                if message := mismatch(load, self._object(uri), uri):
                    return self.fail(job, "invalid", message)
            return None
        if copied := job["configuration"].get("copy"):
            return None if self._may(table_of(copied)) else self.fail(job, "rateLimitExceeded")
        sql = job["configuration"]["query"]["query"]
        if (answer := self._misplaced(job, set(DATASET.findall(sql)))) is not None:
            return answer
        for found in DDL.finditer(sql):
            name = found["name"].replace("`", "")
            if "." not in name:
                continue
            if name.count(".") == 1:
                name = f"{job['jobReference']['projectId']}.{name}"
            if PARTITIONED.match(sql, found.end()):
                self._partitioned[name] = True
            if not self._may(name):
                return self.fail(job, "rateLimitExceeded")
        return None

    def _upload(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        upload = self._uploads.get(upload_id(path))
        if method != "PUT" or upload is None:
            return None
        if upload.answer:
            return upload.answer
        with self._lock:
            # `bytes 0-99/100`; a star for what is not known yet.
            found = re.match(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", ""))
            if found:
                del upload.content[int(found[1]) :]
                upload.content += body
                if found[3] == "*" or int(found[2]) + 1 < int(found[3]):
                    return None
            if upload.job_id in self._jobs:
                return error_answer(409, "duplicate", f"Already Exists: Job {upload.job_id}")
            self._jobs.add(upload.job_id)
        load = upload.job["configuration"]["load"]
        if (answer := self._misplaced(upload.job, [dataset_of(load)])) is not None:
            return answer
        if not self._may(table_of(load)):
            return self.fail(upload.job, "rateLimitExceeded")
        if message := mismatch(load, bytes(upload.content), "upload"):
            return self.fail(upload.job, "invalid", message)
        return None

    def _misplaced(self, job: dict[str, Any], datasets: Iterable[tuple[str, str]]) -> Answer | None:
        """A job's failure when one of these is not where the job runs."""
        wanted = job["jobReference"].get("location")
        if not wanted:
            return None
        for project, dataset in datasets:
            there = self._location(project, dataset)
            if there and there.lower() != wanted.lower():
                message = f"Not found: Dataset {project}:{dataset} was not found in location "
                return self.fail(job, "notFound", message + wanted)
        return None

    def _may(self, table: str) -> bool:
        """Whether one more operation on a table is within its quota; it then counts."""
        now = time.monotonic()
        is_partitioned = self._is_partitioned(table)
        with self._lock:
            operations = self._operations[table]
            while operations and now - operations[0] >= self.window_seconds:
                operations.popleft()
            limit = OPERATIONS_PARTITIONED if is_partitioned else OPERATIONS
            if len(operations) >= limit:
                self.refused[table] += 1
                return False
            operations.append(now)
            return True

    def _is_partitioned(self, table: str) -> bool:
        if table not in self._partitioned:
            described = self._described(*table.split("."))
            if described is None:
                return False
            self._partitioned[table] = bool(described.get("timePartitioning"))
        return self._partitioned[table]

    def _location(self, project: str, dataset: str) -> str | None:
        found = self._ask(f"/bigquery/v2/projects/{project}/datasets/{dataset}")
        return str(found["location"]) if found else None

    def _described(self, project: str, dataset: str, table: str) -> dict[str, Any] | None:
        return self._ask(f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}")

    def _ask(self, path: str) -> dict[str, Any] | None:
        content = fetched(self._target, path)
        return None if content is None else dict(json.loads(content))

    def _object(self, uri: str) -> bytes | None:
        """An object's content; None where it is not there or is a pattern of names."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if self._buckets is None or "*" in name:
            return None
        path = f"/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media"
        return fetched(self._buckets, path)


def fetched(target: str, path: str) -> bytes | None:
    connection = http.client.HTTPConnection(target, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        return content if answer.status == 200 else None
    finally:
        connection.close()


def table_of(configuration: Mapping[str, Any]) -> str:
    table = configuration["destinationTable"]
    return f"{table['projectId']}.{table['datasetId']}.{table['tableId']}"


def dataset_of(configuration: Mapping[str, Any]) -> tuple[str, str]:
    table = configuration["destinationTable"]
    return table["projectId"], table["datasetId"]


def upload_id(path: str) -> str:
    return parse_qs(urlsplit(path).query).get("upload_id", [""])[0]


def mismatch(load: Mapping[str, Any], content: bytes | None, name: str) -> str | None:
    """Why a Parquet file cannot be loaded with a job's schema: its columns go by their names.

    The words after the file's name are not Google's.
    """
    if content is None or load.get("sourceFormat") != "PARQUET":
        return None
    declared = {column["name"].lower() for column in load.get("schema", {}).get("fields", ())}
    present = {column.lower() for column in pq.read_schema(io.BytesIO(content)).names}
    if not declared or declared == present:
        return None
    return (
        "Error while reading data, error message: Provided schema is not compatible with the file "
        f"'{name}': {sorted(declared - present)} are not in it, {sorted(present - declared)} are "
        "not in the schema"
    )
