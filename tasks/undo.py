"""Taking a batch out again: the raw table goes back to before it, the ledger keeps both."""

from __future__ import annotations

from datetime import UTC, datetime

from google.api_core.exceptions import BadRequest

from core import undo as sql
from core.batch import Window
from core.errors import NotPossible, first_line
from core.ledger import Line
from core.schema import Table
from core.sql import literal
from core.steps import step, timings
from core.undo import TIME_TRAVEL
from tasks.ledger import read_lines, read_states
from tasks.load import insist
from tasks.platform import Platform
from tasks.report import Outcome
from tasks.warehouse import STAGING_LIFETIME, Warehouse


def undo(platform: Platform, table: Table, batch_id: str) -> Outcome:
    """Take the raw table back to before a batch was applied, and say so of it and all later ones.

    The next run reads again from where the look before that batch left off. Rejects stay. Done
    already, it is left at that. Raises NotPossible when the batch is not one that was applied, or
    BigQuery does not know any more what the table was.
    """
    warehouse = platform.warehouse
    with timings() as spent:
        warehouse.ensure_ledger()
        with step("undo.read_ledger"):
            at = read_states(warehouse, table, batch_id)
        back_to = at.get("applied")
        if back_to is None:
            known = f"is {', '.join(sorted(at))}" if at else "is unknown to the ledger"
            raise NotPossible(f"batch {batch_id} {known}: only what was applied can be undone")
        if "undone" not in at:
            check_moment(warehouse, table, batch_id, back_to)
            insist(
                lambda: go_back(warehouse, table, batch_id, back_to),
                lambda: "undone" in read_states(warehouse, table, batch_id),
                f"undo of batch {batch_id}",
            )
        with step("undo.drop_staging"):
            warehouse.drop_staged(sql.earlier_table(table.source, batch_id))
        with step("undo.read_lines"):
            lines = read_undone(warehouse, table, batch_id)
        warehouse.flush_jobs(table.source)
    note = lines[0].message
    if "undone" in at:
        note = f"this was done already, at {at['undone']:%Y-%m-%d %H:%M:%S} UTC"
    return Outcome(
        table, "undo", Window(end=back_to), lines, note=note, seconds=dict(spent.seconds)
    )


def read_undone(warehouse: Warehouse, table: Table, batch_id: str) -> list[Line]:
    """The lines of all that was undone together with a batch, oldest batch first."""
    undone = (
        f"{warehouse.names.raw('_loads')} "
        f"WHERE source = {literal(table.source)} AND state = 'undone'"
    )
    rows = warehouse.query(
        f"""
        SELECT batch_id FROM {undone}
        AND undos = (SELECT MAX(undos) FROM {undone} AND batch_id = {literal(batch_id)})
        """,
        source=table.source,
        purpose="ledger",
    )
    return read_lines(warehouse, table.source, [row["batch_id"] for row in rows], ["undone"])


def check_moment(warehouse: Warehouse, table: Table, batch_id: str, back_to: datetime) -> None:
    """Raise NotPossible unless the ledger of that moment had all earlier batches and not this."""
    source, names = table.source, warehouse.names
    with step("undo.check"):
        (wanted,) = warehouse.query(
            sql.lines_until(source, names, back_to), source=source, purpose="undo"
        )
        if wanted["now"] - back_to > TIME_TRAVEL:
            raise NotPossible(
                f"batch {batch_id} was applied at {back_to:%Y-%m-%d %H:%M} UTC, and BigQuery "
                f"knows what a table was for {TIME_TRAVEL.days} days"
            )
        try:
            (found,) = warehouse.query(
                sql.lines_of_then(source, names, back_to), source=source, purpose="undo"
            )
        except BadRequest as error:
            raise NotPossible(f"batch {batch_id}: {first_line(str(error))}") from error
    if found["lines"] != wanted["lines"]:
        raise NotPossible(
            f"batch {batch_id}: at {back_to} the ledger had {found['lines']:,} lines of batches "
            f"applied or undone, and now {wanted['lines']:,} of before"
        )


def go_back(warehouse: Warehouse, table: Table, batch_id: str, back_to: datetime) -> None:
    """Stage the table of that moment and put it in the place of the one that stands."""
    source, names = table.source, warehouse.names
    expires_at = datetime.now(UTC) + STAGING_LIFETIME
    with step("undo.stage"):
        warehouse.query(
            sql.stage_earlier(table, batch_id, names, back_to, expires_at),
            source=source,
            purpose="undo",
            batch_id=batch_id,
        )
        columns, rows = warehouse.staged_shape(sql.earlier_table(source, batch_id))
    script = sql.undo_script(table, batch_id, names, back_to, columns=columns, rows=rows)
    with step("undo.apply"):
        job = warehouse.submit(script, source=source, purpose="undo")
        with step("undo.wait"):
            warehouse.finish(job, source=source, purpose="undo", batch_id=batch_id)
