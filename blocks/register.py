"""`python -m blocks.register [--check]`: save every block from the environment and `.env`.

Repeating it changes nothing; a changed variable changes its block in place, so this is also how a
key is rotated. With --check nothing is saved, and every block is tried by real calls
(blocks/check.py). Never prints a value.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from blocks.alerts import ALERTS, alerts_from
from blocks.check import check
from blocks.finance import Finance
from blocks.nyc_fhv import NycFhv
from blocks.openweather import OpenWeather, parse_locations
from blocks.ph_news import PhNews
from blocks.platform import AWS, GCP, WAREHOUSE, blocks_from
from blocks.settings import Settings, explain
from blocks.source import LANDING_GCS, LANDING_S3
from blocks.usgs_earthquake import UsgsEarthquake


def all_blocks(settings: Settings) -> dict[str, Block]:
    """Every block of the project by document name, in the order in which they refer to another.

    A source whose key, address or bucket is not set has no block; its flow says so when it is run.
    """
    shared = blocks_from(settings)
    blocks: dict[str, Block] = {
        GCP: shared.gcp,
        LANDING_GCS: shared.gcs,
        WAREHOUSE: shared.warehouse,
        ALERTS: alerts_from(settings),
        "usgs-earthquake": UsgsEarthquake(
            base_url=settings.usgs_base_url,
            history_start=settings.usgs_history_start,
            landing=settings.usgs_landing,
        ),
    }
    if shared.s3:
        blocks |= {AWS: shared.s3.credentials, LANDING_S3: shared.s3}
    if settings.openweather_api_key:
        blocks["openweather"] = OpenWeather(
            base_url=settings.openweather_base_url,
            api_key=settings.openweather_api_key,
            locations=parse_locations(settings.openweather_locations),
            units=settings.openweather_units,
            landing=settings.openweather_landing,
        )
    if settings.mediastack_access_key:
        blocks["ph-news"] = PhNews(
            base_url=settings.mediastack_base_url,
            access_key=settings.mediastack_access_key,
            monthly_requests=settings.mediastack_monthly_requests,
            landing=settings.mediastack_landing,
        )
    if shared.s3 or settings.nyc_fhv_landing != LANDING_S3:
        blocks["nyc-fhv"] = NycFhv(
            base_url=settings.socrata_base_url,
            app_token=settings.socrata_app_token,
            dataset=settings.nyc_fhv_dataset,
            landing=settings.nyc_fhv_landing,
        )
    if settings.finance_sheet_url:
        blocks["finance"] = Finance(
            base_url=settings.google_sheets_base_url,
            sheet_url=settings.finance_sheet_url,
            worksheet=settings.finance_worksheet,
            gcp_credentials=shared.gcp,
            landing=settings.finance_landing,
        )
    return blocks


def register(settings: Settings) -> dict[str, bool]:
    """Save all blocks; by `type-slug/name` whether it was saved or stood there as it is."""
    saved = {}
    for name, block in all_blocks(settings).items():
        kind: Any = type(block)
        kind.register_type_and_schema()
        is_new = not is_saved(block, name)
        if is_new:
            block.save(name, overwrite=True)
        saved[f"{kind.get_block_type_slug()}/{name}"] = is_new
    return saved


def is_saved(block: Block, name: str) -> bool:
    """Whether the server has this very block. One that cannot be read is to be saved anew."""
    kind: Any = type(block)
    try:
        standing = kind.load(name)
    except (ObjectNotFound, ValueError):
        return False
    return bool(own_fields(standing.model_dump()) == own_fields(block.model_dump()))


def own_fields(value: Any) -> Any:
    """A block's fields, and those of blocks in it, without Prefect's notes about the document."""
    if not isinstance(value, dict):
        return value
    return {name: own_fields(one) for name, one in value.items() if not name.startswith("_")}


def main() -> int:
    """1 when a variable is missing or wrong, or a check found a fault."""
    parser = argparse.ArgumentParser(prog="python -m blocks.register")
    parser.add_argument("--check", action="store_true", help="save nothing; try every block")
    options = parser.parse_args()
    try:
        settings = Settings()
        if options.check:
            return check_all(settings)
        saved = register(settings)
    except ValidationError as error:
        print(explain(error), file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for document, is_new in saved.items():
        print(f"{'saved' if is_new else 'unchanged'} {document}")
    return 0


def check_all(settings: Settings) -> int:
    """Print what each block came to, and which sources are not configured."""
    blocks = all_blocks(settings)
    faults = 0
    for finding in check(blocks):
        print(finding, flush=True)
        faults += bool(finding.fault)
    for source in ("openweather", "ph-news", "nyc-fhv", "finance"):
        if source not in blocks:
            print(f"note   {source:<16} is not configured (see .env.example)")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
