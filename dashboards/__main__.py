"""`python -m dashboards`: the pages of a snapshot, made again or shown by a small server.

python -m dashboards build DIRECTORY      both sites of the snapshots in DIRECTORY
python -m dashboards serve DIRECTORY      the owner's site on 127.0.0.1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboards.formats import Formats
from dashboards.publish import make_pages
from dashboards.server import serve
from serving.places import Places


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards")
    parser.add_argument("command", choices=("build", "serve"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--time-zone", default=Formats.time_zone)
    parser.add_argument("--currency", default=Formats.currency)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--audience", choices=("private", "public"), default="private")
    options = parser.parse_args(arguments)
    places = Places(options.directory)
    if options.command == "build":
        for audience, sizes in make_pages(
            places, Formats(options.time_zone, options.currency)
        ).items():
            for slug, size in sizes.items():
                print(f"{audience:<8} {slug:<12} {size:>9,} bytes")
        return 0
    serve(places.pages(options.audience), options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
