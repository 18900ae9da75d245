"""The answers of the USGS event service (`/fdsnws/event/1/{query,count,version}`) to a catalog.

Facts come from the provider's documentation, its published source (usgs/earthquake-event-ws, 1.x)
and replies of version 2.7.0 that were seen in 2026.
"""

import csv
import io
import operator
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from sandbox.sources.faults import Listing, Response
from sandbox.sources.usgs_catalog import Catalog, Event, encode
from sandbox.sources.usgs_query import EPOCH, ApiError, Query, parse
from sandbox.sources.world import Request

HOST = "https://earthquake.usgs.gov"
SERVICE_PATH = "/fdsnws/event/1"
SERVICE_VERSION = "2.7.0"
TEXT = {"Content-Type": "text/plain"}
GEOJSON = {"Content-Type": "application/json", "Cache-Control": "public, max-age=60"}
CSV = {"Content-Type": "text/csv", "Cache-Control": "public, max-age=60"}
CSV_HEADER = (
    "time,latitude,longitude,depth,mag,magType,nst,gap,dmin,rms,net,id,updated,place,type,"
    "horizontalError,depthError,magError,magNst,status,locationSource,magSource"
)
DELETED_EVENT = (
    "The requested event has been deleted. To see information for deleted events, perform a search "
    'and use the "includedeleted" option.'
)


def answer(
    request: Request, catalog: Catalog, planted: list[Event], now_ms: int, cap: int
) -> Response:
    """The service's answer to one request, as of `now_ms` and with a cap on matching events."""
    call = request.path.removeprefix(f"{SERVICE_PATH}/")
    try:
        if request.method != "GET":
            raise ApiError(405, "Only GET is offered.")
        if call == "version":
            return Response(200, SERVICE_VERSION.encode(), TEXT)
        if call not in ("query", "count"):
            raise ApiError(404, "Not Found")
        query = parse(request.params, now_ms, cap)
        if query.event_id is not None and call == "query" and query.format != "csv":
            return _detail(query, catalog)
        matching = select(query, catalog, planted)
        if call == "count":
            return _count(query, matching, cap)
        return _summary(request, query, matching, now_ms, cap)
    except ApiError as error:
        return _refusal(request, error, now_ms)


def select(query: Query, catalog: Catalog, planted: list[Event]) -> list[Event]:
    """The matching events in the query's order, without limit and offset; planted ones last.

    Planted features have no columns to speak of and stay out of CSV.
    """
    if query.event_id is not None:
        found = catalog.find(query.event_id)
        return [found] if found is not None and _is_wanted(query, found) else []
    events = catalog.between(query.start_ms, query.end_ms)
    # One pass per filter in use: a large world is counted many times over.
    if query.include_deleted != "true":
        events = [event for event in events if _is_wanted(query, event)]
    if (after_ms := query.updated_after_ms) is not None:
        events = [e for e in events if e.feature["properties"]["updated"] >= after_ms]
    if query.minima or query.maxima or query.event_types or query.review_status:
        events = [event for event in events if _has_values(query, event)]
    if query.order_by.startswith("magnitude"):
        # MySQL sorts null lowest.
        events.sort(key=_magnitude)
    if not query.order_by.endswith("-asc"):
        events.reverse()
    return events + [
        event
        for event in planted
        if query.format != "csv"
        and _is_wanted(query, event)
        and _lies_in(event, "updated", query.updated_after_ms, None)
        and _lies_in(event, "time", query.start_ms, query.end_ms)
    ]


def _magnitude(event: Event) -> tuple[bool, float]:
    mag = event.properties["mag"]
    return (mag is not None, mag or 0.0)


def _is_wanted(query: Query, event: Event) -> bool:
    return query.include_deleted == "true" or event.is_deleted == (query.include_deleted == "only")


def _lies_in(event: Event, name: str, low: int | None, high: int | None) -> bool:
    """Whether a time lies in the range; one that is missing or no number always does."""
    properties = event.feature.get("properties")
    value = properties.get(name) if isinstance(properties, dict) else None
    if not isinstance(value, int | float):
        return True
    return (low is None or low <= value) and (high is None or value <= high)


def _has_values(query: Query, event: Event) -> bool:
    properties = event.properties

    def passes(bounds: dict[str, float], test: Callable[[float, float], bool]) -> bool:
        return all(
            properties[name] is not None and test(properties[name], bound)
            for name, bound in bounds.items()
        )

    return (
        passes(query.minima, operator.ge)
        and passes(query.maxima, operator.le)
        and (query.event_types is None or properties["type"] in query.event_types)
        and (query.review_status is None or properties["status"] == query.review_status)
    )


def _count(query: Query, matching: list[Event], cap: int) -> Response:
    # With a limit the service counts the page (1.x).
    count = len(matching) if query.limit is None else min(len(matching), query.limit)
    error = (
        f"{count} matching events exceeds search limit of {cap}. A query using these search "
        "parameters would fail. Modify the search to match fewer events."
    )
    if query.format == "geojson":
        body: dict[str, Any] = {"count": count, "maxAllowed": cap}
        if count > cap:
            body["error"] = error
        return Response(200, encode(body), GEOJSON)
    if query.format == "xml":
        note = f"<error>{error}</error>" if count > cap else ""
        text = f"<query><count>{count}</count><maxAllowed>{cap}</maxAllowed>{note}</query>"
        return Response(200, text.encode(), {**GEOJSON, "Content-Type": "application/xml"})
    return Response(200, str(count).encode(), {**GEOJSON, **TEXT})


