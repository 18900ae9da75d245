"""`python -m tools.pictures`: pictures of every page for docs/dashboards.

The data is made up: five years of marts (testing/history.py), as Chromium draws the pages
on a desktop and on a phone. With `--long` a picture is of a whole page, for looking at.

Requires: Chromium, and ImageMagick, which reduces the colours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from dashboards.formats import Formats
from dashboards.publish import make_pages
from dashboards.site import PAGES
from sandbox.stack import ROOT
from serving.places import Places
from testing.browser import Page, browser
from testing.history import NOW, every_contract, make_history, parsed_manifest
from testing.site import served

DIRECTORY = ROOT / "docs" / "dashboards"
# Width, and how much of a page a picture has, in pixels.
HEIGHTS = {1280: 1560, 390: 1560}
DARK = ("index", "earthquakes")
COLOURS = 160
MOST_BYTES = 150_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.pictures")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="all, when none is named")
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    parser.add_argument("--long", action="store_true", help="whole pages")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        folder = Path(name)
        places = Places(folder / "serving")
        make_history(places, every_contract(parsed_manifest(folder / "dbt")))
        make_pages(places, Formats(), NOW)
        with (
            served(places.pages("private")) as address,
            browser(folder / "profile") as page,
        ):
            page.set_clock(NOW + timedelta(minutes=3))
            for slug, *_ in PAGES:
                if options.pages and slug not in options.pages:
                    continue
                for scheme in ("light", "dark") if slug in DARK else ("light",):
                    for width, height in HEIGHTS.items():
                        suffix = "" if scheme == "light" else f"-{scheme}"
                        file = options.directory / f"{slug}-{width}{suffix}.png"
                        shown = None if options.long else height
                        take(page, f"{address}/{slug}.html", width, scheme, shown, file)
    return 0


def take(page: Page, address: str, width: int, scheme: str, height: int | None, file: Path) -> None:
    """A picture of a page from its top to `height`, or to its end."""
    page.look_like(width, scheme)
    page.open(address)
    path = address[address.index("/", 8) :]
    page.wait_for(f"location.pathname === '{path}' && document.body?.dataset.ready === 'yes'")
    whole = page.evaluate("document.documentElement.scrollHeight")
    page.screenshot(file, min(height or whole, whole))
    if height is None:
        return
    reduced = ["-dither", "None", "-colors", str(COLOURS), "-strip", f"PNG8:{file}"]
    subprocess.run(["convert", str(file), *reduced], check=True)
    size = file.stat().st_size
    print(f"{file.name:<28}{size:>9,} bytes")
    assert size <= MOST_BYTES, f"{file} is larger than {MOST_BYTES:,} bytes"


if __name__ == "__main__":
    sys.exit(main())
