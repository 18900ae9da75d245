"""A source run by hand, without Prefect: help, dry run, run, undo, replay, trace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.names import flow_of, source_of
from runs.settings import OF_SOURCES
from testing.matrix import only, or_slow
from testing.platform import TestPlatform
from testing.without_prefect import PYTHON, without_prefect

ROOT = Path(__file__).resolve().parents[2]
# Where each source answers.
VARIABLES = {
    source_of(name): kind.variables()["base_url"].upper() for name, kind in OF_SOURCES.items()
}


def by_hand(
    source: str,
    platform: TestPlatform | None,
    *options: str,
    python: Sequence[str] = (sys.executable,),
) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ)
    if platform:
        env |= platform.env | {
            "RAW_DATASET": platform.stores.warehouse.raw_dataset,
            "LANDING_RETENTION_DAYS": f"{platform.retention_days:g}",
            VARIABLES[source]: platform.sources_url,
        }
    return subprocess.run(
        [*python, "-m", "repair", flow_of(source), *options],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "source", or_slow(lambda source: source == "nyc_fhv", [(name,) for name in VARIABLES])
)
def test_help_names_the_options(source: str) -> None:
    done = by_hand(source, None, "--help")
    assert done.returncode == 0, done.stderr
    assert "--dry-run" in done.stdout
    assert ("--start" in done.stdout) is (source == "usgs_earthquake")
    assert ("--allow-deletions" in done.stdout) is (source in ("finance", "nyc_fhv"))
    for option in ("--replay BATCH", "--undo BATCH", "--trace KEY"):
        assert option in done.stdout


@pytest.mark.parametrize(
    "source",
    only(
        lambda source: source == "finance",
        [(name,) for name in VARIABLES],
        lambda source: source == "usgs_earthquake",
    ),
)
def test_a_dry_run_writes_nothing_and_a_run_does(
    source: str, make_platform: Callable[..., TestPlatform]
) -> None:
    # Of vehicles 1,001 are the least that is believed.
    platform = make_platform(kit=source, size=1_100 if source == "nyc_fhv" else 60)
    platform.stores.warehouse.ensure_ledger()
    dry = by_hand(source, platform, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    told = dict(line.split(maxsplit=1) for line in dry.stdout.splitlines()[:3])
    assert told["window"] == "first load"
    assert int(told["requests"]) > 0
    assert int(told["extracted"].replace(",", "")) > 0
    assert platform.ledger() == []
    assert platform.objects() == []
    done = by_hand(source, platform)
    assert done.returncode == 0, done.stderr
    assert len(platform.ledger()) == 1
    assert len(platform.rows()) > 0


def test_a_run_that_fails_says_why_in_one_line(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="nyc_fhv", size=60)
    platform.control("faults", [{"kind": "status", "status": 403, "times": -1}])
    refused = by_hand("nyc_fhv", platform)
    platform.control("faults", [])
    lost = by_hand("nyc_fhv", replace(platform, env=platform.env | {"S3_BUCKET": "no-such-bucket"}))
    for done, reason in ((refused, "HTTP 403"), (lost, "NoSuchBucket")):
        assert done.returncode == 1
        (line,) = [one for one in done.stderr.splitlines() if not one.startswith("WARNING ")]
        assert line.startswith("nyc_fhv, ") and reason in line


def test_what_is_not_configured_is_said(platform: TestPlatform) -> None:
    env = {name: value for name, value in os.environ.items() if name != "OPENWEATHER_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-m", "repair", "openweather"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "openweather is not configured: set OPENWEATHER_API_KEY\n"


def test_a_source_runs_end_to_end_where_prefect_is_not_installed(
    make_platform: Callable[..., TestPlatform], tmp_path: Path
) -> None:
    platform = make_platform(kit="finance", size=60)
    env = without_prefect(tmp_path)
    absent = subprocess.run([*PYTHON, "-c", "import prefect"], env=env, check=False)
    assert absent.returncode == 1
    done = by_hand("finance", replace(platform, env=platform.env | env), python=PYTHON)
    assert done.returncode == 0, done.stderr
    platform.assert_equals_truth()
    platform.assert_settled()
    assert by_hand("finance", platform).returncode == 0
    platform.control("advance")
    assert (
        by_hand("finance", replace(platform, env=platform.env | env), python=PYTHON).returncode == 0
    )
    platform.assert_equals_truth()
    assert [line["state"] for line in platform.ledger()] == ["applied", "no_change", "applied"]


def test_the_old_command_says_the_new_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.finance", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == "python -m flows.finance is now: python -m repair finance\n"
    assert "--dry-run" in done.stdout


@pytest.mark.parametrize(
    ("source", "options", "refusal"),
    or_slow(
        lambda *case: case[1] in ("--undo X --replay Y", "--replay X --allow-deletions"),
        [
            ("usgs_earthquake", "--undo X --start 2026-01-01", "--undo goes without --start"),
            ("usgs_earthquake", "--replay X --end 2026-01-01", "--replay goes without --end"),
            ("openweather", "--undo X --replay Y", "--undo goes without --replay"),
            ("usgs_earthquake", "--undo X --dry-run --end 2026-01-01", "--undo goes without --end"),
            ("ph_news", "--trace X --dry-run", "--trace goes without --dry-run"),
            (
                "usgs_earthquake",
                "--start 2026-01-02 --end 2026-01-01",
                "--start, --end: the range ends on 2026-01-01, before it begins on 2026-01-02",
            ),
            ("usgs_earthquake", "--start 2999-01-01", "begins on 2999-01-01, and today is"),
            ("usgs_earthquake", "--end yesterday", "'yesterday' is not a day, such as 2026-01-31"),
            ("finance", "--undo X --allow-deletions", "--undo goes without --allow-deletions"),
            (
                "ph_news",
                "--replay X --allow-deletions",
                "unrecognized arguments: --allow-deletions",
            ),
        ],
    ),
)
def test_options_that_do_not_go_together_are_refused(
    source: str, options: str, refusal: str
) -> None:
    done = by_hand(source, None, *options.split())
    assert done.returncode == 2
    assert refusal in done.stderr


@pytest.mark.slow
def test_a_batch_is_undone_and_replayed_and_told_of_by_hand(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="finance", size=60, retention_days=7)
    platform.run()
    (batch_id,) = (line["batch_id"] for line in platform.ledger())
    key = sorted(row["id"] for row in platform.rows().values())[0]
    assert re.fullmatch(
        rf"row       batch {batch_id}, inserted [-\d: ]+ UTC, not deleted\n"
        r"batch     applied [-\d: ]+ UTC: incremental, first load, observed [-\d: ]+ UTC, "
        r"code [0-9a-f]{12}\n",
        told(platform, "--trace", key),
    )
    rows = platform.rows()
    dry = told(platform, "--undo", batch_id, "--dry-run")
    mode = f"incremental, first load: {len(rows)} inserted"
    assert re.match(rf"batch     {batch_id}, applied [-\d: ]+ UTC: {mode}", dry)
    assert f"raw.finance__ledger {len(rows)} rows, and 0 before these batches\n" in dry
    assert f"rows      {len(rows)} go, 0 are again as they were\n" in dry
    assert dry.endswith("nothing was undone: a dry run\n")
    assert platform.rows() == rows
    done = told(platform, "--undo", batch_id)
    assert done.startswith(dry.removesuffix("nothing was undone: a dry run\n"))
    assert f"undone: {batch_id}; finance__ledger is what it was before {batch_id}, 0 rows" in done
    assert platform.rows() == {}
    done = told(platform, "--replay", batch_id, "--allow-deletions")
    assert f"rows into raw.finance__ledger ({len(platform.rows())} inserted" in done
    platform.assert_equals_truth()
    again = told(platform, "--trace", key)
    assert f"; replay of {batch_id}" in again
    for options, cause in (
        (("--trace", "nobody"), "finance__ledger has no row with id = nobody"),
        (("--undo", "it"), "'it' is not a batch id"),
        (("--undo", ""), "'' is not a batch id"),
        (("--replay", "20260102T030405678901_0a1b2c3d"), "cannot be replayed: it is not in"),
    ):
        done_badly = by_hand("finance", platform, *options)
        assert done_badly.returncode == 1
        assert cause in done_badly.stderr
        assert "Traceback" not in done_badly.stderr


def told(platform: TestPlatform, *options: str) -> str:
    done = by_hand("finance", platform, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout
