"""Which stamps are believed: a clock that ran ahead once must not put all that follows in the past.

A stamp from the future is one that is later than every clock it can be compared with by more than
AHEAD. It counts as at most the moment at which it was observed, here and in the SQL of the apply.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

# Clocks that are kept right differ by less, and so do answers that come out of a cache.
AHEAD = timedelta(minutes=10)


def is_ahead(stamp: datetime, *clocks: datetime) -> bool:
    """Whether a stamp is from the future by each of these clocks."""
    return all(stamp > clock + AHEAD for clock in clocks)


def in_utc(moment: datetime) -> str:
    """A moment as messages have it."""
    # strftime leaves out the zeros of the year 1.
    return f"{moment.astimezone(UTC).isoformat(timespec='seconds').removesuffix('+00:00')}Z"


def later(moment: str) -> str:
    """SQL: the latest stamp that is believed at `moment`, an expression."""
    return f"TIMESTAMP_ADD({moment}, INTERVAL {int(AHEAD.total_seconds())} SECOND)"


def observed_at(row: str) -> str:
    """SQL: when a row of a raw table was observed, to the second.

    Its batch's id tells it. One from the future counts as the moment at which the row was written.
    """
    moment = f"PARSE_TIMESTAMP('%Y%m%dT%H%M%S', SUBSTR({row}._batch_id, 1, 15))"
    return f"IF({moment} > {later(f'{row}._inserted_at')}, {row}._inserted_at, {moment})"


def batch_order(row: str) -> str:
    """SQL: what orders a row of a raw table among batch ids: its own, or when it was observed."""
    written_at = f"{row}._inserted_at"
    text = "FORMAT_TIMESTAMP('%Y%m%dT%H%M%S', {})"
    return (
        f"IF(SUBSTR({row}._batch_id, 1, 15) > {text.format(later(written_at))}, "
        f"{text.format(written_at)}, {row}._batch_id)"
    )


def stamp_order(stamp: str, row: str) -> str:
    """SQL: what a row of a raw table is ordered by: its update stamp, if that is believed."""
    known_by = later(f"GREATEST({observed_at(row)}, {row}._inserted_at)")
    return f"IF({row}.{stamp} > {known_by}, {observed_at(row)}, {row}.{stamp})"
