"""Behind a proxy that refuses what BigQuery refuses: recovered, parked or raised, by the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
from google.cloud import bigquery

from core.batch import MANIFEST, Manifest, encode_manifest
from core.ledger import LABELS, TABLES
from core.ownership import LABELS as OWNER
from runs.load import load
from sources.usgs_earthquake.mapping import TABLE
from stores import bigquery as warehouse
from stores.google import bigquery_client
from stores.retry import PASSING, Repeat
from testing.matrix import only, or_slow
from testing.platform import TestPlatform
from testing.proxy import Fault, Proxies
from testing.strict import OPERATIONS, Strict
from tests.tasks.test_load import commit_batch, quake

QUICK = Repeat(seconds=10, first_wait=0.02, longest_wait=0.1)
# What a run sends that makes a job: a load job that stages, and statements.
JOBS = ("insert load job", "insert script", "insert line")


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly a wait between tries."""
    monkeypatch.setattr(warehouse, "RETRY", QUICK)


@pytest.fixture
def strict(through: Proxies) -> Iterator[Strict]:
    """The proxy's rules, with a second in place of the ten of the quota."""
    rules = through["bigquery"].strict
    before, rules.window_seconds = rules.window_seconds, 1.0
    yield rules
    rules.window_seconds = before


@pytest.fixture
def platform(
    make_platform: Callable[..., TestPlatform], through: Proxies, strict: Strict
) -> TestPlatform:
    platform = replace(make_platform(size=1, retention_days=7), env=through.env)
    platform.stores.warehouse.ensure_ledger()
    platform.stores.warehouse.ensure_source(TABLE)
    through.reset()
    return platform


def states(platform: TestPlatform) -> list[str]:
    return sorted(line["state"] for line in platform.ledger())


def calls(through: Proxies, name: str) -> int:
    return sum(call.call == name for call in through["bigquery"].calls)


def test_a_sixth_operation_on_a_table_within_its_window_waits_for_the_window(
    platform: TestPlatform, through: Proxies, strict: Strict
) -> None:
    store = platform.stores.warehouse

    def label(table_id: str, retry: Any, times: int) -> None:
        for number in range(times):
            table = store.client.get_table(f"{store.raw_dataset}.{table_id}")
            table.labels = {**table.labels, "number": str(number)}
            store.client.update_table(table, ["labels"], retry=retry)

    fence = f"_fence__{TABLE.source}"
    # However slow the machine is.
    strict.window_seconds = 600.0
    label(fence, None, OPERATIONS)
    with pytest.raises(Forbidden, match="too many table update operations"):
        label(fence, None, 1)
    label(TABLE.name, None, OPERATIONS + 1)
    strict.window_seconds = 1.0
    # Waits doubling from a tenth of a second outlast the second of the window.
    label(fence, Repeat(first_wait=0.1), 1)
    assert set(strict.refused) == {f"{store.project}.{store.raw_dataset}.{fence}"}


@pytest.mark.parametrize(
    "reason",
    only(
        lambda reason: reason in ("rateLimitExceeded",),
        [(reason,) for reason in sorted({*PASSING, "outstanding"})],
        lambda reason: reason in ("tableUnavailable", "jobInternalError", "outstanding"),
    ),
)
def test_a_job_that_fails_in_passing_is_started_again(
    reason: str, platform: TestPlatform, through: Proxies
) -> None:
    commit_batch(platform, quake("a"))
    faults = [Fault("failed", call, times=2, reason=reason) for call in JOBS]
    through["bigquery"].plan = [*faults]
    assert platform.only_line(load(platform.stores, TABLE)).inserted == 1
    platform.stores.warehouse.flush_jobs(TABLE.source)
    assert through["bigquery"].struck() == 2 * len(JOBS)
    assert states(platform) == ["applied"]


def test_a_script_that_fails_after_it_was_committed_is_not_run_again(
    platform: TestPlatform, through: Proxies
) -> None:
    commit_batch(platform, quake("a"))
    fault = Fault("done and failed", "insert script", reason="internalError")
    through["bigquery"].plan = [fault]
    assert platform.only_line(load(platform.stores, TABLE)).inserted == 1
    assert calls(through, "insert script") == 1
    assert states(platform) == ["applied"]


def test_what_passes_never_is_given_up_after_eight_tries_and_not_repeated_above(
    platform: TestPlatform, through: Proxies
) -> None:
    commit_batch(platform, quake("a"))
    through["bigquery"].plan = [
        Fault("failed", "insert script", times=-1, reason="jobBackendError")
    ]
    with pytest.raises(GoogleAPIError, match="gave up after 8 tries"):
        load(platform.stores, TABLE)
    assert calls(through, "insert script") == 8
    # Once staged is staged.
    assert calls(through, "insert load job") == 1
    assert states(platform) == []


@pytest.mark.parametrize("call", ["insert load job", "insert script"])
def test_a_quota_of_the_day_is_raised_and_not_repeated(
    call: str, platform: TestPlatform, through: Proxies
) -> None:
    commit_batch(platform, quake("a"))
    through["bigquery"].plan = [Fault("failed", call, times=-1, reason="quotaExceeded")]
    with pytest.raises(Forbidden, match="Quota exceeded"):
        load(platform.stores, TABLE)
    assert calls(through, call) == 1
    assert states(platform) == []


