"""Words that a reader stumbles over are neither in the documentation nor in the product's prose."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.rooms import PRODUCT, ROOT

# Each has a plain word: exists, again, is reported, becomes, is completed, by command.
BANNED = re.compile(
    r"\b(anew|stands|(?:is|are)\s+told|comes\s+to|ma[dk]es?\s+good|by\s+hand|the\s+whole\s+of)\b",
    re.IGNORECASE,
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def without_code(text: str) -> str:
    return re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def prose_of(path: Path) -> Iterator[str]:
    """The docstrings and comments of a file."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_none(page: Path) -> None:
    assert BANNED.findall(without_code(page.read_text())) == []


@pytest.mark.parametrize("room", PRODUCT)
def test_docstrings_and_comments_have_none(room: str) -> None:
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    for path in paths:
        found = [part for part in prose_of(path) if BANNED.search(part)]
        assert found == [], path.relative_to(ROOT)
