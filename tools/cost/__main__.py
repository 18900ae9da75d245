"""`make cost`: records the platform's statements on the embedded stack and writes docs/cost.md."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sandbox.parts import isolated
from sandbox.stack import Stack
from testing.recording import STORES, analyse, record
from tools.cost.document import render
from tools.cost.month import ROOT


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cost-") as directory:
        stack = Stack(Path(directory) / "stack", isolated(os.environ))
        stack.up(STORES)
        try:
            os.environ.update(stack.env())
            recording = record(stack.env(), Path(directory) / "dbt")
        finally:
            stack.down()
    path = ROOT / "docs" / "cost.md"
    path.write_text(render(recording, analyse(recording)))
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
