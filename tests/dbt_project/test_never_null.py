"""One query looks after several columns, and still names the one that is null."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.build import BuildFailed, build
from sources.ph_news.mapping import TABLE
from testing import raw
from testing.raw import Query


def test_a_failing_test_of_several_columns_names_column_and_key(
    dbt_env: dict[str, str], query: Query, target_path: Path
) -> None:
    env = dbt_env | {"RAW_DATASET": "raw_null", "DBT_DATASET_PREFIX": "null_"}
    raw.create(query, TABLE, "raw_null")
    second = {**raw.ARTICLE, "article_id": "a2", "url": None, "_inserted_at": None}
    raw.insert(query, TABLE, [raw.ARTICLE, second], "raw_null")
    with pytest.raises(BuildFailed) as failed:
        build("stg_ph_news__articles", target_path, env, query)
    (failure,) = failed.value.result.failures
    assert (failure.node, failure.failing_rows) == ("stg_ph_news__articles_never_null", 2)
    assert set(failure.keys) == {"article_url/a2", "inserted_at/a2"}
