"""A failed build is taken up where it failed: what passed is not run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sources.ph_news.mapping import TABLE
from tasks.build import BuildFailed, build
from tests.dbt_project import raw
from tests.dbt_project.conftest import Query

SELECT = ["source:ph_news", "stg_ph_news__articles"]


def statuses(target_path: Path) -> dict[str, str]:
    results = json.loads((target_path / "run_results.json").read_text())["results"]
    assert results
    return {result["unique_id"]: result["status"] for result in results}


def test_only_what_failed_or_was_skipped_is_run_again(
    dbt_env: dict[str, str], query: Query, target_path: Path
) -> None:
    env = dbt_env | {"RAW_DATASET": "raw_continues", "DBT_DATASET_PREFIX": "continues_"}
    raw.create(query, TABLE, "raw_continues")
    raw.insert(query, TABLE, [raw.ARTICLE, raw.ARTICLE], "raw_continues")
    with pytest.raises(BuildFailed) as failed:
        build(SELECT, target_path, env, query)
    first = statuses(target_path)
    undone = {node for node, status in first.items() if status in ("fail", "skipped")}
    assert "model.data_pipelines.stg_ph_news__articles" in undone
    assert 0 < len(undone) < len(first)

    # Still so: it fails at the same node, and names it.
    failed_id = failed.value.result.build_id
    with pytest.raises(BuildFailed, match=r"from where it failed: .*articles.*a1") as again:
        build(SELECT, target_path, env, query, continues=failed_id)
    assert statuses(target_path).keys() == undone
    assert again.value.result.continues == failed_id
    assert again.value.result.build_id != failed_id

    query("delete from raw_continues.ph_news__articles where true")
    raw.insert(query, TABLE, [raw.ARTICLE], "raw_continues")
    result = build(SELECT, target_path, env, query, continues=again.value.result.build_id)
    assert statuses(target_path).keys() == undone
    assert (result.nodes_passed, result.nodes_skipped) == (len(undone), 0)
    rows = query("select article_id from continues_staging.stg_ph_news__articles")
    assert rows == [{"article_id": "a1"}]

    # Its artifacts are not those of the build that is asked for: everything is run.
    whole = build(SELECT, target_path, env, query, continues=failed_id)
    assert whole.continues is None
    assert statuses(target_path).keys() == first.keys()
