"""The blocks that every source shares: Google credentials, landing buckets, the warehouse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from google.auth.exceptions import DefaultCredentialsError
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.utilities.dispatch import lookup_type
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket
from pydantic import Field, ValidationError

from blocks.federation import is_federation
from blocks.misconfigured import Misconfigured, reason
from blocks.source import LANDING_GCS, LANDING_S3
from blocks.state import spool_path

if TYPE_CHECKING:
    from prefect_aws.s3 import S3Bucket

    from blocks.settings import Settings

GCP = "gcp"
AWS = "aws"
WAREHOUSE = "warehouse"
# The slug of prefect-aws's S3Bucket, and where a block's data say what type it is of.
S3_TYPE = "s3-bucket"
TYPE = "block_type_slug"
SAVED_BY = "run: python -m blocks.register"

B = TypeVar("B", bound=Block)


class WarehouseSettings(Block):
    """Where raw data goes in BigQuery, and how long landed batches are kept."""

    _block_type_name = "Warehouse"
    _block_type_slug = "warehouse"
    _description = "BigQuery project, location, raw dataset and limits."

    project: str = Field(description="Google Cloud project.")
    location: str = Field(default="US", description="Location of datasets and jobs.")
    raw_dataset: str = Field(default="raw", description="Dataset of the raw tables and ledger.")
    dataset_prefix: str = Field(
        default="", description="Before the names of the datasets that dbt builds."
    )
    maximum_bytes_billed: int = Field(
        default=10 * 2**30, description="A query that would bill more bytes fails instead."
    )
    landing_retention_days: float = Field(
        default=7, description="Days for which a loaded batch can be replayed from its bucket."
    )
    log_retention_days: float = Field(
        default=730, description="Days for which the copies of runs' logs are kept in the bucket."
    )
    catalog_directory: str = Field(
        default="",
        description="Folder that a web server serves the data catalog from; empty: bucket only.",
    )
    spool_directory: str = Field(
        default="",
        description="Folder for answers that no bucket took and no source gives again, until the "
        "next run commits them; empty: by XDG.",
    )
    serving_directory: str = Field(
        default="",
        description="Folder of the marts' snapshots and of the pages; empty: none are made.",
    )
    home_timezone: str = Field(default="Asia/Manila", description="How pages write times.")
    home_currency: str = Field(default="PHP", description="How pages write money.")

    @property
    def spool_path(self) -> Path:
        return spool_path(self.spool_directory)


@dataclass(frozen=True)
class PlatformBlocks:
    """The shared blocks, saved or not. `s3` is None where there is no bucket on S3."""

    gcp: GcpCredentials
    gcs: GcsBucket
    s3: S3Bucket | None
    warehouse: WarehouseSettings


def blocks_from(settings: Settings) -> PlatformBlocks:
    """The blocks that the environment describes, not saved anywhere.

    Raises Misconfigured when there are no credentials of Google's to be had.
    """
    gcp = gcp_from(settings)
    return PlatformBlocks(
        gcp=gcp,
        gcs=GcsBucket(bucket=settings.gcs_bucket, gcp_credentials=gcp),
        s3=s3_from(settings),
        warehouse=warehouse_from(settings),
    )


def gcp_from(settings: Settings) -> GcpCredentials:
    """The file's credentials, a key's or a federation's, or the machine's. Raises Misconfigured."""
    file, info = settings.gcp_service_account_file, None
    try:
        if file:
            info = json.loads(file.read_text())
        return GcpCredentials(service_account_info=info, project=settings.gcp_project)
    except OSError as error:
        raise Misconfigured(f"GCP_SERVICE_ACCOUNT_FILE: {file}: {reason(error)}") from error
    except ValueError as error:
        # Not what pydantic or the parser say of it: it would be a piece of the key.
        part = (
            "credential_source is no file, address or AWS"
            if info and is_federation(info)
            else "private_key cannot be read"
        )
        raise Misconfigured(f"GCP_SERVICE_ACCOUNT_FILE: {file}: its {part}") from error
    except DefaultCredentialsError as error:
        raise Misconfigured(
            "GCP_SERVICE_ACCOUNT_FILE: is not set, and this machine has no credentials of Google's:"
            " set it to the key file of a service account, or to a federation's file"
        ) from error


def warehouse_from(settings: Settings) -> WarehouseSettings:
    return WarehouseSettings(
        project=settings.gcp_project,
        location=settings.bigquery_location,
        raw_dataset=settings.raw_dataset,
        dataset_prefix=settings.dbt_dataset_prefix,
        maximum_bytes_billed=settings.maximum_bytes_billed,
        landing_retention_days=settings.landing_retention_days,
        log_retention_days=settings.log_retention_days,
        catalog_directory=settings.catalog_directory,
        spool_directory=settings.spool_directory,
        serving_directory=settings.serving_directory,
        home_timezone=settings.home_timezone,
        home_currency=settings.home_currency,
    )


def s3_from(settings: Settings) -> S3Bucket | None:
    """The bucket on S3, if there is one. Without keys, those of the machine's role are used."""
    if not settings.s3_bucket:
        return None
    from prefect_aws.client_parameters import AwsClientParameters
    from prefect_aws.credentials import AwsCredentials
    from prefect_aws.s3 import S3Bucket

    endpoint = settings.aws_endpoint_url
    aws = AwsCredentials(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        region_name=settings.aws_region,
        assume_role_arn=settings.aws_role_arn,
        aws_client_parameters=AwsClientParameters(endpoint_url=str(endpoint) if endpoint else None),
    )
    return S3Bucket(bucket_name=settings.s3_bucket, credentials=aws)


