"""Which batch wrote a row, by the source's own key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import OperationRejected
from repair.trace import trace
from testing.platform import Lab
from tests.tasks.test_undo import applied, take_back


def ask(lab: Lab, key: str) -> list[str]:
    return trace(lab.platform.warehouse, lab.source.TABLE, key)


def test_a_row_is_asked_for_by_all_columns_of_its_key(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(kit="openweather")
    lab.run()
    (location, dt), row = min(lab.rows().items())
    told = ask(lab, f"{location},{dt.isoformat()}")
    assert told[0].startswith(f"row       batch {row['_batch_id']}, inserted ")
    assert told[1].startswith("batch     applied ")
    # As BigQuery's console shows it, and in UTC when it says nothing else.
    assert ask(lab, f"{location},{dt:%Y-%m-%d %H:%M:%S}") == told
    for key, cause in (
        (location, "is asked for by location,dt"),
        (f"{location},noon", "dt is a time, such as 2026-01-02T03:04:05Z: noon"),
        (f"{location},2001-01-01", "has no row with location,dt ="),
    ):
        with pytest.raises(OperationRejected, match=cause):
            ask(lab, key)


def test_a_vehicle_is_asked_for_by_its_licence_and_later_undos_are_told(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(kit="nyc_fhv", size=60)
    with pytest.raises(OperationRejected, match="nothing was ever loaded into nyc_fhv__vehicles"):
        ask(lab, "5608977")
    lab.run()
    lab.control("advance")
    lab.run()
    first, second = applied(lab)
    take_back(lab, second)
    row = min(lab.rows().values(), key=lambda row: row["vehicle_license_number"] or "~")
    told = ask(lab, row["vehicle_license_number"])
    assert told[0].startswith(f"row       batch {first}, ")
    assert told[-1].startswith(f"undone    {second}, 20")
