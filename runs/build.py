"""Runs dbt once, in this process, and tells what came of it.

Requires: the project in `dbt/`, whose profile is made of GCP_PROJECT, BIGQUERY_LOCATION,
GCP_SERVICE_ACCOUNT_FILE, RAW_DATASET, DBT_TARGET and DBT_DATASET_PREFIX.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

PROJECT_DIR = Path(__file__).resolve().parents[1] / "dbt"
# dbt's file of what it parsed, in each target path.
PARSED = "partial_parse.msgpack"
FAILED = ("fail", "error", "runtime error", "partial success")
WARNED = ("warn",)
KEYS_SHOWN = 3
FAILURES_SHOWN = 3
KEY_CHARACTERS = 80
MESSAGE_CHARACTERS = 300
REQUEST_SECONDS = 60.0

# What every build tests: the keys of what is merged, snapshotted or made straight of staging. With
# one that occurs twice every count is wrong. What is made of these has its keys by its own SQL, and
# that waits for the daily build, as all other tests do: each is a query, billed 10 MiB at least.
EVERY_BUILD = "every_build"
# Models that only the daily build makes: they read all of a table that grows.
ONCE_A_DAY = "once_a_day"
# What the builds in between select, in dbt's words.
BETWEEN = ("resource_type:seed", "resource_type:model", "resource_type:snapshot")
# "whole" has every test; "keys" is for the builds in between.
Suite = Literal["whole", "keys"]

Query = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True)
class NodeFailure:
    """A test or model that failed or warned. `failing_rows` is None where dbt counted none."""

    node: str
    status: str
    failing_rows: int | None
    message: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    """What one `dbt build` did. `build_id` is dbt's invocation id, times are UTC."""

    build_id: str
    started_at: datetime
    ended_at: datetime
    nodes_passed: int
    nodes_failed: int
    nodes_warned: int
    nodes_skipped: int
    failures: tuple[NodeFailure, ...] = ()
    warnings: tuple[NodeFailure, ...] = ()


class BuildFailed(Exception):
    """A test or model failed, or dbt could not start. `result` has it all."""

    def __init__(self, result: BuildResult) -> None:
        super().__init__(describe(result))
        self.result = result


def build(
    select: str | Sequence[str],
    target_path: Path,
    env: Mapping[str, str],
    query: Query,
    *,
    suite: Suite = "whole",
    full_refresh: bool = False,
) -> BuildResult:
    """Builds and tests the selected nodes, for example `source:usgs_earthquake+`.

    In a flow run each node is a task run, and dbt's lines are in the run's log; elsewhere dbt runs
    by its own runner, without Prefect, and they go to stdout. `env` is set in os.environ for the
    duration, so one build at a time per process. Artifacts and dbt's log are written to
    `target_path`; the same path again saves the parsing. `query` runs one SELECT: it fetches the
    keys of the rows that failed a test or made it warn. With `full_refresh` incremental models are
    built again from all of their rows.

    Raises BuildFailed when a node failed, nothing was selected or dbt could not start.
    """
    started_at = datetime.now(UTC)
    target_path = target_path.resolve()
    file = target_path / "run_results.json"
    # So that what is there afterwards was written by this build.
    file.unlink(missing_ok=True)
    begin_with_parsed(target_path)
    with environment(env):
        selected = [select] if isinstance(select, str) else select
        cause = _invoke(command(selected, suite, full_refresh), target_path)
    run_results = _read_json(file)
    manifest = _read_json(target_path / "manifest.json")
    result = summarise(run_results, manifest, started_at, datetime.now(UTC), cause)
    compiled = compiled_tests(run_results, manifest)
    try:
        result = replace(
            result,
            failures=with_keys(result.failures, compiled, query),
            warnings=with_keys(result.warnings, compiled, query),
        )
    except Exception as error:
        raise BuildFailed(result) from error
    if result.failures:
        raise BuildFailed(result)
    return result


