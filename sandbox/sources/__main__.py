"""Serve the stand-ins: `python -m sandbox.sources --port P --state DIR [--usgs-files DIR]`."""

import argparse
import functools
import os
import signal
from pathlib import Path

from sandbox.sources import mediastack, openweather, sheets, socrata, usgs
from sandbox.sources.server import OpenWorld, SourcesServer
from sandbox.sources.usgs_catalog import load_files


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
    sources: dict[str, OpenWorld] = {
        "usgs": functools.partial(usgs.UsgsWorld, state_dir=arguments.state, files=files),
        "openweather": functools.partial(openweather.OpenWeatherWorld, state_dir=arguments.state),
        "mediastack": functools.partial(mediastack.MediastackWorld, state_dir=arguments.state),
        "sheets": functools.partial(sheets.SheetsWorld, state_dir=arguments.state),
        "socrata": functools.partial(socrata.SocrataWorld, state_dir=arguments.state),
    }
    try:
        with SourcesServer(arguments.port, sources) as server:
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
