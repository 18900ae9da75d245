"""The SQL that moves a staged batch into its raw table: one script, one transaction, fenced.

Two insert-only transactions do not conflict on BigQuery, so both would commit. Every script here
therefore begins by updating the source's one row in its fence table, which always conflicts, and
only then asks the ledger whether the batch is known. Values are typed literals that this module
writes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import indent

from core.batch import Manifest
from core.schema import STAGED, Table
from core.values import as_json

SAFE_TEXT = re.compile(r"[\w .,:;/+\-]*", re.ASCII)
# The verdicts on a staged row; with the rejected they add up to the rows extracted.
VERDICTS = ("inserted", "updated", "unchanged", "older", "duplicate", "deleted")
# What becomes of standing rows that the batch does not hold itself.
MARKS = ("superseded_ids", "absent", "held", "replaced")
# Ledger states after which a batch is never applied again by itself.
FINAL_STATES = ("applied", "superseded", "held", "parked")


@dataclass(frozen=True)
class Names:
    """Where a batch's statements read and write; every property is a quoted BigQuery name."""

    project: str
    raw_dataset: str
    staging_dataset: str

    def raw(self, table: str) -> str:
        return f"`{self.project}`.`{self.raw_dataset}`.`{table}`"

    def staged(self, table: str) -> str:
        return f"`{self.project}`.`{self.staging_dataset}`.`{table}`"


def quoted(name: str) -> str:
    """A column's name in backquotes: a source may name one `to`, which GoogleSQL reserves."""
    return f"`{name}`"


def fence_table(source: str) -> str:
    return f"_fence__{source}"


def staging_table(source: str, batch_id: str, kind: str) -> str:
    return f"{source}__{batch_id}" + ("__rejects" if kind == "rejects" else "")


def literal(value: str | int | bool | datetime | None) -> str:
    """A typed BigQuery literal. Text with anything unusual in it travels as base64."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00'"
    if SAFE_TEXT.fullmatch(value):
        return f"'{value}'"
    encoded = base64.b64encode(value.encode()).decode()
    return f"SAFE_CONVERT_BYTES_TO_STRING(FROM_BASE64('{encoded}'))"


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
    return {**expressions, "state": "verdict_of_batch", **counts, "applied_at": "applied_at"}


def apply_script(table: Table, manifest: Manifest, names: Names) -> str:
    """The script that brings a staged batch into `table`, at most once, whoever runs it.

    Afterwards the raw table is what its write mode says, rows that a newer row names among its
    aliases are marked deleted, the rejects and one ledger line are in. A whole older than the last
    one applied goes to the ledger as superseded, one that would replace many more rows than it has
    as held, and neither changes a row. Nothing of this happens when the ledger knows the batch, or
    when any count does not add up.
    """
    target = names.raw(table.name)
    staging = names.staged(staging_table(manifest.source, manifest.batch_id, "rows"))
    loads = names.raw("_loads")
    batch = literal(manifest.batch_id)
    source = literal(manifest.source)
    known = ", ".join(literal(state) for state in FINAL_STATES)
    line = ledger_line(manifest)
    if table.write == "replace":
        steps = [_replace(table, manifest, target, staging, batch)]
    else:
        steps = [
            _rows_to_place(table, manifest, staging),
            _bounds(table, target),
            _standing(table, target),
            _verdicts(table, batch),
            _guards(table, manifest),
            _merge(table, target, batch),
            _supersede(table, target, batch) if table.aliases else "",
            _mark_absent(table, manifest, names, batch) if table.write == "snapshot" else "",
        ]
    apply = "\n".join(step for step in steps if step)
    if table.is_whole:
        apply = f"""\
