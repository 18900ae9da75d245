"""Every statement for BigQuery: in its dialect, by Google's own analyser, and within the budget."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from core import ledger
from core.schema import META, REJECTS, STAGED, Column
from core.sql import staging_table
from repair.undo_script import earlier_table
from sources.finance.mapping import TABLE as LEDGER
from sources.nyc_fhv.mapping import TABLE as VEHICLES
from sources.usgs_earthquake.mapping import TABLE
from testing.googlesql import CACHE, Analyser, Refused
from testing.recording import FENCE, Analysis, Recording, analyse, catalog, record
from tests.core.test_script import (
    LIST,
    MANIFEST,
    SCRIPTS,
    SNAPSHOT,
)
from tools.cost.document import total
from tools.cost.month import BUDGET, LOOKS, Model
from tools.cost.pricing import BYTES, FLOOR

# A platform of a year is recorded and analysed first.
pytestmark = pytest.mark.slow

SCALARS = set(BYTES)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recording(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(stack_env, tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def analysis(recording: Recording) -> Analysis:
    return analyse(recording)


@pytest.fixture(scope="module")
def model(recording: Recording, analysis: Analysis) -> Model:
    return Model(recording, analysis)


def test_every_statement_is_bigquerys_sql(recording: Recording, analysis: Analysis) -> None:
    kinds = [node["resource_type"] for node in recording.nodes]
    assert kinds.count("model") > 50 and kinds.count("test") > 150
    assert analysis.refused == []
    assert analysis.columns.keys() == {node["unique_id"] for node in recording.nodes}
    merged = {
        node.rpartition(".")[2]
        for node, sent in recording.changes.items()
        if any("merge into" in sql.lower() for sql in sent)
    }
    assert merged == {
        *("earthquake_events", "weather_hours"),
        *("earthquake_magnitude_history", "fhv_license_history"),
    }
    assert recording.loads.keys() == recording.looks.keys() == recording.tables.keys()
    for source, jobs in recording.loads.items():
        assert {job.purpose for job in jobs} >= {"apply", "ledger"}, source


def test_the_analyser_is_compiled_once_per_machine() -> None:
    """Which takes 25 s of processor time; the next process reads what the first has written."""
    code = "from testing.googlesql import Analyser; print(Analyser().output('SELECT 1 AS one'))"
    env = {**os.environ, "XDG_CACHE_HOME": str(CACHE.parents[1])}

    def run() -> dict[Path, int]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert "TYPE_INT64" in done.stdout, done.stderr
        modules = CACHE.glob("modules/*/*")
        return {path: path.stat().st_mtime_ns for path in modules if path.suffix != ".stats"}

    first = run()
    assert first
    assert run() == first


def test_every_column_has_a_name_a_type_of_bigquery_and_that_of_its_contract(
    recording: Recording, analysis: Analysis
) -> None:
    models = [node for node in recording.nodes if node["resource_type"] == "model"]
    contracts = 0
    for node in models:
        types = dict(analysis.columns[node["unique_id"]])
        assert not [column for column in types if column.startswith("$")], node["name"]
        assert set(types.values()) <= SCALARS, node["name"]
        if node["config"]["contract"]["enforced"]:
            contracts += 1
            declared = {
                column: properties["data_type"].upper().partition("(")[0]
                for column, properties in node["columns"].items()
            }
            assert types == declared, node["name"]
    assert contracts > 20


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_variant_of_the_apply_is_bigquerys_sql(name: str) -> None:
    analyser = Analyser()
    for manifest, table in ((MANIFEST, TABLE), (SNAPSHOT, LEDGER), (LIST, VEHICLES)):
        staged = staging_table(manifest.source, manifest.batch_id, "rows")
        new = [("new", "STRING"), ("from", "STRING")]
        raw = types_of((*table.columns, *META))
        if name == "undo":
            # A column that the table was given, by a name that has to be quoted.
            raw = [*raw, ("from", "STRING")]
        analyser.add(f"a-project.raw.{table.name}", raw)
        analyser.add(
            f"a-project.raw_staging.{staged}", [*types_of((*table.columns, *STAGED)), *new]
        )
        analyser.add(f"a-project.raw_staging.{staged}__rejects", types_of(REJECTS))
        analyser.add(f"a-project.raw._fence__{table.source}", FENCE)
        earlier = earlier_table(manifest.source, manifest.batch_id)
        analyser.add(f"a-project.raw_staging.{earlier}", raw)
    for ledger_table, (columns, _) in ledger.TABLES.items():
        analyser.add(f"a-project.raw.{ledger_table}", types_of(columns))
    assert len(analyser.run(SCRIPTS[name])) > 10


def types_of(columns: Iterable[Column]) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in columns]


@pytest.mark.parametrize(
    "sql",
    [
        "select strftime(current_timestamp(), '%Y') as year",
        "select epoch_ms(1) as at",
        "select '1'::int64 as number",
        "select 1 + '1' as number",
        "select list_aggregate([1], 'sum') as total",
        "select no_such_column from `p`.`d`.`t`",
        "select `row` as id from (select 1 as id) as `row` where `row` = 1",
        "select a.x from (select 1 as x) as a left join (select 2 as y) as b on true",
        "select a.x from (select 1 as x) as a left join (select 2 as y) as b on b.y = 2",
        "select a.x from (select 1 as x) as a full join (select 2 as x) as b on a.x > b.x",
    ],
)
def test_the_analyser_refuses_what_the_emulator_takes(sql: str, recording: Recording) -> None:
    with pytest.raises(Refused):
        catalog(recording).output(sql)


def test_a_month_after_a_year_is_within_what_is_promised(
    recording: Recording, model: Model
) -> None:
    lines = list(model.lines())
    assert {line.source for line in lines} == {*recording.tables, "operations", *LOOKS}
    assert all(line.each >= FLOOR for line in lines)
    month = total(lines)
    print(f"{month / 2**30:.1f} GiB a month")
    assert 2**30 < month < BUDGET


def test_ten_times_the_history_costs_little_more_than_twice_as_much(
    recording: Recording, analysis: Analysis, model: Model
) -> None:
    grown = total(Model(recording, analysis, 10).lines())
    print(f"{grown / 2**30:.1f} GiB a month")
    assert grown <= 2.2 * total(model.lines())


def test_the_page_says_what_is_billed(model: Model) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cost.md").read_text()
    month = total(model.lines()) / 2**30
    (said,) = [line for line in page.splitlines() if line.startswith("| **all** |  |")]
    assert float(said.split("**")[3].replace(",", "")) == pytest.approx(month, rel=0.02)


def test_what_is_merged_costs_what_changed_and_not_what_stands(
    recording: Recording, analysis: Analysis, model: Model
) -> None:
    """The same batch into tables with ten and a hundred times the history."""
    small, large = model, Model(recording, analysis, 100)
    merged = {"earthquake_events", "weather_hours"}
    for node in recording.nodes:
        if node["name"] not in merged:
            continue
        merged.remove(node["name"])
        own = node["relation_name"].replace("`", "")
        before, after = (model.statements(node) for model in (small, large))
        # Nor is anything asked of raw or of the table before.
        assert before == after, node["name"]
        (merge,) = [billed for sql, billed in before if "merge into" in sql.lower()]
        assert own in merge, node["name"]
    assert not merged


def test_a_bound_that_is_no_constant_is_billed_in_full(
    recording: Recording, analysis: Analysis
) -> None:
    model = Model(recording, analysis, 100)
    name = recording.raw("usgs_earthquake__events")
    quoted = "`" + name.replace(".", "`.`") + "`"
    bounded = f"select id from {quoted} where time between timestamp '2026-01-01' and a_variable"
    assert model.warehouse.bill(bounded, ["a_variable"])[name] == FLOOR
    assert model.warehouse.bill(bounded)[name] > FLOOR
    # Nor is one that only says something of the row.
    judged = (
        f"select id from {quoted} where if(time < timestamp '2026-01-01', 'early', null) is null"
    )
    assert model.warehouse.bill(judged)[name] > FLOOR
