"""A source run by hand, without Prefect: help, dry run, run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {
    "usgs_earthquake": "USGS_BASE_URL",
    "openweather": "OPENWEATHER_BASE_URL",
    "ph_news": "MEDIASTACK_BASE_URL",
    "nyc_fhv": "SOCRATA_BASE_URL",
    "finance": "GOOGLE_SHEETS_BASE_URL",
}


def by_hand(source: str, lab: Lab | None, *options: str) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ)
    if lab:
        env |= lab.env | {
            "RAW_DATASET": lab.platform.warehouse.raw_dataset,
            "LANDING_RETENTION_DAYS": "0",
            VARIABLES[source]: lab.sources_url,
        }
    return subprocess.run(
        [sys.executable, "-m", f"flows.{source}", *options],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("source", VARIABLES)
def test_help_names_the_options(source: str) -> None:
    done = by_hand(source, None, "--help")
    assert done.returncode == 0, done.stderr
    assert "--dry-run" in done.stdout
    assert ("--start" in done.stdout) is (source == "usgs_earthquake")
    assert ("--allow-deletions" in done.stdout) is (source in ("finance", "nyc_fhv"))


@pytest.mark.parametrize("source", VARIABLES)
def test_a_dry_run_writes_nothing_and_a_run_does(source: str, make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(kit=source, size=60)
    lab.platform.warehouse.ensure_ledger()
    dry = by_hand(source, lab, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    told = dict(line.split(maxsplit=1) for line in dry.stdout.splitlines()[:3])
    assert told["window"] == "first load"
    assert int(told["requests"]) > 0
    assert int(told["extracted"]) > 0
    assert lab.ledger() == []
    assert lab.objects() == []
    done = by_hand(source, lab)
    assert done.returncode == 0, done.stderr
    assert len(lab.ledger()) == 1
    assert len(lab.rows()) > 0


def test_what_is_not_configured_is_said(lab: Lab) -> None:
    env = {name: value for name, value in os.environ.items() if name != "OPENWEATHER_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.openweather"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "openweather is not configured" in done.stderr