SET newer = (
    SELECT COUNT(*) FROM {loads}
    WHERE source = {source} AND batch_id > {batch} AND state = 'applied'
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
    return f"""\
DECLARE known, newer INT64;
DECLARE applied_at, bound_from, bound_to TIMESTAMP;
DECLARE verdict_of_batch STRING DEFAULT 'applied';
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
"""


def _own_columns(table: Table, manifest: Manifest) -> str:
    """The table's columns out of the staged rows: those that were not staged are null."""
    staged = dict(manifest.columns)
    return ", ".join(
        f"s.{quoted(column.name)}"
        if column.name in staged
        else f"CAST(NULL AS {column.type}) AS {quoted(column.name)}"
        for column in table.columns
    )


def _extra(table: Table, manifest: Manifest) -> str:
    """The staged `_extra`, joined by columns that newer code staged and this does not know."""
    staged = dict(manifest.columns)
    known = {column.name for column in (*table.columns, *STAGED)}
    unknown = [name for name in staged if name not in known]
    if not unknown:
        return "s._extra"
    named = ", ".join(f"s.{quoted(name)} AS {quoted(name)}" for name in unknown)
    fields = f"TO_JSON_STRING(STRUCT({named}))"
    return (
        f"IF(s._extra IS NULL, {fields}, CONCAT("
        f"SUBSTR(s._extra, 1, LENGTH(s._extra) - 1), ',', SUBSTR({fields}, 2))) AS _extra"
    )


def _rows_to_place(table: Table, manifest: Manifest, staging: str) -> str:
    """Staged rows, typed as the table wants them, ranked within their key."""
    order = f"s.{quoted(table.order_by)} DESC, " if table.order_by else ""
    return f"""\
CREATE OR REPLACE TEMP TABLE placed AS
SELECT
    {_own_columns(table, manifest)},
    s._is_deleted, {_extra(table, manifest)}, s._row,
    ROW_NUMBER() OVER (
        PARTITION BY {_columns(table.key, "s")}
        ORDER BY {order}s._is_deleted DESC, s._row DESC
    ) AS _rank
FROM {staging} AS s;"""


def _columns(names: Iterable[str], alias: str) -> str:
    return ", ".join(f"{alias}.{quoted(name)}" for name in names)


def _same_key(table: Table, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in table.key)


def _bounds(table: Table, target: str) -> str:
    """The span of event times that can hold the batch's rows or those they rename.

    The batch's own range, united with the places where its keys already stand: a revised event time
    may cross a partition. Constants, so that BigQuery prunes the partitions outside.
    """
    if table.partition_by is None:
        return ""
    event = quoted(table.partition_by)
    slack = int(table.alias_slack.total_seconds()) if table.aliases else 0
    own = f"""\
    SELECT
        TIMESTAMP_SUB(MIN({event}), INTERVAL {slack} SECOND) AS event_from,
        TIMESTAMP_ADD(MAX({event}), INTERVAL {slack} SECOND) AS event_to
    FROM placed"""
    names = ""
    if table.partition_by not in table.key:
        key = quoted(*table.key)
        names = f"CREATE OR REPLACE TEMP TABLE names AS\n    SELECT {key} AS name FROM placed"
        if table.aliases:
            names += f"""
    UNION DISTINCT
    SELECT name FROM placed AS p CROSS JOIN UNNEST(SPLIT(p.{quoted(table.aliases)}, ',')) AS name
    WHERE name != ''"""
        names += ";\n"
        own += f"""
    UNION ALL
    SELECT MIN(t.{event}), MAX(t.{event})
    FROM {target} AS t
    WHERE t.{key} IN (SELECT name FROM names)"""
    return f"""\
{names}CREATE OR REPLACE TEMP TABLE bounds AS
SELECT MIN(event_from) AS event_from, MAX(event_to) AS event_to
FROM (
{own}
);
SET bound_from = (SELECT event_from FROM bounds);
SET bound_to = (SELECT event_to FROM bounds);"""


def _within(table: Table, alias: str) -> str:
    if table.partition_by is None:
        return "TRUE"
    event = f"{alias}.{quoted(table.partition_by)}"
    return f"({event} BETWEEN bound_from AND bound_to OR {event} IS NULL)"


def _standing(table: Table, target: str) -> str:
    """The rows of the target under the batch's keys."""
    return f"""\
CREATE OR REPLACE TEMP TABLE standing AS
SELECT t.*
FROM {target} AS t
JOIN (SELECT {_columns(table.key, "c")} FROM placed AS c WHERE c._rank = 1) AS p
    ON {_same_key(table, "p", "t")}
WHERE {_within(table, "t")};"""


def _verdicts(table: Table, batch: str) -> str:
    """What becomes of each staged row. A deletion keeps the values that it does not bring."""
    key = table.key
    plain = [column for column in table.columns if column.name not in key]
    content = [*(column.name for column in plain), "_extra", "_is_deleted"]
    is_older = f"{batch} < t._batch_id"
    if table.order_by:
        order = quoted(table.order_by)
        is_older = f"(s.{order} < t.{order} OR s.{order} = t.{order} AND {is_older})"
    merged = []
    for column_name in content:
        name = quoted(column_name)
        kept = next((column.keep for column in plain if column.name == column_name), None)
        if kept:
            function = "LEAST" if kept == "min" else "GREATEST"
            merged.append(
                f"{function}(COALESCE(s.{name}, t.{name}), COALESCE(t.{name}, s.{name})) AS {name}"
            )
        elif column_name == "_is_deleted":
            merged.append("IF(_is_older, t._is_deleted, s._is_deleted) AS _is_deleted")
        else:
            merged.append(
                f"CASE WHEN _is_older THEN t.{name} "
                f"WHEN s._is_deleted THEN COALESCE(s.{name}, t.{name}) ELSE s.{name} END AS {name}"
            )
    differs = "\n            OR ".join(
        f"c.{name} IS DISTINCT FROM t.{name}" for name in map(quoted, content)
    )
    judged = f"""\
        WHEN NOT c._stands THEN IF(c._is_deleted, 'deleted', 'inserted')
        WHEN NOT (
            {differs}
        ) THEN IF(c._is_older, 'older', 'unchanged')
        WHEN c._is_deleted AND NOT c._is_older THEN 'deleted'
        ELSE 'updated'"""
    if table.write == "insert":
        judged = "        WHEN c._stands THEN 'unchanged'\n        ELSE 'inserted'"
    counts = "\n".join(
        f"SET n_{verdict} = (SELECT COUNT(*) FROM judged WHERE _verdict = '{verdict}');"
        for verdict in VERDICTS
    )
    return f"""\
CREATE OR REPLACE TEMP TABLE compared AS
SELECT
    s.*, t.{quoted(key[0])} IS NOT NULL AS _stands,
    t.{quoted(key[0])} IS NOT NULL AND {is_older} AS _is_older
FROM placed AS s
LEFT JOIN standing AS t ON {_same_key(table, "t", "s")};
CREATE OR REPLACE TEMP TABLE merged AS
SELECT
    {_columns(key, "s")}, {", ".join(merged)}, s._rank, s._stands, s._is_older
FROM compared AS s
LEFT JOIN standing AS t ON {_same_key(table, "t", "s")};
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    c.*,
    CASE
        WHEN c._rank > 1 THEN 'duplicate'
{judged}
    END AS _verdict
FROM merged AS c
LEFT JOIN standing AS t ON {_same_key(table, "t", "c")};
{counts}"""


def _guards(table: Table, manifest: Manifest) -> str:
    counted = " + ".join(f"n_{verdict}" for verdict in VERDICTS)
    where = f"{manifest.source} batch {manifest.batch_id}"
    keys = ", ".join(map(quoted, table.key))
    return f"""\
SELECT IF(
    {counted} + {manifest.rejected} = {manifest.extracted},
    1,
    ERROR('{where}: the counts do not add up to the {manifest.extracted} rows extracted')
);
SELECT IF(
    (SELECT COUNT(*) FROM placed) = {manifest.rows},
    1,
    ERROR('{where}: the staged rows are not the {manifest.rows} of the manifest')
);
SELECT IF(
    (
        SELECT COUNT(*) FROM (
            SELECT {keys} FROM judged
            WHERE _verdict IN ('inserted', 'updated', 'deleted')
            GROUP BY {keys} HAVING COUNT(*) > 1
        )
    ) = 0,
    1,
    ERROR('{where}: two source rows for one row of {table.name}')
);"""


def _merge(table: Table, target: str, batch: str) -> str:
    content = [name for name in table.column_names if name not in table.key]
    content += ["_extra", "_is_deleted"]
    updates = ", ".join(f"{name} = c.{name}" for name in map(quoted, content))
    # A row keeps the name of the newest batch that observed it, by which later ones are ordered.
    updates += f", _batch_id = IF(c._is_older, t._batch_id, {batch}), _inserted_at = applied_at"
    columns = [quoted(name) for name in (*table.key, *content)]
    return f"""\
MERGE {target} AS t
USING (
    SELECT * FROM judged WHERE _verdict IN ('inserted', 'updated', 'deleted')
) AS c
ON {_same_key(table, "t", "c")} AND {_within(table, "t")}
WHEN MATCHED THEN UPDATE SET {updates}
WHEN NOT MATCHED THEN
    INSERT ({", ".join(columns)}, _batch_id, _inserted_at)
    VALUES ({", ".join(f"c.{name}" for name in columns)}, {batch}, applied_at);"""


def _supersede(table: Table, target: str, batch: str) -> str:
    """Mark the rows that a not older row counts among its aliases: the source renamed them.

    At equal stamps a live row outweighs a deleted one, then the later batch, then the greater key,
    so that of two rows that name each other exactly one stays.
    """
    key, order, aliases = map(quoted, (*table.key, table.order_by or "", table.aliases or ""))
    return f"""\
CREATE OR REPLACE TEMP TABLE renamed AS
SELECT DISTINCT o.{key}
FROM {target} AS o
JOIN (
    SELECT t.{key}, t.{order}, t._is_deleted, t._batch_id, name
    FROM {target} AS t CROSS JOIN UNNEST(SPLIT(t.{aliases}, ',')) AS name
    WHERE {_within(table, "t")} AND name != '' AND name != t.{key}
) AS n ON n.name = o.{key}
WHERE
    {_within(table, "o")} AND NOT o._is_deleted
    AND (o.{key} IN (SELECT {key} FROM placed) OR n.{key} IN (SELECT {key} FROM placed))
    AND (
        n.{order} > o.{order}
        OR n.{order} = o.{order} AND NOT n._is_deleted AND (
            n._batch_id > o._batch_id OR n._batch_id = o._batch_id AND n.{key} > o.{key}
        )
    );
SET n_superseded_ids = (SELECT COUNT(*) FROM renamed);
IF n_superseded_ids > 0 THEN
    UPDATE {target} AS t
    SET _is_deleted = TRUE, _batch_id = {batch}, _inserted_at = applied_at
    WHERE {_within(table, "t")} AND t.{key} IN (SELECT {key} FROM renamed);
END IF;"""


def _mark_absent(table: Table, manifest: Manifest, names: Names, batch: str) -> str:
    """Mark the rows that a snapshot lacks, unless it lacks so many that it is hardly all there is.

    A row that the snapshot has but that was rejected is present all the same.
    """
    key = quoted(*table.key)
    target = names.raw(table.name)
    present = f"SELECT {key} AS name FROM placed"
    if manifest.rejected:
        rejects = names.staged(staging_table(manifest.source, manifest.batch_id, "rejects"))
        present += f"\n    UNION DISTINCT SELECT key FROM {rejects} WHERE key IS NOT NULL"
    share = "1.0" if manifest.allow_absent else str(table.max_absent_share)
    return f"""\
CREATE OR REPLACE TEMP TABLE lacking AS
SELECT t.{key}
FROM {target} AS t
LEFT JOIN (
    {present}
) AS p ON p.name = t.{key}
WHERE NOT t._is_deleted AND p.name IS NULL;
SET n_absent = (SELECT COUNT(*) FROM lacking);
IF n_absent > {share} * (SELECT COUNT(*) FROM {target} WHERE NOT _is_deleted) THEN
    SET n_held = n_absent;
    SET n_absent = 0;
END IF;
IF n_absent > 0 THEN
    UPDATE {target} AS t
    SET _is_deleted = TRUE, _batch_id = {batch}, _inserted_at = applied_at
    WHERE t.{key} IN (SELECT {key} FROM lacking);
END IF;"""


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
    {_own_columns(table, manifest)}, s._is_deleted, {_extra(table, manifest)},
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
