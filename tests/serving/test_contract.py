"""What the public gets of a mart is an allow-list; everything else is the owner's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from serving.contract import Contract, PublicPart, UnknownType, contracts, schema_of
from serving.snapshot import Column
from sources.tables import public_sources

COLUMNS = (
    Column("source", "STRING"),
    Column("runs", "INT64"),
    Column("billed", "numeric(38, 9)"),
)


def contract(part: PublicPart | None = None, audience: str = "private") -> Contract:
    return Contract("m", "p.gold.m", "g", "One row.", ("source",), COLUMNS, audience, part)  # type: ignore[arg-type]


def batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [
            {"source": "finance", "runs": 3, "billed": Decimal("7")},
            {"source": "openweather", "runs": 5, "billed": Decimal("9")},
        ],
        schema=contract().schema,
    )


def test_a_private_mart_is_nothing_to_the_public() -> None:
    assert contract().seen_by("public") is None
    assert contract().seen_by("private") is not None
    assert contract(audience="public").seen_by("public") is not None


def test_of_a_part_the_public_gets_the_named_columns_of_the_named_rows() -> None:
    whole = contract(PublicPart(("source", "runs"), {"source": ("openweather",)}))
    seen = whole.seen_by("public")
    assert seen is not None
    assert seen.of(batch()).to_pylist() == [{"source": "openweather", "runs": 5}]
    assert whole.of(batch()).num_rows == 2
    nobody = contract(PublicPart(("source",), {"source": ("nobody",)})).seen_by("public")
    assert nobody is not None
    assert nobody.of(batch()).to_pylist() == []


def test_the_public_gets_the_rows_of_public_sources() -> None:
    seen = contract(PublicPart(("source",), {"source": "public"})).seen_by("public")
    assert seen is not None
    assert seen.of(batch()).to_pylist() == [{"source": "openweather"}]
    assert set(public_sources()) == {"nyc_fhv", "openweather", "ph_news", "usgs_earthquake"}


def test_bigquerys_types_are_held_exactly() -> None:
    types = ["STRING", "INT64", "FLOAT64", "NUMERIC", "BOOL", "DATE", "DATETIME", "TIMESTAMP"]
    schema = schema_of("m", tuple(Column(one.lower(), one) for one in types))
    now = datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=UTC)
    row = {
        "string": "é",
        "int64": 2**62,
        "float64": 0.1,
        "numeric": Decimal("0.123456789"),
        "bool": True,
        "date": date(2026, 3, 1),
        "datetime": now.replace(tzinfo=None),
        "timestamp": now,
    }
    assert pa.RecordBatch.from_pylist([row], schema=schema).to_pylist() == [row]


def test_a_type_that_no_column_can_hold_is_named() -> None:
    with pytest.raises(UnknownType, match=r"m\.shape is GEOGRAPHY"):
        schema_of("m", (Column("shape", "GEOGRAPHY"),))


def test_a_sources_marts_are_those_made_of_it() -> None:
    node = {
        "resource_type": "model",
        "access": "public",
        "relation_name": "`p`.`gold`.`mart`",
        "group": "g",
        "name": "mart",
        "description": "One row\nper thing.",
        "config": {"meta": {"grain": ["a"], "audience": "public"}},
        "columns": {"a": {"name": "a", "data_type": "int64", "description": "It."}},
    }
    manifest = {
        "nodes": {"model.x.mart": node, "model.x.inner": {**node, "access": "private"}},
        "sources": {"source.data_pipelines.one.t": {}, "source.data_pipelines.two.t": {}},
        "child_map": {
            "source.data_pipelines.one.t": ["model.x.inner"],
            "model.x.inner": ["model.x.mart"],
            "source.data_pipelines.two.t": [],
        },
    }
    (found,) = contracts(manifest, "one")
    assert (found.relation, found.audience, found.description) == (
        "p.gold.mart",
        "public",
        "One row per thing.",
    )
    assert contracts(manifest, "two") == []
