"""The SQL that moves a staged batch into its raw table: one script, one transaction, fenced.

Two insert-only transactions do not conflict on BigQuery, so both would commit. Every script here
therefore begins by updating the source's one row in its fence table, which always conflicts, and
only then asks the ledger whether the batch is known. Values are typed literals that this module
writes.
"""

from __future__ import annotations

from textwrap import indent

from core import merging
from core.batch import Manifest
from core.ledger import CHANGES, COUNTED, FINAL_STATES, columns_of
from core.schema import Table
from core.sql import Names, fence_table, in_effect, literal, quoted, staging_table
from core.stamps import later


def apply_script(table: Table, manifest: Manifest, names: Names) -> str:
    """The script that brings a staged batch into `table`, at most once, whoever runs it.

    Afterwards the raw table is what its write mode says, rows that a newer row names among its
    aliases are marked deleted, the rejects and one ledger line are in. A whole older than the last
    one in effect goes to the ledger as superseded, one that would replace many more rows than it
    has as held, and neither changes a row. A whole that was read while its source's clock was ahead
    does not count as the last one. Nothing of this happens when the ledger knows the batch, or when
    any count does not add up.

    Its result is one row: `known`, more than 0 when the ledger knew the batch before, and else what
    it came to: `state`, the counts, where its rows lie, `applied_at`, and when the last batch
    before it was applied or undone.
    """
    target = names.raw(table.name)
    staging = names.staged(staging_table(manifest.source, manifest.batch_id, "rows"))
    loads = names.raw("_loads")
    batch = literal(manifest.batch_id)
    source = literal(manifest.source)
    known = ", ".join(literal(state) for state in FINAL_STATES)
    changes = ", ".join(map(literal, CHANGES))
    # Column of `_loads` to SQL expression; what the script counts are its variables.
    line = {
        **{name: literal(value) for name, value in columns_of(manifest).items()},
        **{name: f"n_{name}" for name in COUNTED},
        "state": "verdict_of_batch",
        "touched_from": "bound_from",
        "touched_to": "bound_to",
        "applied_at": "applied_at",
    }
    # A backfill brings old rows, and says nothing of those that it lacks.
    is_whole = table.is_whole and manifest.mode != "backfill"
    is_snapshot = table.write == "snapshot" and is_whole
    if table.write == "replace":
        steps = [_replace(table, manifest, target, staging, batch)]
    else:
        # For merging.IS_BACKFILLED.
        find_backfills = f"""\
SET backfills = (
    SELECT COALESCE(STRING_AGG(batch_id, ','), '') FROM {loads}
    WHERE source = {source} AND mode = 'backfill' AND state = 'applied'
);"""
        rows = merging.ranked_rows(table, manifest, target, staging, batch)
        steps = [
            merging.bounds(table, target, staging),
            find_backfills if is_snapshot else "",
            merging.counts(table, manifest, rows),
            merging.merge(table, target, rows, batch),
            merging.supersede(table, target, staging, batch) if table.aliases else "",
            merging.mark_absent(table, manifest, names, staging, batch) if is_snapshot else "",
        ]
    apply = "\n".join(step for step in steps if step)
    if is_whole:
        apply = f"""\
SET newer = (
    SELECT COUNT(*) FROM {loads} AS l
    WHERE
        l.batch_id > {batch} AND l.observed_at <= {later("l.applied_at")}
        AND {in_effect(loads, manifest.source)}
);
IF newer > 0 THEN
  SET verdict_of_batch = 'superseded';
  SET n_older = {manifest.rows};
ELSE
{indent(apply, "  ")}
END IF;"""
    body = "\n".join(
        [
            # In a transaction this is the time at which it started, before its rows are visible.
            "SET applied_at = CURRENT_TIMESTAMP();",
            apply,
            _insert_rejects(manifest, names, is_snapshot) if manifest.rejected else "",
            _announce(manifest, names) if manifest.fields else "",
            f"INSERT INTO {loads} ({', '.join(line)})\nSELECT {', '.join(line.values())};",
        ]
    )
    # No table: what the script came to, so that nobody has to ask the ledger.
    counted = [f"CAST(n_{name} AS INT64) AS {name}" for name in COUNTED]
    return f"""\
DECLARE known, newer, n_staged, n_twice INT64;
DECLARE applied_at, previous_at, bound_from, bound_to TIMESTAMP;
DECLARE verdict_of_batch STRING DEFAULT 'applied';
DECLARE bounds, backfills, counted STRING;
DECLARE alike STRING DEFAULT '[]';
DECLARE {", ".join(f"n_{name}" for name in COUNTED)} INT64 DEFAULT 0;
BEGIN TRANSACTION;
UPDATE {names.raw(fence_table(manifest.source))}
SET batch_id = {batch}, fenced_at = CURRENT_TIMESTAMP()
WHERE TRUE;
SET counted = (
    SELECT CONCAT(
        CAST(COUNTIF(l.batch_id = {batch} AND l.state IN ({known})) AS STRING), ',',
        COALESCE(
            CAST(UNIX_MICROS(MAX(IF(l.state IN ({changes}), l.applied_at, NULL))) AS STRING), ''
        )
    )
    FROM {loads} AS l
    WHERE l.source = {source}
);
SET known = CAST(SPLIT(counted, ',')[OFFSET(0)] AS INT64);
SET previous_at = TIMESTAMP_MICROS(SAFE_CAST(SPLIT(counted, ',')[OFFSET(1)] AS INT64));
IF known = 0 THEN
{indent(body.strip(), "  ")}
END IF;
COMMIT TRANSACTION;
SELECT
    known, verdict_of_batch AS state, {", ".join(counted)},
    bound_from AS touched_from, bound_to AS touched_to, applied_at, previous_at;
"""


