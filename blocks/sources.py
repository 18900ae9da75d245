"""Which sources run here: those whose block is saved.

`python -m blocks.register` saves the block of every source that the settings configure
(`blocks.settings.not_configured`), and removes the others and their deployments. Whatever deploys,
watches, sweeps or shows sources asks here which ones they are, by the names of the ledger.
"""

from __future__ import annotations

from importlib import import_module

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from blocks.platform import load_if_saved
from blocks.source import SourceBlock, deployment_of, flow_of
from sources import SOURCES

TYPES: dict[str, type[SourceBlock]] = {
    source: import_module(f"blocks.{source}").BLOCK for source in SOURCES
}


def load_sources() -> dict[str, SourceBlock]:
    """The block of every source that runs. Raises ValueError for one that cannot be read."""
    return {
        source: block
        for source, block_type in TYPES.items()
        if (block := load_if_saved(block_type, flow_of(source)))
    }


def is_deployed(client: SyncPrefectClient, source: str) -> bool:
    try:
        client.read_deployment_by_name(deployment_of(source))
    except ObjectNotFound:
        return False
    return True


def remove(client: SyncPrefectClient, source: str) -> list[str]:
    """Neither block nor deployment of a source is on the server; what was removed, a line each.

    With a deployment go its runs to come. Its past runs stay, and so does what was loaded.
    """
    removed = []
    name, slug = flow_of(source), TYPES[source].get_block_type_slug()
    try:
        document = client.read_block_document_by_name(name, slug)
        client.delete_block_document(document.id)
        removed.append(f"{slug}/{name}")
    except ObjectNotFound:
        pass
    try:
        deployment = client.read_deployment_by_name(deployment_of(source))
        client.delete_deployment(deployment.id)
        removed.append(f"deployment {deployment_of(source)}")
    except ObjectNotFound:
        pass
    return removed
