"""Lossless conversions of single JSON values to the types of a warehouse column.

Every converter returns the value in its column's type, or raises ValueError when that would lose or
invent something; the caller then keeps the original in `_extra`. `None` never reaches a converter.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation

Converter = Callable[[object], object]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Integers beyond 2^53 are not all representable as FLOAT64.
EXACT_FLOAT = 2**53
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# No float is as large as this, which has so many digits.
EXACT_DIGITS = 308
BEYOND_FLOAT = 10**EXACT_DIGITS
# What may be such a number, in a body; and that or half of a surrogate pair, in a text of ours.
LARGE_NUMBER = re.compile(rb"[eE]\+?\d{3}|\d{309}")
SUSPECT = re.compile(r"\\ud[89a-f]|\d{309}")
# BigQuery: NUMERIC has 38 digits, 9 of them after the point.
NUMERIC_MAX = Decimal("99999999999999999999999999999.999999999")
NINE_PLACES = Decimal("1e-9")
# Decimal's own context has 28 digits, too few for a NUMERIC; rounds half even.
DIGITS = Context(prec=60)
# A float has about 16 digits: what rounding changes by a smaller share is noise of a formula.
NOISE = Decimal("1e-9")


class Rounded(ValueError):
    """A value that its column holds only rounded; `nearest` is that."""

    def __init__(self, nearest: Decimal) -> None:
        super().__init__("more than 9 decimals")
        self.nearest = nearest


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
    exact = _decimal(value)
    if exact != exact.quantize(NINE_PLACES, context=DIGITS):
        raise ValueError("more than 9 decimals")
    return exact


def numeric_rounded(value: object) -> Decimal:
    """A number to nine places, half even; Rounded when that changes more of it than noise."""
    exact = _decimal(value)
    nearest = exact.quantize(NINE_PLACES, context=DIGITS)
    if DIGITS.abs(DIGITS.subtract(exact, nearest)) > DIGITS.multiply(NOISE, DIGITS.abs(exact)):
        raise Rounded(nearest)
    return nearest


def _decimal(value: object) -> Decimal:
    """A number to the digit, within the range of NUMERIC."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("not a number")
    try:
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not exact.is_finite() or exact.copy_abs() > NUMERIC_MAX:
        raise ValueError("beyond NUMERIC")
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
    """One canonical JSON text of a value, that every parser takes: sorted keys, ASCII, no spaces.

    JSON has no NaN and no infinity, and parsers have no number beyond FLOAT64's and no half of a
    surrogate pair: each is a text, its digits or its escape.
    """
    try:
        text = _dump(value)
    except ValueError:
        return _dump(_strict(value))
    return _dump(_strict(value)) if SUSPECT.search(text) else text


def digest(value: object) -> str:
    """Sixteen hex digits of a value's JSON text."""
    return hashlib.sha256(as_json(value).encode()).hexdigest()[:16]


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, allow_nan=False)


def _strict(value: object) -> object:
    """The value without what only some parsers of JSON take."""
    if isinstance(value, Mapping):
        return {_strict(name): _strict(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and abs(value) >= BEYOND_FLOAT:
        return str(value)
    return value


def parse_json(content: bytes) -> object:
    """The value of a JSON text; a number that no FLOAT64 can hold is a text of its digits.

    Raises ValueError when it is no JSON.
    """
    exact = LARGE_NUMBER.search(content)
    try:
        return json.loads(
            content,
            parse_constant=_no_constant,
            parse_float=_float_or_text if exact else None,
            parse_int=_int_or_text if exact else None,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError("a body that is not JSON") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _float_or_text(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _int_or_text(digits: str) -> int | str:
    return int(digits) if len(digits) <= EXACT_DIGITS else digits
