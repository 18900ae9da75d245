"""Every list of sources is one: what is deployed, watched, swept, checked and shown."""

from __future__ import annotations

from typing import get_args

from blocks.settings import SOURCES
from blocks.source import flow_of, source_of
from blocks.sources import TYPES
from dashboards.pages import start
from deploy.apply import declared
from flows import elt
from sources.tables import TABLES
from tasks.freshness import declared_thresholds


def test_every_room_knows_the_same_sources() -> None:
    assert list(TYPES) == [source_of(flow) for flow in SOURCES]
    assert [flow_of(source) for source in TYPES] == list(SOURCES) == list(get_args(elt.Source))
    assert {one.source for one in declared()} - {""} == SOURCES.keys()
    for known in (TABLES, declared_thresholds(), start.SOURCES):
        assert known.keys() == TYPES.keys()
