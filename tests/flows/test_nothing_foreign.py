"""What is somebody else's in the project and in the buckets is neither read nor changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from google.cloud import bigquery

from blocks.check import Finding, check, subjects
from core.errors import StoreFailed
from core.ownership import LABELS, NotOurs
from runs import cleanup
from runs.catalog import publish
from runs.dbt_build import run_build
from runs.due import due_build
from stores.datasets import dbt_datasets
from stores.settings import LANDING_S3
from testing.permissions import held, needs, refused_by_policy, row_of
from testing.platform import TestPlatform
from testing.proxy import UNKNOWN, Call, Fault, Proxies, Store
from tests.deploy.test_scripts import dry_run, roles_given

Make = Callable[..., TestPlatform]
READS = ("GET", "HEAD")
# As the older system's loader made it (references/predecessor.md).
THEIR_LEDGER = (
    "id STRING NOT NULL, year INT64 NOT NULL, month INT64 NOT NULL, day INT64 NOT NULL, "
    "item STRING, type STRING NOT NULL, cost FLOAT64, `to` STRING, store STRING, source STRING, "
    "created_at STRING NOT NULL, updated_at STRING NOT NULL, "
    "_inserted_at TIMESTAMP NOT NULL, _is_deleted BOOL NOT NULL"
)
THEIR_ENTRY = (
    "'1', 2024, 5, 1, 'FOOD', 'EXPENSES', 250.5, 'GRAB', NULL, 'CASH', '2024-05-01 08:00:00', "
    "'2024-05-01 08:00:00', TIMESTAMP '2024-05-01 00:00:00+00', FALSE"
)
CONTENT = b"theirs"


def datasets(platform: TestPlatform) -> dict[str, str]:
    """The platform's datasets by what they are for."""
    warehouse = platform.stores.warehouse
    layers = ("gold", "silver", "staging")
    named = dict(zip(layers, dbt_datasets(warehouse.dataset_prefix), strict=True))
    return {"raw": warehouse.raw_dataset, "raw_staging": warehouse.staging_dataset, **named}


def create(platform: TestPlatform, dataset: str, labels: dict[str, str] | None = None) -> None:
    wanted = bigquery.Dataset(f"{platform.stores.warehouse.project}.{dataset}")
    wanted.labels = labels or {}
    platform.stores.warehouse.client.create_dataset(wanted)


def described(platform: TestPlatform, dataset: str) -> Any:
    """All that BigQuery says of a dataset and its tables, and their rows."""
    warehouse = platform.stores.warehouse
    where = f"{warehouse.project}.{dataset}"
    found = warehouse.client.get_dataset(where).to_api_repr()
    tables = {}
    for item in warehouse.client.list_tables(where):
        rows = platform.query(f"SELECT * FROM `{dataset}`.`{item.table_id}`")
        table = warehouse.client.get_table(item.reference).to_api_repr()
        tables[item.table_id] = (table, sorted(map(str, rows)))
    return found, tables


def plant_ledger(platform: TestPlatform, dataset: str, name: str = "finance__ledger") -> None:
    platform.query(f"CREATE TABLE {dataset}.{name} ({THEIR_LEDGER})")
    platform.query(f"INSERT INTO {dataset}.{name} VALUES ({THEIR_ENTRY})")


def stored(platform: TestPlatform) -> dict[str, bytes]:
    """Every object of the buckets that has the platform's foreign name in it."""
    return {
        f"{landing.address}/{one.name}": landing.get(one.name)
        for landing in platform.stores.landings
        for one in landing.list("")
        if "theirs" in one.name and platform.name in one.name
    }


@pytest.mark.slow
def checked(platform: TestPlatform) -> Iterator[Finding]:
    return check(platform.settings, subjects(platform.settings), {})


