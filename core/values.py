"""Lossless conversions of single JSON values to the types of a warehouse column.

Every converter returns the value in its column's type, or raises ValueError when that would lose or
invent something; the caller then keeps the original in `_extra`. `None` never reaches a converter.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

Converter = Callable[[object], object]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Integers beyond 2^53 are not all representable as FLOAT64.
EXACT_FLOAT = 2**53
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# BigQuery: TIMESTAMP from 0001-01-01 to 9999-12-31 23:59:59.999999 UTC.
TIMESTAMP_MIN = datetime(1, 1, 1, tzinfo=UTC)
TIMESTAMP_MAX = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
# BigQuery: NUMERIC has 38 digits, 9 of them after the point.
NUMERIC_MAX = Decimal("99999999999999999999999999999.999999999")


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("not valid Unicode") from error
    return value


def integer(value: object) -> int:
    """Whole numbers, also when written as 3.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number")
    whole = int(value)
    if not INT64_MIN <= whole <= INT64_MAX:
        raise ValueError("beyond INT64")
    return whole


def floating(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if isinstance(value, int) and abs(value) > EXACT_FLOAT:
        raise ValueError("beyond the exact range of FLOAT64")
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def numeric(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("not a number")
    try:
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not exact.is_finite() or abs(exact) > NUMERIC_MAX:
        raise ValueError("beyond NUMERIC")
    if exact != round(exact, 9):
        raise ValueError("more than 9 decimals")
    return exact


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not a boolean")
    return value


def epoch_milliseconds(value: object) -> datetime:
    """Epoch milliseconds UTC, negative before 1970, exact to the microsecond."""
    return _since_epoch(value, "milliseconds", 1_000)


def epoch_seconds(value: object) -> datetime:
    """Epoch seconds UTC, negative before 1970, exact to the microsecond."""
    return _since_epoch(value, "seconds", 1_000_000)


def _since_epoch(value: object, unit: str, microseconds_each: int) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a number of {unit}")
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    microseconds = exact * microseconds_each
    if not microseconds.is_finite() or microseconds != microseconds.to_integral_value():
        raise ValueError("finer than a microsecond")
    try:
        return EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError as error:
        raise ValueError("beyond TIMESTAMP") from error


def iso_8601(value: object) -> datetime:
    """A date and time with its offset, exact to the microsecond, as UTC."""
    if not isinstance(value, str) or not ISO_8601.fullmatch(value):
        raise ValueError("not a date and time with an offset")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("beyond TIMESTAMP") from error


def as_json(value: object) -> str:
    """One canonical JSON text of a value: sorted keys, ASCII, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
