"""Taking a batch out again: the raw table goes back to before it, the ledger keeps both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery

from core.batch import Window
from core.errors import OperationRejected, first_line
from core.ledger import COUNTS, Line
from core.schema import Table
from core.sql import in_effect, literal
from core.steps import step, timings
from repair.undo_script import TIME_TRAVEL, earlier_table, undo_script
from runs.load import retry_until_recorded
from runs.outcome import Outcome, in_words
from stores.bigquery import STAGING_LIFETIME, Warehouse
from stores.ledger import read_lines, read_states
from stores.platform import Platform
from stores.retry import is_own_fault


@dataclass(frozen=True)
class Going:
    """What an undo takes out: its batches' lines of the ledger, oldest first, and the table's rows.

    `touched` are the rows that these batches wrote last, of the `now` rows that are in the table;
    `then` are those that it had before.
    """

    table: Table
    batches: list[dict[str, Any]]
    now: int
    then: int
    touched: int

    @property
    def gone(self) -> int:
        """Rows of which nothing was there before. A replaced table has no key to tell by."""
        return self.now if self.table.write == "replace" else max(0, self.now - self.then)

    def __str__(self) -> str:
        name = f"raw.{self.table.name}"
        rows = [f"{name:<9} {self.now:,} rows, and {self.then:,} before these batches"]
        if self.table.write == "replace":
            rows.append(f"rows      {self.now:,} go, {self.then:,} come back")
        else:
            earlier = self.touched - self.gone
            rows.append(f"rows      {self.gone:,} go, {earlier:,} are again as they were")
        return "\n".join([*map(self.told, self.batches), *rows])

    def told(self, line: dict[str, Any]) -> str:
        counts = in_words(self.table, lambda name: line[name] or 0)
        window = Window(line["window_start"], line["window_end"])
        return (
            f"batch     {line['batch_id']}, applied {line['applied_at']:%Y-%m-%d %H:%M:%S} UTC: "
            f"{line['mode']}, {window}: {counts or 'nothing written'}"
        )


def preview(platform: Platform, table: Table, batch_id: str) -> Going:
    """What an undo of this batch would take out; nothing is written.

    Raises OperationRejected as undo does, and when it was done already.
    """
    warehouse = platform.warehouse
    back_to, undone_at = moment_before(warehouse, table, batch_id)
    if undone_at:
        raise OperationRejected(f"batch {batch_id} was undone at {undone_at:%Y-%m-%d %H:%M:%S} UTC")
    check_moment(warehouse, table, batch_id, back_to)
    return what_goes(warehouse, table, back_to)


def what_goes(warehouse: Warehouse, table: Table, back_to: datetime) -> Going:
    """The batches in effect from that moment on, and how many rows they left and found."""
    ask = partial(warehouse.query, source=table.source, purpose="undo")
    loads, target = warehouse.names.raw("_loads"), warehouse.names.raw(table.name)
    with step("undo.read_what_goes"):
        batches = ask(
            f"""
            SELECT batch_id, mode, window_start, window_end, applied_at, {", ".join(COUNTS)}
            FROM {loads}
            WHERE applied_at >= {literal(back_to)} AND {in_effect(loads, table.source)}
            ORDER BY batch_id
            """
        )
        ids = [line["batch_id"] for line in batches]
        (now,) = ask(
            "SELECT COUNT(*) AS number, COUNTIF(_batch_id IN UNNEST(@ids)) AS touched "
            f"FROM {target}",
            parameters=[bigquery.ArrayQueryParameter("ids", "STRING", ids)],
        )
        (then,) = ask(f"SELECT COUNT(*) AS number FROM {as_of(target, back_to)}")
    return Going(table, batches, now["number"], then["number"], now["touched"])


def moment_before(
    warehouse: Warehouse, table: Table, batch_id: str
) -> tuple[datetime, datetime | None]:
    """When a batch was applied, and when it was undone, if it was. Raises OperationRejected."""
    warehouse.ensure_ledger()
    with step("undo.read_ledger"):
        at = read_states(warehouse, table, batch_id)
    if "applied" not in at:
        known = f"is {', '.join(sorted(at))}" if at else "is unknown to the ledger"
        raise OperationRejected(f"batch {batch_id} {known}: only what was applied can be undone")
    return at["applied"], at.get("undone")


def undo(
    platform: Platform, table: Table, batch_id: str, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Take the raw table back to before a batch was applied, and say so of it and all later ones.

    `say` gets what goes, before it goes. The next run reads again from where the look before that
    batch left off. Rejects stay. Done already, it is left at that. Raises OperationRejected when
    the batch is not one that was applied, or BigQuery does not know any more what the table was.
    """
    warehouse = platform.warehouse
    with timings() as spent:
        back_to, undone_at = moment_before(warehouse, table, batch_id)
        if undone_at is None:
            check_moment(warehouse, table, batch_id, back_to)
            say(str(what_goes(warehouse, table, back_to)))
            retry_until_recorded(
                warehouse,
                batch_id,
                lambda: go_back(warehouse, table, batch_id, back_to),
                lambda: "undone" in read_states(warehouse, table, batch_id),
                f"undo of batch {batch_id}",
            )
        with step("undo.drop_staging"):
            warehouse.drop_staged(earlier_table(table.source, batch_id))
        with step("undo.read_lines"):
            lines = read_undone(warehouse, table, batch_id)
        warehouse.flush_jobs(table.source)
    note = lines[0].message
    if undone_at:
        note = f"this was done already, at {undone_at:%Y-%m-%d %H:%M:%S} UTC"
    return Outcome(table, "undo", Window(end=back_to), lines, note=note, seconds=dict(spent))


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
    """Raise OperationRejected unless that moment's ledger had all earlier batches, not this."""
    ask = partial(warehouse.query, source=table.source, purpose="undo")
    loads = warehouse.names.raw("_loads")
    changes = f"source = {literal(table.source)} AND state IN ('applied', 'undone')"
    with step("undo.check"):
        (wanted,) = ask(
            f"SELECT CURRENT_TIMESTAMP() AS now, COUNT(*) AS lines FROM {loads} "
            f"WHERE {changes} AND applied_at < {literal(back_to)}"
        )
        if wanted["now"] - back_to > TIME_TRAVEL:
            raise OperationRejected(
                f"batch {batch_id} was applied at {back_to:%Y-%m-%d %H:%M} UTC, and BigQuery "
                f"knows what a table was for {TIME_TRAVEL.days} days"
            )
        try:
            # A query may not look at both times.
            (found,) = ask(f"SELECT COUNT(*) AS lines FROM {as_of(loads, back_to)} WHERE {changes}")
        except GoogleAPICallError as error:
            if not is_own_fault(error):
                raise
            raise OperationRejected(f"batch {batch_id}: {first_line(str(error))}") from error
    if found["lines"] != wanted["lines"]:
        raise OperationRejected(
            f"batch {batch_id}: at {back_to} the ledger had {found['lines']:,} lines of batches "
            f"applied or undone, and now {wanted['lines']:,} of before"
        )


def go_back(warehouse: Warehouse, table: Table, batch_id: str, back_to: datetime) -> None:
    """Stage the table of that moment, with its columns of then, and put it in place of today's."""
    source, names = table.source, warehouse.names
    staged = earlier_table(source, batch_id)
    expires_at = datetime.now(UTC) + STAGING_LIFETIME
    with step("undo.stage"):
        warehouse.query(
            f"""
            CREATE OR REPLACE TABLE {names.staged(staged)}
            OPTIONS (expiration_timestamp = {literal(expires_at)})
            AS SELECT * FROM {as_of(names.raw(table.name), back_to)}
            """,
            source=source,
            purpose="undo",
            batch_id=batch_id,
        )
        columns, rows = warehouse.staged_shape(staged)
    script = undo_script(table, batch_id, names, back_to, columns=columns, rows=rows)
    with step("undo.apply"):
        job = warehouse.submit(script, source=source, purpose="undo")
        with step("undo.wait"):
            warehouse.finish(job, source=source, purpose="undo", batch_id=batch_id)


def as_of(table: str, moment: datetime) -> str:
    """The table of that moment, by BigQuery's time travel."""
    return f"{table} FOR SYSTEM_TIME AS OF {literal(moment)}"