def command(select: Sequence[str], suite: Suite, full_refresh: bool) -> list[str]:
    """dbt's arguments.

    Unit tests check the SQL against fixed rows: `make test` runs them. Here they would only cost
    queries and leave passing tables in the datasets of the readers. Exposures are pages, of which a
    build makes nothing.
    """
    if suite == "keys":
        selected = [f"{one},{kind}" for one in select for kind in (*BETWEEN, f"tag:{EVERY_BUILD}")]
        # Else each model brings all of its tests.
        selected += ["--indirect-selection", "empty", "--exclude", f"tag:{ONCE_A_DAY}"]
    else:
        selected = list(select)
    arguments = ["build", "--select", *selected]
    arguments += ["--exclude-resource-type", "unit_test", "exposure"]
    return arguments + ["--full-refresh"] * full_refresh


def _invoke(arguments: Sequence[str], target_path: Path) -> str | None:
    with request_deadline(REQUEST_SECONDS), one_login():
        return _runner([*arguments, *paths(target_path), "--no-use-colors"])


def invoke_dbt(arguments: list[str]) -> str | None:
    """dbt by its own runner. None when all went well, else its cause."""
    from dbt.cli.main import dbtRunner

    result = dbtRunner().invoke([*arguments, "--log-level-file", "info"])
    return None if result.success else str(result.exception or "dbt did not succeed")


# Runs dbt with arguments; None when all went well, else dbt's cause.
DbtRunner = Callable[[list[str]], str | None]
_runner: DbtRunner = invoke_dbt


def run_dbt_by(runner: DbtRunner) -> None:
    """From now on dbt is run so in this process."""
    global _runner
    _runner = runner


def paths(target_path: Path) -> list[str]:
    """dbt's arguments for the project, and for what it writes."""
    project = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
    return [*project, "--target-path", str(target_path), "--log-path", str(target_path / "logs")]


def begin_with_parsed(target_path: Path) -> None:
    """Where nothing was parsed yet, what was parsed last in a directory beside it is copied.

    dbt parses the project, not a selection, which takes 5 s of CPU, and checks itself what has
    changed since. A copy that it cannot read it does not use.
    """
    parsed = target_path / PARSED
    if parsed.exists():
        return
    beside = target_path.parent.glob(f"*/{PARSED}")
    newest = max(beside, key=lambda file: file.stat().st_mtime_ns, default=None)
    if newest is None:
        return
    target_path.mkdir(parents=True, exist_ok=True)
    copy = parsed.with_suffix(".copy")
    shutil.copyfile(newest, copy)
    copy.replace(parsed)


@contextlib.contextmanager
def one_login() -> Iterator[None]:
    """All connections of a build have the same credentials, whose key is read once.

    dbt-bigquery 1.11.3 makes some for each node: reading the key takes 30 ms in which no other
    thread runs, and each fetches a token of its own.
    """
    from dbt.adapters.bigquery import clients

    create = clients.create_google_credentials
    clients.create_google_credentials = cache_of_one(create)
    try:
        yield
    finally:
        clients.create_google_credentials = create


def cache_of_one(create: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`create`, which is called for the first argument and gives the same ever after."""
    lock, made = threading.Lock(), list[Any]()

    def once(argument: Any) -> Any:
        with lock:
            if not made:
                made.append(create(argument))
        return made[0]

    return once


@contextlib.contextmanager
def request_deadline(seconds: float) -> Iterator[None]:
    """Google's client repeats a request that failed with 5xx for at most `seconds`.

    Its default is ten minutes, for every request of every thread, and dbt-bigquery 1.11.3 does not
    hand it the deadline of the profile.
    """
    from google.cloud.bigquery.retry import DEFAULT_RETRY

    before = DEFAULT_RETRY._timeout
    DEFAULT_RETRY._timeout = seconds
    try:
        yield
    finally:
        DEFAULT_RETRY._timeout = before


@contextlib.contextmanager
def environment(env: Mapping[str, str]) -> Iterator[None]:
    """os.environ with `env` in it; before and after it is the same."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def summarise(
    run_results: Mapping[str, Any],
    manifest: Mapping[str, Any],
    started_at: datetime,
    ended_at: datetime,
    cause: str | None = None,
) -> BuildResult:
    """What dbt's artifacts tell. No node at all, or a cause without one, is a failure of dbt."""
    results: list[Mapping[str, Any]] = run_results.get("results", [])
    statuses = [result["status"] for result in results]
    failures, warnings = (
        tuple(
            NodeFailure(
                node=_name(result["unique_id"], manifest),
                status=result["status"],
                failing_rows=result.get("failures"),
                message=_one_line(result.get("message") or ""),
            )
            for result in results
            if result["status"] in wanted
        )
        for wanted in (FAILED, WARNED)
    )
    if not failures and (cause or not results):
        message = _one_line(cause or "nothing is selected")
        failures = (NodeFailure(node="dbt", status="error", failing_rows=None, message=message),)
    return BuildResult(
        build_id=run_results.get("metadata", {}).get("invocation_id") or str(uuid.uuid4()),
        started_at=started_at,
        ended_at=ended_at,
        nodes_passed=sum(status in ("pass", "success", "no-op") for status in statuses),
        nodes_failed=len(failures),
        nodes_warned=len(warnings),
        nodes_skipped=statuses.count("skipped"),
        failures=failures,
        warnings=warnings,
    )


