"""What the blocks of all sources have in common."""

from __future__ import annotations

from typing import Literal

from prefect.blocks.core import Block
from pydantic import Field

LandingName = Literal["landing-gcs", "landing-s3"]
LANDING_GCS: LandingName = "landing-gcs"
LANDING_S3: LandingName = "landing-s3"


class SourceBlock(Block):
    """A source and the bucket block that its new batches go to."""

    landing: LandingName = Field(
        default=LANDING_GCS,
        description="Bucket block for new batches; those that wait in another are loaded too.",
    )


def flow_of(source: str) -> str:
    """The name of a source's flow, block and deployment."""
    return source.replace("_", "-")


def source_of(flow: str) -> str:
    """The name of a flow's source in the ledger and in dbt."""
    return flow.replace("-", "_")


def deployment_of(source: str) -> str:
    return f"elt/{flow_of(source)}"
