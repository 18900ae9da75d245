"""The data catalog: what the deployment `data-catalog/hourly` publishes.

One HTML file with every model, its columns, tests, sizes and lineage, in the landing bucket and in
the folder that a web server serves. Made again only when the models or the tables have changed.

Requires: the platform's blocks (`python -m blocks.register`).
"""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_link_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.platform import load_platform
from runs.catalog import publish
from sources import SOURCES
from sources.tables import table_of
from stores.platform import connect

# Where Google shows an object to those who may read it.
CONSOLE = "https://storage.cloud.google.com/"


@flow(name="data-catalog", flow_run_name="data-catalog", validate_parameters=True)
def data_catalog(force: bool = False) -> State:
    """Publish the catalog if anything in it has changed.

    Args:
        force: Make it again in any case.
    """
    blocks = load_platform()
    catalog = publish(connect(blocks), blocks, map(table_of, SOURCES), force=force)
    create_link_artifact(
        catalog.address.replace("gs://", CONSOLE),
        key="data-catalog",
        link_text="the data catalog",
        description=catalog.message,
    )
    return Completed(message=catalog.message)