def compiled_tests(run_results: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, str]:
    """Test name to the SQL that returns its failing rows."""
    return {
        _name(result["unique_id"], manifest): result["compiled_code"]
        for result in run_results.get("results", [])
        if result["unique_id"].startswith("test.") and result.get("compiled_code")
    }


def with_keys(
    failures: Iterable[NodeFailure], compiled: Mapping[str, str], query: Query
) -> tuple[NodeFailure, ...]:
    """The failures, with the keys of up to KEYS_SHOWN rows where a test's SQL can be asked."""
    return tuple(
        replace(
            failure,
            keys=tuple(
                failing_key(row)
                for row in query(f"select *\nfrom (\n{sql}\n) as failing_rows\nlimit {KEYS_SHOWN}")
            ),
        )
        if failure.failing_rows and (sql := compiled.get(failure.node))
        else failure
        for failure in failures
    )


def failing_key(row: Mapping[str, Any]) -> str:
    """What names a row that a test returned: the values that dbt grouped by, else the first value.

    dbt's tests return either groups with a count in `n_records` or whole rows, whose first columns
    are the keys by this project's style.
    """
    if "n_records" in row:
        values = [value for column, value in row.items() if column != "n_records"]
    else:
        values = [next((value for value in row.values() if value is not None), None)]
    return "/".join("null" if value is None else str(value) for value in values)[:KEY_CHARACTERS]


def describe(result: BuildResult) -> str:
    """One line: `dbt: 14 passed, 1 failed: unique_stg_usgs__events_event_id (2 rows: us1, us2)`.

    What failed comes first, then what warned.
    """
    counts = [f"{result.nodes_passed} passed"] + [
        f"{count} {word}"
        for count, word in (
            (result.nodes_failed, "failed"),
            (result.nodes_warned, "warned"),
            (result.nodes_skipped, "skipped"),
        )
        if count
    ]
    named = (_describe_nodes(nodes) for nodes in (result.failures, result.warnings) if nodes)
    return ": ".join(filter(None, (f"dbt: {', '.join(counts)}", "; warned: ".join(named))))


def _describe_nodes(nodes: Sequence[NodeFailure]) -> str:
    shown = [_describe_failure(node) for node in nodes[:FAILURES_SHOWN]]
    if (more := len(nodes) - FAILURES_SHOWN) > 0:
        shown.append(f"{more} more")
    return "; ".join(shown)


def _describe_failure(failure: NodeFailure) -> str:
    if not failure.failing_rows:
        return f"{failure.node} ({failure.message})"
    rows = f"{failure.failing_rows} row{'' if failure.failing_rows == 1 else 's'}"
    return f"{failure.node} ({rows}{': ' if failure.keys else ''}{', '.join(failure.keys)})"


def _name(unique_id: str, manifest: Mapping[str, Any]) -> str:
    """The name that people know a node by; ids of tests end in a hash."""
    node = manifest.get("nodes", {}).get(unique_id)
    return str(node["name"]) if node else unique_id


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 3] + "..."


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}
