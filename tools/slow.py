"""What `make test` leaves out, by module: `python -m tools.slow`.

How many tests of which mark, the seconds they last took here where they have been run, and why they
are slow, by the comment above the module's mark or else by what the module says it is.
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What pytest keeps in its cache: the seconds of each test by its id (tests/conftest.py).
SECONDS = "pipelines/seconds"
MARKS = ("slow", "matrix")


class Found:
    """A plug-in of pytest that counts what is collected."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        assert session.config.cache
        known: dict[str, float] = session.config.cache.get(SECONDS, {})
        for item in session.items:
            module = item.nodeid.partition("::")[0]
            count = self.counts.setdefault(module, Counter())
            count[next(mark for mark in MARKS if item.get_closest_marker(mark))] += 1
            self.seconds[module] += known.get(item.nodeid, 0)


def reason(module: Path) -> str:
    """The comment above `pytestmark`, else the first line of the docstring."""
    text = module.read_text()
    before = text.partition("\npytestmark")[0].splitlines()
    if "\npytestmark" in text and before[-1].startswith("# "):
        return before[-1].removeprefix("# ")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def main() -> int:
    found = Found()
    marks = f"({' or '.join(MARKS)}) and not cloud"
    options = ["--collect-only", "--quiet", "--rootdir", str(ROOT), "-m", marks]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = pytest.main([*options, str(ROOT / "tests")], [found])
    if code:
        print(told.getvalue())
        return int(code)
    print(f"{'slow':>5} {'matrix':>6} {'seconds':>7}  module, and why")
    for module in sorted(found.counts, key=lambda one: (-found.seconds[one], one)):
        count, seconds = found.counts[module], found.seconds[module]
        known = f"{seconds:.0f}" if seconds else "-"
        print(f"{count['slow']:5} {count['matrix']:6} {known:>7}  {module}")
        print(f"{'':22}{reason(ROOT / module)}")
    total = sum(found.counts.values(), Counter())
    print(f"{total['slow']:5} {total['matrix']:6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
