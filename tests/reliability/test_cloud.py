"""`make test-cloud` on the stand-ins, behind the proxies: all of it but what only Google proves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox.stack import ROOT
from testing.proxy import Proxies

# Inside a transaction the emulator's clock goes on.
OF_GOOGLE_ALONE = (
    "tests/cloud/test_load_on_bigquery.py::test_the_time_inside_a_transaction_is_its_start"
)


@pytest.mark.slow
def test_the_cloud_tests_pass_on_the_stand_ins(through: Proxies) -> None:
    own = through.env
    given = {
        "CLOUD_TEST_PROJECT": own["GCP_PROJECT"],
        # The login of whoever runs them.
        "GOOGLE_APPLICATION_CREDENTIALS": own["GCP_SERVICE_ACCOUNT_FILE"],
        **{name: own[name] for name in ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")},
    }
    command = [sys.executable, "-m", "pytest", "-m", "cloud", "tests/cloud"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--deselect", OF_GOOGLE_ALONE],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
