"""Every list of sources is one: what is deployed, watched, swept, checked and shown."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from alerting.read_freshness import declared_thresholds
from blocks.register import all_blocks
from blocks.sources import block_type
from core.names import flow_of, source_of
from dashboards.pages import start
from deploy.apply import declared
from flows import elt
from flows.source import source_flow
from runs.build import PROJECT_DIR
from runs.settings import OF_SOURCES, SOURCES, Settings
from sandbox.identity import ensure_service_account
from sources import SOURCES as NAMES
from sources.settings import settings_of
from sources.tables import table_of

SHEET = "https://docs.google.com/spreadsheets/d/ledger/edit"


def test_every_room_knows_the_same_sources() -> None:
    assert list(NAMES) == [source_of(flow) for flow in SOURCES]
    assert [flow_of(source) for source in NAMES] == list(SOURCES) == list(get_args(elt.Source))
    assert {one.source for one in declared()} - {""} == SOURCES.keys()
    tables = {table_of(source).source: table_of(source) for source in NAMES}
    for known in (tables, declared_thresholds(), start.SOURCES):
        assert known.keys() == {*NAMES}


def test_what_belongs_to_a_source_is_found_by_its_name() -> None:
    assert NAMES
    for source in NAMES:
        settings = settings_of(source)
        assert OF_SOURCES[flow_of(source)] is settings
        block = block_type(settings, source)
        assert block.get_block_type_slug() == flow_of(source)
        # The block that is saved lands where the settings say that its batches go.
        assert block.model_fields["landing"].default == settings.model_fields["landing"].default
        assert {"landing", "base_url"} <= settings.variables().keys()
        assert source_flow(source).name == flow_of(source)
        assert callable(import_module(f"runs.extract.{source}").extract)
        table = table_of(source)
        assert table.name.startswith(f"{source}__")
        assert table.title and table.about.endswith(".")
        assert (PROJECT_DIR / "models" / "staging" / source / f"_{source}__sources.yml").exists()
        assert import_module(f"testing.kits.{source}").TABLE.source == source
        stand_in = import_module(f"sandbox.sources.{source}")
        given = stand_in.variables("http://a.example")
        settings.model_validate(
            {
                field: given[name.upper()]
                for field, name in settings.variables().items()
                if name.upper() in given
            }
        )


@pytest.mark.usefixtures("bare_environment")
def test_a_release_before_this_one_can_read_every_block(tmp_path: Path) -> None:
    """One may go back to it, and its own `register` begins with reading what is saved."""
    ensure_service_account(tmp_path / "account.json", "p", "http://127.0.0.1:9/token")
    given = {"GCP_PROJECT": "p", "GCS_BUCKET": "a-b", "FINANCE_SHEET_URL": SHEET}
    given["GCP_SERVICE_ACCOUNT_FILE"] = str(tmp_path / "account.json")
    blocks = all_blocks(Settings.from_variables({name.lower(): one for name, one in given.items()}))
    # What the block of that release had without a default.
    assert {"sheet_url", "gcp_credentials"} <= {*blocks["finance"].model_dump()}
    assert dict(blocks["finance"])["gcp_credentials"] is blocks["gcp"]
