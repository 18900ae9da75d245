"""The SQL that moves a staged batch into its raw table: one script, one transaction, fenced.

Two insert-only transactions do not conflict on BigQuery, so both would commit. Every script here
therefore begins by updating the source's one row in its fence table, which always conflicts, and
only then asks the ledger whether the batch is known. Values are typed literals that this module
writes.
"""

from __future__ import annotations

from datetime import datetime
from textwrap import indent

from core import merging
from core.batch import Manifest
from core.ledger import FINAL_STATES, MARKS, VERDICTS
from core.schema import Table
from core.sql import Names, fence_table, in_effect, literal, quoted, staging_table
from core.values import as_json


def ledger_line(manifest: Manifest) -> dict[str, str]:
    """Column of `_loads` to SQL expression; the counts are the script's variables."""
    incremental = manifest.mode == "incremental"
    line: dict[str, str | int | datetime | None] = {
        "batch_id": manifest.batch_id,
        "source": manifest.source,
        "table_name": manifest.table,
        "mode": manifest.mode,
        "window_start": manifest.window.start,
        "window_end": manifest.window.end,
        "watermark": manifest.watermark if incremental else None,
        "seen": as_json(manifest.seen) if incremental else None,
        "undos": manifest.undos,
        "extracted": manifest.extracted,
        "met_again": manifest.met_again,
        "rejected": manifest.rejected,
        "rejected_unexpected": manifest.rejected_unexpected,
        "odd": manifest.odd,
        "source_count": manifest.source_count,
        "requests": manifest.requests,
        "size_bytes": manifest.size_bytes,
        "schema_fingerprint": manifest.schema_fingerprint,
        "code_version": manifest.code_version,
        "observed_at": manifest.observed_at,
        "extract_started_at": manifest.extract_started_at,
        "extract_ended_at": manifest.extract_ended_at,
        "message": manifest.note,
    }
    expressions = {name: literal(value) for name, value in line.items()}
    counts = {name: f"n_{name}" for name in (*VERDICTS, *MARKS)}
    return {
        **expressions,
        "state": "verdict_of_batch",
        **counts,
        "touched_from": "bound_from",
        "touched_to": "bound_to",
        "applied_at": "applied_at",
    }


def apply_script(table: Table, manifest: Manifest, names: Names) -> str:
    """The script that brings a staged batch into `table`, at most once, whoever runs it.

    Afterwards the raw table is what its write mode says, rows that a newer row names among its
    aliases are marked deleted, the rejects and one ledger line are in. A whole older than the last
    one in effect goes to the ledger as superseded, one that would replace many more rows than it
    has as held, and neither changes a row. Nothing of this happens when the ledger knows the batch,
    or when any count does not add up.

    Its result is one row: `known`, more than 0 when the ledger knew the batch before, and else what
    it came to: `state`, the counts, and `applied_at`.
    """
    target = names.raw(table.name)
    staging = names.staged(staging_table(manifest.source, manifest.batch_id, "rows"))
    loads = names.raw("_loads")
    batch = literal(manifest.batch_id)
    source = literal(manifest.source)
    known = ", ".join(literal(state) for state in FINAL_STATES)
    line = ledger_line(manifest)
    # A backfill brings old rows, and says nothing of those that it lacks.
    is_whole = table.is_whole and manifest.mode != "backfill"
    if table.write == "replace":
        steps = [_replace(table, manifest, target, staging, batch)]
    else:
        rows = merging.judged(table, manifest, target, staging, batch)
        is_snapshot = table.write == "snapshot" and is_whole
        steps = [
            merging.bounds(table, target, staging),
            merging.find_backfills(manifest.source, loads) if is_snapshot else "",
            merging.counts(table, manifest, rows),
            merging.merge(table, target, rows, batch),
            merging.supersede(table, target, staging, batch) if table.aliases else "",
            merging.mark_absent(table, manifest, names, staging, batch) if is_snapshot else "",
        ]
    apply = "\n".join(step for step in steps if step)
    if is_whole:
        apply = f"""\
SET newer = (
    SELECT COUNT(*) FROM {loads}
    WHERE batch_id > {batch} AND {in_effect(loads, manifest.source)}
);
IF newer > 0 THEN
  SET verdict_of_batch = 'superseded';
  SET n_older = {manifest.rows};
ELSE
{indent(apply, "  ")}
END IF;"""
    body = "\n".join(
        [
            "SET applied_at = CURRENT_TIMESTAMP();",
            apply,
            _insert_rejects(manifest, names) if manifest.rejected else "",
            _announce(manifest, names) if manifest.fields else "",
            f"INSERT INTO {loads} ({', '.join(line)})\nSELECT {', '.join(line.values())};",
        ]
    )
    # No table: what the script came to, so that nobody has to ask the ledger.
    counted = [f"CAST(n_{name} AS INT64) AS {name}" for name in (*VERDICTS, *MARKS)]
    return f"""\
DECLARE known, newer, n_placed, n_twice INT64;
DECLARE applied_at, bound_from, bound_to TIMESTAMP;
DECLARE verdict_of_batch STRING DEFAULT 'applied';
DECLARE bounds, backfills, counted STRING;
DECLARE {", ".join(f"n_{name}" for name in (*VERDICTS, *MARKS))} INT64 DEFAULT 0;
BEGIN TRANSACTION;
UPDATE {names.raw(fence_table(manifest.source))}
SET batch_id = {batch}, fenced_at = CURRENT_TIMESTAMP()
WHERE TRUE;
SET known = (
    SELECT COUNT(*) FROM {loads}
    WHERE source = {source} AND batch_id = {batch} AND state IN ({known})
);
IF known = 0 THEN
{indent(body.strip(), "  ")}
END IF;
COMMIT TRANSACTION;
SELECT known, verdict_of_batch AS state, {", ".join(counted)}, applied_at;
"""