def load_block(block_type: type[B], name: str) -> B:
    """A saved block. Raises ValueError, with how to save it, when it is not there or readable."""
    block = load_if_saved(block_type, name)
    if block is None:
        address = f"{block_type.get_block_type_slug()}/{name}"
        raise ValueError(f"block {address} is not saved; {SAVED_BY}")
    return block


def load_if_saved(block_type: type[B], name: str) -> B | None:
    """A saved block, or None when none is. Raises ValueError when it is there but not readable."""
    data = saved(block_type.get_block_type_slug(), name)
    return None if data is None else read(block_type, name, data)


def saved(slug: str, name: str) -> dict[str, Any] | None:
    """What the server has of a block, secrets included; None when it has none."""
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, slug, include_secrets=True)
        except ObjectNotFound:
            return None
    return document.data


def read(block_type: type[B], name: str, data: Mapping[str, Any]) -> B:
    """The block of that name. Raises ValueError, with how to save it, for what is not readable."""
    try:
        return built(block_type, data)
    except ValueError as error:
        address = f"{block_type.get_block_type_slug()}/{name}"
        raise ValueError(f"block {address}: {error}; {SAVED_BY}") from error


def built(block_type: type[B], data: Mapping[str, Any]) -> B:
    """A block of what the server has of it, and of the blocks within it.

    Prefect's own `load` imports every installed integration to find the type of a block within
    another: with dbt and boto3, two seconds and 65 MB. Raises ValueError for a type that nothing
    has imported, and for data that are not a block's.
    """
    fields = {name: within(value) for name, value in data.items() if name != TYPE}
    try:
        return block_type(**fields)
    except ValidationError as error:
        # What pydantic says of it has the values, secrets too.
        wrong = ", ".join(sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]}))
        raise ValueError(f"does not fit this release: {wrong}") from None


def within(value: Any) -> Any:
    if not isinstance(value, dict) or TYPE not in value:
        return value
    try:
        return built(lookup_type(Block, value[TYPE]), value)
    except KeyError as error:
        raise ValueError(f"holds a block of type {value[TYPE]}, which is not known here") from error


def load_s3() -> S3Bucket | None:
    """The bucket on S3, if one is saved; without one nothing of Amazon's is imported."""
    data = saved(S3_TYPE, LANDING_S3)
    if data is None:
        return None
    from prefect_aws.s3 import S3Bucket

    return read(S3Bucket, LANDING_S3, data)


def load_blocks() -> PlatformBlocks:
    """The saved blocks. Raises ValueError naming the one that is not there."""
    return PlatformBlocks(
        gcp=load_block(GcpCredentials, GCP),
        gcs=load_block(GcsBucket, LANDING_GCS),
        s3=load_s3(),
        warehouse=load_block(WarehouseSettings, WAREHOUSE),
    )
