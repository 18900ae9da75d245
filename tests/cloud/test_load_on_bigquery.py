"""The load tests on real BigQuery and Cloud Storage: `make test-cloud PROJECT=...`.

With the caller's own Google login, in datasets and a bucket of their own, removed afterwards. What
is left of a test that was killed: tables and objects remove themselves after a day, two empty
datasets and an empty bucket stay, named pipelines-test. What the emulator cannot prove is proved
here: that concurrent transactions conflict on the fence, and that time travel is what
repair/undo_script.py says of it.

Not yet run on Google's own service. tests/reliability/test_cloud.py runs it on the stand-ins.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery, storage

from core.ownership import LABELS
from sources.usgs_earthquake.mapping import TABLE
from testing.platform import TestPlatform
from tests.deploy import test_ledger_names as names
from tests.reliability.test_race import race
from tests.tasks import test_load as loads
from tests.tasks import test_undo as undos

test_verdicts_are_counted = loads.test_verdicts_are_counted
test_a_deletion_is_found_again = loads.test_a_deletion_without_a_time_is_found_again
test_a_renamed_event_leaves_one = loads.test_a_renamed_event_leaves_one_live_row
test_an_event_moved_across_a_month = loads.test_an_event_moved_across_a_month_stays_one_row
test_columns_of_another_time = loads.test_columns_of_another_time_are_null_or_extra
test_a_truncation_is_undone = loads.test_rows_that_a_transaction_truncated_are_back_when_it_fails
test_a_row_that_stands_twice = (
    loads.test_a_row_that_stands_twice_stops_the_batch_and_nothing_changes
)
test_undone_once = undos.test_undoing_again_is_left_at_that
test_an_undone_batch_is_not_loaded = undos.test_an_undone_batch_is_not_loaded_again_by_itself
test_a_column_added_since = undos.test_a_column_added_since_is_null_afterwards
test_a_batch_applied_meanwhile = (
    undos.test_a_batch_applied_while_the_earlier_rows_are_staged_is_undone_as_well
)
test_the_ledger_is_renamed = names.test_lines_in_every_state_are_the_same_there_and_back

pytestmark = pytest.mark.cloud

LOCATION = "US"
LIFETIME = timedelta(days=1)
# BigQuery allows five changes of an unpartitioned table in ten seconds, and each loader makes some:
# three conflict as ten do.
LOADERS = 3


def make_bucket(client: Any, name: str) -> Any:
    """A bucket whose objects are removed after a day, and at once when they are deleted."""
    bucket = client.bucket(name)
    bucket.labels = LABELS
    bucket.add_lifecycle_delete_rule(age=LIFETIME.days)
    bucket.soft_delete_policy.retention_duration_seconds = 0
    return client.create_bucket(bucket, location=LOCATION)


def remove_bucket(client: Any, bucket: Any) -> None:
    """Object by object: `delete(force=True)` refuses a bucket of more than 256."""
    for blob in client.list_blobs(bucket):
        blob.delete()
    bucket.delete()


def make_dataset(client: Any, name: str) -> None:
    """A dataset of ours whose tables are removed after a day."""
    dataset = bigquery.Dataset(f"{client.project}.{name}")
    dataset.location = LOCATION
    dataset.labels = LABELS
    dataset.default_table_expiration_ms = int(LIFETIME.total_seconds() * 1000)
    client.create_dataset(dataset)


@pytest.fixture
def bare() -> Iterator[TestPlatform]:
    """An empty platform in the project CLOUD_TEST_PROJECT."""
    project = os.environ["CLOUD_TEST_PROJECT"]
    name = f"pipelines-test-{secrets.token_hex(4)}"
    env = {
        "GCP_PROJECT": project,
        "GCS_BUCKET": f"{project}-{name}",
        # The loads read batches that the tests commit; no source is asked.
        "SANDBOX_SOURCES_URL": "http://127.0.0.1:9",
    }
    buckets, tables = storage.Client(project=project), bigquery.Client(project=project)
    # Each is removed whatever became of the others.
    with ExitStack() as removed:
        bucket = make_bucket(buckets, env["GCS_BUCKET"])
        removed.callback(remove_bucket, buckets, bucket)
        platform = TestPlatform(name, env, retention_days=7)
        warehouse = platform.stores.warehouse
        for dataset in (warehouse.raw_dataset, warehouse.staging_dataset):
            removed.callback(
                tables.delete_dataset, dataset, delete_contents=True, not_found_ok=True
            )
            make_dataset(tables, dataset)
        warehouse.ensure_ledger()
        yield platform


def test_the_time_inside_a_transaction_is_its_start(bare: TestPlatform) -> None:
    script = """
    DECLARE first, last TIMESTAMP;
    BEGIN TRANSACTION;
    SET first = CURRENT_TIMESTAMP();
    UPDATE {raw}._fence__usgs_earthquake SET fenced_at = first WHERE TRUE;
    SET last = CURRENT_TIMESTAMP();
    COMMIT TRANSACTION;
    SELECT first = last AS is_one, CURRENT_TIMESTAMP() > last AS has_passed;
    """
    bare.stores.warehouse.ensure_source(TABLE)
    assert bare.query(script) == [{"is_one": True, "has_passed": True}]


def test_loaders_on_one_batch_of_which_one_dies(bare: TestPlatform, tmp_path: Path) -> None:
    loads.commit_batch(bare, *(loads.quake(f"q{n}") for n in range(50)))
    race(bare, tmp_path / "died", LOADERS)
    assert len(bare.rows()) == 50


def test_a_bucket_of_many_objects_is_removed(bare: TestPlatform) -> None:
    """More than the 256 that `delete(force=True)` takes, as after many loads."""
    client = storage.Client(project=bare.env["GCP_PROJECT"])
    bucket = make_bucket(client, f"{bare.env['GCS_BUCKET']}-many")
    try:
        for number in range(257):
            bucket.blob(f"{number:03}").upload_from_string(b"")
    finally:
        remove_bucket(client, bucket)
    assert not bucket.exists()
