"""The SQL that reserves requests of a source whose plan counts them, before any is sent.

What a calendar month (UTC, BigQuery's clock) allows grows evenly, from one request in its first
second to the whole budget in its last. Spent is what was settled, and what was reserved and never
settled. The script is fenced like that of an apply, so two runs are never granted one request. A
month's lines count: a run over midnight spends of the month in which it settles.
"""

from __future__ import annotations

from core.sql import Names, fence_table, literal

# BigQuery's own clock; a test sets another.
CLOCK = "CURRENT_TIMESTAMP()"


def reserve_script(
    source: str,
    reservation_id: str,
    *,
    wanted: int,
    per_month: int,
    names: Names,
    clock: str = CLOCK,
) -> str:
    """The script that grants at most `wanted` requests, and a line in `_requests` for them.

    Its result is one row: `granted`, `next_at`, when one more will be allowed, and what the month
    has `allowed` so far and was `spent` of it before. Repeating it with the same id grants nothing
    more and gives the same number.
    """
    requests = names.raw("_requests")
    # The emulator multiplies small numbers in 32 bits, and takes DIV for an operator: casts and
    # inner parentheses do nothing on BigQuery.
    budget = f"CAST({per_month} AS INT64)"
    # A repetition may come after midnight, so the day before the month is looked through, too.
    of_this = f"reservation_id = {literal(reservation_id)}"
    return f"""\
DECLARE reserved_at, month_at, month_end_at, next_at TIMESTAMP;
DECLARE asked STRING;
DECLARE month_seconds, elapsed_seconds, spent, allowed, granted INT64 DEFAULT 0;
BEGIN TRANSACTION;
UPDATE {names.raw(fence_table(source))}
SET fenced_at = CURRENT_TIMESTAMP()
WHERE TRUE;
SET reserved_at = {clock};
SET month_at = TIMESTAMP_TRUNC(reserved_at, MONTH);
SET month_end_at = TIMESTAMP(DATE_ADD(DATE(month_at), INTERVAL 1 MONTH));
SET month_seconds = TIMESTAMP_DIFF(month_end_at, month_at, SECOND);
SET elapsed_seconds = TIMESTAMP_DIFF(reserved_at, month_at, SECOND);
SET asked = (
    SELECT CONCAT(
        CAST(COALESCE(SUM(r.spent), 0) AS STRING), ',', CAST(COALESCE(MAX(r.granted), -1) AS STRING)
    )
    FROM (
        SELECT
            COALESCE(
                MAX(IF(state = 'settled' AND recorded_at >= month_at, requests, NULL)),
                MAX(IF(recorded_at >= month_at, requests, NULL))
            ) AS spent,
            MAX(IF({of_this} AND state = 'reserved', requests, NULL)) AS granted
        FROM {requests}
        WHERE
            source = {literal(source)}
            AND recorded_at >= TIMESTAMP_SUB(month_at, INTERVAL 1 DAY)
        GROUP BY reservation_id
    ) AS r
);
SET spent = CAST(SPLIT(asked, ',')[OFFSET(0)] AS INT64);
SET granted = CAST(SPLIT(asked, ',')[OFFSET(1)] AS INT64);
SET allowed = GREATEST(
    1, DIV(({budget} * elapsed_seconds + month_seconds - 1), month_seconds)
);
IF granted < 0 THEN
  SET granted = GREATEST(0, LEAST({wanted}, allowed - spent));
  IF granted > 0 THEN
    INSERT INTO {requests} (reservation_id, source, state, requests, recorded_at)
    SELECT {literal(reservation_id)}, {literal(source)}, 'reserved', granted, reserved_at;
  END IF;
END IF;
SET elapsed_seconds = DIV((CAST(spent AS INT64) * month_seconds), {budget}) + 1;
SET next_at = TIMESTAMP_ADD(month_at, INTERVAL LEAST(month_seconds, elapsed_seconds) SECOND);
COMMIT TRANSACTION;
SELECT granted, next_at, allowed, spent;
"""
