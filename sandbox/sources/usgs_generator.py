"""Makes the stand-in's earthquakes: a pure function of seed, size, anchor and stage moments.

Shares of nulls, of events with several ids and of negative depths follow 4,544 real events counted
in the reference; awkward values stand at fixed positions, so that a world of 300 has each of them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from sandbox.sources.usgs_catalog import Catalog, Event, Feature, join_ids

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
DEFAULT_WINDOW_MS = 30 * DAY_MS
HISTORICAL_MAX = 36

EVENT_PAGE = "https://earthquake.usgs.gov/earthquakes/eventpage/{}"
DETAIL = "https://earthquake.usgs.gov/fdsnws/event/1/query?eventid={}&format=geojson"

# net, longitude, latitude, spread in degrees, places; the mix of networks is that of a real week.
REGIONS: list[tuple[str, float, float, float, tuple[str, ...]]] = [
    ("ak", -150.1, 62.4, 6.0, ("Salcha, Alaska", "Chase, Alaska", "King Salmon, Alaska")),
    ("nc", -122.4, 38.8, 2.0, ("The Geysers, CA", "Cobb, CA", "Parkfield, CA")),
    ("ci", -117.2, 34.1, 1.5, ("Little Lake, CA", "Ocotillo Wells, CA", "Borrego Springs, CA")),
    ("us", 0.0, 0.0, 60.0, ("Ōsaka, Japan", "São Miguel, Azores", "‘Ohonua, Tonga")),  # noqa: RUF001
    ("us", 68.0, 36.0, 8.0, ("Ashkāsham, Afghanistan", "Murghob, Tajikistan", "Çınarcık, Turkey")),  # noqa: RUF001
    ("nn", -116.2, 37.9, 2.0, ("Indian Springs, Nevada", "Pahrump, Nevada", "Mina, Nevada")),
    ("tx", -103.9, 31.7, 0.8, ("Whites City, New Mexico", "Mentone, Texas", "Toyah, Texas")),
    ("hv", -155.4, 19.3, 0.7, ("Volcano, Hawaii", "Pāhala, Hawaii", "Hōlualoa, Hawaii")),
    ("pr", -66.9, 18.0, 0.9, ("Guánica, Puerto Rico", "Añasco, Puerto Rico", "Ponce, Puerto Rico")),
    ("uw", -121.9, 47.5, 1.5, ("Issaquah, Washington", "Mount St. Helens, Washington")),
]
REGION_WEIGHTS = [30, 16, 12, 6, 4, 8, 8, 6, 5, 5]
DIRECTIONS = ("N", "NNE", "E", "SSE", "S", "SSW", "W", "WNW")
TYPES = ("quarry blast", "explosion", "ice quake", "other event")
TYPE_TITLES = {name: f" {name.title()}" for name in TYPES}
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def generate(seed: int, size: int, anchor_ms: int) -> Catalog:
    """`size` live events up to the anchor, some of them historical, and a few old deletions."""
    rng = Random(f"{seed}/{size}")
    catalog = Catalog()
    historical = min(HISTORICAL_MAX, size // 20)
    latest_month = next(month_starts_before(anchor_ms))
    previous_time: float = anchor_ms - HOUR_MS
    for number in range(size):
        serial = _serial(seed, number)
        if number < historical:
            catalog.events.append(_historical_event(rng, serial, number, anchor_ms))
            continue
        time: float = anchor_ms - rng.randrange(60_000, DEFAULT_WINDOW_MS)
        if number % 75 in (71, 72, 73):
            time = previous_time  # several events at the same millisecond
        elif number % 101 == 60:
            time += 0.5
        elif number in (80, 81):
            time = (
                latest_month - number % 2
            )  # a month's first and the last month's last millisecond
        previous_time = time
        updated = _first_update(rng, int(time), anchor_ms)
        catalog.events.append(make_event(rng, serial, number, time, updated))
    for number in range(size // 50):
        serial = _serial(seed, size + number)
        time = anchor_ms - rng.randrange(60_000, DEFAULT_WINDOW_MS)
        event = make_event(rng, serial, number, time, _first_update(rng, time, anchor_ms))
        delete(event, event.properties["updated"], is_blank=number % 5 > 2)
        catalog.events.append(event)
    catalog.settle()
    return catalog


def month_starts_before(moment_ms: float) -> Iterator[int]:
    """The UTC month starts up to a moment, newest first, in epoch milliseconds."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    year, month = moment.year, moment.month
    while year > 1900:
        yield int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)


def _serial(seed: int, number: int) -> int:
    """A number that is unique in a world and differs between worlds of neighbouring seeds."""
    return seed % 900 * 1_000_000 + number


def new_event(rng: Random, seed: int, catalog: Catalog, time: float, updated_ms: int) -> Event:
    """An event not seen before, added to the catalog."""
    number = len(catalog.events)
    event = make_event(rng, _serial(seed, number + 500_000), number, time, updated_ms)
    catalog.events.append(event)
    return event


def _first_update(rng: Random, time: int, anchor_ms: int) -> int:
    """Minutes to hours after the event, sometimes days, never after the anchor."""
    span = HOUR_MS * 6 if rng.random() < 0.7 else DAY_MS * 9
    return min(time + rng.randrange(120_000, span), anchor_ms - rng.randrange(60_000))


