"""The earthquake catalog that the USGS stand-in serves: events, their order, their encoding."""

import bisect
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Feature = dict[str, Any]


@dataclass(slots=True, eq=False)
class Event:
    """One event as served now. `members` are its (net, code) pairs, the first preferred one first.

    A deletion with a blank id has no members.
    """

    feature: Feature
    members: list[tuple[str, str]]
    is_deleted: bool = False
    _encoded: bytes | None = None

    @property
    def id(self) -> str:
        """The preferred id now."""
        return str(self.feature["id"] or "")

    @property
    def properties(self) -> dict[str, Any]:
        """The feature's properties."""
        return self.feature["properties"]  # type: ignore[no-any-return]

    @property
    def ids(self) -> list[str]:
        """Every id of the event, preferred or not."""
        return [net + code for net, code in self.members]

    def replace(self, feature: Feature) -> None:
        """Serve another feature from now on."""
        self.feature = feature
        self._encoded = None

    def encoded(self) -> bytes:
        """The feature as the API writes it: compact JSON, non-ASCII as escapes."""
        if self._encoded is None:
            self._encoded = encode(self.feature)
        return self._encoded


def encode(document: Any) -> bytes:
    """Compact JSON with non-ASCII characters as `\\uXXXX`, as the real API sends it."""
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass
class Catalog:
    """All events of a world at one stage. Call `settle` after every change."""

    events: list[Event] = field(default_factory=list)
    served_ids: set[str] = field(default_factory=set)
    _ordered: list[Event] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)
    _by_id: dict[str, Event] = field(default_factory=dict)

    def settle(self) -> None:
        """Rebuild the order and the indexes, and note which ids are served as live."""
        self._ordered = sorted(self.events, key=_event_time)
        self._times = [_event_time(event) for event in self._ordered]
        self._by_id = {name: event for event in self.events for name in event.ids}
        self.served_ids.update(event.id for event in self.events if not event.is_deleted)

    def live(self) -> Iterator[Event]:
        """The events that are not deleted."""
        return (event for event in self.events if not event.is_deleted)

    def between(self, start_ms: float | None, end_ms: float | None) -> list[Event]:
        """The events of a time range, both ends included, oldest first."""
        first = 0 if start_ms is None else bisect.bisect_left(self._times, start_ms)
        last = None if end_ms is None else bisect.bisect_right(self._times, end_ms)
        return self._ordered[first:last]

    def find(self, event_id: str) -> Event | None:
        """The event that has this id among its ids."""
        return self._by_id.get(event_id)

    def truth(self) -> dict[str, Any]:
        """What a perfect copy must say now.

        `deleted` are the ids that were live at an earlier stage, or are deletions with an id, and
        are not live now.
        """
        live = [event.feature for event in self.live()]
        gone = {event.id for event in self.events if event.is_deleted and event.id}
        gone |= self.served_ids
        return {
            "live": live,
            "deleted": sorted(gone - {feature["id"] for feature in live}),
            "blank_deletions": sum(event.is_deleted and not event.id for event in self.events),
        }


def _event_time(event: Event) -> float:
    time: float = event.properties["time"]
    return time


@dataclass(frozen=True)
class PayloadFiles:
    """Real payloads: their events, and the newest moment at which one of them was generated."""

    catalog: Catalog
    generated_ms: int


def load_files(directory: Path) -> PayloadFiles:
    """The features of every *.geojson in a directory, unchanged.

    An id that stands in several files is taken from the one generated last. Raises ValueError if
    the directory holds no payload.
    """
    paths = sorted(directory.glob("*.geojson"))
    if not paths:
        raise ValueError(f"no *.geojson payload in {directory}")
    payloads = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    payloads.sort(key=lambda payload: payload["metadata"]["generated"])
    features = {feature["id"]: feature for payload in payloads for feature in payload["features"]}
    catalog = Catalog([_event_of(feature) for feature in features.values()])
    catalog.settle()
    return PayloadFiles(catalog, payloads[-1]["metadata"]["generated"])


def _event_of(feature: Feature) -> Event:
    preferred = (feature["properties"]["net"], feature["properties"]["code"])
    others = [name for name in split_ids(feature["properties"]["ids"]) if name != feature["id"]]
    return Event(feature, [preferred, *((name, "") for name in others)])


def split_ids(ids: str) -> list[str]:
    """The members of a comma-wrapped list such as `,us6000k2pa,ak0234goc1xx,`."""
    return [name for name in ids.split(",") if name]


def join_ids(ids: Iterable[str]) -> str:
    """A comma-wrapped list; blank for no member."""
    members = list(ids)
    return f",{','.join(members)}," if members else ""
