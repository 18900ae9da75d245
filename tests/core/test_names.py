"""No name that docs/names.md says is gone is left in the code, its SQL or its messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from core.ledger import TABLES
from testing.rooms import ORDER, ROOT

DBT = ROOT / "dbt"
MANIFEST = ("core/batch.py", "in manifest.json, which the release before reads as well")
# Where a name is left, by the beginning of a path, and why.
EXCEPTIONS: dict[str, list[tuple[str, str]]] = {
    "Outcome": [("", "has moved, and keeps its name")],
    "extract": [("", "has moved, and keeps its name")],
    "commit": [("", "what BatchWriter does; the function of that name is gone")],
    "standing": [("", "what is there, in Python; in SQL it was an alias")],
    "digest": [("", "a hash; what was also called so is the daily report")],
    "Page": [("dashboards/", "a page that is read in a browser")],
    "admit": [("sandbox/sources/", "whether a stand-in has a request left for a key")],
    "pack": [("sources/nyc_fhv/mapping.py", "of the standard library's struct")],
    "planted": [("sandbox/sources/", "what a test adds to the world of a stand-in")],
    "looked": [
        (
            "alerting/incidents.py",
            "in the file of the incidents, which the release before reads as well",
        ),
        ("deploy/ledger_names.py", "is renamed there"),
    ],
    **{name: [MANIFEST] for name in ("met_again", "odd", "seen")},
}
# In a sentence these are words like others.
ENGLISH = {"commit", "digest", "extract", "looked", "seen"}
# A function of SQL.
SQL = {"extract"}
STATEMENT = re.compile(r"\b(?:SELECT|INSERT|UPDATE|ALTER|WHERE|FROM)\b")


def former() -> set[str]:
    """The identifiers in the left column of the page."""
    page = (ROOT / "docs" / "names.md").read_text()
    cells = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    words = {word.lstrip("@") for cell in cells for word in re.findall(r"`([^`]+)`", cell)}
    return {word for word in words if word.isidentifier()}


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Everything that the code calls by a name."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name, asname=other):
                yield from (*name.split("."), other or name)


def texts(tree: ast.AST) -> Iterator[str]:
    """Everything that the code says or sends: its strings, which docstrings are not."""
    prose = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                prose.add(id(first.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def models() -> list[Path]:
    found = (path for kind in ("models", "macros", "tests") for path in (DBT / kind).rglob("*"))
    return sorted(path for path in found if path.suffix in (".sql", ".yml"))


def told(found: object) -> Iterator[str]:
    """What a file of dbt says to dbt: all but its descriptions."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key != "description":
                yield str(key)
                yield from told(value)
    elif isinstance(found, list):
        for value in found:
            yield from told(value)
    else:
        yield str(found)


def test_the_page_names_what_is_gone() -> None:
    assert {"met_again", "odd", "seen", "looked", "Draft", "insist"} <= former()
    assert EXCEPTIONS.keys() | ENGLISH <= former()


@pytest.mark.parametrize("room", ORDER)
def test_the_code_has_no_name_that_is_gone(room: str) -> None:
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    for path in paths:
        where, tree = str(path.relative_to(ROOT)), ast.parse(path.read_text())
        gone = {
            name
            for name in former()
            if not any(where.startswith(place) for place, _ in EXCEPTIONS.get(name, ()))
        }
        assert set(identifiers(tree)) & gone == set(), where
        for text in texts(tree):
            # A key, a column or a state stands alone, or in a statement.
            is_stored = text in gone or STATEMENT.search(text)
            found = words(text) & (gone if is_stored else gone - ENGLISH)
            assert found == set(), f"{where}: {text}"


def test_the_ledger_has_no_column_that_is_gone() -> None:
    columns = {column.name for declared, _ in TABLES.values() for column in declared}
    assert columns and columns & former() == set()


def test_no_model_has_a_column_or_a_value_that_is_gone() -> None:
    paths = models()
    assert paths
    for path in paths:
        text = path.read_text()
        if path.suffix == ".sql":
            found = words(re.sub(r"--.*", "", text))
        else:
            found = {word for one in told(yaml.safe_load(text)) for word in words(one)}
        assert found & (former() - SQL) == set(), path.relative_to(ROOT)
