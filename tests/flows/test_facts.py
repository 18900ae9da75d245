"""No program reads a sentence: with every message replaced by one letter all comes out the same.

The same story is lived twice, on a real Prefect server: runs that end in each way that has a name,
their incidents, an import, a replay, an undo, and sources that grow stale.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import FunctionType
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State as PrefectState
from prefect.settings import PREFECT_API_URL, temporary_settings

import alerting.freshness
import core.batch
import core.errors
import repair.undo_script
import runs.build
import runs.outcome
import tasks.report
from alerting.conditions import ended_runs, read_names
from alerting.findings import Inspection
from alerting.freshness import Reading
from alerting.incidents import State, advance
from alerting.ledger_conditions import parked
from blocks import GCP, WAREHOUSE
from blocks.platform import platform_blocks
from blocks.sources import block_of
from core.batch import Manifest, Window
from core.ledger import Cursor
from core.version import code_version
from flows.dbt_freshness import dbt_freshness
from flows.elt import elt
from migration.course import import_table
from migration.plan import Import
from repair.replay import replay
from repair.trace import trace as trace_of
from repair.undo import undo
from runs.outcome import Outcome
from runs.upload import new_batch
from sandbox.parts import isolated
from sandbox.stack import Stack
from sources.finance.mapping import TABLE, read_ledger
from stores.bigquery import Warehouse
from stores.clock import Moment
from stores.settings import LANDING_GCS
from testing.platform import TestPlatform, committed
from testing.rooms import PRODUCT
from tests.flows.test_finance import HEADER, entry
from tests.flows.test_moving_in import LEDGER, LEDGER_COLUMNS, WANTED, make

NOTHING = "x"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    stack = Stack(tmp_path_factory.mktemp("facts") / "state", isolated(os.environ))
    try:
        stack.up(["prefect"])
        url = stack.env()["PREFECT_API_URL"]
        with temporary_settings({PREFECT_API_URL: url}), SyncPrefectClient(api=url) as client:
            yield client
    finally:
        stack.down()


def test_with_every_message_replaced_by_one_letter_all_comes_out_the_same(
    make_platform: Callable[..., TestPlatform],
    client: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = live(make_platform("told", kit="finance", size=0, rows=ROWS, retention_days=7), client)
    assert told["messages"] - {NOTHING}
    mute(monkeypatch)
    untold = live(
        make_platform("untold", kit="finance", size=0, rows=ROWS, retention_days=7), client
    )
    assert untold.pop("messages") == {NOTHING, "dbt-freshness"}  # the name of every run of it
    told.pop("messages")
    assert untold == told
    assert told["states"] == [
        *("Completed", "Failed", "Failed", "BatchParked", "DeletionsHeld", "Completed"),
        *("TooManyRejects", "Completed", "StaleSource"),
    ]
    assert {key for key, *_ in told["incidents"]} == {
        *("run:elt:failed", "run:elt:parked-batch", "run:elt:deletions-held", "run:elt:rejects"),
        "run:dbt-freshness:stale-data:finance",
    }
    assert (told["parked"], told["parked after replay"]) == (["parked-batch:finance"], [])
    assert told["imports"] == ["applied", "no_change"]
    assert told["undone"] == ["undone"]


ROWS = [HEADER, *(entry(id_) for id_ in "abcdefghij")]


def live(platform: TestPlatform, client: SyncPrefectClient) -> dict[str, Any]:
    """The story, in facts."""
    for before in client.read_flow_runs():
        client.delete_flow_run(before.id)
    for name in (GCP, LANDING_GCS, WAREHOUSE):
        platform_blocks(platform.blocks)[name].save(name, overwrite=True)
    block_of("finance", platform.source.block(platform)).save("finance", overwrite=True)
    platform.stores.warehouse.ensure_ledger()
    no_build_is_due(platform)
    facts: dict[str, Any] = {"states": []}

    def run(**parameters: Any) -> None:
        facts["states"].append(elt("finance", **parameters, return_state=True).name)

    run()
    landing, batch_id = platform.stores.landing, waiting_batch(platform)
    (part,) = (one for one in platform.objects() if batch_id in one and one.endswith(".parquet"))
    whole = landing.get(part)
    landing.put(part, b"no Parquet")
    for _ in range(3):
        run()
    warehouse = platform.stores.warehouse
    facts["parked"] = [one.key for one in parked(warehouse)]
    landing.put(part, whole)
    facts["replayed"] = [line.state for line in replay(platform.stores, TABLE, batch_id).lines]
    facts["parked after replay"] = [one.key for one in parked(warehouse)]
    platform.control("delete", {"ids": ["a", "b", "c"]})
    run()
    run(allow_deletions=True)
    platform.control("duplicate", {"id": "d"})
    run()

    old = make(platform, "ledger", LEDGER_COLUMNS, LEDGER)
    wanted = Import(f"{old}.ledger", **WANTED)  # type: ignore[arg-type]
    first, again = (import_table(platform.stores, "ledger", wanted) for _ in range(2))
    facts["imports"] = [platform.only_line(one).state for one in (first, again)]
    imported = platform.only_line(first).batch_id
    trace = trace_of(warehouse, TABLE, "old-1")
    assert all(imported in line for line in trace[:1])
    facts["trace"] = [line.split()[0] for line in trace]
    facts["undone"] = [line.state for line in undo(platform.stores, TABLE, imported).lines]
    facts["rows"] = {key: row["_is_deleted"] for key, row in platform.rows().items()}

    facts["states"].append(dbt_freshness(return_state=True).name)
    platform.query(
        "UPDATE {raw}._loads SET applied_at = TIMESTAMP_SUB(applied_at, INTERVAL 9 HOUR) WHERE true"
    )
    facts["states"].append(dbt_freshness(return_state=True).name)

    state, at = State(), datetime.now(UTC)
    runs = ended_runs(client, state, read_names(client), at)
    advance(state, Inspection("watch", at, runs=runs), str)
    facts["incidents"] = [
        (key, one.finding.kind, one.finding.source, one.count, one.ended_at is None)
        for key, one in sorted(state.incidents.items())
    ]
    facts["ledger"] = [
        {name: line[name] for name in ("mode", "state", "inserted", "undos", "held", "rejected")}
        for line in platform.ledger()
    ]
    facts["messages"] = {
        *(one.message for one in runs),
        *(one.name for one in client.read_flow_runs()),
        *(line["message"] for line in platform.ledger() if line["message"]),
        *(cause for one in runs for cause in one.stale.values()),
    }
    return facts


def no_build_is_due(platform: TestPlatform) -> None:
    """The marts cover all that is to come: a build would take a minute and is of no matter."""
    now = datetime.now(UTC)
    built = {
        "source": "finance",
        "state": "succeeded",
        "suite": "whole",
        "code_version": code_version(),
        "dataset_prefix": platform.stores.warehouse.dataset_prefix,
        "covers_applied_at": now.replace(year=now.year + 1),
        **dict.fromkeys(("asked_at", "started_at", "ended_at"), now),
    }
    platform.stores.warehouse.insert_line("_builds", built, "finance")


def waiting_batch(platform: TestPlatform) -> str:
    """The id of a committed batch that no run has loaded."""
    now = Moment(datetime.now(UTC))
    with new_batch(platform.stores, TABLE, Window(), Cursor(), now, mode="backfill") as batch:
        batch.add(read_ledger([HEADER, entry("z")], "a test"))
        return committed(batch, source_count=1).batch_id


def mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written for people is one letter, in the ledger, in Prefect and in exceptions."""

    def says_nothing(function: Callable[..., object], returns: str = NOTHING) -> None:
        assert isinstance(function, FunctionType)
        nothing: Any = eval(f"lambda *_, **__: {returns!r}")  # noqa: S307
        monkeypatch.setattr(function, "__code__", nothing.__code__)
        monkeypatch.setattr(function, "__defaults__", None)

    for function in (
        core.batch.asked_for,
        core.errors.first_line,
        alerting.freshness.summary,
        alerting.freshness.in_words,
        runs.build.describe,
        runs.outcome.held_because,
        tasks.report.run_name,
    ):
        says_nothing(function)
    monkeypatch.setattr(Reading, "lateness", NOTHING)
    monkeypatch.setattr(Outcome, "message", NOTHING)
    monkeypatch.setattr(Window, "__str__", lambda self: NOTHING)
    errors = list(ours(Exception))
    assert len(errors) > 20
    for error in errors:
        monkeypatch.setattr(error, "__str__", lambda self: NOTHING)

    encode = core.batch.encode_manifest

    def encode_manifest(manifest: Manifest) -> bytes:
        note, faults = manifest.note and NOTHING, len(manifest.faults) * (NOTHING,)
        return encode(replace(manifest, note=note, faults=faults))

    monkeypatch.setattr("runs.upload.encode_manifest", encode_manifest)
    insert_line = Warehouse.insert_line

    def insert(self: Warehouse, name: str, line: dict[str, Any], source: str) -> None:
        muted = {"message": NOTHING} if line.get("message") else {}
        insert_line(self, name, line | muted, source)

    monkeypatch.setattr(Warehouse, "insert_line", insert)
    undo_script = repair.undo_script.undo_script

    def script(*args: Any, **kwargs: Any) -> str:
        written = undo_script(*args, **kwargs)
        says = f"'{TABLE.name} is what it was before {args[1]}, {kwargs['rows']} rows'"
        assert says in written
        return written.replace(says, f"'{NOTHING}'")

    monkeypatch.setattr("repair.undo.undo_script", script)
    set_state = SyncPrefectClient.set_flow_run_state

    def set_flow_run_state(self: Any, run_id: Any, state: PrefectState[Any], **kwargs: Any) -> Any:
        muted = state.model_copy(update={"message": NOTHING})
        return set_state(self, run_id, muted, **kwargs)

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", set_flow_run_state)


def ours(error: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in error.__subclasses__():
        if one.__module__.partition(".")[0] in PRODUCT:
            yield one
        yield from ours(one)
