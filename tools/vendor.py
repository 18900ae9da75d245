"""`make vendor`: the libraries and outlines that pages use, as files of this project.

Vega, Vega-Lite and Vega-Embed come as one script from the wheel of vl-convert-python, outlines of
land from Natural Earth by npm's world-atlas. All are checked in with their licences and digests, so
that neither a page nor production needs another host, Node or a JavaScript engine.

Requires: npm, and this project's development environment.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vl_convert

VENDORED = Path(__file__).resolve().parents[1] / "dashboards" / "vendor"
ATLAS = "world-atlas@2.0.2"
# By its number in ISO 3166-1.
PHILIPPINES = "608"
DECIMALS = 3


def main() -> int:
    """All files of `dashboards/vendor` are written, DIGESTS.json last."""
    VENDORED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        modules = install(
            Path(folder),
            ATLAS,
            f"vega@{vl_convert.get_vega_version()}",
            f"vega-lite@{vl_convert.get_vegalite_versions()[-1]}",
            f"vega-embed@{vl_convert.get_vega_embed_version()}",
        )
        write("vega.js", vl_convert.javascript_bundle())  # type: ignore[call-arg]
        atlas = modules / "world-atlas"
        write("land-110m.json", (atlas / "land-110m.json").read_text())
        countries = json.loads((atlas / "countries-50m.json").read_text())
        outline = outline_of(countries, PHILIPPINES)
        write("philippines-50m.json", json.dumps(outline, separators=(",", ":")))
        write("LICENSES.txt", f"\n\n{'-' * 80}\n\n".join(licences(modules)))
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(VENDORED.iterdir())
        if file.name != "DIGESTS.json"
    }
    write("DIGESTS.json", json.dumps(digests, indent=1) + "\n")
    return 0


def install(folder: Path, *packages: str) -> Path:
    """npm's packages with all that they need; the folder of their modules."""
    subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "node_modules"


def write(name: str, text: str) -> None:
    (VENDORED / name).write_text(text)
    print(f"{name:<24}{len(text.encode()):>10,} bytes")


def licences(modules: Path) -> Iterator[str]:
    """Every licence once, headed by the packages and versions that it is of."""
    yield "Natural Earth: public domain, https://www.naturalearthdata.com/about/terms-of-use/"
    packages: dict[str, list[str]] = {}
    for file in sorted(modules.rglob("package.json")):
        told = json.loads(file.read_text())
        texts = sorted(file.parent.glob("LICEN[CS]E*"))
        if texts and "version" in told:
            text = texts[0].read_text().strip()
            name = f"{told['name']} {told['version']} ({told.get('license', 'see below')})"
            packages.setdefault(text, []).append(name)
    for text, names in packages.items():
        yield "\n".join((*names, "", text))


def outline_of(topology: dict[str, Any], number: str) -> dict[str, Any]:
    """One country of a TopoJSON file as a GeoJSON feature, in degrees.

    Arcs are quantised differences, https://github.com/topojson/topojson-specification.
    """
    scale, translate = topology["transform"]["scale"], topology["transform"]["translate"]

    def arc(index: int) -> list[list[float]]:
        points, x, y = [], 0, 0
        for dx, dy in topology["arcs"][~index if index < 0 else index]:
            x, y = x + dx, y + dy
            points.append(
                [
                    round(x * scale[0] + translate[0], DECIMALS),
                    round(y * scale[1] + translate[1], DECIMALS),
                ]
            )
        return points[::-1] if index < 0 else points

    def ring(indexes: list[int]) -> list[list[float]]:
        joined: list[list[float]] = []
        for index in indexes:
            # The last point of an arc is the first of the next one.
            joined = joined[:-1] + arc(index)
        return joined

    (country,) = [
        one for one in topology["objects"]["countries"]["geometries"] if one.get("id") == number
    ]
    polygons = country["arcs"] if country["type"] == "MultiPolygon" else [country["arcs"]]
    return {
        "type": "Feature",
        "properties": {"name": country["properties"]["name"]},
        "geometry": {
            "type": "MultiPolygon",
            "coordinates": [[ring(one) for one in polygon] for polygon in polygons],
        },
    }


if __name__ == "__main__":
    sys.exit(main())
