"""What a person configures: clear errors, prefixes kept, no value printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.urls import join

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        ("https://a.example", "https://a.example/query"),
        ("https://a.example/", "https://a.example/query"),
        ("https://a.example/prefix/two", "https://a.example/prefix/two/query"),
        ("https://a.example/prefix/two/", "https://a.example/prefix/two/query"),
    ],
)
def test_a_path_prefix_is_kept(base: str, joined: str) -> None:
    assert join(base, "/query") == join(base, "query") == joined


def test_a_missing_variable_is_named_and_no_value_is_shown() -> None:
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GCP_", "GCS_", "USGS_", "PREFECT_"))
    }
    env |= {"GCS_BUCKET": "my-bucket", "USGS_BASE_URL": "s3cret nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "blocks.register"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "GCP_PROJECT: Field required" in done.stderr
    assert "USGS_BASE_URL: " in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert "my-bucket" not in done.stdout + done.stderr


def test_every_variable_of_the_settings_stands_in_the_example() -> None:
    from blocks.settings import Settings

    example = (ROOT / ".env.example").read_text()
    missing = [name for name in Settings.model_fields if f"{name.upper()}=" not in example]
    assert missing == []
