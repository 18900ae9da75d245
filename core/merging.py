"""The statements that bring a batch's staged rows into a table that has a key.

What becomes of the staged rows is one query, `ranked_rows`, which is asked twice: for the counts,
and by the MERGE. BigQuery bills at least 10 MiB for each table that a statement names, temporary
ones too, so few statements that name few tables are what a small batch costs.

Three staged rows of a table that is ordered by `updated`, here minutes after noon:

    id | mag before | updated before | mag staged | updated staged | verdict  | mag after
    a  | 5.1        | 1              | 5.3        | 2              | updated  | 5.3
    b  | 4.0        | 3              | 4.2        | 2              | older    | 4.0
    c  |            |                | 3.9        | 2              | inserted | 3.9
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from textwrap import indent

from core.batch import Manifest
from core.ledger import ROW_OUTCOMES
from core.schema import META, STAGED, Column, Table
from core.sql import Names, literal, quoted, staging_table
from core.stamps import batch_order, later, stamp_order

EXTRA = next(column for column in META if column.name == "_extra")


def check(manifest: Manifest, condition: str, fault: str) -> str:
    """The statement that fails, and so rolls back, where the condition does not hold."""
    where = f"{manifest.source} batch {manifest.batch_id}"
    return f"SELECT IF({condition}, 1, ERROR('{where}: {fault}'));"


def check_staged(manifest: Manifest, counted: str) -> str:
    fault = f"the staged rows are not the {manifest.rows} of the manifest"
    return check(manifest, f"{counted} = {manifest.rows}", fault)


def staged_columns(table: Table, manifest: Manifest) -> str:
    """The table's columns, `_is_deleted` and `_extra` out of the staged rows.

    Columns that were not staged are null; those that newer code staged and this does not know join
    `_extra`.
    """
    staged = dict(manifest.columns)
    own = [
        f"s.{quoted(column.name)}"
        if column.name in staged
        else f"CAST(NULL AS {column.type}) AS {quoted(column.name)}"
        for column in table.columns
    ]
    known = {column.name for column in (*table.columns, *STAGED)}
    named = [f"s.{quoted(name)} AS {quoted(name)}" for name in staged if name not in known]
    extra = "s._extra"
    if named:
        fields = f"TO_JSON_STRING(STRUCT({', '.join(named)}))"
        extra = (
            f"IF(s._extra IS NULL, {fields}, CONCAT("
            f"SUBSTR(s._extra, 1, LENGTH(s._extra) - 1), ',', SUBSTR({fields}, 2))) AS _extra"
        )
    return ", ".join([*own, "s._is_deleted", extra])


def _columns(names: Iterable[str], alias: str) -> str:
    return ", ".join(f"{alias}.{quoted(name)}" for name in names)


def _same_key(table: Table, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in table.key)


def bounds(table: Table, target: str, staging: str) -> str:
    """The span of event times that can hold the batch's rows or those they rename.

    The batch's own range, united with the places where its keys already stand: a revised event time
    may cross a partition. Constants, so that BigQuery prunes the partitions outside.
    """
    if table.partition_by is None:
        return ""
    event = quoted(table.partition_by)
    slack = int(table.alias_slack.total_seconds()) if table.aliases else 0
    places = f"""\
SELECT
    TIMESTAMP_SUB(MIN(s.{event}), INTERVAL {slack} SECOND) AS event_from,
    TIMESTAMP_ADD(MAX(s.{event}), INTERVAL {slack} SECOND) AS event_to
FROM {staging} AS s"""
    if table.partition_by not in table.key:
        key = quoted(*table.key)
        keys = f"SELECT s.{key} FROM {staging} AS s"
        if table.aliases:
            keys += (
                f" UNION DISTINCT SELECT name FROM {staging} AS s "
                f"CROSS JOIN UNNEST(SPLIT(s.{quoted(table.aliases)}, ',')) AS name WHERE name != ''"
            )
        places += f"""
