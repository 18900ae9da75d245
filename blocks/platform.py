"""The blocks that every source shares: Google credentials, landing buckets, the warehouse.

They are one way to fill in `stores/settings.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.utilities.dispatch import lookup_type
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket
from pydantic import SecretStr, ValidationError

from stores.google import credentials_for
from stores.settings import (
    LANDING_GCS,
    LANDING_S3,
    GoogleAccount,
    PlatformSettings,
    S3Settings,
    WarehouseSettings,
)

if TYPE_CHECKING:
    from prefect_aws.s3 import S3Bucket

GCP = "gcp"
AWS = "aws"
WAREHOUSE = "warehouse"
# The slug of prefect-aws's S3Bucket, and where a block's data say what type it is of.
S3_TYPE = "s3-bucket"
TYPE = "block_type_slug"
SAVED_BY = "run: python -m blocks.register"

B = TypeVar("B", bound=Block)


class Warehouse(WarehouseSettings, Block):
    """Where raw data goes in BigQuery, and how long landed batches are kept."""

    _block_type_name = "Warehouse"
    _block_type_slug = "warehouse"
    _description = "BigQuery project, location, raw dataset and limits."


def platform_blocks(settings: PlatformSettings) -> dict[str, Block]:
    """The blocks that these settings fill, by name, none saved, those first that others hold."""
    gcp = gcp_from(settings.google, settings.warehouse.project)
    blocks: dict[str, Block] = {
        GCP: gcp,
        LANDING_GCS: GcsBucket(bucket=settings.gcs_bucket, gcp_credentials=gcp),
        WAREHOUSE: Warehouse(**dict(settings.warehouse)),
    }
    if settings.s3:
        bucket = s3_from(settings.s3)
        blocks |= {AWS: bucket.credentials, LANDING_S3: bucket}
    return blocks


def gcp_from(account: GoogleAccount, project: str) -> GcpCredentials:
    info = json.loads(account.info.get_secret_value()) if account.info else None
    return GcpCredentials(service_account_info=info, project=project)


def s3_from(settings: S3Settings) -> S3Bucket:
    from prefect_aws.client_parameters import AwsClientParameters
    from prefect_aws.credentials import AwsCredentials
    from prefect_aws.s3 import S3Bucket

    aws = AwsCredentials(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        region_name=settings.region,
        assume_role_arn=settings.role_arn,
        aws_client_parameters=AwsClientParameters(**settings.options),
    )
    return S3Bucket(bucket_name=settings.bucket, credentials=aws)


def account_of(gcp: GcpCredentials) -> GoogleAccount:
    info = gcp.service_account_info
    return GoogleAccount(info=SecretStr(json.dumps(info.get_secret_value())) if info else None)


def s3_settings(bucket: S3Bucket) -> S3Settings:
    aws = bucket.credentials
    return S3Settings(
        bucket=bucket.bucket_name,
        region=aws.region_name,
        access_key_id=aws.aws_access_key_id,
        secret_access_key=aws.aws_secret_access_key,
        session_token=aws.aws_session_token,
        profile=aws.profile_name,
        role_arn=aws.assume_role_arn,
        options=aws.aws_client_parameters.get_params_override(),
    )


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


def load_platform() -> PlatformSettings:
    """What the saved blocks say. Raises ValueError naming the one that is not there."""
    gcp = load_block(GcpCredentials, GCP)
    gcs = load_block(GcsBucket, LANDING_GCS)
    s3 = load_s3()
    return PlatformSettings(
        google=account_of(gcp),
        gcs_bucket=gcs.bucket,
        s3=s3 and s3_settings(s3),
        warehouse=load_block(Warehouse, WAREHOUSE),
    )


def _credentials(self: GcpCredentials) -> Any:
    """In place of the block's own, which knows no federation: prefect-gcp 0.6.22 wants credentials
    whenever such a block is made."""
    return credentials_for(account_of(self))


GcpCredentials.get_credentials_from_service_account = _credentials
