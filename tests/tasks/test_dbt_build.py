"""A build where there is no Prefect: dbt runs by its own runner, and the build is noted alike."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from core.version import code_version
from testing.platform import TestPlatform
from testing.without_prefect import PYTHON, without_prefect

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import json, sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from pydantic import SecretStr
from stores.settings import GoogleAccount
from runs.dbt_build import run_build
from runs.due import operations_due
from stores.bigquery import Warehouse
account, project, location, *names = json.load(sys.stdin)
client = bigquery.Client(project, AnonymousCredentials(), location=location)
warehouse = Warehouse(client, project, location, *names)
google = GoogleAccount(info=SecretStr(account))
result = run_build(warehouse, google, "operations", operations_due(warehouse))
print("passed", result.nodes_passed, result.nodes_failed)
"""


def test_a_build_without_prefect_is_made_and_noted(
    make_platform: Callable[..., TestPlatform], tmp_path: Path
) -> None:
    platform = make_platform(kit="finance", size=1)
    platform.run()
    warehouse = platform.stores.warehouse
    names = (warehouse.raw_dataset, warehouse.dataset_prefix, warehouse.maximum_bytes_billed)
    info = platform.blocks.google.info
    assert info is not None
    account = info.get_secret_value()
    done = subprocess.run(
        [*PYTHON, "-c", BUILD],
        cwd=ROOT,
        env=os.environ | without_prefect(tmp_path) | {"XDG_CACHE_HOME": str(tmp_path)},
        input=json.dumps([account, warehouse.project, warehouse.location, *names]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed, failed = map(int, done.stdout.splitlines()[-1].split()[1:])
    (line,) = platform.query("SELECT * FROM {raw}._builds")
    assert (line["source"], line["state"], line["suite"]) == ("operations", "succeeded", "whole")
    assert (line["nodes_passed"], line["nodes_failed"]) == (passed, failed) and passed > 10
    assert line["code_version"] == code_version()
    assert line["dataset_prefix"] == warehouse.dataset_prefix
    rows = platform.query("SELECT source, run_count FROM {marts}gold.daily_source_operations")
    assert rows == [{"source": "finance", "run_count": 1}]