UNION ALL
SELECT MIN(t.{event}), MAX(t.{event})
FROM {target} AS t
WHERE t.{key} IN ({keys})"""
    ends = ", ',', ".join(
        f"COALESCE(CAST(UNIX_MICROS({end}) AS STRING), '')"
        for end in ("MIN(p.event_from)", "MAX(p.event_to)")
    )
    return f"""\
SET bounds = (
    SELECT CONCAT({ends})
    FROM (
{indent(places, "        ")}
    ) AS p
);
SET bound_from = TIMESTAMP_MICROS(SAFE_CAST(SPLIT(bounds, ',')[OFFSET(0)] AS INT64));
SET bound_to = TIMESTAMP_MICROS(SAFE_CAST(SPLIT(bounds, ',')[OFFSET(1)] AS INT64));"""


def _within(table: Table, alias: str) -> str:
    if table.partition_by is None:
        return "TRUE"
    event = f"{alias}.{quoted(table.partition_by)}"
    return f"({event} BETWEEN bound_from AND bound_to OR {event} IS NULL)"


def _merged(column: Column) -> str:
    """What a column becomes of the staged row `s` and the one that is there, `t`."""
    name = quoted(column.name)
    if column.keep is None:
        return (
            f"CASE WHEN _is_older THEN t.{name} "
            f"WHEN s._is_deleted THEN COALESCE(s.{name}, t.{name}) ELSE s.{name} END AS {name}"
        )
    function, standing = "LEAST" if column.keep == "min" else "GREATEST", f"t.{name}"
    if column.keep == "max" and column.type == "TIMESTAMP":
        # The greatest that is believed: no row was seen after it was written.
        standing = f"IF(t.{name} > {later('t._inserted_at')}, NULL, t.{name})"
    return f"{function}(COALESCE(s.{name}, {standing}), COALESCE({standing}, s.{name})) AS {name}"


def ranked_rows(table: Table, manifest: Manifest, target: str, staging: str, batch: str) -> str:
    """The query that says what becomes of each staged row, in `_verdict`, and holds what to write.

    `ranked` are the staged rows, typed as the table wants them and ranked within their key,
    `existing` the target's rows under those keys. A deletion keeps the values that it does not
    bring. A row that a backfill brought and a snapshot has, too, is the snapshot's from then on,
    also where nothing in it changes: the next one can lose it.
    """
    key = table.key
    plain = [column for column in table.columns if column.name not in key]
    content = [*(column.name for column in plain), "_extra", "_is_deleted"]
    rank = ""
    is_older = f"{batch} < {batch_order('t')}"
    if table.order_by:
        stamp, observed_at = quoted(table.order_by), literal(manifest.observed_at)
        known_by = later(literal(max(manifest.observed_at, manifest.extract_ended_at)))
        # One from the future counts as its observation.
        staged = f"IF(s.{stamp} > {known_by}, {observed_at}, s.{stamp})"
        standing = stamp_order(stamp, "t")
        rank = f"{staged} DESC, "
        is_older = f"({staged} < {standing} OR {staged} = {standing} AND {is_older})"
    merged = ", ".join(map(_merged, (*plain, EXTRA)))
    differs = "\n        OR ".join(
        f"c.{name} IS DISTINCT FROM t.{name}" for name in map(quoted, content)
    )
    equal = "'unchanged'"
    if table.write == "snapshot" and manifest.mode != "backfill":
        equal = f"IF({IS_BACKFILLED}, 'updated', 'unchanged')"
    verdicts = f"""\
    WHEN NOT c._stands THEN IF(c._is_deleted, 'deleted', 'inserted')
    WHEN NOT (
        {differs}
    ) THEN IF(c._is_older, 'older', {equal})
    WHEN c._is_deleted AND NOT c._is_older THEN 'deleted'
    ELSE 'updated'"""
    if table.write == "insert":
        verdicts = "    WHEN c._stands THEN 'unchanged'\n    ELSE 'inserted'"
    return f"""\