def _replace(table: Table, manifest: Manifest, target: str, staging: str, batch: str) -> str:
    """The staged rows instead of those that stand, unless so few that they are hardly all."""
    columns = [quoted(name) for name in (*table.column_names, "_is_deleted", "_extra")]
    share = "1.0" if manifest.allow_absent else str(table.max_absent_share)
    where = f"{manifest.source} batch {manifest.batch_id}"
    return f"""\
SELECT IF(
    (SELECT COUNT(*) FROM {staging}) = {manifest.rows},
    1,
    ERROR('{where}: the staged rows are not the {manifest.rows} of the manifest')
);
SET n_replaced = (SELECT COUNT(*) FROM {target});
IF n_replaced - {manifest.rows} > {share} * n_replaced THEN
  SET verdict_of_batch = 'held';
  SET n_held = n_replaced - {manifest.rows};
  SET n_replaced = 0;
ELSE
  SET n_inserted = {manifest.rows};
  DELETE FROM {target} WHERE TRUE;
  INSERT INTO {target} ({", ".join(columns)}, _batch_id, _inserted_at)
  SELECT
    {merging.own_columns(table, manifest)}, s._is_deleted, {merging.extra_column(table, manifest)},
    {batch}, applied_at
  FROM {staging} AS s;
END IF;"""


def _insert_rejects(manifest: Manifest, names: Names) -> str:
    staging = names.staged(staging_table(manifest.source, manifest.batch_id, "rejects"))
    return f"""\
SELECT IF(
    (SELECT COUNT(*) FROM {staging}) = {manifest.rejected},
    1,
    ERROR('{manifest.source} batch {manifest.batch_id}: staged rejects are not {manifest.rejected}')
);
INSERT INTO {names.raw("_rejects")}
    (batch_id, source, table_name, row_number, reason, is_expected, payload, rejected_at)
SELECT
    {literal(manifest.batch_id)}, {literal(manifest.source)}, {literal(manifest.table)},
    r._row, r.reason, r.is_expected, r.payload, applied_at
FROM {staging} AS r;"""


def _announce(manifest: Manifest, names: Names) -> str:
    """Note each field that is not as declared, the first time it is met."""
    changes = "\n    UNION ALL ".join(
        f"SELECT {literal(name)} AS field, {literal(change)} AS change"
        for name, change in manifest.fields
    )
    return f"""\
INSERT INTO {names.raw("_fields")}
    (source, table_name, field, change, batch_id, announced_at)
SELECT
    {literal(manifest.source)}, {literal(manifest.table)}, f.field, f.change,
    {literal(manifest.batch_id)}, applied_at
FROM (
    {changes}
) AS f
LEFT JOIN {names.raw("_fields")} AS told
    ON told.source = {literal(manifest.source)} AND told.table_name = {literal(manifest.table)}
    AND told.field = f.field AND told.change = f.change
WHERE told.field IS NULL;"""
