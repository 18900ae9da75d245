"""What `make vendor` checks in is what its digests say, and every `make` that is named exists."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
import vl_convert

from sandbox.stack import ROOT
from tools.vendor import PHILIPPINES, VENDORED, outline_of


def test_vendored_files_are_those_of_their_digests() -> None:
    known = json.loads((VENDORED / "DIGESTS.json").read_text())
    assert {"vega.js", "land-110m.json", "philippines-50m.json", "LICENSES.txt"} <= known.keys()
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDORED.iterdir()
        if file.name != "DIGESTS.json"
    }
    assert found == known


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("vega", vl_convert.get_vega_version()),
        ("vega-lite", vl_convert.get_vegalite_versions()[-1]),
        ("vega-embed", vl_convert.get_vega_embed_version()),
    ],
)
def test_the_libraries_are_of_the_wheel_that_is_locked(name: str, version: str) -> None:
    """A newer wheel in the lock needs `make vendor`."""
    licences = (VENDORED / "LICENSES.txt").read_text()
    assert re.search(rf"^{name} {re.escape(version.lstrip('v'))}[.\d]* \(", licences, re.MULTILINE)


def test_arcs_become_rings_in_degrees() -> None:
    topology: dict[str, Any] = {
        "transform": {"scale": [0.5, 0.5], "translate": [100, 0]},
        "arcs": [[[0, 0], [4, 0], [0, 4]], [[0, 0], [0, 4], [4, 0]]],
        "objects": {
            "countries": {"geometries": [{"id": PHILIPPINES, "type": "Polygon", "arcs": [[0, ~1]]}]}
        },
    }
    topology["objects"]["countries"]["geometries"][0]["properties"] = {"name": "Philippines"}
    outline = outline_of(topology, PHILIPPINES)
    # The second arc is walked backwards: from where the first ends to where it began.
    ring = [[100, 0], [102, 0], [102, 2], [100, 2], [100, 0]]
    assert outline["geometry"]["coordinates"] == [[ring]]


def test_every_make_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    code = [*ROOT.glob("dashboards/*.py"), *ROOT.glob("tools/*.py")]
    files = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *code]
    named = {
        (file.name, target)
        for file in files
        for target in re.findall(r"`make ([a-z-]+)", file.read_text())
    }
    assert {"vendor", "bench"} <= {target for _, target in named}
    assert {one for one in named if one[1] not in targets} == set()
    listed = set(re.findall(r'@echo "make ([a-z-]+)', makefile))
    assert targets - {"help"} <= listed