WITH ranked AS (
    SELECT
        {staged_columns(table, manifest)}, s._row,
        ROW_NUMBER() OVER (
            PARTITION BY {_columns(key, "s")}
            ORDER BY {rank}s._is_deleted DESC, s._row DESC
        ) AS _rank
    FROM {staging} AS s
), existing AS (
    SELECT t.*
    FROM {target} AS t
    JOIN (SELECT {_columns(key, "c")} FROM ranked AS c WHERE c._rank = 1) AS p
        ON {_same_key(table, "p", "t")}
    WHERE {_within(table, "t")}
), compared AS (
    SELECT
        s.*, t.{quoted(key[0])} IS NOT NULL AS _stands,
        t.{quoted(key[0])} IS NOT NULL AND {is_older} AS _is_older
    FROM ranked AS s
    LEFT JOIN existing AS t ON {_same_key(table, "t", "s")}
), merged AS (
    SELECT
        {_columns(key, "s")}, {merged},
        IF(_is_older, t._is_deleted, s._is_deleted) AS _is_deleted,
        s._rank, s._stands, s._is_older
    FROM compared AS s
    LEFT JOIN existing AS t ON {_same_key(table, "t", "s")}
)
SELECT
    c.*,
    CASE
    WHEN c._rank > 1 THEN 'duplicate'
{verdicts}
    END AS _verdict
FROM merged AS c
LEFT JOIN existing AS t ON {_same_key(table, "t", "c")}"""


# What is written; the other verdicts leave the table as it is.
WRITTEN = "_verdict IN ('inserted', 'updated', 'deleted')"


def counts(table: Table, manifest: Manifest, rows: str) -> str:
    """Count the verdicts of `rows`, a query; roll back where they cannot be right."""
    keys = ", ".join(map(quoted, table.key))
    counted = [
        *(f"COUNTIF(_verdict = '{verdict}')" for verdict in ROW_OUTCOMES),
        "COUNT(*)",
        f"(SELECT COUNT(*) FROM (SELECT {keys} FROM ranked_rows WHERE {WRITTEN} "
        f"GROUP BY {keys} HAVING COUNT(*) > 1))",
    ]
    names = [*(f"n_{verdict}" for verdict in ROW_OUTCOMES), "n_staged", "n_twice"]
    texts = ", ',', ".join(f"CAST({count} AS STRING)" for count in counted)
    taken = "\n".join(
        f"SET {name} = CAST(SPLIT(counted, ',')[OFFSET({place})] AS INT64);"
        for place, name in enumerate(names)
    )
    total = " + ".join(f"n_{verdict}" for verdict in ROW_OUTCOMES)
    all_add_up = check(
        manifest,
        f"{total} + {manifest.rejected} = {manifest.extracted}",
        f"the counts do not add up to the {manifest.extracted} rows extracted",
    )
    return f"""\
SET counted = (
    WITH ranked_rows AS (
{indent(rows, "        ")}
    )
    SELECT CONCAT({texts}) FROM ranked_rows
);
{taken}
{all_add_up}
{check_staged(manifest, "n_staged")}
{check(manifest, "n_twice = 0", f"two source rows for one row of {table.name}")}"""


def merge(table: Table, target: str, rows: str, batch: str) -> str:
    """Write what `rows`, the query of the verdicts, says."""
    content = [name for name in table.column_names if name not in table.key]
    content += ["_extra", "_is_deleted"]
    updates = ", ".join(f"{name} = c.{name}" for name in map(quoted, content))
    # A row keeps the name of the newest batch that observed it, by which later ones are ordered.
    updates += f", _batch_id = IF(c._is_older, t._batch_id, {batch}), _inserted_at = applied_at"
    columns = [quoted(name) for name in (*table.key, *content)]
    return f"""\
