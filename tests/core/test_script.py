"""Every script the loader renders, read for what the emulator forgives and BigQuery does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.batch import Manifest, Part, Window
from core.schema import STAGED, Type
from core.script import apply_script
from core.sql import Names, literal
from repair.undo_script import undo_script
from sources.finance.mapping import TABLE as LEDGER
from sources.nyc_fhv.mapping import TABLE as VEHICLES
from sources.usgs_earthquake.mapping import TABLE

NAMES = Names("a-project", "raw", "raw_staging")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
COLUMNS: tuple[tuple[str, Type], ...] = tuple(
    (column.name, column.type) for column in (*TABLE.columns, *STAGED)
)
MANIFEST = Manifest(
    batch_id="20260102T030405678901_0a1b2c3d",
    source=TABLE.source,
    table=TABLE.name,
    mode="incremental",
    window=Window(MOMENT),
    observed_at=MOMENT,
    columns=COLUMNS,
    parts=(Part("part-0001.parquet", "rows", 10, 1, "0"),),
    rows=10,
    rejected=2,
    rejected_unexpected=1,
    unparsed=0,
    already_seen=0,
    source_count=12,
    requests=3,
    schema_fingerprint="f",
    code_version="v",
    extract_started_at=MOMENT,
    extract_ended_at=MOMENT,
    watermark=MOMENT,
    known_digests={"it's": 'a "digest"; DROP'},
)
SNAPSHOT = replace(
    MANIFEST,
    source=LEDGER.source,
    table=LEDGER.name,
    columns=tuple((column.name, column.type) for column in (*LEDGER.columns, *STAGED)),
)
LIST = replace(
    MANIFEST,
    source=VEHICLES.source,
    table=VEHICLES.name,
    columns=tuple((column.name, column.type) for column in (*VEHICLES.columns, *STAGED)),
)
SCRIPTS = {
    "merge": apply_script(TABLE, MANIFEST, NAMES),
    "merge without rejects": apply_script(TABLE, replace(MANIFEST, rejected=0), NAMES),
    "merge without aliases": apply_script(replace(TABLE, aliases=None), MANIFEST, NAMES),
    "merge of columns unknown here": apply_script(
        TABLE,
        replace(MANIFEST, columns=(*COLUMNS[1:], ("new", "STRING"))),
        NAMES,
    ),
    "backfill": apply_script(TABLE, replace(MANIFEST, mode="backfill"), NAMES),
    "snapshot": apply_script(LEDGER, SNAPSHOT, NAMES),
    "snapshot without rejects": apply_script(LEDGER, replace(SNAPSHOT, rejected=0), NAMES),
    "snapshot that may delete": apply_script(LEDGER, replace(SNAPSHOT, allow_absent=True), NAMES),
    "snapshot with a column unknown here": apply_script(
        LEDGER, replace(SNAPSHOT, columns=(*SNAPSHOT.columns, ("from", "STRING"))), NAMES
    ),
    "insert": apply_script(replace(LEDGER, write="insert"), SNAPSHOT, NAMES),
    "replace": apply_script(VEHICLES, LIST, NAMES),
    "replace by fewer rows": apply_script(VEHICLES, replace(LIST, allow_absent=True), NAMES),
    "undo": undo_script(
        TABLE, MANIFEST.batch_id, NAMES, MOMENT, columns=["id", "from", "_batch_id"], rows=7
    ),
    "replace with a column unknown here": apply_script(
        VEHICLES, replace(LIST, columns=(*LIST.columns[1:], ("from", "STRING"))), NAMES
    ),
}


def statements(script: str) -> list[str]:
    """The script's statements with control flow cut away; none of ours has a semicolon inside."""
    cut = re.sub(r"^\s*(IF .* THEN|ELSE|END IF;)\s*$", "", script, flags=re.MULTILINE)
    return [" ".join(part.split()) for part in cut.split(";") if part.strip()]


