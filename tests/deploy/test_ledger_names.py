"""The ledger of release 0.1 gets the names of this one and back: the lines say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud import bigquery

from core import steps
from core.batch import EARLIER_NAMES
from core.errors import StoreFailed
from core.ledger import LOADS
from core.ownership import LABELS, NotOurs
from core.sql import literal
from deploy.ledger_names import rename
from stores.bigquery import Warehouse
from stores.platform import connect
from testing.platform import TestPlatform
from testing.rooms import ROOT

# As release 0.1 made it (core/ledger.py at 0d61e2c).
EARLIER_LEDGER = """
CREATE TABLE {raw}._loads (
    batch_id STRING, source STRING, table_name STRING, mode STRING, state STRING,
    window_start TIMESTAMP, window_end TIMESTAMP, watermark TIMESTAMP, seen STRING,
    extracted INT64, inserted INT64, updated INT64, deleted INT64, superseded_ids INT64,
    replaced INT64, absent INT64, cleared INT64, held INT64, unchanged INT64, older INT64,
    duplicate INT64, rejected INT64, rejected_before INT64, size_bytes INT64, odd INT64,
    rejected_unexpected INT64, met_again INT64, source_count INT64, total INT64, depth INT64,
    requests INT64, schema_fingerprint STRING, code_version STRING, message STRING,
    replay_of STRING, import_id STRING, undos INT64, back_to TIMESTAMP, touched_from TIMESTAMP,
    touched_to TIMESTAMP, observed_at TIMESTAMP, extract_started_at TIMESTAMP,
    extract_ended_at TIMESTAMP, applied_at TIMESTAMP
)
PARTITION BY TIMESTAMP_TRUNC(applied_at, MONTH)
CLUSTER BY source
OPTIONS (
    labels = [
        ("managed_by", "data-pipelines"), ("layer", "ledger"), ("columns", "ad2655081430")
    ]
)
"""
STATES = ("applied", "superseded", "held", "parked", "failed", "looked", "undone")
NAMES = {column.name for column in LOADS}
EARLIER_COLUMNS = {EARLIER_NAMES.get(name, name) for name in NAMES}
Lines = list[dict[str, Any]]


def earlier(line: dict[str, Any]) -> dict[str, Any]:
    """A line of this release as the one before would have written it."""
    told = {EARLIER_NAMES.get(name, name): value for name, value in line.items()}
    return told | {"state": "looked" if line["state"] == "no_change" else line["state"]}


def columns(platform: TestPlatform) -> set[str]:
    warehouse = platform.stores.warehouse
    return {column.name for column in warehouse.table(warehouse.raw_id("_loads")).schema}


def add(platform: TestPlatform, line: dict[str, Any]) -> None:
    values = ", ".join(map(literal, line.values()))
    platform.query(f"INSERT INTO {{raw}}._loads ({', '.join(line)}) VALUES ({values})")


def make_earlier(platform: TestPlatform, *lines: dict[str, Any]) -> None:
    """The platform's ledger is one of release 0.1, with these lines and one more in each state."""
    platform.query("DROP TABLE {raw}._loads")
    platform.query(EARLIER_LEDGER)
    now = datetime.now(UTC)
    for number, state in enumerate(STATES):
        line = {"source": "openweather", "batch_id": f"b{number}", "state": state, "odd": number}
        line |= {"met_again": 10 + number, "seen": '{"a":"it\'s"}', "applied_at": now}
        add(platform, line)
    for line in lines:
        add(platform, line)
    assert columns(platform) == EARLIER_COLUMNS


