"""A flow run that explains itself: its name, its state and its markdown artifact."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from core.batch import asked_for
from core.errors import NamedFailure
from core.names import flow_of
from runs.outcome import Outcome, report


def run_name() -> str:
    """The name of the current flow run: its flow or source, and its window."""
    parameters = flow_run.parameters
    window = asked_for(parameters.get("start"), parameters.get("end"))
    source = parameters.get("source")
    return (
        f"{flow_run.flow_name} {source}, {window}" if source else f"{flow_run.flow_name}, {window}"
    )


def is_on_schedule() -> bool:
    """Whether a schedule started this run; if not, somebody waits for what it does."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def final_state(outcome: Outcome) -> State:
    """How the flow of a source ends: as `report` tells; its caller gets what was applied of late.

    Raises what has no name of its own.
    """
    name = f"load-{flow_of(outcome.table.source)}"
    create_markdown_artifact(outcome.markdown, key=name, description=outcome.message)
    try:
        report(outcome, get_run_logger())
    except NamedFailure as failure:
        return failed(failure)
    return Completed(message=outcome.message, data=outcome.changes)


def failed(failure: NamedFailure) -> State:
    """The final state of a flow run, called by its failure, which a caller of the flow gets raised.

    Prefect calls every run that raises Failed.
    """
    said = f"{type(failure).__name__}: {failure}"
    get_run_logger().error(said, exc_info=failure)
    return Failed(name=failure.state_name, message=said, data=failure)
