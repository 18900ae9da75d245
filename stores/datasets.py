"""The datasets that the platform works in, and whose each of them is in a BigQuery project."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from google.api_core.exceptions import Forbidden, NotFound

from core import ledger, ownership
from core.sql import fence_table

DBT = Path(__file__).resolve().parents[1] / "dbt"
# missing: there is none. ours: it has our label. empty: it may get it. foreign: it has other
# things in it.
Standing = Literal["missing", "ours", "empty", "foreign"]


def staging_of(raw_dataset: str) -> str:
    """The dataset of the batches on their way into the raw one."""
    return f"{raw_dataset}_staging"


def dbt_datasets(prefix: str) -> list[str]:
    """The datasets of dbt's prod target: every `+schema` of dbt_project.yml."""

    def schemas(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for name, value in node.items():
                if name == "+schema":
                    yield str(value)
                else:
                    yield from schemas(value)

    return sorted({f"{prefix}{schema}" for schema in schemas(_project())})


def dbt_relations(prefix: str) -> dict[str, set[str]]:
    """The tables and views that dbt makes in each of its datasets, by the files that describe them.

    A model is described beside its SQL, as every one is (tests/dbt_project compares with dbt).
    """
    project = _project()
    found: dict[str, set[str]] = defaultdict(set)
    for kind in ("models", "seeds", "snapshots"):
        declared = project[kind][project["name"]]
        for file in (DBT / kind).rglob("*.yml"):
            layer = declared.get(file.relative_to(DBT / kind).parts[0])
            schema = (layer if isinstance(layer, dict) else declared).get("+schema")
            described = (yaml.safe_load(file.read_text()) or {}).get(kind, [])
            if described:
                found[f"{prefix}{schema}"] |= {one["name"] for one in described}
    return dict(found)


def raw_tables() -> set[str]:
    """The tables of the raw dataset: what dbt reads, the ledger's others, and the fences."""
    names = set(ledger.TABLES)
    for file in (DBT / "models").rglob("*__sources.yml"):
        for source in yaml.safe_load(file.read_text())["sources"]:
            names |= {table.get("identifier", table["name"]) for table in source["tables"]}
            names.add(fence_table(source["name"]))
    return names


def _project() -> dict[str, Any]:
    return dict(yaml.safe_load((DBT / "dbt_project.yml").read_text()))


def standing(client: Any, name: str, **call: Any) -> tuple[Standing, Any]:
    """Whose the dataset `project.dataset` is, and the dataset; None where there is none.

    What is in one that has our label is not looked at.
    """
    try:
        dataset = client.get_dataset(name, **call)
    except NotFound:
        return "missing", None
    if ownership.is_labelled(dataset.labels):
        return "ours", dataset
    for listing in (client.list_tables, client.list_routines, client.list_models):
        if any(True for _ in listing(name, max_results=1, **call)):
            # Another run of ours may have labelled it and begun.
            dataset = client.get_dataset(name, **call)
            return "ours" if ownership.is_labelled(dataset.labels) else "foreign", dataset
    return "empty", dataset


def foreign_tables(client: Any, name: str, made: Collection[str], **call: Any) -> list[str]:
    """The tables of a dataset that have a name of `made` and are somebody else's."""
    found = []
    for item in client.list_tables(name, **call) if made else ():
        if item.table_id in made and not ownership.is_own_table(item.labels):
            # The list has no columns.
            columns = [field.name for field in client.get_table(item.reference, **call).schema]
            if not ownership.is_own_table(item.labels, columns):
                found.append(f"{name}.{item.table_id}")
    return found


def free_prefix(client: Any, project: str, **call: Any) -> str | None:
    """A prefix under which no dataset of ours has the name of another; None where all are taken.

    An account without rights on a dataset is not told whether there is one: it counts as none.
    """
    for prefix in ownership.PREFIXES:
        raw = f"{prefix}raw"
        names = (raw, staging_of(raw), *dbt_datasets(prefix))
        if not any(_is_there(client, f"{project}.{name}", call) for name in names):
            return prefix
    return None


def _is_there(client: Any, name: str, call: dict[str, Any]) -> bool:
    try:
        client.get_dataset(name, **call)
    except (NotFound, Forbidden):
        return False
    return True
