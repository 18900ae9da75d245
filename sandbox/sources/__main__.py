"""Serve the stand-ins: `python -m sandbox.sources --port P --state DIR [--usgs-files DIR]`."""

import argparse
import functools
import os
import signal
from importlib import import_module
from pathlib import Path

from sandbox.sources.server import OpenWorld, SourcesServer
from sandbox.sources.usgs_catalog import load_files
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
    files = load_files(arguments.usgs_files) if arguments.usgs_files else None

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    own = {"usgs_earthquake": {"files": files}}
    sources: dict[str, OpenWorld] = {}
    for source in SOURCES:
        stand_in = import_module(f"sandbox.sources.{source}")
        sources[stand_in.SERVICE] = functools.partial(
            stand_in.WORLD, state_dir=arguments.state, **own.get(source, {})
        )
    try:
        with SourcesServer(arguments.port, sources) as server:
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
