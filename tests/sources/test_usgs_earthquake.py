"""The USGS mapping and windows, as pure functions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from core.batch import Window
from core.errors import SourceError
from core.rows import to_chunk
from core.values import digest
from sources.usgs_earthquake.mapping import (
    BEGINNING,
    TABLE,
    Count,
    Query,
    count_in,
    features_of,
    key_of,
    known_digests,
    queries,
    split,
    to_record,
    unseen,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 600000, UTC)
WHOLE = Query("live", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
FEATURE: dict[str, Any] = {
    "type": "Feature",
    "id": "us1",
    "properties": {
        "mag": 2,
        "place": "Ōsaka",
        "time": -1.5,
        "updated": 1706116481720,
        "tz": None,
        "url": "u",
        "detail": "d",
        "felt": 3,
        "cdi": 2.2,
        "mmi": 3,
        "alert": "green",
        "status": "reviewed",
        "tsunami": 0,
        "sig": 79,
        "net": "us",
        "code": "1",
        "ids": ",us1,ak1,",
        "sources": ",us,ak,",
        "types": ",origin,",
        "nst": 48,
        "dmin": 0.0544,
        "rms": 0.26,
        "gap": 53,
        "magType": "ml",
        "type": "earthquake",
        "title": "M 2.0 - Ōsaka",
    },
    "geometry": {"type": "Point", "coordinates": [-122, 47.5, -0.31]},
}
# Every column with the value that FEATURE must become.
ROW: dict[str, Any] = {
    **FEATURE["properties"],
    "id": "us1",
    "mag": 2.0,
    "mmi": 3.0,
    "gap": 53.0,
    "time": datetime(1969, 12, 31, 23, 59, 59, 998500, UTC),
    "updated": datetime(2024, 1, 24, 17, 14, 41, 720000, UTC),
    "longitude": -122.0,
    "latitude": 47.5,
    "depth": -0.31,
}


def row_of(feature: object, listing: Any = "live") -> dict[str, Any]:
    return dict(to_chunk([to_record(feature, listing)], TABLE, 0).rows.to_pylist()[0])


def with_property(name: str, value: object) -> dict[str, Any]:
    return {**FEATURE, "properties": {**FEATURE["properties"], name: value}}


@pytest.mark.parametrize("name", TABLE.column_names)
def test_every_field_is_converted(name: str) -> None:
    row = row_of(FEATURE)
    assert row[name] == ROW[name]
    assert row["_extra"] is None
    assert row["_is_deleted"] is False


@pytest.mark.parametrize("name", [n for n in TABLE.column_names if n in FEATURE["properties"]])
def test_every_property_that_may_be_null_is_null(name: str) -> None:
    chunk = to_chunk([to_record(with_property(name, None), "live")], TABLE, 0)
    if name in ("time", "updated"):
        assert [reject.reason for reject in chunk.rejects] == [f"row with no {name}"]
    else:
        assert chunk.rows.to_pylist()[0][name] is None


@pytest.mark.parametrize("name", [n for n in TABLE.column_names if n in FEATURE["properties"]])
def test_every_property_of_another_type_is_kept_or_rejected(name: str) -> None:
    chunk = to_chunk([to_record(with_property(name, ["?"]), "live")], TABLE, 0)
    if name in ("time", "updated"):
        assert [reject.reason for reject in chunk.rejects] == [f"row with an unusable {name}"]
        return
    row = chunk.rows.to_pylist()[0]
    assert (row[name], row["_extra"], chunk.unparsed) == (None, f'{{"{name}":["?"]}}', 1)


@pytest.mark.parametrize(
    ("feature", "extra"),
    [
        (with_property("new", 1), '{"new":1}'),
        ({**FEATURE, "bbox": [1]}, '{"feature.bbox":[1]}'),
        ({**FEATURE, "type": "Thing"}, '{"feature.type":"Thing"}'),
        ({**FEATURE, "geometry": "?"}, '{"feature.geometry":"?"}'),
        ({**FEATURE, "geometry": {"type": "Line"}}, '{"geometry.type":"Line"}'),
        (
            {**FEATURE, "geometry": {"coordinates": [1, 2, 3, 4]}},
            '{"geometry.coordinates":[1,2,3,4]}',
        ),
        ({**FEATURE, "geometry": {"crs": 1}}, '{"geometry.crs":1}'),
    ],
)
def test_what_has_no_column_is_kept(feature: object, extra: str) -> None:
    assert row_of(feature)["_extra"] == extra


@pytest.mark.parametrize("coordinates", [None, [], [1], [1, 2], [1, 2, None]])
def test_coordinates_may_be_short(coordinates: list[float] | None) -> None:
    row = row_of({**FEATURE, "geometry": {"type": "Point", "coordinates": coordinates}})
    given = [*(coordinates or []), None, None, None][:3]
    assert [row["longitude"], row["latitude"], row["depth"]] == given
    assert row_of({**FEATURE, "geometry": None})["depth"] is None


@pytest.mark.parametrize("thing", [None, 3, "x", [], {}, {"properties": 3}])
def test_what_is_no_feature_is_rejected_whole(thing: object) -> None:
    chunk = to_chunk([to_record(thing, "live")], TABLE, 0)
    assert [reject.reason for reject in chunk.rejects] == ["row with blank id"]


def test_deletions() -> None:
    assert row_of(FEATURE, "deleted")["_is_deleted"] is True
    assert row_of(with_property("status", "deleted"))["_is_deleted"] is True
    timeless = with_property("time", None)
    assert row_of(timeless, "deleted")["time"] is None
    blank = to_chunk([to_record({**FEATURE, "id": ""}, "deleted")], TABLE, 0)
    assert blank.rejects[0].is_expected


def counted(total: int, cap: int) -> list[tuple[Query, int]]:
    """Split a minute in which `total` events are spread evenly over its seconds."""

    def count_of(query: Query) -> Count:
        seconds = range(
            int((query.start - WHOLE.start).total_seconds()),
            int((query.end - WHOLE.start).total_seconds()) + 1,
        )
        return Count(sum(1 for n in range(total) if n % 60 in seconds), cap)

    return list(split(WHOLE, count_of(WHOLE), count_of))


def test_splitting_at_nothing_the_cap_and_one_more() -> None:
    assert counted(0, 20) == []
    assert counted(20, 20) == [(WHOLE, 20)]
    pieces = counted(21, 20)
    assert len(pieces) == 2
    assert all(number <= 20 for _, number in pieces)
    assert pieces[0][0].end == pieces[1][0].start


def test_splitting_leaves_no_second_out() -> None:
    pieces = [query for query, _ in counted(600, 45)]
    assert pieces[0].start == WHOLE.start
    assert pieces[-1].end == WHOLE.end
    assert all(a.end == b.start for a, b in pairwise(pieces))


def test_a_second_beyond_the_cap_is_an_error_that_says_so() -> None:
    with pytest.raises(
        SourceError, match=r"usgs_earthquake, live events .* 30 events in one second"
    ):
        list(split(WHOLE, Count(30, 20), lambda _: Count(30, 20)))


def test_a_look_asks_for_changes_of_events_of_any_time() -> None:
    live, deleted = queries(Window(NOW), NOW, is_backfill=False)
    assert live.parameters() == {
        "format": "geojson",
        "starttime": "0001-01-01T00:00:00",
        "endtime": "2100-01-01T00:00:00",
        "updatedafter": "2026-01-02T03:04:05",
    }
    assert deleted.parameters() == {**live.parameters(), "includedeleted": "only"}


def test_the_first_look_takes_thirty_days_or_what_is_configured() -> None:
    assert queries(Window(), NOW, is_backfill=False)[0].start == datetime(
        2025, 12, 3, 3, 4, 5, tzinfo=UTC
    )
    configured = queries(Window(), NOW, is_backfill=False, history_start=date(2020, 1, 1))
    assert configured[0].start == datetime(2020, 1, 1, tzinfo=UTC)
    assert configured[0].updated_after is None


def test_a_backfill_takes_event_times() -> None:
    for query in queries(Window(None, NOW), NOW, is_backfill=True):
        assert (query.start, query.end, query.updated_after) == (BEGINNING, NOW, None)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ([], "no JSON object"),
        ({}, "no features"),
        ({"features": {}}, "no features"),
        ({"metadata": {"status": 400, "error": "bad"}, "features": []}, "status 400: bad"),
    ],
)
def test_an_answer_without_features_is_an_error(body: object, cause: str) -> None:
    with pytest.raises(SourceError, match=cause):
        features_of(body, WHOLE)


@pytest.mark.parametrize("body", [None, {}, {"count": "3"}, {"count": -1}, {"count": True}])
def test_an_answer_without_a_count_is_an_error(body: object) -> None:
    with pytest.raises(SourceError, match="no count"):
        count_in(body, WHOLE)


def test_the_cap_is_the_service_s_own() -> None:
    assert count_in({"count": 3, "maxAllowed": 7}, WHOLE) == Count(3, 7)
    assert count_in({"count": 3}, WHOLE) == Count(3, 20_000)


def test_what_was_met_before_is_known_by_content() -> None:
    seen = known_digests([FEATURE], datetime(2024, 1, 24, 17, 14, 41, 900000, UTC))
    assert seen == {"us1": digest(FEATURE)}
    assert unseen([FEATURE], seen) == []
    changed = with_property("felt", 4)
    assert unseen([changed, FEATURE], seen) == [changed]
    assert known_digests([FEATURE], datetime(2024, 1, 24, 17, 14, 42, tzinfo=UTC)) == {}


def test_a_feature_without_an_id_is_known_by_its_content() -> None:
    blank = {**FEATURE, "id": ""}
    assert key_of(blank) == f"~{digest(blank)}"
    assert unseen([blank], known_digests([blank], NOW - timedelta(days=999))) == []
