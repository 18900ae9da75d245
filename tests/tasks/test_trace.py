"""Which batch wrote a row, by the source's own key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import OperationRejected
from repair.trace import trace
from testing.platform import TestPlatform
from tests.tasks.test_undo import applied, take_back


def ask(platform: TestPlatform, key: str) -> list[str]:
    return trace(platform.stores.warehouse, platform.source.TABLE, key)


def test_a_row_is_asked_for_by_all_columns_of_its_key(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="openweather")
    platform.run()
    (location, dt), row = min(platform.rows().items())
    told = ask(platform, f"{location},{dt.isoformat()}")
    assert told[0].startswith(f"row       batch {row['_batch_id']}, inserted ")
    assert told[1].startswith("batch     applied ")
    # As BigQuery's console shows it, and in UTC when it says nothing else.
    assert ask(platform, f"{location},{dt:%Y-%m-%d %H:%M:%S}") == told
    for key, cause in (
        (location, "is asked for by location,dt"),
        (f"{location},noon", "dt is a time, such as 2026-01-02T03:04:05Z: noon"),
        (f"{location},2001-01-01", "has no row with location,dt ="),
    ):
        with pytest.raises(OperationRejected, match=cause):
            ask(platform, key)


def test_a_vehicle_is_asked_for_by_its_licence_and_later_undos_are_told(
    make_platform: Callable[..., TestPlatform],
) -> None:
    platform = make_platform(kit="nyc_fhv", size=60)
    with pytest.raises(OperationRejected, match="nothing was ever loaded into nyc_fhv__vehicles"):
        ask(platform, "5608977")
    platform.run()
    platform.control("advance")
    platform.run()
    first, second = applied(platform)
    take_back(platform, second)
    row = min(platform.rows().values(), key=lambda row: row["vehicle_license_number"] or "~")
    told = ask(platform, row["vehicle_license_number"])
    assert told[0].startswith(f"row       batch {first}, ")
    assert told[-1].startswith(f"undone    {second}, 20")
