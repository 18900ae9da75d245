"""Runs on the machine: what they take and make, how a failure is reported, backfill, replay."""

from __future__ import annotations

import re
import time

from deploy.apply import declared
from sandbox.stack import Stack
from testing.machine import (
    FINANCE,
    HOST,
    ON_DEBIAN,
    PIPELINES,
    RELEASE,
    SERVER,
    USGS,
    WITHIN_SECONDS,
    WORKER,
    Machine,
    measured,
    until,
)
from testing.page import Page
from testing.platform import TestPlatform
from testing.sinks import Sinks

pytestmark = ON_DEBIAN


def test_three_first_runs_at_once_fit_into_what_the_units_may_take(installed: Machine) -> None:
    """Each loads a source, builds its marts and makes the pages."""
    for source in ("finance", "nyc-fhv", "usgs-earthquake"):
        installed.run("pipelines", "prefect", "deployment", "run", f"elt/{source}")
    units = (SERVER, WORKER, installed.postgresql_unit, "nginx")
    peaks = dict.fromkeys(units, 0.0)
    most = 0
    count = "SELECT COUNT(*) FROM flow_run WHERE name LIKE 'elt %' AND state_type = "

    def are_over() -> bool:
        nonlocal most
        for unit in units:
            peaks[unit] = max(peaks[unit], installed.memory_of(unit))
        most = max(most, int(installed.ask(f"{count} 'RUNNING'")))
        return installed.ask(f"{count} 'COMPLETED'") == "3"

    until("three runs are Completed", are_over)
    assert most == 3, "they did not run at once"
    for unit, peak in peaks.items():
        limit = int(installed.run("systemctl", "show", "--value", "--property=MemoryMax", unit))
        allowed = limit / 2**20
        print(f"\nmeasured: most memory of {unit}: {peak:.0f} of {allowed:.0f} MB", end="")
        assert 1 < peak < allowed


def test_every_deployment_runs_from_the_command_line(installed: Machine, page: Page) -> None:
    assert "Completed" in page.follow(
        installed, f"{PIPELINES} prefect deployment run {USGS} --watch"
    )
    names = [one.name for one in declared() if one.name != USGS]
    assert len(names) > 9
    for name in names:
        installed.is_well(name)


def test_a_look_with_nothing_new_is_short(installed: Machine) -> None:
    began = time.monotonic()
    told = installed.run_now(FINANCE)
    measured("the command, a look with nothing new", time.monotonic() - began)
    (id_,) = re.findall(r"UUID: (\S+)", told)
    parts = installed.ask(
        "SELECT EXTRACT(EPOCH FROM end_time - created), EXTRACT(EPOCH FROM end_time - start_time) "
        f"FROM flow_run WHERE id = '{id_}' AND state_type = 'COMPLETED'",
    )
    whole, run = map(float, parts.split("|"))
    measured("from its creation to Completed", whole)
    measured("of which Running", run)


def test_what_the_services_take_when_idle(installed: Machine, ports: dict[str, int]) -> None:
    """Memory as proportional shares, and the time until each answers again."""
    busy = "SELECT COUNT(*) FROM flow_run WHERE state_type IN ('PENDING', 'RUNNING')"

    def is_idle() -> bool:
        return installed.ask(busy) == "0"

    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        until("no run is at work", is_idle)
        time.sleep(5)  # a process ends a moment after its run
        units = (SERVER, WORKER, installed.postgresql_unit, "nginx")
        megabytes = {unit: installed.memory_of(unit) for unit in units}
        if is_idle():
            break
        assert time.monotonic() < deadline
    for unit, taken in megabytes.items():
        print(f"\nmeasured: idle memory of {unit}: {taken:.0f} MB", end="")
        assert 1 < taken < 900
    for unit, url in (
        (SERVER, f"http://127.0.0.1:{ports['prefect']}/api/health"),
        (WORKER, f"http://127.0.0.1:{ports['health']}/health"),
    ):
        installed.run("systemctl", "stop", unit)
        began = time.monotonic()
        installed.run("systemctl", "start", unit)
        installed.run(f"{RELEASE}/deploy/answers.sh", url, "600")
        measured(f"start of {unit} until it answers", time.monotonic() - began)


def test_applying_again_changes_nothing(installed: Machine, page: Page) -> None:
    def standing() -> str:
        return installed.ask(
            # The worker writes `status` and `last_polled`.
            "SELECT to_jsonb(d) - 'updated' - 'last_polled' - 'status' FROM deployment d"
            " ORDER BY id;"
            "SELECT to_jsonb(s) - 'updated' FROM deployment_schedule s ORDER BY id;"
            "SELECT to_jsonb(a) - 'updated' FROM automation a ORDER BY id",
        )

    before = standing()
    assert "hourly" in before
    told = page.follow(installed, f"{PIPELINES} python -m deploy.apply")
    assert f"deployed {FINANCE}" in told
    assert "removed" not in told
    told = installed.run("pipelines", "python", "-m", "blocks.automations")
    assert re.findall("^(\\w+) pipelines: ", told, re.MULTILINE) == ["unchanged", "unchanged"]
    assert standing() == before


def test_the_catalog_is_served_to_whoever_has_the_password(
    installed: Machine, ports: dict[str, int]
) -> None:
    installed.is_well("data-catalog/hourly")
    assert installed.browse(ports, "/catalog/").status_code == 401
    assert installed.browse(ports, "/catalog/", "admin:wrong").status_code == 401
    page = installed.browse(ports, "/catalog/", installed.password)
    assert page.status_code == 200
    assert "finance__ledger" in page.text
    # What a page cannot say of itself. The rest of its policy is in it.
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert 'http-equiv="Content-Security-Policy"' in page.text


