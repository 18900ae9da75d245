"""The SQL that takes a table back to what it was before a batch, in one fenced transaction.

The moment to go back to is the batch's own `applied_at`, the start of the transaction that applied
it: that began after every earlier batch was committed, since of two transactions that update one
fence and overlap only one commits, and was itself committed later. So BigQuery's time travel shows
the table of that moment with every earlier batch and without this one. It shows the ledger of that
moment too, and the two changed together: `check_moment` proves it before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.ledger import NO_COUNTS
from core.schema import Table
from core.sql import Names, fence_table, in_effect, literal, quoted
from core.version import code_version

# BigQuery keeps what a table was for seven days, unless its dataset keeps less.
TIME_TRAVEL = timedelta(days=7)


def earlier_table(source: str, batch_id: str) -> str:
    """The staging table that holds what the raw table was before a batch."""
    return f"{source}__undo__{batch_id}"


def undo_script(
    table: Table,
    batch_id: str,
    names: Names,
    back_to: datetime,
    *,
    columns: Sequence[str],
    rows: int,
) -> str:
    """The script that puts the staged earlier rows in the place of all that stand, at most once.

    Afterwards the batch, and each that was applied after it, has a line `undone` in the ledger.
    Nothing happens when the batch is not in effect any more. `columns` are those staged; the
    table's others, which it was given since, are null.
    """
    target, loads = names.raw(table.name), names.raw("_loads")
    staging = names.staged(earlier_table(table.source, batch_id))
    source, batch = literal(table.source), literal(batch_id)
    standing = in_effect(loads, table.source)
    named = ", ".join(map(quoted, columns))
    line = {
        **{name: name for name in ("batch_id", "source", "table_name", "mode")},
        **{name: name for name in ("window_start", "window_end", "observed_at")},
        **{name: literal(count) for name, count in NO_COUNTS.items()},
        "replaced": f"IF(batch_id = {batch}, rows_stood, 0)",
        "state": "'undone'",
        "code_version": literal(code_version()),
        "message": literal(f"{table.name} is what it was before {batch_id}, {rows} rows"),
        "undos": "number_of_undo",
        "back_to": literal(back_to),
        "applied_at": "undone_at",
    }
    return f"""\
DECLARE stands, number_of_undo, rows_stood INT64;
DECLARE undone_at TIMESTAMP;
BEGIN TRANSACTION;
UPDATE {names.raw(fence_table(table.source))}
SET batch_id = {batch}, fenced_at = CURRENT_TIMESTAMP()
WHERE TRUE;
SET stands = (
    SELECT COUNT(*) FROM {loads}
    WHERE batch_id = {batch} AND applied_at = {literal(back_to)} AND {standing}
);
IF stands > 0 THEN
  SELECT IF(
      (SELECT COUNT(*) FROM {staging}) = {rows},
      1,
      ERROR('{table.source} batch {batch_id}: the staged rows are not the {rows} of then')
  );
  SET undone_at = CURRENT_TIMESTAMP();
  SET number_of_undo = (
      SELECT COALESCE(MAX(undos), 0) + 1 FROM {loads} WHERE source = {source}
  );
  SET rows_stood = (SELECT COUNT(*) FROM {target});
  TRUNCATE TABLE {target};
  INSERT INTO {target} ({named})
  SELECT {named} FROM {staging};
  INSERT INTO {loads} ({", ".join(line)})
  SELECT {", ".join(line.values())}
  FROM {loads}
  WHERE applied_at >= {literal(back_to)} AND {standing};
END IF;
COMMIT TRANSACTION;
"""
