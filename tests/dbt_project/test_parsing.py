"""The project is parsed once: builds after the first read what dbt kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.build import PARSED, BuildFailed, _invoke, build
from sources.ph_news.mapping import TABLE
from testing import raw
from testing.raw import Query
from tests.dbt_project.conftest import RunDbt

SELECT = "stg_ph_news__articles"
UNABLE = "Unable to do partial parsing"


@pytest.fixture(scope="module")
def env(dbt_env: dict[str, str], query: Query) -> dict[str, str]:
    raw.create(query, TABLE, "raw_parsing")
    raw.insert(query, TABLE, [raw.ARTICLE], "raw_parsing")
    return dbt_env | {"RAW_DATASET": "raw_parsing", "DBT_DATASET_PREFIX": "parsing_"}


@pytest.fixture(scope="module")
def parsed(env: dict[str, str], query: Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target path of a first build, which says in its log that nothing was parsed yet."""
    target_path = tmp_path_factory.mktemp("parsing") / "ph_news"
    build(SELECT, target_path, env, query, suite="keys")
    assert UNABLE in log(target_path)
    return target_path


def log(target_path: Path) -> str:
    return (target_path / "logs" / "dbt.log").read_text()


def parsings(target_path: Path) -> tuple[int, int]:
    """How often dbt parsed everything, by its log, and when it last parsed anything: it writes the
    file exactly then."""
    return log(target_path).count(UNABLE), (target_path / PARSED).stat().st_mtime_ns


def test_a_second_build_parses_nothing_whatever_it_is_asked_for(
    parsed: Path, env: dict[str, str], query: Query, tmp_path: Path
) -> None:
    before = parsings(parsed)
    # Each run has the key in a file of another name, and its own window.
    key = tmp_path / "key.json"
    key.write_bytes(Path(env["GCP_SERVICE_ACCOUNT_FILE"]).read_bytes())
    at = "TIMESTAMP '2026-03-01 00:00:00+00:00'"
    window = {f"DBT_WINDOW_{name}": at for name in ("AFTER", "UNTIL", "FROM", "TO")}
    changed = env | window | {"GCP_SERVICE_ACCOUNT_FILE": str(key)}
    build(SELECT, parsed, changed, query, suite="keys")
    build([SELECT, "manila_calendar"], parsed, env, query, full_refresh=True)
    assert parsings(parsed) == before


def test_a_build_after_one_that_failed_parses_nothing(
    parsed: Path, env: dict[str, str], query: Query
) -> None:
    before = parsings(parsed)
    raw.insert(query, TABLE, [raw.ARTICLE], "raw_parsing")
    with pytest.raises(BuildFailed):
        build(SELECT, parsed, env, query)
    query("delete from raw_parsing.ph_news__articles where true")
    raw.insert(query, TABLE, [raw.ARTICLE], "raw_parsing")
    assert build(SELECT, parsed, env, query).nodes_failed == 0
    assert parsings(parsed) == before


def test_a_first_build_begins_with_what_was_parsed_beside_it(
    parsed: Path, env: dict[str, str], query: Query
) -> None:
    beside = parsed.parent / "usgs_earthquake"
    build(SELECT, beside, env, query, suite="keys")
    assert UNABLE not in log(beside)
    assert (beside / PARSED).read_bytes() == (parsed / PARSED).read_bytes()
    assert (beside / "manifest.json").exists()


def test_a_first_build_begins_with_what_dbt_parse_left_beside_it(
    run_dbt: RunDbt, env: dict[str, str], query: Query, tmp_path: Path
) -> None:
    installed, target_path = tmp_path / "installed", tmp_path / "ph_news"
    result, _ = run_dbt("parse", "--target-path", str(installed), **env)
    assert result.success
    build(SELECT, target_path, env, query, suite="keys")
    assert UNABLE not in log(target_path)


def test_what_was_parsed_beside_it_and_cannot_be_read_is_parsed_again(
    env: dict[str, str], query: Query, tmp_path: Path
) -> None:
    broken = tmp_path / "broken" / PARSED
    broken.parent.mkdir()
    broken.write_bytes(b"half a file")
    build(SELECT, tmp_path / "ph_news", env, query, suite="keys")
    assert (tmp_path / "ph_news" / PARSED).stat().st_size > 100_000


def test_the_manifest_is_written_again_when_something_was_parsed(
    parsed: Path, env: dict[str, str], query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the runner that flows have; dbt's own writes it twice per build."""
    monkeypatch.setattr("tasks.prefect_tasks.is_in_flow", lambda: True)
    manifest = parsed / "manifest.json"
    build(SELECT, parsed, env, query, suite="keys")
    before = manifest.stat().st_mtime_ns
    build(SELECT, parsed, env, query, suite="keys")
    assert manifest.stat().st_mtime_ns == before
    build(SELECT, parsed, env | {"DBT_DATASET_PREFIX": "renamed_"}, query, suite="keys")
    assert "renamed_staging" in manifest.read_text()


def test_why_dbt_did_not_start_is_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prefect-dbt has them in a sentence of its own alone."""
    for in_flow in (True, False):
        monkeypatch.setattr("tasks.prefect_tasks.is_in_flow", lambda in_flow=in_flow: in_flow)
        cause = _invoke(["build", "--no-such-option"], tmp_path)
        assert cause is not None and cause.startswith("No such option")
