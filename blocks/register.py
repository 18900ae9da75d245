"""`python -m blocks.register`: save every block from the environment and `.env`.

Repeating it changes nothing; a changed variable changes its block in place. Never prints a value.
"""

from __future__ import annotations

import sys

from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks.platform import GCP, LANDING_GCS, WAREHOUSE, blocks_from
from blocks.settings import Settings
from blocks.usgs_earthquake import UsgsEarthquake


def all_blocks(settings: Settings) -> dict[str, Block]:
    """Every block of the project by document name, in the order in which they refer to another."""
    shared = blocks_from(settings)
    return {
        GCP: shared.gcp,
        LANDING_GCS: shared.gcs,
        WAREHOUSE: shared.warehouse,
        "usgs-earthquake": UsgsEarthquake(
            base_url=settings.usgs_base_url, history_start=settings.usgs_history_start
        ),
    }


def register(settings: Settings) -> list[str]:
    """Save all blocks; what was saved, as `type-slug/name`."""
    saved = []
    for name, block in all_blocks(settings).items():
        type(block).register_type_and_schema()
        block.save(name, overwrite=True)
        saved.append(f"{type(block).get_block_type_slug()}/{name}")
    return saved


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            variable = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{variable}: {problem['msg']}", file=sys.stderr)
        print("Set these in the environment or in .env (see .env.example).", file=sys.stderr)
        return 1
    for saved in register(settings):
        print(f"saved {saved}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
