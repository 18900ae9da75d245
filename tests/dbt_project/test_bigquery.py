"""Every statement for BigQuery: in its dialect, by Google's own analyser, and within the budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cost.document import total
from tests.cost.month import BUDGET, Model
from tests.cost.pricing import FLOOR
from tests.core.test_script import SCRIPTS
from tests.googlesql import Refused, created_name, type_name
from tests.recording import Recording, add_node, catalog, record


@pytest.fixture(scope="module")
def recording(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(stack_env, tmp_path_factory.mktemp("recorded"))


def problems(recording: Recording) -> list[str]:
    """What the analyser refuses of the compiled project, by node."""
    analyser = catalog(recording)
    found = []
    for node in recording.nodes:
        name, config = node["name"], node["config"]
        try:
            if node["resource_type"] == "test":
                columns = analyser.output(node["compiled_code"])
            else:
                columns = add_node(analyser, node)
        except Refused as refused:
            found.append(f"{name}: {refused}")
            continue
        types = {column: type_name(type_) for column, type_ in columns}
        if any(column.startswith("$") for column in types) and node["resource_type"] != "test":
            found.append(f"{name}: a column has no name")
        if unknown := {column for column, type_ in types.items() if type_.startswith("TYPE_")}:
            found.append(f"{name}: BigQuery has no such type: {unknown}")
        if node["resource_type"] == "model":
            declared = {
                column: (properties["data_type"] or "").upper().partition("(")[0]
                for column, properties in node["columns"].items()
            }
            if config["contract"]["enforced"] and declared != types:
                differing = set(declared.items()) ^ set(types.items())
                found.append(f"{name}: not as its contract says: {sorted(differing)}")
    return found


def test_every_compiled_model_and_test_is_bigquerys_sql_and_keeps_its_contract(
    recording: Recording,
) -> None:
    kinds = [node["resource_type"] for node in recording.nodes]
    assert kinds.count("model") > 50 and kinds.count("test") > 150
    assert (
        sum(
            node["config"]["contract"]["enforced"]
            for node in recording.nodes
            if node["resource_type"] == "model"
        )
        > 20
    )
    assert problems(recording) == []


def test_what_a_build_adds_is_bigquerys_sql(recording: Recording) -> None:
    """The statements of the second build: the questions, the temporary table and the merge."""
    analyser = catalog(recording)
    for node in recording.nodes:
        if node["resource_type"] != "test":
            add_node(analyser, node)
    merged = set()
    for node in recording.nodes:
        for sql in recording.changes.get(node["unique_id"], ()):
            output = analyser.output(sql)
            if (created := created_name(sql)) and created != node["relation_name"].replace("`", ""):
                analyser.add(created, output)
            if "merge into" in sql.lower():
                merged.add(node["name"])
    assert merged == {
        *("earthquake_events", "weather_hours"),
        *("earthquake_magnitude_history", "fhv_license_history"),
    }


def test_every_job_of_a_load_is_bigquerys_sql(recording: Recording) -> None:
    assert recording.loads.keys() == recording.looks.keys() == recording.tables.keys()
    for source, jobs in recording.loads.items():
        assert {job.purpose for job in jobs} >= {"apply", "ledger"}, source
        for job in (*jobs, *recording.looks[source]):
            assert catalog(recording).run(job.sql)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_variant_of_the_apply_is_bigquerys_sql(name: str, recording: Recording) -> None:
    analyser = catalog(recording)
    assert analyser.run(SCRIPTS[name])


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
    ],
)
def test_the_analyser_refuses_what_the_emulator_takes(sql: str, recording: Recording) -> None:
    with pytest.raises(Refused):
        catalog(recording).output(sql)


def test_a_month_after_a_year_is_within_half_of_what_is_free(recording: Recording) -> None:
    lines = list(Model(recording).lines())
    assert {line.source for line in lines} == {*recording.tables, "operations"}
    assert all(line.each >= FLOOR for line in lines)
    month = total(lines)
    print(f"{month / 2**30:.1f} GiB a month")
    assert 2**30 < month < BUDGET


def test_the_page_says_what_is_billed(recording: Recording) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cost.md").read_text()
    month = total(Model(recording).lines()) / 2**30
    (said,) = [line for line in page.splitlines() if line.startswith("| **all** |  |")]
    assert float(said.split("**")[3].replace(",", "")) == pytest.approx(month, rel=0.02)


def test_what_is_merged_costs_what_changed_and_not_what_stands(recording: Recording) -> None:
    """The same batch into tables with ten and a hundred times the history."""
    small, large = Model(recording), Model(recording, 100)
    merged = {"earthquake_events", "weather_hours"}
    for node in recording.nodes:
        if node["name"] not in merged:
            continue
        merged.remove(node["name"])
        own = node["relation_name"].replace("`", "")
        before, after = (
            [billed for sql, billed in model.statements(node) if "merge into" in sql.lower()]
            for model in (small, large)
        )
        assert before == after and len(before) == 1 and own in before[0], node["name"]
        # Of the table as a whole no more is read than the key, its time and the time of writing.
        narrow = 8 + 8 + 14 + 2
        for _, billed in large.statements(node):
            assert billed.get(own, 0) <= max(FLOOR, narrow * large.rows[own]), node["name"]
    assert not merged
    for source in ("usgs_earthquake", "openweather"):
        table = recording.raw(recording.tables[source].name)
        growth = large.warehouse.tables[table].rows * 32
        _, before_bytes = small.jobs(source, recording.loads[source])
        _, after_bytes = large.jobs(source, recording.loads[source])
        questions = 3
        assert before_bytes <= after_bytes <= before_bytes + questions * growth, source


def test_a_bound_that_is_no_constant_is_billed_in_full(recording: Recording) -> None:
    model = Model(recording, 100)
    name = recording.raw("usgs_earthquake__events")
    quoted = "`" + name.replace(".", "`.`") + "`"
    bounded = f"select id from {quoted} where time between timestamp '2026-01-01' and a_variable"
    assert model.warehouse.bill(bounded, ["a_variable"])[name] == FLOOR
    assert model.warehouse.bill(bounded)[name] > FLOOR
