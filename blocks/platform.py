"""The blocks that every source shares: Google credentials, landing buckets, the warehouse, alerts.

They are one way to fill in `stores/settings.py` and `runs/alert_settings.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.utilities.dispatch import lookup_type
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket
from pydantic import SecretStr, ValidationError

from blocks import AWS, GCP, WAREHOUSE
from runs.alert_settings import AlertSettings
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


class Alerts(AlertSettings, Block):
    """Channels and limits. A channel that is not set is not used."""

    _block_type_name = "Alerts"
    _block_type_slug = "alerts"
    _description = "Where alerts go and from when on something is one; read by the flow watch."


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
    return GcpCredentials(service_account_info=account.content or None, project=project)


def s3_from(settings: S3Settings) -> S3Bucket:
    from prefect_aws.client_parameters import AwsClientParameters
    from prefect_aws.credentials import AwsCredentials
    from prefect_aws.s3 import S3Bucket

    endpoint = settings.endpoint_url
    aws = AwsCredentials(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        region_name=settings.region,
        assume_role_arn=settings.role_arn,
        aws_client_parameters=AwsClientParameters(
            endpoint_url=str(endpoint) if endpoint else None, **settings.options
        ),
    )
    return S3Bucket(bucket_name=settings.bucket, credentials=aws)


def account_of(gcp: GcpCredentials) -> GoogleAccount:
    info = gcp.service_account_info
    return GoogleAccount(info=SecretStr(json.dumps(info.get_secret_value())) if info else None)


def s3_settings(bucket: S3Bucket) -> S3Settings:
    aws = bucket.credentials
    options = aws.aws_client_parameters.get_params_override()
    return S3Settings(
        bucket=bucket.bucket_name,
        region=aws.region_name,
        access_key_id=aws.aws_access_key_id,
        secret_access_key=aws.aws_secret_access_key,
        session_token=aws.aws_session_token,
        profile=aws.profile_name,
        role_arn=aws.assume_role_arn,
        endpoint_url=options.pop("endpoint_url", None),
        options=options,
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
    block: B | None = load_by_slug(block_type.get_block_type_slug(), name)
    return block


def load_by_slug(slug: str, name: str) -> Any:
    """As `load_if_saved`, for a type that need not be imported while no block of it is saved."""
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, slug, include_secrets=True)
        except ObjectNotFound:
            return None
    try:
        return built({**document.data, TYPE: slug})
    except ValueError as error:
        raise ValueError(f"block {slug}/{name}: {error}; {SAVED_BY}") from error


def built(value: Any) -> Any:
    """A block of what the server has of it, and of the blocks within it; any other value as it is.

    Prefect's own `load` imports every installed integration to find the type of a block within
    another: with dbt and boto3, two seconds and 65 MB. Raises ValueError for a type that nothing
    has imported, and for data that are not a block's.
    """
    if not isinstance(value, dict) or TYPE not in value:
        return value
    if value[TYPE] == S3_TYPE:
        import prefect_aws.s3  # noqa: F401  # it makes the type known
    try:
        block_type = lookup_type(Block, value[TYPE])
    except KeyError as error:
        raise ValueError(f"holds a block of type {value[TYPE]}, which is not known here") from error
    fields = {name: built(one) for name, one in value.items() if name != TYPE}
    try:
        return block_type(**fields)
    except ValidationError as error:
        # What pydantic says of it has the values, secrets too.
        wrong = ", ".join(sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]}))
        raise ValueError(f"does not fit this release: {wrong}") from None


def load_platform() -> PlatformSettings:
    """What the saved blocks say. Raises ValueError naming the one that is not there."""
    gcp = load_block(GcpCredentials, GCP)
    gcs = load_block(GcsBucket, LANDING_GCS)
    s3 = load_by_slug(S3_TYPE, LANDING_S3)
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
