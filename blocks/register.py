"""`python -m blocks.register`: save every block from the environment and `.env`.

Repeating it changes nothing; a changed variable changes its block in place. Never prints a value.
"""

from __future__ import annotations

import sys

from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks.alerts import ALERTS, alerts_from
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
        saved = register(Settings())
    except ValidationError as error:
        print(explain(error), file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for document in saved:
        print(f"saved {document}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
