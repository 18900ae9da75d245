"""A build that failed is run again from its beginning: what passed and what did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs.build import BuildFailed, build
from sources.ph_news.mapping import TABLE
from testing import raw
from testing.raw import Query

SELECT = ["source:ph_news", "stg_ph_news__articles"]


def statuses(target_path: Path) -> dict[str, str]:
    results = json.loads((target_path / "run_results.json").read_text())["results"]
    assert results
    return {result["unique_id"]: result["status"] for result in results}


def test_the_build_after_one_that_failed_runs_every_node_again(
    dbt_env: dict[str, str], query: Query, target_path: Path
) -> None:
    env = dbt_env | {"RAW_DATASET": "raw_again", "DBT_DATASET_PREFIX": "again_"}
    raw.create(query, TABLE, "raw_again")
    raw.insert(query, TABLE, [raw.ARTICLE, raw.ARTICLE], "raw_again")
    with pytest.raises(BuildFailed) as failed:
        build(SELECT, target_path, env, query)
    first = statuses(target_path)
    undone = {node for node, status in first.items() if status in ("fail", "skipped")}
    assert "model.data_pipelines.stg_ph_news__articles" in undone
    assert 0 < len(undone) < len(first)

    # Still so: it fails at the same node, and names it.
    with pytest.raises(BuildFailed, match=r"^dbt: \d+ passed, .*articles.*a1") as again:
        build(SELECT, target_path, env, query)
    assert statuses(target_path) == first
    assert again.value.result.build_id != failed.value.result.build_id

    query("delete from raw_again.ph_news__articles where true")
    raw.insert(query, TABLE, [raw.ARTICLE], "raw_again")
    result = build(SELECT, target_path, env, query)
    assert statuses(target_path).keys() == first.keys()
    assert (result.nodes_passed, result.nodes_skipped) == (len(first), 0)
    rows = query("select article_id from again_staging.stg_ph_news__articles")
    assert rows == [{"article_id": "a1"}]
