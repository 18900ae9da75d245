"""Mutations of the product, each of which the tests must find (test_mutations.py).

`TestPlatform.mutation` names one; it is made in this process or in the child.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from core import merging
from core.batch import Manifest
from core.steps import step
from runs import load, upload
from runs.upload import BatchWriter
from stores import http


def manifest_first() -> None:
    """The parts are written when the manifest stands already."""
    held: dict[str, list[tuple[str, bytes]]] = {}

    class Late:
        """A bucket that keeps the parts to itself until there is a manifest."""

        def __init__(self, landing: Any) -> None:
            self.landing = landing

        def __getattr__(self, name: str) -> Any:
            return getattr(self.landing, name)

        def put(self, name: str, content: bytes) -> str:
            held.setdefault(self.landing.address, []).append((name, content))
            return hashlib.md5(content, usedforsecurity=False).hexdigest()

        def put_if_absent(self, name: str, content: bytes) -> bool:
            written: bool = self.landing.put_if_absent(name, content)
            for part, body in held.pop(self.landing.address, []):
                with step("upload.part"):
                    self.landing.put(part, body)
            return written

    new_batch = upload.new_batch

    @contextmanager
    def late(*args: Any, **kwargs: Any) -> Iterator[BatchWriter]:
        with new_batch(*args, **kwargs) as batch:
            batch.landing = Late(batch.landing)
            yield batch

    # Nothing to compare while nothing is there.
    vars(upload)["check_parts"] = lambda *_: None
    everywhere("new_batch", new_batch, late)


def everywhere(name: str, old: Any, new: Any) -> None:
    """Replace what modules have imported by name."""
    for module in list(sys.modules.values()):
        if vars(module).get(name) is old:
            setattr(module, name, new)


def clean_before_the_ledger() -> None:
    """A batch's objects go as soon as it is staged."""
    stage = load.stage

    def staged(warehouse: Any, landing: Any, prefix: str, manifest: Manifest) -> None:
        stage(warehouse, landing, prefix, manifest)
        for stored in list(landing.list(prefix)):
            landing.delete(stored.name)

    vars(load)["stage"] = staged


def no_order() -> None:
    """Whatever batch comes last wins."""
    ranked_rows = merging.ranked_rows

    def always_newer(*args: Any) -> str:
        return ranked_rows(*args).replace(" IS NOT NULL AND ", " IS NULL AND ", 1)

    vars(merging)["ranked_rows"] = always_newer


def retry_401() -> None:
    http.REPEATABLE.add(401)


MUTATIONS: dict[str, Callable[[], None]] = {
    "manifest first": manifest_first,
    "clean before the ledger": clean_before_the_ledger,
    "no order": no_order,
    "retry 401": retry_401,
}
