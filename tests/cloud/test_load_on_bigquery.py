"""The load tests on real BigQuery and Cloud Storage: `make test-cloud PROJECT=...`.

With the caller's own Google login, in a dataset and a bucket of their own, both removed afterwards.
What the emulator cannot prove is proved here: that concurrent transactions conflict on the fence.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import bigquery, storage

from tests.lab import Lab
from tests.reliability.test_race import race
from tests.tasks import test_load as loads
from tests.tasks import test_undo as undos

test_verdicts_are_counted = loads.test_verdicts_are_counted
test_a_deletion_is_found_again = loads.test_a_deletion_without_a_time_is_found_again
test_a_renamed_event_leaves_one = loads.test_a_renamed_event_leaves_one_live_row
test_an_event_moved_across_a_month = loads.test_an_event_moved_across_a_month_stays_one_row
test_columns_of_another_time = loads.test_columns_of_another_time_are_null_or_extra
test_a_row_that_stands_twice = (
    loads.test_a_row_that_stands_twice_stops_the_batch_and_nothing_changes
)
# That time travel is what core/undo.py says of it, only BigQuery itself can tell.
test_undone_once = undos.test_undoing_again_is_left_at_that
test_an_undone_batch_is_not_loaded = undos.test_an_undone_batch_is_not_loaded_again_by_itself
test_a_column_added_since = undos.test_a_column_added_since_is_null_afterwards
test_a_batch_applied_meanwhile = (
    undos.test_a_batch_applied_while_the_earlier_rows_are_staged_is_undone_as_well
)

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(900)]


@pytest.fixture
def bare() -> Iterator[Lab]:
    """An empty lab in the project CLOUD_TEST_PROJECT."""
    project = os.environ["CLOUD_TEST_PROJECT"]
    name = f"pipelines-test-{secrets.token_hex(4)}"
    bucket = storage.Client(project=project).create_bucket(f"{project}-{name}", location="US")
    env = {
        "GCP_PROJECT": project,
        "GCS_BUCKET": bucket.name,
        # The loads read batches that the tests commit; no source is asked.
        "SANDBOX_SOURCES_URL": "http://127.0.0.1:9",
    }
    lab = Lab(name, env, retention_days=7)
    try:
        lab.platform.warehouse.ensure_ledger()
        yield lab
    finally:
        bucket.delete(force=True)
        client = bigquery.Client(project=project)
        for dataset in (name.replace("-", "_"), f"{name.replace('-', '_')}_staging"):
            client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)


def test_ten_loaders_on_one_batch_of_which_one_dies(bare: Lab, tmp_path: Path) -> None:
    loads.commit_batch(bare, *(loads.quake(f"q{n}") for n in range(50)))
    race(bare, tmp_path / "died")
    assert len(bare.rows()) == 50
