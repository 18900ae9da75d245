"""Each converter keeps a value exactly or refuses it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from core import values


@pytest.mark.parametrize(
    ("convert", "value", "expected"),
    [
        (values.text, "São Miguel", "São Miguel"),
        (values.text, "", ""),
        (values.integer, 3, 3),
        (values.integer, 3.0, 3),
        (values.integer, -(2**63), -(2**63)),
        (values.floating, 3, 3.0),
        (values.floating, -1.32, -1.32),
        (values.floating, 2**53, float(2**53)),
        (values.numeric, 0.1, Decimal("0.1")),
        (values.numeric, "99999.99", Decimal("99999.99")),
        (values.boolean, True, True),
        (values.epoch_milliseconds, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (values.epoch_milliseconds, -1, datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)),
        (
            values.epoch_milliseconds,
            1706115460980.5,
            datetime(2024, 1, 24, 16, 57, 40, 980500, UTC),
        ),
        (values.epoch_milliseconds, -2208988800000, datetime(1900, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_fits_is_kept(convert: values.Converter, value: object, expected: object) -> None:
    assert convert(value) == expected
    assert type(convert(value)) is type(expected)


@pytest.mark.parametrize(
    ("convert", "value"),
    [
        (values.text, 3),
        (values.text, "\ud800"),
        (values.integer, "3"),
        (values.integer, 3.5),
        (values.integer, True),
        (values.integer, 2**63),
        (values.floating, "3.5"),
        (values.floating, False),
        (values.floating, 2**53 + 1),
        (values.floating, float("inf")),
        (values.numeric, "1,250.50"),
        (values.numeric, "0.1234567891"),
        (values.numeric, 10**30),
        (values.numeric, "nan"),
        (values.boolean, 1),
        (values.epoch_milliseconds, "2024-01-24"),
        (values.epoch_milliseconds, True),
        (values.epoch_milliseconds, 10**18),
        (values.epoch_milliseconds, float("nan")),
        (values.epoch_milliseconds, 0.0001),
    ],
)
def test_what_does_not_fit_is_refused(convert: values.Converter, value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        convert(value)
