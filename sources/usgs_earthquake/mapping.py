"""USGS earthquakes: how they load, what a feature becomes, and how a query is cut into windows.

Facts from the FDSN event service documentation, https://earthquake.usgs.gov/fdsnws/event/1/, and
the GeoJSON format description, https://earthquake.usgs.gov/earthquakes/feed/v1.0/geojson.php.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple

from core.batch import Window
from core.errors import SourceError, SourceHttpError
from core.rows import Record
from core.schema import Column, Table
from core.stamps import in_utc
from core.values import digest, epoch_milliseconds

SOURCE = "usgs_earthquake"
TABLE = Table(
    source=SOURCE,
    name="usgs_earthquake__events",
    title="Earthquakes",
    about="Earthquakes worldwide, from USGS.",
    is_public=True,
    takes_days=True,
    overlap=timedelta(hours=1),
    key=("id",),
    order_by="updated",
    partition_by="time",
    aliases="ids",
    required=("updated",),
    required_when_live=("time",),
    # 221 of 509 deletions in one observed sync had neither id nor ids: nothing can be marked by
    # them.
    expected_rejects=("deletion with blank id",),
    columns=(
        Column("id", "STRING", "The currently preferred event id: net followed by code."),
        Column("mag", "FLOAT64", "On the scale that magType names; null when not computed."),
        Column("place", "STRING", "Text that places the event: 10 km N of Manila."),
        Column("time", "TIMESTAMP", "When the event happened, UTC.", epoch_milliseconds),
        Column("updated", "TIMESTAMP", "When USGS last changed it, UTC.", epoch_milliseconds),
        Column("tz", "INT64", "Minutes from UTC; always null since 2019."),
        Column("url", "STRING", "The event's page."),
        Column("detail", "STRING", "Address of the event's detailed GeoJSON."),
        Column("felt", "INT64", "Reports to Did You Feel It; null when there are none."),
        Column("cdi", "FLOAT64", "Highest reported intensity, 0 to 10."),
        Column("mmi", "FLOAT64", "Highest estimated instrumental intensity, 0 to 10."),
        Column("alert", "STRING", "PAGER level: green, yellow, orange, red."),
        Column("status", "STRING", "automatic, reviewed or deleted."),
        Column("tsunami", "INT64", "1 for large events in oceanic regions; no tsunami warning."),
        Column("sig", "INT64", "0 to above 1000, from magnitude, felt reports and alert."),
        Column("net", "STRING", "Preferred network."),
        Column("code", "STRING", "The network's own code of the event."),
        Column("ids", "STRING", "All ids of the event, wrapped in commas."),
        Column("sources", "STRING", "All networks of the event, wrapped in commas."),
        Column("types", "STRING", "All product types of the event, wrapped in commas."),
        Column("nst", "INT64", "Stations used for the location."),
        Column("dmin", "FLOAT64", "Distance to the nearest station, degrees."),
        Column("rms", "FLOAT64", "Root-mean-square travel time residual, seconds."),
        Column("gap", "FLOAT64", "Largest azimuthal gap between stations, degrees."),
        Column("magType", "STRING", "Magnitude scale: ml, md, mb, mww ..."),
        Column("type", "STRING", "earthquake, quarry blast, explosion, ice quake ..."),
        Column("title", "STRING", "Magnitude and place in words."),
        Column("longitude", "FLOAT64", "Degrees east."),
        Column("latitude", "FLOAT64", "Degrees north."),
        Column("depth", "FLOAT64", "Depth in km, negative above sea level."),
    ),
)

# More matches than this are refused without `limit`, not cut off.
CAP = 20_000
# Before and after any event, also one whose time is wrong: the catalogue goes back by centuries.
# Without a start the service takes the last 30 days, also beside `updatedafter`. Public callers
# send it 0001-01-01 and 2100-01-01; should it refuse them, the run fails with its own words.
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
ENDING = datetime(2100, 1, 1, tzinfo=UTC)
FIRST_LOAD = timedelta(days=30)
# More rows than this to be met again are not remembered; they are then staged once more.
MOST_SEEN = 2_000

Listing = Literal["live", "deleted"]
LISTINGS: tuple[Listing, ...] = ("live", "deleted")
# The columns that a point's coordinates go to.
PLACE = ("longitude", "latitude", "depth")
TOP_LEVEL = {"type", "id", "properties", "geometry"}
Feature = Mapping[str, object]


@dataclass(frozen=True)
class Query:
    """A window of event times, of all events or of those changed after a moment."""

    listing: Listing
    start: datetime
    end: datetime
    updated_after: datetime | None = None

    def parameters(self) -> dict[str, str]:
        """Query parameters in whole seconds, since the service drops fractions."""
        times = {"starttime": self.start, "endtime": self.end, "updatedafter": self.updated_after}
        parameters = {"format": "geojson"}
        parameters |= {name: in_utc(at).removesuffix("Z") for name, at in times.items() if at}
        if self.listing == "deleted":
            parameters["includedeleted"] = "only"
        return parameters

    def __str__(self) -> str:
        changed = f", changed since {in_utc(self.updated_after)}" if self.updated_after else ""
        return f"{self.listing} events {in_utc(self.start)} to {in_utc(self.end)}{changed}"


class Count(NamedTuple):
    """How many events a query matches, and how many the service gives at once."""

    events: int
    cap: int


def whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def queries(
    window: Window, now: datetime, *, is_backfill: bool, history_start: date | None = None
) -> list[Query]:
    """What to ask for: the live events and the deleted ones of a window.

    A backfill takes event times from `window.start` to `window.end`. Otherwise `window.start` is
    the moment since which changes are wanted, of events of any time; without it, event times from
    `history_start` or of the last 30 days are read.
    """
    if is_backfill:
        start, end = window.start or BEGINNING, window.end or ENDING
        return [Query(listing, start, end) for listing in LISTINGS]
    if window.start is None:
        if history_start:
            start = datetime.combine(history_start, time.min, UTC)
        else:
            start = whole_seconds(now - FIRST_LOAD)
        return [Query(listing, start, ENDING) for listing in LISTINGS]
    return [Query(listing, BEGINNING, ENDING, window.start) for listing in LISTINGS]


def split(
    query: Query, count: Count, count_of: Callable[[Query], Count]
) -> Iterator[tuple[Query, int]]:
    """Cut a query by event time until each piece has at most the cap; empty ones are left out.

    Both ends of a window are inclusive and fractions of a second are dropped, so neighbours share
    their boundary second and an event on it may come twice. Raises SourceError when a single second
    holds more than the cap.
    """
    if count.events == 0:
        return
    if count.events <= count.cap:
        yield query, count.events
        return
    seconds = int((query.end - query.start).total_seconds())
    if seconds < 2:
        raise SourceError(
            SOURCE, query, f"{count.events} events in one second, the cap is {count.cap}"
        )
    middle = query.start + timedelta(seconds=seconds // 2)
    for start, end in ((query.start, middle), (middle, query.end)):
        half = Query(query.listing, start, end, query.updated_after)
        yield from split(half, count_of(half), count_of)


def features_of(body: object, query: object) -> list[object]:
    """The features of a GeoJSON answer; SourceError when it is something else."""
    if not isinstance(body, dict):
        raise SourceError(SOURCE, query, "the answer is no JSON object")
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata.get("status", 200) != 200:
        # With jsonerror the service reports errors inside an HTTP 200.
        raise SourceError(SOURCE, query, f"status {metadata['status']}: {metadata.get('error')}")
    features = body.get("features")
    if not isinstance(features, list):
        raise SourceError(SOURCE, query, "the answer has no features")
    return features


def count_in(body: object, query: object) -> Count:
    """The count of a `/count` answer; SourceError when it is something else."""
    if not isinstance(body, dict) or not _is_natural(body.get("count")):
        raise SourceError(SOURCE, query, "the answer has no count")
    cap = body.get("maxAllowed")
    return Count(body["count"], cap if _is_natural(cap) and cap else CAP)


def is_past_cap(refused: SourceHttpError) -> bool:
    """Whether a query matches more events than one answer may have: the service says so in words
    alone, under a status of many causes (https://earthquake.usgs.gov/fdsnws/event/1/)."""
    return "exceeds search limit" in refused.body


def _is_natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def to_record(feature: object, listing: Listing) -> Record:
    """A feature as a row: properties under their own names, coordinates as three columns.

    Whatever has no column goes to `extra`: unknown properties under their name, anything unknown
    around them under a path such as `feature.bbox`.
    """
    if not isinstance(feature, dict):
        return Record({}, {}, listing == "deleted", feature)
    properties = feature.get("properties")
    fields: dict[str, object] = {}
    extra: dict[str, object] = {}
    names = set(TABLE.column_names) - {"id", *PLACE}
    if isinstance(properties, dict):
        for name, value in properties.items():
            (fields if name in names else extra)[name] = value
    elif properties is not None:
        extra["feature.properties"] = properties
    if "id" in feature:
        fields["id"] = feature["id"]
    geometry = feature.get("geometry", {})
    if geometry is None or (isinstance(geometry, dict) and geometry.get("coordinates", 0) is None):
        # Null is no place; a place that is left out is another thing.
        fields.update(dict.fromkeys(PLACE))
    if isinstance(geometry, dict):
        point = geometry.get("coordinates")
        if isinstance(point, list) and len(point) <= len(PLACE):
            fields.update(zip(PLACE, point, strict=False))
        elif point is not None:
            extra["geometry.coordinates"] = point
        for name in geometry.keys() - {"type", "coordinates"}:
            extra[f"geometry.{name}"] = geometry[name]
        if geometry.get("type", "Point") != "Point":
            extra["geometry.type"] = geometry["type"]
    elif geometry is not None:
        extra["feature.geometry"] = geometry
    for name in feature.keys() - TOP_LEVEL:
        extra[f"feature.{name}"] = feature[name]
    if feature.get("type", "Feature") != "Feature":
        extra["feature.type"] = feature["type"]
    is_deleted = listing == "deleted" or fields.get("status") == "deleted"
    return Record(fields, extra, is_deleted, feature)


def key_of(feature: object) -> str:
    """What a feature is recognised by at the next look: its id, or its digest when it has none."""
    id_ = feature.get("id") if isinstance(feature, dict) else None
    return id_ if isinstance(id_, str) and id_ else f"~{digest(feature)}"


def unseen(features: list[object], known: Mapping[str, str]) -> list[object]:
    """The features that are new or differ from what the last look met."""
    return [feature for feature in features if known.get(key_of(feature)) != digest(feature)]


def known_digests(features: list[object], since: datetime) -> dict[str, str]:
    """Key to digest of the features that a look for changes after `since` will return again."""
    limit = whole_seconds(since).timestamp() * 1000
    found = {}
    for feature in features:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        updated = properties.get("updated") if isinstance(properties, dict) else None
        if not isinstance(updated, int | float) or updated >= limit:
            found[key_of(feature)] = digest(feature)
    return found
