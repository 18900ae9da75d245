"""Serve the stand-ins: `python -m sandbox.sources --port P --state DIR [--usgs-files DIR]`."""

import argparse
import functools
import os
import signal
from importlib import import_module
from pathlib import Path

from sandbox.sources.server import OpenWorld, SourcesServer
from sandbox.sources.usgs_catalog import load_files
from sandbox.sources.usgs_earthquake import SERVICE as USGS
from sandbox.sources.usgs_earthquake import FilesWorld
from sources import SOURCES


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. Prints the address once it accepts connections."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.sources", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="directory of the worlds")
    parser.add_argument(
        "--usgs-files",
        type=Path,
        default=os.environ.get("SANDBOX_USGS_FILES") or None,
        help="serve the real *.geojson payloads of this directory (or SANDBOX_USGS_FILES)",
    )
    arguments = parser.parse_args()
    arguments.state.mkdir(parents=True, exist_ok=True)
    stand_ins = [import_module(f"sandbox.sources.{source}") for source in SOURCES]
    sources: dict[str, OpenWorld] = {one.SERVICE: one.WORLD for one in stand_ins}
    if arguments.usgs_files:
        files = load_files(arguments.usgs_files)
        sources[USGS] = functools.partial(FilesWorld, files=files)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with SourcesServer(arguments.port, arguments.state, sources) as server:
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