def _replace(table: Table, manifest: Manifest, target: str, staging: str, batch: str) -> str:
    """The staged rows instead of those that stand, unless they are hardly all or something else.

    TRUNCATE TABLE is DML, allowed in a transaction, and reads nothing; a DELETE is billed all rows.
    """
    if manifest.faults and not manifest.allow_absent:
        return "SET verdict_of_batch = 'held';"
    columns = [quoted(name) for name in (*table.column_names, "_is_deleted", "_extra")]
    share = "1.0" if manifest.allow_absent else str(table.max_absent_share)
    return f"""\
{merging.check_staged(manifest, f"(SELECT COUNT(*) FROM {staging})")}
SET n_replaced = (SELECT COUNT(*) FROM {target});
IF n_replaced - {manifest.rows} > {share} * n_replaced THEN
  SET verdict_of_batch = 'held';
  SET n_held = n_replaced - {manifest.rows};
  SET n_replaced = 0;
ELSE
  SET n_inserted = {manifest.rows};
  TRUNCATE TABLE {target};
  INSERT INTO {target} ({", ".join(columns)}, _batch_id, _inserted_at)
  SELECT {merging.staged_columns(table, manifest)}, {batch}, applied_at
  FROM {staging} AS s;
END IF;"""


def _insert_rejects(manifest: Manifest, names: Names, is_snapshot: bool) -> str:
    """Keep the rejects that are not kept from before, and count both.

    A backfill brings the rejects of earlier batches once more, and a count by reason would grow
    with every one. The same row for the same reason is the same reject; a batch with more of them
    than any before keeps those that are more. Of a snapshot all are kept: they say which rows
    without a key it had (merging.find_alike).
    """
    staging = names.staged(staging_table(manifest.source, manifest.batch_id, "rejects"))
    of_table = f"source = {literal(manifest.source)} AND table_name = {literal(manifest.table)}"
    batch = literal(manifest.batch_id)
    fresh = f"""\
(
    SELECT s._row, s.reason, s.is_expected, s.payload
    FROM (
        SELECT
            t._row, t.reason, t.is_expected, t.payload,
            ROW_NUMBER() OVER (PARTITION BY t.reason, t.payload ORDER BY t._row) AS _number
        FROM {staging} AS t
    ) AS s
    LEFT JOIN (
        SELECT reason, payload, COUNT(*) AS times
        FROM {names.raw("_rejects")}
        WHERE {of_table}
        GROUP BY reason, payload
    ) AS kept
        ON kept.reason = s.reason AND kept.payload = s.payload
    WHERE s._number > COALESCE(kept.times, 0)
)"""
    all_staged = merging.check(
        manifest,
        f"(SELECT COUNT(*) FROM {staging}) = {manifest.rejected}",
        f"staged rejects are not {manifest.rejected}",
    )
    return f"""\
{all_staged}
INSERT INTO {names.raw("_rejects")}
    (batch_id, source, table_name, row_number, reason, is_expected, payload, rejected_at)
SELECT
    {batch}, {literal(manifest.source)}, {literal(manifest.table)},
    r._row, r.reason, r.is_expected, r.payload, applied_at
FROM {staging if is_snapshot else fresh} AS r;
SET n_rejected = (
    SELECT COUNT(*) FROM {names.raw("_rejects")}
    WHERE {of_table} AND batch_id = {batch} AND rejected_at = applied_at
);
SET n_rejected_before = {manifest.rejected} - n_rejected;"""


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
