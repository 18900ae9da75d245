"""What recorded calls need, by Google's and Amazon's documentation, against what is granted.

permissions.yaml has both; what is granted is read from a dry run of deploy/gcloud.sh and from
deploy/s3-policy.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from testing.proxy import Call, Store

TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "permissions.yaml").read_text())
POLICY = Path(__file__).resolve().parents[1] / "deploy" / "s3-policy.json"
# A permission, and the kind of resource on which it has to be held.
Need = tuple[str, str]


def row_of(store: Store, call: Call) -> dict[str, Any]:
    """The table's row of a call. Raises AssertionError for one that has none."""
    path = urlsplit(call.path).path
    for row in TABLE["calls"][store]:
        if call.method in row["method"].split("|") and re.search(row["path"], path):
            return dict(row)
    raise AssertionError(f"not in permissions.yaml: {store} {call.method} {call.path}")


def needs(store: Store, calls: Iterable[Call]) -> dict[Need, Call]:
    """What these calls need, each with one of them."""
    found: dict[Need, Call] = {}
    for call in calls:
        rows = [row_of(store, call)]
        if store == "bigquery" and "bigquery.jobs.create" in rows[0]["needs"]:
            text = " ".join(call.body.replace("\\n", " ").split())
            rows += [
                row
                for row in TABLE["statements"]
                if re.search(row["body"], text, flags=re.IGNORECASE)
            ]
        for row in rows:
            found |= dict.fromkeys(row["needs"].items(), call)
    return found


def held(roles: Iterable[str]) -> set[Need]:
    """What the roles hold, where deploy/gcloud.sh gives them.

    Of a project's permissions, a dataset's role holds none; the other way round it does.
    """
    found: set[Need] = set()
    for role in roles:
        row = TABLE["roles"][role]
        places = ("project", "dataset") if row["at"] == "project" else (row["at"],)
        found |= {(name, place) for name in row["permissions"] for place in places}
    return found


def refused_by_policy(calls: Iterable[Call], bucket: str, prefix: str) -> list[Call]:
    """The calls of S3 that deploy/s3-policy.json does not allow, for this bucket and prefix."""
    text = POLICY.read_text().replace("S3_BUCKET", bucket)
    policy = json.loads(text.replace("GCP_PROJECT.RAW_DATASET/", prefix))
    refused = []
    for call in calls:
        ((action, _),) = row_of("s3", call)["needs"].items()
        url = urlsplit(call.path)
        resource = f"arn:aws:s3:::{unquote(url.path).strip('/')}"
        asked = parse_qs(url.query).get("prefix")
        if not any(allows(one, action, resource, asked) for one in policy["Statement"]):
            refused.append(call)
    return refused


def allows(
    statement: dict[str, Any], action: str, resource: str, prefixes: list[str] | None
) -> bool:
    """By IAM's rules, as far as this policy uses them."""
    assert statement["Effect"] == "Allow"
    actions = statement["Action"]
    condition = statement.get("Condition", {"StringLikeIfExists": {"s3:prefix": "*"}})
    assert condition.keys() == {"StringLikeIfExists"}
    pattern = condition["StringLikeIfExists"]["s3:prefix"]
    return (
        action in ([actions] if isinstance(actions, str) else actions)
        and fnmatchcase(resource, statement["Resource"])
        and all(fnmatchcase(one, pattern) for one in prefixes or [])
    )
