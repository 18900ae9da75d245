"""The ledger has the names of this release: `python -m deploy.ledger_names`.

With --back it has those of release 0.1. Updates and rollbacks run it while no worker does
(deploy/activate.sh, deploy/lib/switch.sh). Reads the environment and `.env`, not the saved blocks.

It may be run again, killed anywhere, and run by two at once: what has its name is left alone. Until
all is done an old column is left, and the release with the new names refuses such a ledger.
Columns are renamed by DDL, which is free; the state of lines is changed by an UPDATE, which reads
the ledger once. No line is in a streaming buffer, which no UPDATE reaches: all come from DML.
https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language
"""

from __future__ import annotations

import argparse
import sys

from google.api_core.exceptions import BadRequest, GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError

from core.batch import EARLIER_NAMES
from core.errors import first_line
from core.ownership import NotOurs
from core.sql import literal, quoted
from runs.environment import Misconfigured
from runs.settings import platform_settings, read_settings
from stores.bigquery import Warehouse
from stores.platform import connect

SOURCE = "operations"
TABLE = "_loads"
# The state of a look without news, then and now.
EARLIER_STATE, STATE = "looked", "no_change"


def rename(warehouse: Warehouse, *, back: bool = False) -> bool:
    """The ledger has the names of this release, or those of before; False when there is none.

    Raises NotOurs for a table of somebody else.
    """
    if warehouse.own_table_if_any(warehouse.raw_id(TABLE)) is None:
        return False
    columns = {earlier: name for name, earlier in EARLIER_NAMES.items()}
    states = (EARLIER_STATE, STATE)
    if back:
        columns, states = EARLIER_NAMES, (STATE, EARLIER_STATE)
    rename_state(warehouse, *states)
    for old, new in columns.items():
        rename_column(warehouse, old, new)
    # Once more: another machine may have written a line meanwhile. With these columns none can.
    rename_state(warehouse, *states)
    warehouse.flush_jobs(SOURCE)
    return True


def rename_state(warehouse: Warehouse, old: str, new: str) -> None:
    run(
        warehouse,
        f"UPDATE {warehouse.names.raw(TABLE)} SET state = {literal(new)} "
        f"WHERE state = {literal(old)}",
    )


def rename_column(warehouse: Warehouse, old: str, new: str) -> None:
    """The column has its new name.

    Where a release has met names that are not its own, as after a rollback without this command, it
    has added its own columns: a line has its value in one of both, and one column is left.
    """
    loads = warehouse.names.raw(TABLE)
    present = columns_of(warehouse)
    if old not in present:
        return
    try:
        if new in present:
            given = f"{quoted(old)} IS NOT NULL"
            run(warehouse, f"UPDATE {loads} SET {quoted(new)} = {quoted(old)} WHERE {given}")
            run(warehouse, f"ALTER TABLE {loads} DROP COLUMN {quoted(old)}")
        else:
            run(warehouse, f"ALTER TABLE {loads} RENAME COLUMN {quoted(old)} TO {quoted(new)}")
    except (BadRequest, NotFound):
        # Another one may have been first.
        if old in columns_of(warehouse):
            raise


def columns_of(warehouse: Warehouse) -> set[str]:
    return {column.name for column in warehouse.table(warehouse.raw_id(TABLE)).schema}


def run(warehouse: Warehouse, sql: str) -> None:
    warehouse.query(sql, source=SOURCE, purpose="ledger")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.ledger_names")
    parser.add_argument("--back", action="store_true", help="the names of release 0.1")
    options = parser.parse_args()
    try:
        warehouse = connect(platform_settings(read_settings())).warehouse
        found = rename(warehouse, back=options.back)
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return 1
    except (GoogleAPIError, GoogleAuthError, NotOurs) as error:
        print(f"the ledger was not renamed: {first_line(str(error), 500)}", file=sys.stderr)
        return 1
    names = "the names of release 0.1" if options.back else "this release's names"
    table = warehouse.raw_id(TABLE)
    print(f"{table} has {names}" if found else f"there is no {table} yet: nothing to rename")
    return 0


if __name__ == "__main__":
    sys.exit(main())
