"""Which sources run here: those whose block is saved.

A source's block is its settings as a form (`sources/<source>/settings.py`).

`python -m blocks.register` saves the block of every source that the settings configure
(runs/settings.py), and removes the others and their deployments. Whatever deploys,
watches, sweeps or shows sources asks here which ones they are, by the names of the ledger.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect_gcp import GcpCredentials

from blocks.platform import load_block, load_if_saved
from core.names import deployment_of, flow_of
from sources import SOURCES
from sources.settings import SourceSettings, settings_of

S = TypeVar("S", bound=SourceSettings)


@lru_cache(None)
def block_type(settings: type[SourceSettings], source: str) -> type[Any]:
    """The type of a source's block, with the fields of its settings.

    One that is read with Google's credentials holds their block, too. Nothing here reads it;
    releases before 0.2.0, to which one may go back, cannot read the block without it.
    """
    told: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": settings.__doc__,
        "_block_type_name": settings.title,
        "_block_type_slug": flow_of(source),
        "_description": settings.about,
    }
    if settings.needs_google:
        told["gcp_credentials"] = None
        told["__annotations__"] = {"gcp_credentials": GcpCredentials | None}
    return type(settings.__name__, (settings, Block), told)


def block_of(source: str, settings: SourceSettings, google: Block | None = None) -> Block:
    """A source's settings as a block, not saved anywhere; `google` is the block of the account."""
    fields = dict(settings) | ({"gcp_credentials": google} if settings.needs_google else {})
    block: Block = block_type(type(settings), source)(**fields)
    return block


def load_settings(settings: type[S], source: str) -> S:
    """What the saved block of a source says. Raises ValueError when it is not there or readable."""
    loaded: S = load_block(block_type(settings, source), flow_of(source))
    return loaded


def load_sources() -> dict[str, SourceSettings]:
    """The settings of every source that runs. Raises ValueError for one that cannot be read."""
    return {
        source: block
        for source in SOURCES
        if (block := load_if_saved(block_type(settings_of(source), source), flow_of(source)))
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
    name, deployment = flow_of(source), deployment_of(source)
    with suppress(ObjectNotFound):
        # The slug of the type is the name, too.
        client.delete_block_document(client.read_block_document_by_name(name, name).id)
        removed.append(f"{name}/{name}")
    with suppress(ObjectNotFound):
        client.delete_deployment(client.read_deployment_by_name(deployment).id)
        removed.append(f"deployment {deployment}")
    return removed
