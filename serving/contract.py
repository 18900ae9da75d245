"""Which marts are exported, under which schema, and to whom: read from dbt's manifest.

A mart is public only where its meta says `audience: public`. A private one may give the public a
part of itself, by an allow-list of columns and of values:

    meta:
      audience: private
      public: {columns: [source, run_count], rows: {source: public}}

The word `public` in place of values: the sources whose data anybody may see (`Table.is_public`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from serving.snapshot import Column, Written, write_mart
from sources.tables import public_sources

Audience = Literal["public", "private"]
AUDIENCES: tuple[Audience, ...] = ("public", "private")

# BigQuery's names of a type, of a contract or of a table's schema, and ours.
TYPES: dict[str, pa.DataType] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "INTEGER": pa.int64(),
    "FLOAT64": pa.float64(),
    "FLOAT": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOL": pa.bool_(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}


class UnknownType(Exception):
    """A contract names a type that has no column in a snapshot; the message names both."""


@dataclass(frozen=True)
class PublicPart:
    """What the public gets of a private mart: these columns, of rows with these values."""

    columns: Sequence[str]
    rows: Mapping[str, Sequence[str] | Literal["public"]]


@dataclass(frozen=True, eq=False)
class Contract:
    """A mart as dbt's manifest declares it. `relation` is its table: project.dataset.name."""

    name: str
    relation: str
    group: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    audience: Audience
    public_part: PublicPart | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns in their order. Raises UnknownType."""
        return schema_of(self.name, self.columns)

    def seen_by(self, audience: Audience) -> Contract | None:
        """What this audience gets of it, under its own schema; None if it gets no part of it."""
        if audience == "private" or self.audience == "public":
            return self
        if self.public_part is None:
            return None
        shown = tuple(one for one in self.columns if one.name in self.public_part.columns)
        return replace(self, columns=shown, audience="public")

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows and columns of a batch that this contract has, under its schema."""
        table = pa.Table.from_batches([batch])
        if self.audience == "public" and self.public_part:
            for column, values in self.public_part.rows.items():
                # 9 MB, which a run that exports nothing does not pay.
                import pyarrow.compute as pc

                wanted = public_sources() if values == "public" else values
                table = table.filter(pc.is_in(table[column], pa.array(wanted, pa.string())))
        table = table.select(self.schema.names).cast(self.schema)
        return table.combine_chunks().to_batches()[0] if len(table) else empty(self.schema)


def write(
    root: Path,
    contract: Contract,
    batches: Iterable[pa.RecordBatch],
    built_at: datetime,
    exported_at: datetime | None = None,
) -> Written:
    """What `contract` has of the batches, as a file beside the snapshot in `root`."""
    return write_mart(
        root,
        contract.name,
        contract.schema,
        map(contract.of, batches),
        group=contract.group,
        description=contract.description,
        grain=contract.grain,
        columns=contract.columns,
        built_at=built_at,
        exported_at=exported_at or datetime.now(UTC),
    )


def write_from(root: Path, contract: Contract, whole: Written) -> Written:
    """What `contract` has of a mart that is written, as a file beside the snapshot in `root`.

    Where that is all of it, it is the same file: a hard link.
    """
    if contract.public_part is None:
        root.mkdir(parents=True, exist_ok=True)
        path = root / whole.path.name
        os.link(whole.path, path)
        return replace(whole, path=path)
    with pq.ParquetFile(whole.path) as file:
        mart = whole.mart
        return write(root, contract, file.iter_batches(), mart.built_at, mart.exported_at)


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """No rows."""
    return pa.RecordBatch.from_pylist([], schema=schema)


def schema_of(mart: str, columns: tuple[Column, ...]) -> pa.Schema:
    """An Arrow schema, microseconds and UTC for times. Raises UnknownType."""
    fields = []
    for column in columns:
        kind = TYPES.get(re.sub(r"\(.*\)$", "", column.type.upper()).strip())
        if kind is None:
            raise UnknownType(f"{mart}.{column.name} is {column.type}, which no snapshot can hold")
        fields.append(pa.field(column.name, kind))
    return pa.schema(fields)


def contracts(manifest: Mapping[str, Any], source: str | None = None) -> list[Contract]:
    """Every mart in gold, or those that a build of `source` makes, by name."""
    nodes = manifest["nodes"]
    wanted = _downstream(manifest, source) if source else set(nodes)
    return sorted(
        (
            _contract(node)
            for unique_id, node in nodes.items()
            if unique_id in wanted
            and node["resource_type"] == "model"
            and node.get("access") == "public"
            # A view cannot be listed, and a query of it would be billed.
            and node["config"].get("materialized") != "view"
        ),
        key=lambda one: one.name,
    )


def _contract(node: Mapping[str, Any]) -> Contract:
    meta = node["config"].get("meta", {})
    part = meta.get("public")
    return Contract(
        name=node["name"],
        relation=node["relation_name"].replace("`", ""),
        group=node.get("group") or "",
        description=" ".join(node["description"].split()),
        grain=tuple(meta["grain"]),
        columns=tuple(
            Column(one["name"], one["data_type"], " ".join(one["description"].split()))
            for one in node["columns"].values()
        ),
        audience="public" if meta.get("audience") == "public" else "private",
        public_part=PublicPart(part["columns"], part["rows"]) if part else None,
    )


def _downstream(manifest: Mapping[str, Any], source: str) -> set[str]:
    """Everything that is made of a dbt source, by unique id."""
    prefix = f"source.data_pipelines.{source}."
    found: set[str] = set()
    waiting = [unique_id for unique_id in manifest["sources"] if unique_id.startswith(prefix)]
    while waiting:
        children = (child for one in waiting for child in manifest["child_map"].get(one, []))
        waiting = [child for child in children if child not in found]
        found.update(waiting)
    return found