def test_the_dashboards_are_served_to_whoever_has_the_password(
    installed: Machine, ports: dict[str, int]
) -> None:
    installed.is_well("elt/usgs-earthquake")
    assert installed.browse(ports, "/dashboards/").status_code == 401
    secret = installed.password
    page = installed.browse(ports, "/dashboards/earthquakes.html", secret)
    assert page.status_code == 200
    assert "recent_earthquakes" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src")
    assert page.headers["cache-control"] == "no-cache"
    (script,) = re.findall(r'src="(vega-[0-9a-f]+\.js)"', page.text)
    kept = installed.browse(ports, f"/dashboards/{script}", secret)
    assert "max-age=315360000" in kept.headers["cache-control"]
    outside = installed.browse(
        ports, "/dashboards/..%2f..%2fsnapshots/private/current/manifest.json", secret
    )
    assert "sha256" not in outside.text
    served = "/var/www/data-pipelines/serving"
    modes = installed.run(
        "stat", "-c", "%a %G", f"{served}/pages/private", f"{served}/pages/public"
    )
    assert modes.split("\n")[:2] == ["2750 www-data", "755 pipelines"]
    # Somebody else on the machine reads neither.
    listed = installed.run(
        "sh", "-c", f"runuser -u nobody -- ls {served}/snapshots/private || true"
    )
    assert "parquet" not in listed


def test_a_failed_run_and_a_stopped_worker_are_told(
    installed: Machine, stack: Stack, sinks: Sinks
) -> None:
    """The one by an automation, the other by the timer, whose journal says so."""
    platform = TestPlatform("demo", stack.env(), "usgs_earthquake", raw_dataset="raw")

    def arrivals(title: str) -> int:
        return sum(title in one.subject for one in sinks.slack)

    def arrives(title: str) -> float:
        """The seconds until one more has come."""
        count = arrivals(title)
        return until(title, lambda: arrivals(title) > count)

    platform.control("faults", [{"kind": "status", "status": 403, "times": 50}])
    try:
        command = ("pipelines", "prefect", "deployment", "run", USGS, "--watch")
        assert installed.attempt(*command).returncode == 1
    finally:
        platform.control("faults", [])
    measured("a failed run is told", until("it is", lambda: arrivals(f"{USGS} failed")))
    told = next(one.text for one in sinks.slack if f"{USGS} failed" in one.subject)
    assert re.search(rf"\nrun: https://{re.escape(HOST)}(:\d+)?/runs/flow-run/\S{{36}}\n", told)
    installed.is_well(USGS)

    title = "the worker does not answer"
    installed.run("systemctl", "stop", WORKER)
    measured("a stopped worker is told", arrives(title))

    def journal() -> str:
        return installed.run("journalctl", "--no-pager", "--unit=data-pipelines-watchdog")

    until("the journal", lambda: f"sent to slack: [pipelines] {title}" in journal())
    installed.run("systemctl", "start", WORKER)
    measured("that it works again is told", arrives(title))
    told = journal()
    for secret in installed.secrets(stack):
        assert secret not in told + sinks.everything()


def test_a_stopped_worker_leaves_no_run_behind(installed: Machine) -> None:
    """Its runs end Crashed and their slots are free: the next run does not wait."""
    told = installed.run("pipelines", "prefect", "deployment", "run", USGS)
    (id_,) = re.findall(r"UUID: (\S+)", told)

    def state() -> str:
        return installed.ask(f"SELECT state_type FROM flow_run WHERE id = '{id_}'")

    until("it runs", lambda: state() == "RUNNING")
    began = time.monotonic()
    installed.run("systemctl", "stop", WORKER)
    measured("a worker with a run stops", time.monotonic() - began)
    installed.run("systemctl", "start", WORKER)
    assert state() == "CRASHED"
    installed.is_well(USGS)


def test_days_are_loaded_again_and_a_held_list_is_allowed(
    installed: Machine, stack: Stack, page: Page
) -> None:
    run = f"{PIPELINES} prefect deployment run"
    told = page.follow(installed, f"{run} {USGS} -p start=2026-01-01 -p end=2026-01-31 --watch")
    assert "Completed" in told
    platform = TestPlatform("demo", stack.env(), "usgs_earthquake", raw_dataset="raw")
    backfills = [line for line in platform.ledger() if line["mode"] == "backfill"]
    assert [f"{line['window_start']:%Y-%m-%d}" for line in backfills] == ["2026-01-01"]
    told = page.follow(installed, f"{run} elt/nyc-fhv -p allow_deletions=true --watch")
    assert "Completed" in told


def test_a_batch_is_told_of_undone_and_replayed(
    installed: Machine, stack: Stack, page: Page
) -> None:
    command = f"{PIPELINES} python -m repair finance"
    platform = TestPlatform("demo", stack.env(), "finance", raw_dataset="raw")
    key, row = next(iter(platform.rows().items()))
    told = page.follow(installed, f"{command} --trace KEY", {"KEY": key[0]})
    batch = row["_batch_id"]
    assert batch in told
    rows = len(platform.rows())
    assert rows > 0
    told = page.follow(installed, f"{command} --undo BATCH --dry-run", {"BATCH": batch})
    assert "nothing was undone: a dry run" in told
    assert len(platform.rows()) == rows
    page.follow(installed, f"{command} --undo BATCH", {"BATCH": batch})
    assert len(platform.rows()) < rows
    page.follow(installed, f"{command} --replay BATCH", {"BATCH": batch})
    assert len(platform.rows()) == rows
    installed.is_well()
    platform.assert_equals_truth()
