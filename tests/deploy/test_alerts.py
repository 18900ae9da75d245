"""Every condition caused for real, on a real server with a real worker: what arrives, and when.

One platform, broken again and again. Each incident is read on both channels when it begins; that
it ends is read in the last test, as one thing is cured while the next is broken. The watchdog looks
every 20 s here; with ALERTS_TICK_SECONDS=60, as often as in production. Run with -s, it prints what
stands as measured in docs/alerts.md.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import psutil
import pytest
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterId,
)
from prefect.client.schemas.objects import (
    FlowRun,
    StateType,
)
from prefect.states import Pending

from sandbox import processes
from sandbox.parts import POOL, isolated
from sandbox.processes import marked
from sandbox.stack import NAMES, ROOT, Stack
from testing.breakable import (
    ELSEWHERE,
    HELD,
    LONE,
    PLANTED,
    SHAPED,
    STUCK,
    Platform,
    deploy,
    prepare,
    tick,
    until,
)
from testing.messages import both, recovered_at, standing
from testing.page import command
from testing.sinks import open_sinks

pytestmark = pytest.mark.slow

SOURCES = ("finance", "nyc_fhv", "openweather", "ph_news")
WRONG_KEY = "wrong-mediastack-key"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("alerts")
    with open_sinks() as sinks:
        environ = {
            **isolated(os.environ),
            **sinks.env,
            "OPENWEATHER_API_KEY": PLANTED,
            # Limits are shorter than in production, timers are not.
            "ALERT_NOT_STARTED_MINUTES": "2",
            "ALERT_RUNNING_HOURS": "0.1",
            "ALERT_UNLOADED_HOURS": "0.005",
            "ALERT_DISK_SHARE": "1",
        }
        stack = Stack(directory / "state", environ, say=print)
        before = dict(os.environ)
        platform = Platform(stack, sinks, directory, environ)
        timer = threading.Thread(target=tick, args=(platform,), daemon=True)
        try:
            stack.up()
            os.environ.update(stack.env())
            prepare(platform)
            platform.ready_at = time.time()
            platform.is_on.set()
            timer.start()
            yield platform
        finally:
            platform.switch_timer_off()
            stack.down()
            processes.stop(None, f"{ELSEWHERE}@{stack.directory}", children_first=True)
            os.environ.clear()
            os.environ.update(before)
            for condition, seconds, subject in platform.measured:
                print(f"| {condition} | {seconds:.0f} s | {subject} |")


@pytest.fixture(scope="module")
def lone(platform: Platform) -> tuple[FlowRun, float]:
    """A run that died with its worker, and when; nobody starts another worker of its pool."""
    mark = f"{ELSEWHERE}@{platform.stack.directory}"
    worker = "-m prefect worker start --type process --install-policy never --pool"
    port = {"PREFECT_WORKER_WEBSERVER_PORT": "0"}
    processes.start(
        [sys.executable, *worker.split(), ELSEWHERE],
        platform.env | port,
        ROOT,
        platform.directory / "elsewhere.log",
        mark,
    )
    run = platform.enters(LONE)
    time.sleep(5)  # its first heartbeat is on its way
    victims = marked(mark)
    assert len(victims) >= 2
    for process in victims:
        process.kill()
    return run, time.time()


@pytest.mark.usefixtures("lone")  # ten minutes pass until it is missed
def test_runs_that_end_badly(platform: Platform) -> None:
    began = time.time()
    bad, slow = platform.start("bad"), platform.start("slow")
    stuck, held = platform.enters(STUCK), platform.enters(HELD)
    killed_at = time.time()
    for run in (stuck, held):
        platform.process_of(run).send_signal(signal.SIGKILL)
    for run in (stuck, held):
        assert platform.end_of(run).state_type == StateType.CRASHED
    assert platform.slots_taken(STUCK) == platform.slots_taken(HELD) == 0

    told = platform.arrives(
        "a run failed",
        "bad/bad failed",
        began,
        "failed",
        cause="HTTP 401",
        run=bad,
        source="nowhere",
        window="what changed",
    )
    assert told.facts["cause"].endswith("\n***\nkey *** is wrong")
    platform.arrives(
        "a run timed out", "slow/slow timed out", began, "timed-out", cause="timeout", run=slow
    )
    for name, run in ((STUCK, stuck), (HELD, held)):
        platform.arrives(
            f"kill -9 of a run, {'Pending' if run is held else 'Running'}",
            f"wait/{name} crashed",
            killed_at,
            "crashed",
            cause="-9",
            run=run,
        )

    (platform.flows / "cured").touch()
    platform.completes("bad", "slow")
    platform.completes(STUCK, HELD)


def test_sources_that_are_not_as_they_should_be(platform: Platform) -> None:
    began = time.time()
    platform.register(MEDIASTACK_ACCESS_KEY=WRONG_KEY)
    platform.control("socrata", "faults", [{"kind": "withhold", "path": ".csv", "times": -1}])
    odd = [["twice", "some year"]] * 40
    platform.control("sheets", "append", {"rows": odd})
    at = platform.env["OPENWEATHER_LOCATIONS"].split(";")[0].split(":")
    patch = {"lat": float(at[1]), "lon": float(at[2]), "patch": {"mood": "good"}}
    platform.control("openweather", "plant", patch)
    stopped_at = int((time.time() - 13 * 3600) * 1000)
    platform.control("openweather", "clock", {"now_ms": stopped_at})
    names = ("ph-news", "nyc-fhv", "finance")
    runs = {name: platform.start(name) for name in names}
    platform.completes("openweather")
    # A run that failed starts one, but not so soon after another.
    platform.start("alerts")
    stale = platform.start("dbt-freshness")

    causes = {"ph-news": "invalid_access_key", "nyc-fhv": "CountMismatch: nyc_fhv, first load"}
    conditions = {"ph-news": "wrong key", "nyc-fhv": "withheld page"}
    for name in conditions:
        platform.arrives(
            conditions[name],
            f"elt/{name} failed",
            began,
            "failed",
            cause=causes[name],
            run=runs[name],
            source=name,
            window="what changed",
        )
    told = platform.arrives(
        "rejects over the threshold",
        "elt/finance failed",
        began,
        "rejects",
        cause="rows rejected, more than 1%",
        run=runs["finance"],
        source="finance",
        window="what changed",
    )
    told_batch = re.search("raw._rejects of batch ([0-9A-Za-z_]+)", told.facts["cause"])
    assert told_batch
    why = command("rejects", "select reason").replace("'...'", f"'{told_batch[1]}'")
    assert ["duplicate id", 40] in [list(row.values()) for row in platform.finance.query(why)]
    platform.arrives(
        "schema change",
        "openweather sends other fields",
        began,
        "schema-change",
        cause="new field mood",
        source="openweather",
        window="batch ",
    )
    platform.arrives(
        "stale data: a frozen clock",
        "openweather is stale",
        began,
        "stale-data",
        cause="newest event 13.",
        run=stale,
        source="openweather",
        window="due ",
    )

    platform.register()
    platform.control("socrata", "faults", [])
    platform.control("sheets", "delete", {"ids": ["twice"]})
    platform.control("openweather", "clock", {"offset_ms": 0})
    platform.completes(*names, "openweather")
    platform.completes("dbt-freshness")


def test_what_the_ledger_and_the_disk_tell(platform: Platform) -> None:
    began = time.time()
    platform.environ["ALERT_DISK_SHARE"] = "0.000001"
    platform.arrives(
        "the disk is nearly full", "the disk is nearly full", began, "disk", cause="GiB at /"
    )
    platform.environ["ALERT_DISK_SHARE"] = "1"
    platform.environ["ALERT_LEDGER_HOURS"] = "0.001"
    platform.hurry("ledger-age", timedelta(minutes=10))
    platform.arrives(
        "no line in the ledger (3.6 s)",
        "the ledger stands still",
        began,
        "ledger",
        cause="its last line is of",
    )
    del platform.environ["ALERT_LEDGER_HOURS"]
    platform.hurry("ledger-age", timedelta(minutes=10))
    finance = platform.finance
    platform.control("sheets", "append", {"rows": [["new", 2026, 1, 31]]})
    finance.run_in_child(kill_at=("commit.manifest", "after"))
    began = time.time()
    known = {line["batch_id"] for line in finance.ledger()}
    (name,) = (
        one
        for one in finance.objects()
        if one.endswith(".parquet") and one.split("/")[-2] not in known
    )
    batch_id = name.split("/")[-2]
    time.sleep(20)  # ALERT_UNLOADED_HOURS
    platform.start("alerts")
    platform.arrives(
        "a committed batch is not loaded (18 s)",
        "finance: 1 committed batch not loaded",
        began,
        "unloaded-batch",
        cause=batch_id,
        source="finance",
        window=batch_id,
    )

    whole = finance.stores.landing.get(name)
    finance.stores.landing.put(name, b"no Parquet")
    for _ in range(2):
        platform.run("python -m repair finance", fails=True)
    began = time.time()
    run = platform.start("finance")
    platform.arrives(
        "a parked batch, as a failed run",
        "elt/finance failed",
        began,
        "parked-batch",
        cause=f"{batch_id}: ",
        run=run,
        source="finance",
        window="what changed",
    )
    platform.start("alerts")
    platform.arrives(
        "a parked batch",
        "finance: 1 parked batch",
        began,
        "parked-batch",
        cause=batch_id,
        source="finance",
        window=batch_id,
    )
    finance.stores.landing.put(name, whole)
    platform.run(command("parked-batch", "python -m", source="finance", batch=batch_id))
    platform.completes("finance")
    until("it is over", lambda: recovered_at(platform.sinks, "elt/finance failed", began))

    (spent,) = finance.query(
        "SELECT SUM(requests) AS n FROM {raw}._requests WHERE state = 'settled'"
    )
    finance.query(  # the emulator bills nothing
        "INSERT INTO {raw}._jobs (job_id, source, bytes_billed, started_at) "
        "VALUES ('j', 'finance', 7, CURRENT_TIMESTAMP())"
    )
    rows = finance.query("SELECT id FROM {raw}.finance__ledger WHERE NOT _is_deleted")
    ids = [row["id"] for row in rows]
    platform.control("sheets", "delete", {"ids": ids[: len(ids) // 2]})
    began = time.time()
    platform.register(MEDIASTACK_MONTHLY_REQUESTS=str(spent["n"]), ALERT_DAILY_BYTES_BILLED="0")
    run = platform.start("finance")
    platform.arrives(
        "deletions held",
        "elt/finance failed",
        began,
        "deletions-held",
        cause="rows are gone from the source",
        run=run,
        source="finance",
        window="what changed",
    )
    platform.start("alerts")
    platform.arrives(
        "request budget nearly spent",
        f"ph_news: {spent['n']} of {spent['n']} requests spent",
        began,
        "request-budget",
        cause="0 requests left",
        source="ph_news",
        window=f"{datetime.now(UTC):%Y-%m}",
    )
    platform.arrives(
        "bytes billed over the budget",
        "more bytes billed than budgeted",
        began,
        "bytes-billed",
        cause="finance 7",
        window="the last 24 hours",
    )

    platform.register()
    platform.run(f"{command('deletions-held', 'prefect', source='finance')} --watch")
    platform.start("alerts")


def test_lookers_that_look_no_more(platform: Platform) -> None:
    """Each is missed by the other; and a run is cancelled, as it is written there."""
    run = platform.enters(STUCK)
    began = time.time()
    platform.switch_timer_off()
    platform.hurry("watchdog", timedelta(minutes=15))
    platform.start("alerts")
    platform.arrives(
        "the watchdog has stopped (15 min before)",
        "watchdog has stopped looking",
        began,
        "watchdog",
        cause="its last look was at",
    )
    # One that a failed run has started may still look.
    until("watch does not look", lambda: platform.is_idle("alerts"))
    platform.hurry("watch", timedelta(minutes=45))
    began = time.time()
    platform.is_on.set()
    platform.arrives(
        "watch has stopped (45 min before)",
        "watch has stopped looking",
        began,
        "watchdog",
        cause="its last look was at",
    )
    platform.run(command("running-long", "prefect", id=str(run.id)))
    assert platform.end_of(run).state_type == StateType.CANCELLED
    platform.completes(STUCK, "alerts")


def test_a_worker_that_dies_alone_and_a_ledger_that_is_gone(platform: Platform) -> None:
    """SIGTERM of the worker: it kills its runs and tells nobody."""
    stuck, held = platform.enters(STUCK), platform.enters(HELD)
    with platform.client as client:
        unborn = client.create_flow_run_from_deployment(platform.deployments["slow"])
        client.set_flow_run_state(unborn.id, Pending())
    began = time.time()
    os.kill(platform.pid("worker"), signal.SIGTERM)
    late = platform.start("bad")
    platform.arrives(
        "SIGTERM of the worker",
        "the worker does not answer",
        began,
        "worker",
        cause="/health: ConnectError",
    )
    for run, left in ((stuck, StateType.RUNNING), (held, StateType.PENDING)):
        assert platform.read(run).state_type == left
    gone_at = time.time()
    os.kill(platform.pid("bigquery"), signal.SIGKILL)
    platform.hurry("ledger-age", timedelta(minutes=10))
    platform.arrives(
        "BigQuery does not answer", "the ledger cannot be read", gone_at, "ledger", cause="Error"
    )
    for name, run, source in (
        ("bad/bad", late, "nowhere"),
        ("slow/slow", unborn, ""),
        (f"wait/{HELD}", held, ""),
    ):
        platform.arrives(
            f"not started for 2 min: {platform.read(run).state_name}",
            f"{name} has not started",
            began,
            "not-started",
            cause="1 run(s) due more than 2 minutes ago",
            run=run,
            source=source,
            window="due ",
        )

    with platform.client as client:
        client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
        assert POOL in platform.run(command("not-started", "prefect work-pool ls"))
        platform.run(command("not-started", "prefect work-pool resume"))
        assert not client.read_work_pool(POOL).is_paused
    assert STUCK in platform.run(command("stale-data", "prefect deployment"))
    reaped_at = time.time()
    printed = platform.run(command("crashed", "python -m deploy.reap"))
    assert printed.count("reaped") >= 3
    for name, run in ((STUCK, stuck), (HELD, held), ("slow", unborn)):
        assert platform.end_of(run).state_type == StateType.CRASHED
        assert platform.slots_taken(name) == 0
        flow = "slow" if name == "slow" else "wait"
        platform.arrives(
            f"the same, reaped: {name}",
            f"{flow}/{name} crashed",
            reaped_at,
            "crashed",
            cause="nobody executes this run",
            run=run,
        )

    platform.stack.up()
    platform.hurry("ledger-age", timedelta(minutes=10))
    crashed = ["slow/slow crashed", f"wait/{STUCK} crashed", f"wait/{HELD} crashed"]
    platform.completes("slow", STUCK, HELD)
    for title in crashed:
        until("it is over", partial(recovered_at, platform.sinks, title, reaped_at))


def test_a_run_that_dies_with_its_worker_and_is_not_restarted(
    platform: Platform, lone: tuple[FlowRun, float]
) -> None:
    """Only its missing heartbeat tells."""
    run, killed_at = lone
    platform.arrives(
        "a run is Running for long (6 min)",
        f"wait/{LONE} has been running for over 0.1 h",
        killed_at,
        "running-long",
        cause="is Running since",
        run=run,
    )
    platform.arrives(
        "kill -9 of worker and run",
        f"wait/{LONE} crashed",
        killed_at,
        "crashed",
        cause="no heartbeat for 10 minutes",
        run=run,
    )
    assert platform.slots_taken(LONE) == 0
    deploy(platform, "wait", LONE)  # on the pool that has a worker
    platform.completes(LONE)
    platform.arrives(
        "no run is planned",
        "wait/unscheduled has a schedule and no run to come",
        platform.ready_at,
        "unscheduled",
        cause="the server's scheduler makes no runs",
    )
    with platform.client as client:
        client.pause_deployment(client.read_deployment_by_name("wait/unscheduled").id)


def test_a_server_that_dies_and_then_the_whole_machine(platform: Platform) -> None:
    stuck, held = platform.enters(STUCK), platform.enters(HELD)
    began = time.time()
    os.kill(platform.pid("prefect"), signal.SIGKILL)
    platform.arrives(
        "the server was killed",
        "the Prefect server does not answer",
        began,
        "server",
        cause="/api/health: ConnectError",
    )

    platform.switch_timer_off()
    victims = [one for part in NAMES for one in marked(f"{part}@{platform.stack.directory}")]
    assert len(victims) >= 8
    for process in victims:
        # Some end with the one that started them.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, timeout=600)  # their ports are free
    platform.stack.up()
    back_at = time.time()
    platform.is_on.set()
    for name, run in ((STUCK, stuck), (HELD, held)):
        assert platform.end_of(run).state_type == StateType.CRASHED
        assert platform.slots_taken(name) == 0
        platform.arrives(
            f"the machine went and is back: {name}",
            f"wait/{name} crashed",
            back_at,
            "crashed",
            cause="worker restarted; nobody executes this run",
            run=run,
        )
    platform.completes(STUCK, HELD)


def test_the_run_report(platform: Platform) -> None:
    platform.completes("run-report")
    (report,) = both(platform.sinks, reports=True)
    with platform.client as client:
        of_report = ArtifactFilter(key=ArtifactFilterKey(any_=["run-report"]))
        (artifact,) = client.read_artifacts(artifact_filter=of_report)
        of_finance = DeploymentFilter(id=DeploymentFilterId(any_=[platform.deployments["finance"]]))
        runs = client.read_flow_runs(deployment_filter=of_finance)
    page, counts = str(artifact.data), Counter(run.state_type for run in runs)
    bad, total = counts[StateType.FAILED], counts.total()
    assert bad >= 3
    for number, days in enumerate(("1 day", "7 days", "30 days")):
        section = page.split(f"## {days}\n")[1].split("\n## ")[0]
        assert f"| elt/finance | {total} | {bad} | 0 | 0 |" in section
        for source in SOURCES:
            assert f"\n| {source} | " in section
        (row,) = (row for row in section.splitlines() if row.startswith("| finance | "))
        _, _, _, rows, rejected, _, billed = (cell.strip() for cell in row.split("|")[1:-1])
        assert int(rejected) >= 40
        assert billed == "7 B"
        told = re.search(r"\nfinance: (.*); [0-9.]+ h", report.text)
        assert told
        assert told[1].split(", ")[number] == f"{rows} / {rejected} / {billed}"
    ages = page.split("## Data age\n")[1]
    for source in SOURCES:
        assert re.search(rf"\n\| {source} \| [0-9.]+ \| [0-9.]+ \|", ages)
    three = ", ".join([f"{total} ({bad})"] * 3)
    assert re.search(rf"\nelt/finance: {re.escape(three)}; [0-9.]+ / [0-9.]+ s", report.text)
    assert "\nrun: http" in report.text


def test_each_was_told_once_and_is_over_and_no_secret_has_arrived(platform: Platform) -> None:
    assert platform.measured
    platform.completes("alerts")  # one that the machine took with it is over, too
    until("all is over", lambda: not standing(platform.sinks))
    platform.switch_timer_off()
    read = len(both(platform.sinks)) + len(both(platform.sinks, reports=True))
    assert read == len(platform.sinks.slack) == len(platform.sinks.email)

    kept = "".join(path.read_text() for path in platform.incidents.parent.iterdir())
    for secret in (PLANTED, SHAPED, WRONG_KEY):
        assert secret not in platform.sinks.everything()
        assert secret not in kept
    assert platform.watchdog
    assert {one[0] for one in platform.watchdog} == {"0"}, platform.watchdog