def _summary(
    request: Request, query: Query, matching: list[Event], now_ms: int, cap: int
) -> Response:
    total = len(matching)
    if query.limit is None:
        if total > cap:
            raise ApiError(
                400,
                f"{total} matching events exceeds search limit of {cap}. "
                "Modify the search to match fewer events.",
            )
    else:
        # Without a limit the offset has no effect (1.x).
        matching = matching[query.offset - 1 : query.offset - 1 + query.limit]
    if query.format in ("quakeml", "xml") and total == 0:
        raise ApiError(query.no_data, HTTPStatus(query.no_data).phrase)
    if query.format == "csv":
        return Response(200, _csv(matching), CSV)
    if query.format != "geojson":
        raise ApiError(400, f'Format "{query.format}" is not offered by this stand-in.')
    metadata = _metadata(request, now_ms) | {"status": 200, "api": SERVICE_VERSION}
    if query.limit is None:
        metadata["count"] = total
    else:
        metadata |= {"limit": query.limit, "offset": query.offset}
    head = b'{"type":"FeatureCollection","metadata":' + encode(metadata) + b',"features":['
    tail = b"]" + _bounding_box(matching) + b"}"
    return Response(200, Listing(head, [event.encoded() for event in matching], tail), GEOJSON)


def _metadata(request: Request, now_ms: int) -> dict[str, Any]:
    return {
        "generated": now_ms // 1000 * 1000,
        "url": HOST + request.uri,
        "title": "USGS Earthquakes",
    }


def _bounding_box(events: list[Event]) -> bytes:
    """The extent as `,"bbox":[...]`; nothing for fewer than two events or no extent (1.x)."""
    points = [point for event in events if (point := _coordinates(event)) is not None]
    # A null depth counts as 0, as in PHP.
    axes = [[point[axis] or 0 for point in points] for axis in range(3)]
    if any(not axis or min(axis) >= max(axis) for axis in axes):
        return b""
    return b',"bbox":' + encode([*map(min, axes), *map(max, axes)])


def _coordinates(event: Event) -> tuple[float, float, float | None] | None:
    """Longitude, latitude and depth; None where a planted feature holds something else."""
    match event.feature.get("geometry"):
        case {"coordinates": [float() | int() as lon, float() | int() as lat, depth]} if (
            depth is None or isinstance(depth, float | int)
        ):
            return lon, lat, depth
    return None


def _csv(events: list[Event]) -> bytes:
    out = io.StringIO(f"{CSV_HEADER}\n")
    out.seek(0, io.SEEK_END)
    writer = csv.writer(out, lineterminator="\n")
    for event in events:
        longitude, latitude, depth = event.feature["geometry"]["coordinates"]
        values = {
            **event.properties,
            "time": _iso(event.properties["time"]),
            "updated": _iso(event.properties["updated"]),
            "latitude": latitude,
            "longitude": longitude,
            "depth": depth,
            "id": event.feature["id"],
            "locationSource": event.properties["net"],
            "magSource": event.properties["net"],
        }
        writer.writerow([values.get(column) for column in CSV_HEADER.split(",")])
    return out.getvalue().encode()


def _iso(epoch_ms: float) -> str:
    moment = EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _detail(query: Query, catalog: Catalog) -> Response:
    """One event by any of its ids; other parameters do not filter it."""
    event = catalog.find(query.event_id or "")
    is_quakeml = query.format in ("quakeml", "xml")
    if event is None:
        status = query.no_data if is_quakeml else 404
        raise ApiError(status, HTTPStatus(status).phrase)
    if query.format != "geojson":
        raise ApiError(400, f'Format "{query.format}" is not offered by this stand-in.')
    if event.is_deleted and query.include_deleted == "false":
        raise ApiError(409, DELETED_EVENT)
    # The detail document names its products instead of its own address.
    properties = {k: v for k, v in event.properties.items() if k != "detail"} | {"products": {}}
    return Response(200, encode({**event.feature, "properties": properties}), GEOJSON)


def _refusal(request: Request, error: ApiError, now_ms: int) -> Response:
    params = request.params
    if error.status == HTTPStatus.NO_CONTENT:
        return Response(204)
    if params.get("format") == "geojson" and params.get("jsonerror", "").lower() == "true":
        metadata = _metadata(request, now_ms) | {
            "status": error.status,
            "api": SERVICE_VERSION,
            "count": 0,
            "error": str(error),
        }
        body = {"type": "FeatureCollection", "metadata": metadata, "features": []}
        return Response(200, encode(body), GEOJSON)
    submitted = (EPOCH + timedelta(seconds=now_ms // 1000)).isoformat()
    lines = [
        f"Error {error.status}: {HTTPStatus(error.status).phrase}",
        str(error),
        f"Usage details are available from {HOST}{SERVICE_PATH}",
        f"Request:\n{request.uri}",
        f"Request Submitted:\n{submitted}",
        f"Service version:\n{SERVICE_VERSION}",
    ]
    return Response(error.status, "\n\n".join(lines).encode(), TEXT)