MERGE {target} AS t
USING (
    SELECT * FROM (
{indent(rows, "        ")}
    ) AS j
    WHERE {WRITTEN}
) AS c
ON {_same_key(table, "t", "c")} AND {_within(table, "t")}
WHEN MATCHED THEN UPDATE SET {updates}
WHEN NOT MATCHED THEN
    INSERT ({", ".join(columns)}, _batch_id, _inserted_at)
    VALUES ({", ".join(f"c.{name}" for name in columns)}, {batch}, applied_at);"""


def supersede(table: Table, target: str, staging: str, batch: str) -> str:
    """Mark the rows that a not older row counts among its aliases: the source renamed them.

    At equal stamps a live row outweighs a deleted one, then the later batch, then the greater key,
    so that of two rows that name each other exactly one stays.
    """
    key, order, aliases = map(quoted, (*table.key, table.order_by or "", table.aliases or ""))
    of_batch = f"(SELECT s.{key} FROM {staging} AS s)"
    renamed = f"""\
SELECT o.{key} AS name
FROM (
    SELECT
        t.{key}, {stamp_order(order, "t")} AS _stamp_order, {batch_order("t")} AS _batch_order
    FROM {target} AS t
    WHERE {_within(table, "t")} AND NOT t._is_deleted
) AS o
JOIN (
    SELECT
        t.{key}, {stamp_order(order, "t")} AS _stamp_order, {batch_order("t")} AS _batch_order,
        t._is_deleted, name
    FROM {target} AS t CROSS JOIN UNNEST(SPLIT(t.{aliases}, ',')) AS name
    WHERE {_within(table, "t")} AND name != '' AND name != t.{key}
) AS n ON n.name = o.{key}
WHERE
    (o.{key} IN {of_batch} OR n.{key} IN {of_batch})
    AND (
        n._stamp_order > o._stamp_order
        OR n._stamp_order = o._stamp_order AND NOT n._is_deleted AND (
            n._batch_order > o._batch_order
            OR n._batch_order = o._batch_order AND n.{key} > o.{key}
        )
    )"""
    return f"""\
SET n_superseded_ids = (
    SELECT COUNT(DISTINCT r.name)
    FROM (
{indent(renamed, "        ")}
    ) AS r
);
IF n_superseded_ids > 0 THEN
    UPDATE {target} AS t
    SET _is_deleted = TRUE, _batch_id = {batch}, _inserted_at = applied_at
    WHERE {_within(table, "t")} AND t.{key} IN (
{indent(renamed, "        ")}
    );
END IF;"""


# The row is as a backfill brought it, which brings what no snapshot did.
IS_BACKFILLED = "t._batch_id IN UNNEST(SPLIT(backfills, ','))"


def cells_of(table: Table, value: Callable[[Column], str]) -> str:
    """One text of all values of a row but its key; `value` is the expression of a column."""
    columns = [*(column for column in table.columns if column.name not in table.key), EXTRA]
    fields = ", ".join(f"{value(column)} AS {quoted(column.name)}" for column in columns)
    return f"TO_JSON_STRING(STRUCT({fields}))"


def find_alike(table: Table, manifest: Manifest, names: Names, rejects: str) -> str:
    """Name the live rows whose values a row without a key has now, and had not before.

    A row's `_batch_id` is of the newest batch that wrote it, or that had more such rows beside it
    than any before (`mark_absent`); `_rejects` says how many. As long as there are no more, they
    are others: a line of totals that equals an entry is none that lost its id.
    """
    of_row = cells_of(table, lambda column: f"t.{quoted(column.name)}")
    of_reject = cells_of(
        table,
        lambda column: f"SAFE_CAST(JSON_VALUE(r.content, '$.{column.name}') AS {column.type})",
    )
    return f"""\