def problems(script: str) -> list[str]:
    """What BigQuery would refuse or get wrong although the emulator runs it."""
    found = []
    parts = statements(script)
    begin = parts.index("BEGIN TRANSACTION")
    end = parts.index("COMMIT TRANSACTION")
    inside = parts[begin + 1 : end]
    if not re.match(r"UPDATE `[^`]+`\.`[^`]+`\.`_fence__", inside[0]):
        found.append("the transaction does not begin with its fence")
    for statement in parts[:begin]:
        if not statement.startswith("DECLARE"):
            found.append(f"before the transaction: {statement}")
    counted = checked = False
    for statement in inside:
        if re.match(r"(CREATE(?! OR REPLACE TEMP TABLE| TEMP TABLE)|ALTER|DROP)", statement):
            found.append(f"DDL inside the transaction: {statement[:60]}")
        if re.fullmatch(r"DELETE FROM \S+ WHERE TRUE", statement):
            found.append("a DELETE of all rows, which is billed; TRUNCATE TABLE is not")
        if "HAVING COUNT(*) > 1" in statement:
            counted = True
        if counted and statement.startswith("SELECT IF(n_twice = 0, 1, ERROR("):
            checked = True
        if statement.startswith("MERGE") and not checked:
            found.append("a MERGE without a check for two source rows before it")
    if "@" in script:
        found.append("a query parameter inside a script")
    # The ledger has a column `to`, which GoogleSQL reserves.
    if re.search(r"(?<![`\w])(to|from)(?![`\w])", re.sub(r"'[^']*'", "", script)):
        found.append("a reserved word as a column's name without quotes")
    for name in ("raw", "raw_staging"):
        if re.search(rf"(?<!`\.)`?{name}`?\.", script.replace(f"`a-project`.`{name}`.", "")):
            found.append(f"{name} is not fully qualified")
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_holds_what_bigquery_demands(name: str) -> None:
    assert problems(SCRIPTS[name]) == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (lambda s: re.sub(r"UPDATE `a-project`.`raw`.`_fence.*?;", "", s, flags=re.S), "fence"),
        (lambda s: s.replace("MERGE ", "CREATE TABLE x AS SELECT 1;\nMERGE ", 1), "DDL"),
        (lambda s: s.replace("MERGE ", "DELETE FROM x WHERE TRUE;\nMERGE ", 1), "TRUNCATE"),
        (lambda s: s.replace("HAVING COUNT(*) > 1", ""), "two source rows"),
        (lambda s: s.replace("SELECT IF(n_twice = 0, 1, ERROR(", "SELECT ("), "two source rows"),
        (
            lambda s: s.replace("IF known = 0 THEN", "SELECT @known;\nIF known = 0 THEN"),
            "parameter",
        ),
        (lambda s: s.replace("`a-project`.`raw`.", "raw."), "qualified"),
        (lambda s: s.replace("c.`place`", "c.to"), "reserved"),
    ],
)
def test_the_check_finds_what_it_is_for(broken: Callable[[str], str], problem: str) -> None:
    script = broken(SCRIPTS["merge"])
    assert script != SCRIPTS["merge"]
    if problem == "fence":
        # The fence's SET follows it, so the first statement is another.
        assert problems(script)[0] == "the transaction does not begin with its fence"
    assert any(problem in found for found in problems(script))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_takes_the_time_once_besides_its_fence(name: str) -> None:
    """In a transaction, CURRENT_TIMESTAMP() is always the time at which the transaction started."""
    taken = [part for part in statements(SCRIPTS[name]) if "CURRENT_TIMESTAMP()" in part]
    assert len(taken) == 2
    assert re.search(r"SET batch_id = \S+, fenced_at = CURRENT_TIMESTAMP\(\) WHERE TRUE$", taken[0])
    assert re.fullmatch(r"SET (applied|undone)_at = CURRENT_TIMESTAMP\(\)", taken[1])


def test_the_ledger_line_is_written_in_the_same_transaction_as_the_rows() -> None:
    script = SCRIPTS["merge"]
    merge, line = script.index("MERGE "), script.index("INSERT INTO `a-project`.`raw`.`_loads`")
    assert script.index("IF known = 0") < merge < line < script.index("COMMIT TRANSACTION")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (-3, "-3"),
        ("plain text-1/2", "'plain text-1/2'"),
        ("it's", "SAFE_CONVERT_BYTES_TO_STRING(FROM_BASE64('aXQncw=='))"),
        ("two\nlines", "SAFE_CONVERT_BYTES_TO_STRING(FROM_BASE64('dHdvCmxpbmVz'))"),
        (MOMENT, "TIMESTAMP '2026-01-02 03:04:05.678901+00:00'"),
    ],
)
def test_literals(value: str | int | bool | datetime | None, expected: str) -> None:
    assert literal(value) == expected
