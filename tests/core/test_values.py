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
        # More digits than Decimal computes with by itself.
        (values.numeric, 1e20, Decimal(10**20)),
        (values.numeric, 10**28 + 1, Decimal(10**28 + 1)),
        (values.numeric, "-" + "9" * 29 + ".999999999", Decimal("-" + "9" * 29 + ".999999999")),
        (values.numeric_rounded, 100 / 3, Decimal("33.333333333")),
        (values.numeric_rounded, 1.0000000005, Decimal(1)),
        (values.numeric_rounded, 1.0000000015, Decimal("1.000000002")),
        (values.numeric_rounded, -1e20 / 3, Decimal("-33333333333333330000")),
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
        (values.numeric, 1e29),
        (values.numeric, Decimal("1e-10")),
        (values.numeric_rounded, 1.7e308),
        (values.numeric_rounded, float("nan")),
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


@pytest.mark.parametrize(
    ("value", "nearest"),
    [(1e-12, "0"), (0.0000001234, "0.000000123"), (-0.0123456785, "-0.012345678"), (5e-324, "0")],
)
def test_what_rounding_changes_by_more_than_noise_is_told_apart(value: float, nearest: str) -> None:
    with pytest.raises(values.Rounded) as rounded:
        values.numeric_rounded(value)
    assert rounded.value.nearest == Decimal(nearest)
