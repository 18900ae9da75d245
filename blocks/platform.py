"""The blocks that every source shares: Google credentials, landing buckets, the warehouse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeVar, cast

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket
from pydantic import Field

from blocks.settings import Settings
from blocks.source import LANDING_GCS, LANDING_S3

GCP = "gcp"
AWS = "aws"
WAREHOUSE = "warehouse"

B = TypeVar("B", bound=Block)


class WarehouseSettings(Block):
    """Where raw data goes in BigQuery, and how long landed batches are kept."""

    _block_type_name = "Warehouse"
    _block_type_slug = "warehouse"
    _description = "BigQuery project, location, raw dataset and limits."

    project: str = Field(description="Google Cloud project.")
    location: str = Field(default="US", description="Location of datasets and jobs.")
    raw_dataset: str = Field(default="raw", description="Dataset of the raw tables and ledger.")
    maximum_bytes_billed: int = Field(
        default=10 * 2**30, description="A query that would bill more bytes fails instead."
    )
    landing_retention_days: float = Field(
        default=7, description="Days for which a loaded batch can be replayed from its bucket."
    )
    catalog_directory: str = Field(
        default="",
        description="Folder that a web server serves the data catalog from; empty: bucket only.",
    )


@dataclass(frozen=True)
class PlatformBlocks:
    """The shared blocks, saved or not. `s3` is None where there is no bucket on S3."""

    gcp: GcpCredentials
    gcs: GcsBucket
    s3: S3Bucket | None
    warehouse: WarehouseSettings


def blocks_from(settings: Settings) -> PlatformBlocks:
    """The blocks that the environment describes, not saved anywhere."""
    info = None
    if settings.gcp_service_account_file:
        info = json.loads(settings.gcp_service_account_file.expanduser().read_text())
    gcp = GcpCredentials(service_account_info=info, project=settings.gcp_project)
    return PlatformBlocks(
        gcp=gcp,
        gcs=GcsBucket(bucket=settings.gcs_bucket, gcp_credentials=gcp),
        s3=s3_from(settings),
        warehouse=WarehouseSettings(
            project=settings.gcp_project,
            location=settings.bigquery_location,
            raw_dataset=settings.raw_dataset,
            maximum_bytes_billed=settings.maximum_bytes_billed,
            landing_retention_days=settings.landing_retention_days,
            catalog_directory=settings.catalog_directory,
        ),
    )


def s3_from(settings: Settings) -> S3Bucket | None:
    """The bucket on S3, if there is one. Without keys, those of the machine's role are used."""
    if not settings.s3_bucket:
        return None
    endpoint = settings.aws_endpoint_url
    aws = AwsCredentials(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        region_name=settings.aws_region,
        aws_client_parameters=AwsClientParameters(endpoint_url=str(endpoint) if endpoint else None),
    )
    return S3Bucket(bucket_name=settings.s3_bucket, credentials=aws)


def load_block(block_type: type[B], name: str) -> B:
    """A saved block. Raises ValueError that says how to save it when it is not there."""
    try:
        return cast(B, block_type.load(name))
    except ValueError as error:
        slug = block_type.get_block_type_slug()
        raise ValueError(f"block {slug}/{name}: {error}; run: python -m blocks.register") from error


def load_if_saved(block_type: type[B], name: str) -> B | None:
    """A saved block, or None when none is. Raises ValueError when it is there but not readable."""
    try:
        return cast(B, block_type.load(name))
    except ValueError as error:
        if isinstance(error.__cause__, ObjectNotFound):
            return None
        raise


def load_blocks() -> PlatformBlocks:
    """The saved blocks. Raises ValueError naming the one that is not there."""
    return PlatformBlocks(
        gcp=load_block(GcpCredentials, GCP),
        gcs=load_block(GcsBucket, LANDING_GCS),
        s3=load_if_saved(S3Bucket, LANDING_S3),
        warehouse=load_block(WarehouseSettings, WAREHOUSE),
    )