def test_a_platform_at_work_stays_in_its_datasets_and_below_its_prefix(
    make_platform: Make, through: Proxies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    platform = replace(make_platform(kit="ph_news", size=20), env=through.env)
    own = datasets(platform)
    # As deploy/gcloud.sh leaves them; a person gave it these two, with what is in them.
    for name in own.values():
        create(platform, name, LABELS)
    plant_ledger(platform, own["raw"], "ledger_of_mine")
    plant_ledger(platform, own["raw_staging"], "ledger_of_mine")
    create(platform, other := f"{own['raw']}_theirs")
    plant_ledger(platform, other)
    before = described(platform, own["raw_staging"]), described(platform, other)
    prefix = platform.stores.prefix("ph_news")
    for landing in platform.stores.landings:
        for name in ("", prefix.replace("/ph_news/", "x/ph_news/"), "_logs/"):
            landing.put(f"{name}theirs/{platform.name}/part-0001.parquet", CONTENT)
    objects = stored(platform)
    assert set(objects.values()) == {CONTENT} and len(objects) == 6

    through.reset()
    platform.run()
    platform.build()
    for _ in checked(platform):
        pass
    monkeypatch.setattr(cleanup, "STAGING_LIFETIME", timedelta(seconds=-60))
    assert cleanup.sweep_staging(platform.stores) == 0
    cleanup.take_stock(platform.stores, platform.source.TABLE)
    platform.control("advance")
    replace(platform, landing=LANDING_S3).run()
    publish(platform.stores, platform.blocks, [platform.source.TABLE])
    calls = {store: list(through[store].calls) for store in through.stores}

    assert stored(platform) == objects
    assert (described(platform, own["raw_staging"]), described(platform, other)) == before
    assert_own_objects(calls["gcs"], "landing", f"{prefix.partition('/')[0]}/")
    assert_own_objects(calls["s3"], "landing", f"{prefix.partition('/')[0]}/")
    assert_own_datasets(calls["bigquery"], set(own.values()), other)
    assert_permitted(calls, f"{prefix.partition('/')[0]}/")


def assert_permitted(calls: dict[Store, list[Call]], prefix: str) -> None:
    """What deploy/gcloud.sh gives the VM's account, and deploy/s3-policy.json a role, is enough."""
    roles = roles_given(dry_run())["pipelines"]
    has = held(roles)
    for store in ("bigquery", "gcs"):
        needed = needs(store, calls[store])
        assert len(needed) > 3
        missing = {need: call for need, call in needed.items() if need not in has}
        assert missing == {}
    # Nothing that our own code calls needs this; load jobs do.
    assert ("storage.buckets.get", "bucket") not in needs("gcs", calls["gcs"])
    assert refused_by_policy(calls["s3"], "landing", prefix) == []
    used = {need for call in calls["s3"] for need in row_of("s3", call)["needs"]}
    allowed = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
    assert used == allowed
    foreign = Call("list", "GET", "/landing?list-type=2&prefix=theirs", None)
    written = Call("put part", "PUT", "/landing/theirs/part", None)
    removed = Call("delete", "DELETE", f"/elsewhere/{prefix}x", None)
    odd = [foreign, written, removed]
    assert refused_by_policy(odd, "landing", prefix) == odd


def assert_own_objects(calls: list[Call], bucket: str, prefix: str) -> None:
    """Each call is of an object or a list below the prefix, or asks where the bucket is."""
    assert len(calls) > 10
    written = 0
    for call in calls:
        url = urlsplit(call.path)
        query = parse_qs(url.query)
        path = unquote(url.path)
        named = re.search(rf"/{bucket}/(?:o/)?(.+)$", path)
        if call.call == "get layout":
            assert path.endswith(f"/{bucket}/storageLayout"), call
        elif "prefix" in query:
            assert query["prefix"][0].startswith(prefix), call
        elif named and named[1] != "o":
            assert named[1].startswith(prefix), call
            written += call.method not in READS
        elif "upload" in path:
            assert query["name"][0].startswith(prefix) if "name" in query else call.body == ""
            written += 1
        else:
            raise AssertionError(call)
    assert written > 3


def assert_own_datasets(calls: list[Call], own: set[str], foreign: str) -> None:
    seen = set()
    for call in calls:
        assert call.call != UNKNOWN, call
        assert foreign not in call.path + call.body, call
        if named := re.search(r"/datasets/([^/?]+)", call.path):
            seen.add(named[1])
    assert own <= seen
    assert {name for name in seen - own if not name.startswith("_bqemu")} == set()


def test_a_foreign_raw_table_is_refused_and_stays_as_it_is(
    make_platform: Make, through: Proxies
) -> None:
    platform = replace(make_platform(kit="finance", size=5), env=through.env)
    raw = datasets(platform)["raw"]
    create(platform, raw, LABELS)
    plant_ledger(platform, raw)
    _, before = described(platform, raw)
    through.reset()
    with pytest.raises(StoreFailed) as refused:
        platform.run()
    assert f"table sandbox-project.{raw}.finance__ledger is not ours" in str(refused.value)
    assert "RAW_DATASET=pipelines_raw and DBT_DATASET_PREFIX=pipelines_, which are free" in str(
        refused.value
    )
    assert described(platform, raw)[1]["finance__ledger"] == before["finance__ledger"]
    # Once it has another name, what was read waits to be loaded. A table that lost its label is
    # known by its column, and labelled again.
    client = platform.stores.warehouse.client
    client.delete_table(f"{raw}.finance__ledger")
    platform.run()
    platform.assert_equals_truth()
    table = client.get_table(f"{raw}.finance__ledger")
    table.labels = {"team": "home"}
    client.update_table(table, ["labels"])
    platform.control("advance")
    platform.run()
    platform.assert_equals_truth()
    labels = client.get_table(f"{raw}.finance__ledger").labels
    assert labels == {"team": "home", "layer": "raw", **LABELS}


def test_a_foreign_dataset_is_refused_and_stays_as_it_is(
    make_platform: Make, through: Proxies
) -> None:
    platform = replace(make_platform(kit="finance", size=5), env=through.env)
    raw = datasets(platform)["raw"]
    create(platform, raw)
    plant_ledger(platform, raw)
    before = described(platform, raw)
    through.reset()
    with pytest.raises(StoreFailed) as refused:
        platform.run()
    assert f"dataset sandbox-project.{raw} is not ours" in str(refused.value)
    assert "RAW_DATASET=pipelines_raw and DBT_DATASET_PREFIX=pipelines_, which are free" in str(
        refused.value
    )
    assert f"deploy/gcloud.sh --adopt {raw}" in str(refused.value)
    assert {call.method for call in through["bigquery"].calls} == {"GET"}
    assert through["gcs"].calls == []
    assert described(platform, raw) == before
    found = [str(one) for one in checked(platform) if one.fault]
    assert len(found) == 1 and f"dataset sandbox-project.{raw} is not ours" in found[0]
    assert described(platform, raw) == before


def test_dbt_replaces_nothing_foreign(make_platform: Make, through: Proxies) -> None:
    platform = replace(make_platform(kit="ph_news", size=5), env=through.env)
    platform.run()
    own = datasets(platform)
    due = due_build(platform.stores.warehouse, "ph_news")
    assert due
    client = platform.stores.warehouse.client

    def refused() -> str:
        through.reset()
        with pytest.raises(NotOurs) as refusal:
            run_build(platform.stores.warehouse, platform.blocks.google, "ph_news", due)
        assert {call.method for call in through["bigquery"].calls} <= {"GET", "POST"}
        assert not [call for call in through["bigquery"].calls if "insert" in call.call]
        return str(refusal.value)

    create(platform, own["silver"])
    plant_ledger(platform, own["silver"], "of_mine")
    before = described(platform, own["silver"])
    assert f"dataset sandbox-project.{own['silver']} is not ours" in refused()
    assert described(platform, own["silver"]) == before

    # Given by a person, it may have anything but a table under a name of ours.
    dataset = client.get_dataset(own["silver"])
    dataset.labels = LABELS
    client.update_dataset(dataset, ["labels"])
    platform.query(f"CREATE TABLE {own['silver']}.news_stories (mine STRING)")
    _, before = described(platform, own["silver"])
    assert f"table sandbox-project.{own['silver']}.news_stories is not ours" in refused()
    found = [str(one) for one in checked(platform) if one.fault]
    assert len(found) == 1 and "news_stories is not ours" in found[0]
    assert described(platform, own["silver"])[1] == before


def test_an_empty_dataset_becomes_ours_by_its_label(make_platform: Make, through: Proxies) -> None:
    platform = replace(make_platform(kit="ph_news", size=5), env=through.env)
    warehouse = platform.stores.warehouse
    raw = datasets(platform)["raw"]
    create(platform, raw, {"team": "home"})
    found = [one.note for one in checked(platform) if f"dataset {raw}" == one.what]
    assert found == ["is empty; the first run gives it our label"]
    through["bigquery"].plan = [Fault("denied", "update dataset")]
    with pytest.raises(NotOurs) as refused:
        warehouse.ensure_ledger()
    assert f"bq update --set_label managed_by:data-pipelines sandbox-project:{raw}" in str(
        refused.value
    )
    warehouse.ensure_ledger()
    assert warehouse.client.get_dataset(raw).labels == {"team": "home", **LABELS}
    assert warehouse.client.get_dataset(f"{raw}_staging").labels == LABELS


def test_a_ledger_that_an_earlier_release_has_labelled_is_ours(platform: TestPlatform) -> None:
    """Back to a release without the label, which puts its own in place of ours, and forward."""
    warehouse = platform.stores.warehouse
    warehouse.ensure_ledger()
    where = f"{warehouse.project}.{warehouse.raw_dataset}"
    names = {item.table_id for item in warehouse.client.list_tables(where)}
    assert {"_loads", "_rejects"} <= names
    for name in names:
        table = warehouse.client.get_table(f"{where}.{name}")
        table.labels = {"layer": "ledger", "columns": "0123456789abcdef"}
        warehouse.client.update_table(table, ["labels"])
        assert not LABELS.items() <= warehouse.client.get_table(table.reference).labels.items()
    warehouse.ensure_ledger()
    for name in names:
        labels = warehouse.client.get_table(f"{where}.{name}").labels
        assert LABELS.items() <= labels.items(), name
