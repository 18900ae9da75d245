"""The catalog's page: dbt's own, with data that stays data."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest
from dbt.task.docs import DOCS_INDEX_FILE_PATH

from runs.catalog_page import CATALOG, MANIFEST, UnknownPage, one_page

TEMPLATE = Path(DOCS_INDEX_FILE_PATH).read_text(encoding="utf-8")


def test_no_text_of_the_data_ends_the_script_or_begins_one() -> None:
    told = {"description": "</script><script>alert(1)</script><!-- ü"}
    page = one_page(TEMPLATE, json.dumps(told), "{}").decode()
    (script,) = re.findall(r'<script defer="defer">(.*?)</script', page, re.DOTALL)
    assert page.count("</script") == 1
    (data,) = re.findall(r"n=\{manifest:(\{.*?\}),catalog:\{\}\}", script)
    assert json.loads(data) == told
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page[:1024]
    assert "unsafe-eval'" not in page[:1024]


@pytest.mark.parametrize(
    "change", [(MANIFEST, "{}"), (CATALOG, "{}"), ("</head>", "<script></script>")]
)
def test_a_page_that_is_not_as_dbts_was_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(UnknownPage, match="dbt's page has "):
        one_page(TEMPLATE.replace(*change), "{}", "{}")
