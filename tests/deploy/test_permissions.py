"""The table of permissions, by itself; tests/flows/test_nothing_foreign.py compares a platform at
work with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.permissions import TABLE, held, needs, refused_by_policy
from testing.proxy import Call
from tests.deploy.test_scripts import FEDERATED, ROOT, dry_run, roles_given

TITLES = {
    "roles/bigquery.jobUser": "BigQuery Job User",
    "roles/bigquery.dataEditor": "BigQuery Data Editor",
    "roles/storage.objectUser": "Storage Object User",
    "roles/storage.legacyBucketReader": "Storage Legacy Bucket Reader",
    "roles/compute.osAdminLogin": "Compute OS Admin Login",
    "roles/compute.viewer": "Compute Viewer",
    "roles/iam.serviceAccountUser": "Service Account User",
}


def test_every_row_names_its_page_and_no_role_is_missing() -> None:
    rows: list[dict[str, Any]] = [
        *(row for rows in TABLE["calls"].values() for row in rows),
        *TABLE["statements"],
        *TABLE["roles"].values(),
    ]
    assert len(rows) > 35
    for row in rows:
        assert row["page"].startswith(("https://cloud.google.com/", "https://docs.aws.amazon.com/"))
    assert roles_given(dry_run())["pipelines"] == TABLE["roles"].keys()


def test_the_docs_name_the_roles_that_are_given() -> None:
    given = roles_given(dry_run(**FEDERATED))
    page = (ROOT / "docs" / "install.md").read_text()
    for roles in given.values():
        for role in roles:
            assert f"| {TITLES[role]} |" in page
    by_command = " ".join((ROOT / "docs" / "run.md").read_text().split())
    for role in given["pipelines"]:
        title = TITLES[role].removeprefix("BigQuery ").removeprefix("Storage ")
        assert title in by_command


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        (Call("", "POST", "/bigquery/v2/projects/p/datasets", None), "bigquery.datasets.create"),
        (Call("", "PATCH", "/bigquery/v2/projects/p/datasets/d", None), "bigquery.datasets.update"),
        (
            Call("", "POST", "/bigquery/v2/projects/p/jobs", None, '"CREATE SCHEMA x"'),
            "bigquery.datasets.create",
        ),
        (Call("", "POST", "/bigquery/v2/projects/p/jobs", None, '"select 1"'), ""),
        (Call("", "GET", "/bigquery/v2/projects/p/jobs", None), ""),
    ],
)
def test_what_the_roles_do_not_hold_is_found(call: Call, missing: str) -> None:
    has = held(roles_given(dry_run())["pipelines"])
    lacking = {name for name, on in needs("bigquery", [call]) if (name, on) not in has}
    assert lacking == ({missing} if missing else set())


def test_a_call_that_the_table_does_not_know_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"not in permissions\.yaml: gcs PUT /b/x/acl"):
        needs("gcs", [Call("", "PUT", "/b/x/acl", None)])


def test_the_policy_of_s3_is_of_its_prefix() -> None:
    prefix = "p.raw/"
    allowed = [
        Call("", "GET", "/b?list-type=2&prefix=p.raw%2Fnyc_fhv%2F", None),
        Call("", "HEAD", "/b/p.raw/nyc_fhv/part-0001.parquet", None),
        Call("", "PUT", "/b/p.raw/_check/x", None),
        Call("", "DELETE", "/b/p.raw/_check/x", None),
    ]
    refused = [
        Call("", "GET", "/b?list-type=2&prefix=theirs%2F", None),
        Call("", "GET", "/b/theirs/x", None),
        Call("", "PUT", "/b/p.rawx/x", None),
        Call("", "DELETE", "/other/p.raw/x", None),
    ]
    assert refused_by_policy(allowed + refused, "b", prefix) == refused
    policy = json.loads((ROOT / "deploy" / "s3-policy.json").read_text())
    assert policy["Version"] == "2012-10-17"
