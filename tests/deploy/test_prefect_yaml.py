"""prefect.yaml as Prefect will read it. Prefect itself ignores a key that it does not know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.exceptions import ScriptError
from prefect.flows import load_flow_from_entrypoint
from pydantic import BaseModel

from core.names import deployment_of
from deploy.apply import FILE, ROOT, declared
from sources import SOURCES

TEXT = FILE.read_text()
YAML: dict[str, Any] = yaml.safe_load(TEXT)
DEPLOYMENTS: list[dict[str, Any]] = YAML["deployments"]
BY_NAME = {f"{one['entrypoint']} {one['name']}": one for one in DEPLOYMENTS}


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    path, _, function = deployment["entrypoint"].rpartition(":")
    return load_flow_from_entrypoint(f"{ROOT / path}:{function}", use_placeholder_flow=False)


def test_every_key_is_one_that_prefect_knows() -> None:
    known: dict[type[BaseModel], list[dict[str, Any]]] = {
        PrefectYamlModel: [{key: 0 for key in YAML if key != "definitions"}],
        DeploymentConfig: DEPLOYMENTS,
        WorkPoolConfig: [one["work_pool"] for one in DEPLOYMENTS],
        ConcurrencyLimitSpec: [one["concurrency_limit"] for one in DEPLOYMENTS],
        RawScheduleConfig: [each for one in DEPLOYMENTS for each in one["schedules"]],
    }
    for model, given in known.items():
        assert given
        for one in given:
            assert one.keys() - model.model_fields.keys() == set()


def test_no_secret_can_be_in_it() -> None:
    """A reference in job_variables or parameters would be resolved and stored in clear."""
    assert "{{ prefect.blocks" not in TEXT
    assert "job_variables" not in TEXT
    assert TEXT.count("{{") == TEXT.count("{{ $PIPELINES_HOME }}") == 1


def test_a_flow_that_cannot_be_imported_is_not_deployed(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from prefect import flow\n@flow\ndef bad(): ...\nraise RuntimeError('not well')\n"
    )
    file = tmp_path / "prefect.yaml"
    file.write_text("deployments: [{name: it, entrypoint: 'bad.py:bad', work_pool: {name: vm}}]")
    with pytest.raises(ScriptError, match="not well"):
        declared(file)
    # A run of `elt` imports what reads its source only when it begins.
    (tmp_path / "runs" / "extract").mkdir(parents=True)
    (tmp_path / "bad.py").rename(tmp_path / "runs" / "extract" / "bad.py")
    (tmp_path / "elt.py").write_text("from prefect import flow\n@flow\ndef elt(): ...\n")
    file.write_text(
        "deployments: [{name: it, entrypoint: 'elt.py:elt', parameters: {source: bad},"
        " work_pool: {name: vm}}]"
    )
    with pytest.raises(ScriptError, match="not well"):
        declared(file)


def test_names_are_unique_and_of_their_flows() -> None:
    names = [one.name for one in declared()]
    assert len(names) == len(set(names)) == len(DEPLOYMENTS)
    sources = {deployment_of(source) for source in SOURCES}
    assert sources | {"elt/operations", "cleanup/weekly"} <= set(names)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_deployment_is_complete(name: str) -> None:
    deployment = BY_NAME[name]
    assert len(deployment["description"]) > 40
    assert len(deployment["tags"]) == 2
    assert deployment["work_pool"] == {"name": "vm", "work_queue_name": "default"}
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert deployment["schedules"]
    for schedule in deployment["schedules"]:
        # Without a slug, or with `active`, a schedule that was paused by hand starts again.
        assert schedule.keys() == {"cron", "timezone", "slug"}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_flow_takes_the_parameters(name: str) -> None:
    deployment = BY_NAME[name]
    flow = flow_of(deployment)
    parameters = deployment.get("parameters", {})
    flow.validate_parameters(parameters)
    schema = flow.parameters
    assert set(schema.required) <= parameters.keys() <= schema.properties.keys()
    for told in schema.properties.values():
        assert told.get("description"), "the form in the UI explains every field"


def test_the_form_has_dates_and_a_list_of_sources() -> None:
    properties = flow_of(BY_NAME["flows/elt.py:elt usgs-earthquake"]).parameters.properties
    for day in ("start", "end"):
        assert {"type": "string", "format": "date"} in properties[day]["anyOf"]
        # What the server asks of a parameter before it makes a run; `format` it does not look at.
        assert re.fullmatch(properties[day]["pattern"], "2026-01-31")
        assert not re.fullmatch(properties[day]["pattern"], "yesterday")
    assert "finance" in properties["source"]["enum"]
