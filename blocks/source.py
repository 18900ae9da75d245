"""What the blocks of all sources have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from prefect.blocks.core import Block
from pydantic import Field

if TYPE_CHECKING:
    from blocks.asking import Check

LandingName = Literal["landing-gcs", "landing-s3"]
LANDING_GCS: LandingName = "landing-gcs"
LANDING_S3: LandingName = "landing-s3"


class SourceBlock(Block):
    """A source and the bucket block that its new batches go to.

    `blocks/<source>.py` has one as BLOCK; blocks/variables/<source>.py is what it is made of.
    """

    landing: LandingName = Field(
        default=LANDING_GCS,
        description="Bucket block for new batches; those that wait in another are loaded too.",
    )

    @classmethod
    def needs_google(cls) -> bool:
        """Whether the source is read with the credentials of Google's."""
        return "gcp_credentials" in cls.model_fields

    @classmethod
    def from_settings(cls, settings: Any, google: Any) -> Self:
        """The block that the source's Variables and credentials of Google's describe."""
        raise NotImplementedError

    def checks(self) -> list[tuple[str, Check]]:
        """What `--check` tries, each under a name: what a run will ask."""
        raise NotImplementedError

    def plan(self) -> int | None:
        """How many requests there are in a calendar month (UTC); None for a source without."""
        return None

    def newest_event_hours(self) -> tuple[float, float] | None:
        """Without news for so many hours it is late, and stale; None: the dbt source says it."""
        return None


def flow_of(source: str) -> str:
    """The name of a source's flow, block and deployment."""
    return source.replace("_", "-")


def source_of(flow: str) -> str:
    """The name of a flow's source in the ledger and in dbt."""
    return flow.replace("-", "_")


def deployment_of(source: str) -> str:
    return f"elt/{flow_of(source)}"
