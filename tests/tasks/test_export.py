"""A mart is listed once for both snapshots, and again when it was replaced meanwhile."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound

from runs.export import ExportFailed, export
from serving.places import Places
from serving.snapshot import Snapshot
from stores.bigquery import Warehouse

MARTS: dict[str, dict[str, Any]] = {
    "open": {"audience": "public"},
    "part": {"public": {"columns": ["source"], "rows": {"source": ["openweather"]}}},
    "secret": {},
}


class Client:
    """BigQuery's calls of an export: tables of two rows, replaced so many times while listed."""

    def __init__(self, replaced: int = 0) -> None:
        self.replaced = replaced
        self.listed: list[str] = []

    def get_table(self, name: str, **_: Any) -> SimpleNamespace:
        if name == "p.gold.never":
            raise NotFound(name)
        etag = str(min(len(self.listed), self.replaced))
        return SimpleNamespace(
            name=name, etag=etag, num_rows=2, modified=datetime(2026, 3, 1, tzinfo=UTC)
        )

    def list_rows(self, table: SimpleNamespace, **_: Any) -> SimpleNamespace:
        self.listed.append(table.name.rpartition(".")[2])
        rows = [{"source": "finance", "runs": 3}, {"source": "openweather", "runs": 5}]
        batches = pa.Table.from_pylist(rows).to_batches(max_chunksize=1)
        return SimpleNamespace(to_arrow_iterable=lambda: batches)


def node(name: str, meta: dict[str, Any]) -> dict[str, Any]:
    types = {"source": "string", "runs": "int64"}
    return {
        "resource_type": "model",
        "access": "public",
        "relation_name": f"`p`.`gold`.`{name}`",
        "group": "g",
        "name": name,
        "description": "One row per source.",
        "config": {"meta": {"grain": ["source"], **meta}},
        "columns": {
            column: {"name": column, "data_type": kind, "description": ""}
            for column, kind in types.items()
        },
    }


def run(folder: Path, client: Client, marts: dict[str, dict[str, Any]]) -> Places:
    manifest = folder / "manifest.json"
    nodes = {f"model.x.{name}": node(name, meta) for name, meta in marts.items()}
    source = "source.data_pipelines.s.t"
    manifest.write_text(
        json.dumps({"nodes": nodes, "sources": {source: {}}, "child_map": {source: list(nodes)}})
    )
    places = Places(folder / "serving")
    warehouse = Warehouse(client, "p", "US", "raw", "", 10**9)
    export(warehouse, places, manifest, "s")
    return places


def test_a_mart_is_listed_once_for_both_audiences(tmp_path: Path) -> None:
    client = Client()
    places = run(tmp_path, client, {**MARTS, "never": {"audience": "public"}})
    assert client.listed == ["open", "part", "secret"]
    private = Snapshot.open(places.snapshot("private"))
    public = Snapshot.open(places.snapshot("public"))
    assert private.manifest.marts.keys() == MARTS.keys()
    assert {name: mart.rows for name, mart in public.manifest.marts.items()} == {
        "open": 2,
        "part": 1,
    }
    assert public.table("part").to_pylist() == [{"source": "openweather"}]
    assert private.manifest.not_built == public.manifest.not_built == ("never",)
    # Where all of a mart is public there is one file on disk.
    assert public.manifest.marts["open"] == private.manifest.marts["open"]
    file = public.manifest.marts["open"].file
    assert (public.directory / file).samefile(private.directory / file)


def test_a_table_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    client = Client(replaced=2)
    places = run(tmp_path, client, {"open": {"audience": "public"}})
    assert client.listed == ["open"] * 3
    assert Snapshot.open(places.snapshot("public")).manifest.marts["open"].rows == 2
    with pytest.raises(ExportFailed, match="replaced while it was read, 3 times"):
        run(tmp_path, Client(replaced=9), {"open": {"audience": "public"}})
    assert not list(places.root.rglob("*.partial"))
