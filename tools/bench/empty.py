"""A flow that does nothing: what Prefect itself takes from an order to Completed."""

from __future__ import annotations

from prefect import flow


@flow
def empty() -> None:
    """Nothing."""