@pytest.fixture
def bare(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    platform = make_platform(size=1)
    platform.stores.warehouse.ensure_ledger()
    return platform


@pytest.fixture
def old(make_platform: Callable[..., TestPlatform]) -> TestPlatform:
    """A platform with a ledger of release 0.1, in which two runs of its source stand, the second of
    which found nothing new."""
    platform = make_platform(size=20)
    platform.run()
    platform.run()
    lines = [earlier(line) for line in platform.ledger()]
    assert [line["state"] for line in lines] == ["applied", "looked"]
    make_earlier(platform, *lines)
    return platform


def test_lines_in_every_state_are_the_same_there_and_back(bare: TestPlatform) -> None:
    make_earlier(bare)
    warehouse, before = bare.stores.warehouse, bare.ledger()
    assert len(before) == len(STATES)
    assert rename(warehouse)
    assert columns(bare) == NAMES
    assert [earlier(line) for line in bare.ledger()] == before
    assert "no_change" in {line["state"] for line in bare.ledger()}
    assert rename(warehouse, back=True)
    assert (columns(bare), bare.ledger()) == (EARLIER_COLUMNS, before)


def test_a_run_refuses_a_ledger_with_the_names_of_before_and_says_what_to_run(
    old: TestPlatform,
) -> None:
    before = old.ledger()
    with pytest.raises(StoreFailed, match=r"run python -m deploy\.ledger_names") as refused:
        old.run()
    assert "met_again, odd, seen" in str(refused.value)
    assert (old.ledger(), columns(old)) == (before, EARLIER_COLUMNS)


def test_what_cannot_be_asked_again_is_kept_until_the_ledger_has_its_names(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="openweather", size=3)
    platform.stores.warehouse.ensure_ledger()
    make_earlier(platform)
    before = platform.ledger()
    with pytest.raises(StoreFailed, match=r"run python -m deploy\.ledger_names"):
        platform.run()
    assert platform.ledger() == before
    assert rename(platform.stores.warehouse)
    platform.run()
    new = [
        line for line in platform.ledger() if line["batch_id"] not in {f"b{n}" for n in range(9)}
    ]
    assert "applied" in {line["state"] for line in new}
    platform.assert_equals_truth()


def test_there_and_back_every_line_says_the_same(old: TestPlatform) -> None:
    warehouse, before = old.stores.warehouse, old.ledger()
    assert {line["state"] for line in before} == set(STATES)
    assert rename(warehouse)
    assert columns(old) == NAMES
    assert [earlier(line) for line in old.ledger()] == before
    # It goes on from where the release before left off.
    line = old.only_line(old.run())
    assert line.state == "no_change" and line.already_seen > 0
    old.control("advance")
    line = old.only_line(old.run())
    assert line.state == "applied"
    old.assert_equals_truth()
    written = old.ledger()
    assert rename(warehouse)
    assert old.ledger() == written

    assert rename(warehouse, back=True)
    assert columns(old) == EARLIER_COLUMNS
    assert old.ledger() == [earlier(line) for line in written]
    assert [line for line in old.ledger() if line in before] == before
    assert rename(warehouse, back=True)
    assert old.ledger() == [earlier(line) for line in written]
    # And forward once more.
    assert rename(warehouse)
    assert old.ledger() == written


def rename_in_steps(platform: TestPlatform) -> None:
    """As `rename`, in a child, where each statement is a step."""
    query = bigquery.Client.query

    def observed(client: Any, *args: Any, **kwargs: Any) -> Any:
        with steps.step("ledger.query"):
            return query(client, *args, **kwargs)

    bigquery.Client.query = observed
    rename(platform.stores.warehouse)


def test_killed_anywhere_it_is_refused_or_done_and_the_next_does_the_rest(
    old: TestPlatform,
) -> None:
    before = old.ledger()
    events = old.run_in_child(do=rename_in_steps)
    done = old.ledger()
    assert len(events) > 8 and columns(old) == NAMES
    for place in range(len(events)):
        rename(old.stores.warehouse, back=True)
        assert old.ledger() == before
        old.run_in_child(kill_at=place, do=rename_in_steps)
        if columns(old) != NAMES:
            with pytest.raises(StoreFailed, match=r"deploy\.ledger_names"):
                old.run()
        rename(old.stores.warehouse)
        assert (columns(old), old.ledger()) == (NAMES, done)


@pytest.mark.parametrize("back", [False, True])
def test_two_at_once_do_it_once(old: TestPlatform, back: bool) -> None:
    before = old.ledger()
    if back:
        rename(old.stores.warehouse)
    with ThreadPoolExecutor(2) as two:
        both = [two.submit(rename, connect(old.blocks).warehouse, back=back) for _ in range(2)]
    assert all(one.result() for one in both)
    assert columns(old) == (EARLIER_COLUMNS if back else NAMES)
    told = old.ledger() if back else [earlier(line) for line in old.ledger()]
    assert told == before


class Overtaken:
    """A client to whom somebody else is first with every ALTER TABLE."""

    def __init__(self, client: Any, other: Warehouse) -> None:
        self.client, self.other = client, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def query(self, sql: str, **options: Any) -> Any:
        if sql.startswith("ALTER TABLE"):
            rename(self.other)
        return self.client.query(sql, **options)


def test_a_column_that_another_has_renamed_meanwhile_is_left_alone(old: TestPlatform) -> None:
    before = old.ledger()
    warehouse = old.stores.warehouse
    client: Any = Overtaken(warehouse.client, connect(old.blocks).warehouse)
    assert rename(replace(warehouse, client=client))
    assert columns(old) == NAMES
    assert [earlier(line) for line in old.ledger()] == before


@pytest.mark.parametrize("back", [False, True])
def test_where_a_release_has_added_its_own_columns_each_line_keeps_its_values(
    bare: TestPlatform, back: bool
) -> None:
    """The release before has run upon the new names, as when it was gone back to by hand."""
    bare.query("DROP TABLE {raw}._loads")
    both = "known_digests STRING, already_seen INT64, unparsed INT64, batch_id STRING"
    bare.query(EARLIER_LEDGER.replace("batch_id STRING", both))
    now = datetime.now(UTC)
    old = {"source": "s", "batch_id": "a", "state": "looked", "odd": 5, "met_again": 6}
    old |= {"seen": '{"b":"c"}', "applied_at": now}
    new = {"source": "s", "batch_id": "b", "state": "no_change", "unparsed": 0, "already_seen": 8}
    new |= {"known_digests": '{"d":"e"}', "applied_at": now}
    add(bare, old)
    add(bare, new)
    assert rename(bare.stores.warehouse, back=back)
    assert columns(bare) == (EARLIER_COLUMNS if back else NAMES)
    told = bare.ledger() if back else [earlier(line) for line in bare.ledger()]
    expected = [{name: line.get(name) for name in EARLIER_COLUMNS} for line in (old, earlier(new))]
    assert told == expected


def test_a_table_of_somebody_else_is_not_renamed(bare: TestPlatform) -> None:
    platform = bare
    platform.query("DROP TABLE {raw}._loads")
    platform.query("CREATE TABLE {raw}._loads (odd INT64, state STRING)")
    platform.query("INSERT INTO {raw}._loads (odd, state) VALUES (1, 'looked')")
    with pytest.raises(NotOurs, match="_loads is not ours"):
        rename(platform.stores.warehouse)
    assert platform.query("SELECT * FROM {raw}._loads") == [{"odd": 1, "state": "looked"}]


def command(platform: TestPlatform, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.ledger_names", *options],
        cwd=ROOT,
        env=os.environ | platform.env | {"RAW_DATASET": platform.stores.warehouse.raw_dataset},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_what_it_did(make_platform: Callable[..., TestPlatform]) -> None:
    platform = make_platform(size=1)
    done = command(platform)
    assert (done.returncode, done.stderr) == (0, "")
    assert "yet: nothing to rename" in done.stdout
    platform.stores.warehouse.ensure_ledger()
    done = command(platform, "--back")
    assert (done.returncode, done.stderr) == (0, "")
    assert "has the names of release 0.1" in done.stdout
    assert columns(platform) == EARLIER_COLUMNS
    assert command(platform).returncode == 0
    assert columns(platform) == NAMES
    table = platform.stores.warehouse.table(platform.stores.warehouse.raw_id("_loads"))
    assert LABELS.items() <= table.labels.items()