@pytest.mark.parametrize(
    "reason",
    only(
        lambda reason: reason == "bytesBilledLimitExceeded",
        [
            (reason,)
            for reason in (
                *("invalid", "invalidQuery", "responseTooLarge", "resourcesExceeded"),
                *("bytesBilledLimitExceeded", "billingTierLimitExceeded"),
            )
        ],
        lambda reason: reason == "resourcesExceeded",
    ),
)
def test_a_fault_of_the_batch_parks_it_and_the_next_goes_on(
    reason: str, platform: TestPlatform, through: Proxies
) -> None:
    poisoned = commit_batch(platform, quake("a"))
    commit_batch(platform, quake("b"), hour=1)
    for run in range(3):
        through["bigquery"].plan = [Fault("failed", "insert script", reason=reason)]
        loaded = load(platform.stores, TABLE)
        assert list(loaded.failures) == [poisoned.batch_id]
        assert ("(parked)" in loaded.failures[poisoned.batch_id]) is (run == 2)
    assert load(platform.stores, TABLE).failures == {}
    assert set(platform.rows()) == {("b",)}
    assert states(platform) == ["applied", "failed", "failed", "parked"]


@pytest.mark.parametrize(
    ("call", "reason"),
    or_slow(
        lambda call, reason: reason == "elsewhere",
        [
            ("insert script", "aborted"),
            ("insert load job", "elsewhere"),
            ("insert load job", "notFound"),
            ("insert script", "accessDenied"),
            ("insert script", "tableUnavailable"),
        ],
    ),
)
def test_what_is_not_the_batch_s_fault_is_raised_and_parks_nothing(
    call: str, reason: str, platform: TestPlatform, through: Proxies
) -> None:
    commit_batch(platform, quake("a"))
    for _ in range(4):
        through["bigquery"].plan = [Fault("failed", call, times=-1, reason=reason)]
        with pytest.raises(GoogleAPIError):
            load(platform.stores, TABLE)
    through["bigquery"].plan = []
    assert states(platform) == []
    assert platform.only_line(load(platform.stores, TABLE)).inserted == 1


def test_a_wrong_location_parks_nothing(platform: TestPlatform) -> None:
    commit_batch(platform, quake("a"))
    store = platform.stores.warehouse
    elsewhere = bigquery.Dataset(f"{store.project}.{store.staging_dataset}")
    elsewhere.location, elsewhere.labels = "EU", OWNER
    store.client.delete_dataset(elsewhere.reference, delete_contents=True)
    store.client.create_dataset(elsewhere)
    for _ in range(4):
        with pytest.raises(NotFound, match="was not found in location US"):
            load(platform.stores, TABLE)
    assert states(platform) == []
    # As BIGQUERY_LOCATION=EU over datasets of the US.
    client = bigquery_client(platform.blocks.google, store.project, "EU")
    wrong = replace(store, client=client, location="EU")
    with pytest.raises(NotFound, match="was not found in location EU"):
        load(replace(platform.stores, warehouse=wrong), TABLE)


def test_parquet_is_loaded_by_the_names_of_its_columns(platform: TestPlatform) -> None:
    manifest = renamed(platform, commit_batch(platform, quake("a", place="here")))
    loaded = load(platform.stores, TABLE)
    assert "Provided schema is not compatible" in loaded.failures[manifest.batch_id]
    assert platform.rows() == {}


def renamed(platform: TestPlatform, manifest: Manifest) -> Manifest:
    """The batch with a manifest that names a column otherwise than its Parquet does."""
    columns = tuple(
        ("spot" if name == "place" else name, type_) for name, type_ in manifest.columns
    )
    changed = replace(manifest, columns=columns)
    prefix = f"{platform.stores.prefix(TABLE.source)}{manifest.batch_id}/"
    platform.stores.landing.put(f"{prefix}{MANIFEST}", encode_manifest(changed))
    return changed


def test_tables_that_are_as_they_should_be_are_left_alone(
    platform: TestPlatform, through: Proxies
) -> None:
    store = platform.stores.warehouse
    for name in (*TABLES, TABLE.name):
        found = store.client.get_table(f"{store.raw_dataset}.{name}")
        # Somebody else's, as those of a tool that counts costs.
        found.labels = {**found.labels, "team": "data"}
        store.client.update_table(found, ["labels"])
    commit_batch(platform, quake("a"))
    commit_batch(platform, quake("b"), hour=1)
    through.reset()
    store.ensure_ledger()
    assert len(load(platform.stores, TABLE).lines) == 2
    assert calls(through, "update table") == calls(through, "create fence") == 0
    # One to stage each batch.
    assert calls(through, "create table") == 2


class Raced:
    """Google's client, but for a colleague who changes each table just before the first patch."""

    def __init__(self, client: Any) -> None:
        self._client, self.raced = client, set[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_table(self, table: Any, fields: list[str], **options: Any) -> Any:
        if table.table_id not in self.raced:
            self.raced.add(table.table_id)
            theirs = self._client.get_table(table.reference)
            theirs.labels = {**theirs.labels, "team": "data"}
            self._client.update_table(theirs, ["labels"])
        return self._client.update_table(table, fields, **options)


def test_a_table_that_somebody_changes_meanwhile_is_read_again(platform: TestPlatform) -> None:
    store = platform.stores.warehouse
    for name in TABLES:
        found = store.client.get_table(f"{store.raw_dataset}.{name}")
        # As a release with fewer columns left them.
        found.labels = {**found.labels, "columns": "0"}
        store.client.update_table(found, ["labels"])
    store.client = raced = Raced(store.client)
    store.ensure_ledger()
    assert raced.raced == set(TABLES)
    for name in TABLES:
        labels = store.client.get_table(f"{store.raw_dataset}.{name}").labels
        assert labels == {**LABELS, "team": "data"}
