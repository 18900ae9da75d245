"""Moving in from an older system: `python -m migration import|compare|views PLAN`.

The plan is a TOML file that names the old tables and says which column is which
(docs/moving-in.md). Old rows travel as any others do: a batch in the landing bucket, its manifest
last, loaded by the ordinary script. Needs no Prefect server; reads the environment and `.env` as
`python -m blocks.register` does.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from core.batch import Extracted, Window
from core.errors import LoadFailed, SourceError, StoreFailed, TooManyRejects
from core.ledger import Cursor
from core.names import flow_of
from core.rows import Fields
from core.schema import Table
from migration.history import DELETED, TABLES, Kind, digest, imports, read_plan, resolve, to_records
from migration.plan import Import, InvalidPlan, Plan
from migration.tables import (
    ROWS_AT_ONCE,
    OldTable,
    as_report,
    compare_mart,
    count_missing,
    is_imported,
    keep_name,
    look_at,
    pieces,
    stamp_for,
    table_id,
)
from runs.course import run_source
from runs.environment import Misconfigured
from runs.outcome import Outcome, report
from runs.settings import platform_settings, read_settings
from runs.upload import new_batch
from stores.clock import Moment
from stores.landing import Discard
from stores.platform import Platform, connect

logger = logging.getLogger("pipelines.moving_in")


def import_table(platform: Platform, kind: Kind, wanted: Import) -> Outcome:
    """Everything of the old table is in ours or in the rejects; a second time nothing is new.

    Raises InvalidPlan when the plan does not fit the table, CountMismatch when the table changed
    while it was read.
    """
    table = TABLES[kind]
    old = look_at(platform.warehouse, table_id(platform.warehouse, wanted.table))
    return run_source(
        platform,
        table,
        "backfill",
        Window(end=old.modified_at),
        lambda window, cursor: extract(platform, table, kind, wanted, old, window),
    )


def extract(
    platform: Platform, table: Table, kind: Kind, wanted: Import, old: OldTable, window: Window
) -> Extracted:
    """A committed batch of the old table, or one without news when it is in already."""
    resolved = resolve(kind, wanted, old.columns)
    how = digest(kind, wanted, old.columns)
    modified_at = old.modified_at.isoformat()
    note = f"import of {old.name}: {old.rows:,} rows as of {modified_at}, plan {how}"
    facts = repr((old.name, old.rows, modified_at, how))
    import_id = hashlib.sha256(facts.encode()).hexdigest()[:16]
    moment = Moment(stamp_for(platform.warehouse, table, old))
    with new_batch(
        platform, table, window, Cursor(), moment, mode="backfill", import_id=import_id
    ) as batch:
        if is_imported(platform.warehouse, table, import_id, note):
            note = f"known already, {note}"
            return batch.unchanged(source_count=old.rows, already_seen=old.rows, note=note)
        # An id of a ledger may repeat anywhere in it.
        at_once = old.rows + 1 if kind == "ledger" else ROWS_AT_ONCE
        for rows in pieces(platform.warehouse, old, at_once):
            batch.add(to_records(kind, wanted, resolved, rows, moment.at))
        # An old table's columns say nothing of what the source sends.
        batch.fields = Fields()
        return batch.commit(source_count=old.rows, note=note)


def is_agreed(platform: Platform, kind: Kind, wanted: Import, *, keep_missing: bool) -> bool:
    """Whether the table may be imported, and what a person should know of it, printed.

    Of a source that is read whole, the rows that it lacks would stay live by an import: a person
    must want that, and know how many they are.
    """
    table = TABLES[kind]
    if table.write != "snapshot":
        return True
    old = look_at(platform.warehouse, table_id(platform.warehouse, wanted.table))
    resolved = resolve(kind, wanted, old.columns)
    missing = count_missing(
        platform.warehouse, table, old, resolved[table.key[0]], resolved.get(DELETED)
    )
    if missing is None:
        print(
            f"{kind}: {table.source} was not read yet, so which rows of {old.name} it lacks is not"
            f" known: run python -m repair {flow_of(table.source)}, then repeat this"
        )
        return False
    print(f"{kind}: {missing:,} live rows of {old.name} are missing in what {table.source} reads")
    if not missing or keep_missing or platform.is_dry:
        return True
    print("  an import keeps them live: repeat it with --keep-missing to do so")
    return False


def import_history(platform: Platform, plan: Plan, *, keep_missing: bool = False) -> int:
    """Import every table of the plan; 1 when one had more rejects than its source may have.

    Also 1, before anything is imported, when a table has rows that nobody said are to be kept.
    """
    code = 0
    agreed = [
        is_agreed(platform, kind, wanted, keep_missing=keep_missing)
        for kind, wanted in imports(plan).items()
    ]
    if not all(agreed):
        print("nothing was imported")
        return 1
    for kind, wanted in imports(plan).items():
        outcome = import_table(platform, kind, wanted)
        counts = ", ".join(
            f"{outcome.total(name):,} {name.replace('_', ' ')}"
            for name in ("extracted", "already_seen", "written", "rejected", "unparsed")
        )
        print(f"{kind}: {outcome.message}\n  {counts}")
        try:
            report(outcome)
        except (LoadFailed, StoreFailed, TooManyRejects) as error:
            logger.error("%s into raw.%s: %s", wanted.table, TABLES[kind].name, error)
            code = 1
    return code


def compare_marts(platform: Platform, plan: Plan, name: str, file: Path) -> int:
    """Write the report to `file`; 1 when anything differs that no rule of the plan gives."""
    found = [compare_mart(platform.warehouse, mart) for mart in plan.marts]
    file.write_text(as_report(found, datetime.now(UTC), name))
    for one in found:
        print(one.message)
    print(f"every difference: {file}")
    return 0 if all(one.is_as_expected for one in found) else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m migration")
    commands = parser.add_subparsers(dest="command", required=True)
    for command, told in (
        ("import", "rows of old tables into the raw tables"),
        ("compare", "old marts and new ones, differences listed"),
        ("views", "views under the old names"),
    ):
        sub = commands.add_parser(command, help=told)
        sub.add_argument("plan", type=Path)
        if command == "import":
            sub.add_argument("--dry-run", action="store_true", help="count rows; write nothing")
            sub.add_argument(
                "--keep-missing",
                action="store_true",
                help="keep entries that the sheet lacks",
            )
        if command == "compare":
            sub.add_argument("--report", type=Path, default=Path("moving-in-report.md"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        plan = read_plan(options.plan.read_bytes(), options.plan.name)
        platform = connect(platform_settings(read_settings()))
        if options.command == "import":
            if options.dry_run:
                platform = replace(platform, landing=Discard(), is_dry=True)
            return import_history(platform, plan, keep_missing=options.keep_missing)
        if options.command == "compare":
            return compare_marts(platform, plan, options.plan.name, options.report)
        for mart in plan.marts:
            print(keep_name(platform.warehouse, mart))
        return 0
    except (InvalidPlan, Misconfigured, SourceError, StoreFailed, OSError) as error:
        print(error, file=sys.stderr)
    return 1
