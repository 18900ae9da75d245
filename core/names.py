"""What a source is called: in the ledger and in dbt, and as a flow, block and deployment."""

from __future__ import annotations


def flow_of(source: str) -> str:
    """The name of a source's flow, block and deployment."""
    return source.replace("_", "-")


def source_of(flow: str) -> str:
    """The name of a flow's source in the ledger and in dbt."""
    return flow.replace("-", "_")


def deployment_of(source: str) -> str:
    return f"elt/{flow_of(source)}"