def _historical_event(rng: Random, serial: int, number: int, anchor_ms: int) -> Event:
    """An event between 1900 and 1989, most before 1970 (negative epoch), catalogued long after."""
    year = 1970 + number % 20 if number % 6 == 5 else 1900 + (number * 7) % 70
    month = 1 + number % 12
    start = int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
    # Not in the first days of 1900, and one event exactly on a month's first millisecond.
    time: float = start if number == 3 else start + rng.randrange(5 * DAY_MS, 27 * DAY_MS)
    if number % 4 == 2:
        time += 0.5
    updated = min(rng.randrange(1_400_000_000_000, 1_650_000_000_000), anchor_ms - number)
    event = make_event(rng, serial, number, time, updated)
    event.members = [("iscgem", str(800_000 + serial))]
    properties = {**event.properties, "mag": round(rng.uniform(5.5, 9.0), 2), "magType": "mw"}
    event.replace({**event.feature, "properties": properties})
    prefer(event, 0, updated)
    return event


def make_event(rng: Random, serial: int, number: int, time: float, updated_ms: int) -> Event:
    """One live event; `number` decides which awkward values it has."""
    chance = rng.random
    net, lon, lat, spread, places = rng.choices(REGIONS, REGION_WEIGHTS)[0]
    members = [(net, _code(net, serial))]
    if chance() < 0.06:
        other = "us" if net != "us" else "at"
        members.append((other, _code(other, serial)))
    mag: float | None = max(-1.32, min(round(rng.gauss(1.6, 1.1), 2), 8.2))
    if number % 17 == 4:
        mag = int(mag or 0)
    elif number % 211 == 50:
        mag = None
    is_felt = chance() < 0.075
    intensity = round(rng.uniform(1, 7), 3) if is_felt and chance() < 0.17 else None
    is_counted = chance() < 0.735
    depth: float | None = rng.choice((10, 0, 5, round(rng.uniform(0, 80), 3), 33.25, 8.41))
    if number % 24 == 9:
        depth = -round(rng.uniform(0.1, 3.3), 2)
    elif number % 157 == 40:
        depth = None
    event_type = TYPES[number // 40 % 4] if number % 40 == 13 else "earthquake"
    feature: Feature = {
        "type": "Feature",
        "properties": {
            "mag": mag,
            "place": f"{rng.randrange(1, 90)} km {rng.choice(DIRECTIONS)} of {rng.choice(places)}",
            "time": time,
            "updated": updated_ms,
            "tz": None,
            "url": None,
            "detail": None,
            "felt": rng.randrange(0, 9) if is_felt else None,
            "cdi": rng.choice((0, 1, 2, 2.2, 2.7, 3.1)) if is_felt else None,
            "mmi": intensity,
            "alert": rng.choice(("green", "green", "yellow")) if intensity else None,
            "status": "reviewed" if chance() < 0.57 else "automatic",
            "tsunami": int(number % 500 == 77),
            "sig": int((mag or 0) ** 2 * 15.4),
            "net": None,
            "code": None,
            "ids": None,
            "sources": None,
            "types": ",dyfi,origin,phase-data," if is_felt else ",origin,phase-data,",
            "nst": rng.randrange(3, 90) if is_counted else None,
            "dmin": round(rng.uniform(0, 3), 4) if chance() < 0.545 else None,
            "rms": round(rng.uniform(0, 1.2), 2),
            "gap": rng.choice((61, 90, 40.91, rng.randrange(20, 330))) if is_counted else None,
            "magType": None if mag is None else rng.choice(("ml", "ml", "md", "mb", "mww")),
            "type": event_type,
            "title": None,
        },
        "geometry": {
            "type": "Point",
            "coordinates": [
                round(lon + rng.uniform(-spread, spread), 4),
                round(lat + rng.uniform(-spread, spread), 4),
                depth,
            ],
        },
        "id": None,
    }
    event = Event(feature, members)
    prefer(event, 0, updated_ms)
    return event


def _code(net: str, serial: int) -> str:
    """A code in the manner of the network: `6000k2pa`, `0234goc1xx`, `2024bogu`, `73993351`."""
    if net not in ("us", "ak", "tx"):
        return str(70_000_000 + serial)
    digits = ""
    while serial or len(digits) < 4:
        serial, digit = divmod(serial, 36)
        digits = BASE36[digit] + digits
    return {"us": "6000", "ak": "024", "tx": "2024"}[net] + digits


def prefer(event: Event, member: int, updated_ms: int, **changes: Any) -> None:
    """Serve the event under one of its ids, with changed properties."""
    net, code = event.members[member]
    properties = {**event.properties, **changes}
    mag = "?" if properties["mag"] is None else f"{properties['mag']:.1f}"
    kind = TYPE_TITLES.get(properties["type"], "")
    properties |= {
        "updated": updated_ms,
        "url": EVENT_PAGE.format(net + code),
        "detail": DETAIL.format(net + code),
        "net": net,
        "code": code,
        "ids": join_ids(event.ids),
        "sources": join_ids(source for source, _ in event.members),
        "title": f"M {mag}{kind} - {properties['place']}",
    }
    event.replace({**event.feature, "properties": properties, "id": net + code})


# Only "status deleted, blank type, sometimes blank id, net, code and ids" was ever observed of a
# deleted feature; which other fields are null is a guess of this stand-in.
NULL_WHEN_DELETED = dict.fromkeys(
    "mag,place,felt,cdi,mmi,alert,nst,dmin,rms,gap,magType,type,title".split(",")  # noqa: SIM905
)


def delete(event: Event, updated_ms: int, *, is_blank: bool = False) -> None:
    """Serve the event as deleted; a blank deletion says no longer which event it was.

    Blank means an empty string in one event and null in the next: the observation does not tell.
    """
    properties = event.properties | NULL_WHEN_DELETED
    properties |= {"status": "deleted", "updated": updated_ms}
    feature: Feature = {**event.feature, "properties": properties}
    if is_blank:
        blank = "" if updated_ms % 2 else None
        properties |= dict.fromkeys(("net", "code", "ids", "sources", "url", "detail"), blank)
        feature["id"] = blank
        event.members = []
    event.is_deleted = True
    event.replace(feature)