SET alike = (
    WITH keyless AS (
        SELECT {of_reject} AS cells, r.payload
        FROM {rejects} AS r
        WHERE r.content IS NOT NULL
    ), now_there AS (
        SELECT k.cells, COUNT(*) AS number FROM keyless AS k GROUP BY k.cells
    ), then_there AS (
        SELECT k.cells, j.batch_id, COUNT(*) AS number
        FROM {names.raw("_rejects")} AS j
        JOIN (SELECT DISTINCT cells, payload FROM keyless) AS k ON k.payload = j.payload
        WHERE j.source = {literal(manifest.source)} AND j.table_name = {literal(manifest.table)}
        GROUP BY k.cells, j.batch_id
    ), existing AS (
        SELECT t.{quoted(*table.key)} AS name, t._batch_id, {of_row} AS cells
        FROM {names.raw(table.name)} AS t
        WHERE NOT t._is_deleted
    )
    SELECT COALESCE(TO_JSON_STRING(ARRAY_AGG(s.name)), '[]')
    FROM existing AS s
    JOIN now_there AS n ON n.cells = s.cells
    LEFT JOIN then_there AS b ON b.cells = s.cells AND b.batch_id = s._batch_id
    WHERE n.number > COALESCE(b.number, 0)
);"""


# The names that `find_alike` found.
ALIKE = "UNNEST(JSON_VALUE_ARRAY(alike))"


def mark_absent(table: Table, manifest: Manifest, names: Names, staging: str, batch: str) -> str:
    """Mark the rows that a snapshot lacks, unless it lacks so many that it is hardly all there is.

    A row that the snapshot has but that was rejected is present all the same, and so is one whose
    key was cleared: a row without a key has its values. One that only a backfill ever brought was
    in no snapshot before, so none can have lost it.
    """
    key = quoted(*table.key)
    target = names.raw(table.name)
    present = f"SELECT s.{key} AS name FROM {staging} AS s"
    find, is_cleared = "", "FALSE"
    if manifest.rejected:
        rejects = names.staged(staging_table(manifest.source, manifest.batch_id, "rejects"))
        present += f" UNION DISTINCT SELECT r.key FROM {rejects} AS r WHERE r.key IS NOT NULL"
        # A row that is there under its key was now seen beside those without one.
        find = f"""\
{find_alike(table, manifest, names, rejects)}
IF alike != '[]' THEN
    UPDATE {target} AS t
    SET _batch_id = {batch}
    WHERE NOT t._is_deleted AND t.{key} IN {ALIKE} AND t.{key} IN ({present});
END IF;
"""
        if not manifest.allow_absent:
            is_cleared = f"t.{key} IN {ALIKE}"
    is_absent = f"p.name IS NULL AND NOT {IS_BACKFILLED}"
    share = "1.0" if manifest.allow_absent else str(table.max_absent_share)
    return f"""\
{find}SET counted = (
    SELECT CONCAT(
        CAST(COUNTIF({is_absent} AND NOT {is_cleared}) AS STRING), ',',
        CAST(COUNTIF({is_absent} AND {is_cleared}) AS STRING), ',',
        CAST(COUNT(*) AS STRING)
    )
    FROM {target} AS t
    LEFT JOIN (SELECT DISTINCT name FROM ({present}) AS every) AS p ON p.name = t.{key}
    WHERE NOT t._is_deleted
);
SET n_absent = CAST(SPLIT(counted, ',')[OFFSET(0)] AS INT64);
SET n_cleared = CAST(SPLIT(counted, ',')[OFFSET(1)] AS INT64);
IF n_absent > {share} * CAST(SPLIT(counted, ',')[OFFSET(2)] AS INT64) THEN
    SET n_held = n_absent;
    SET n_absent = 0;
END IF;
IF n_absent > 0 THEN
    UPDATE {target} AS t
    SET _is_deleted = TRUE, _batch_id = {batch}, _inserted_at = applied_at
    WHERE
        NOT t._is_deleted AND NOT {IS_BACKFILLED} AND NOT {is_cleared}
        AND t.{key} NOT IN ({present});
END IF;"""
