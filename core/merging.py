"""The statements that bring a batch's staged rows into a table that has a key.

They share temporary tables: `placed` are the staged rows, ranked within their key, `standing` the
target's rows under those keys, `judged` what becomes of each staged row.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.batch import Manifest
from core.ledger import VERDICTS
from core.schema import STAGED, Table
from core.sql import Names, literal, quoted, staging_table


def own_columns(table: Table, manifest: Manifest) -> str:
    """The table's columns out of the staged rows: those that were not staged are null."""
    staged = dict(manifest.columns)
    return ", ".join(
        f"s.{quoted(column.name)}"
        if column.name in staged
        else f"CAST(NULL AS {column.type}) AS {quoted(column.name)}"
        for column in table.columns
    )


def extra_column(table: Table, manifest: Manifest) -> str:
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


def rows_to_place(table: Table, manifest: Manifest, staging: str) -> str:
    """Staged rows, typed as the table wants them, ranked within their key."""
    order = f"s.{quoted(table.order_by)} DESC, " if table.order_by else ""
    return f"""\
CREATE OR REPLACE TEMP TABLE placed AS
SELECT
    {own_columns(table, manifest)},
    s._is_deleted, {extra_column(table, manifest)}, s._row,
    ROW_NUMBER() OVER (
        PARTITION BY {_columns(table.key, "s")}
        ORDER BY {order}s._is_deleted DESC, s._row DESC
    ) AS _rank
FROM {staging} AS s;"""


def _columns(names: Iterable[str], alias: str) -> str:
    return ", ".join(f"{alias}.{quoted(name)}" for name in names)


def _same_key(table: Table, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in table.key)


def bounds(table: Table, target: str) -> str:
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


def standing(table: Table, target: str) -> str:
    """The rows of the target under the batch's keys."""
    return f"""\
CREATE OR REPLACE TEMP TABLE standing AS
SELECT t.*
FROM {target} AS t
JOIN (SELECT {_columns(table.key, "c")} FROM placed AS c WHERE c._rank = 1) AS p
    ON {_same_key(table, "p", "t")}
WHERE {_within(table, "t")};"""


def _backfills(manifest: Manifest, names: Names) -> str:
    """The batches that brought what no snapshot did."""
    return (
        f"(SELECT batch_id FROM {names.raw('_loads')} WHERE source = {literal(manifest.source)} "
        "AND mode = 'backfill' AND state = 'applied')"
    )


def verdicts(table: Table, manifest: Manifest, names: Names, batch: str) -> str:
    """What becomes of each staged row. A deletion keeps the values that it does not bring.

    A row that a backfill brought and a snapshot has, too, is the snapshot's from then on, also
    where nothing in it changes: the next one can lose it.
    """
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
    equal = "'unchanged'"
    if table.write == "snapshot" and manifest.mode != "backfill":
        equal = f"IF(t._batch_id IN {_backfills(manifest, names)}, 'updated', 'unchanged')"
    judged = f"""\
        WHEN NOT c._stands THEN IF(c._is_deleted, 'deleted', 'inserted')
        WHEN NOT (
            {differs}
        ) THEN IF(c._is_older, 'older', {equal})
        WHEN c._is_deleted AND NOT c._is_older THEN 'deleted'
        ELSE 'updated'"""
    if table.write == "insert":
        judged = "        WHEN c._stands THEN 'unchanged'\n        ELSE 'inserted'"
    # One look at the table for all counts: each statement is billed at least 10 MB per table.
    counted = ", ',', ".join(
        f"CAST(COUNTIF(_verdict = '{verdict}') AS STRING)" for verdict in VERDICTS
    )
    counts = "\n".join(
        f"SET n_{verdict} = CAST(SPLIT(counted, ',')[OFFSET({place})] AS INT64);"
        for place, verdict in enumerate(VERDICTS)
    )
    return f"""\
CREATE OR REPLACE TEMP TABLE judged AS
WITH compared AS (
    SELECT
        s.*, t.{quoted(key[0])} IS NOT NULL AS _stands,
        t.{quoted(key[0])} IS NOT NULL AND {is_older} AS _is_older
    FROM placed AS s
    LEFT JOIN standing AS t ON {_same_key(table, "t", "s")}
), merged AS (
    SELECT
        {_columns(key, "s")}, {", ".join(merged)}, s._rank, s._stands, s._is_older
    FROM compared AS s
    LEFT JOIN standing AS t ON {_same_key(table, "t", "s")}
)
SELECT
    c.*,
    CASE
        WHEN c._rank > 1 THEN 'duplicate'
{judged}
    END AS _verdict
FROM merged AS c
LEFT JOIN standing AS t ON {_same_key(table, "t", "c")};
SET counted = (SELECT CONCAT({counted}) FROM judged);
{counts}"""


def guards(table: Table, manifest: Manifest) -> str:
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


def merge(table: Table, target: str, batch: str) -> str:
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


def supersede(table: Table, target: str, batch: str) -> str:
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


def mark_absent(table: Table, manifest: Manifest, names: Names, batch: str) -> str:
    """Mark the rows that a snapshot lacks, unless it lacks so many that it is hardly all there is.

    A row that the snapshot has but that was rejected is present all the same. One that only a
    backfill ever brought was in no snapshot before, so none can have lost it.
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
WHERE
    NOT t._is_deleted AND p.name IS NULL
    AND t._batch_id NOT IN {_backfills(manifest, names)};
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
