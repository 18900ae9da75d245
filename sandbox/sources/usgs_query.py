"""The parameters of the USGS event service: names, limits, defaults and the words of refusals.

What the real service offers and the stand-in does not is refused with a 400 that says so, never
ignored. Sentences follow the service's published source (usgs/earthquake-event-ws, 1.x).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

DEFAULT_LOOK_BACK_MS = 30 * 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMATS = ("quakeml", "geojson", "csv", "kml", "kmlraw", "xml", "text", "cap")
ORDERS = ("time", "time-asc", "magnitude", "magnitude-asc")
ALIASES = {
    "start": "starttime",
    "end": "endtime",
    "minmag": "minmagnitude",
    "maxmag": "maxmagnitude",
}
# Inclusive; an event without the value never matches.
MINIMA = {
    "minmagnitude": "mag",
    "mincdi": "cdi",
    "minmmi": "mmi",
    "minfelt": "felt",
    "minsig": "sig",
}
MAXIMA = {"maxmagnitude": "mag", "maxcdi": "cdi", "maxmmi": "mmi", "maxsig": "sig"}
REAL_BUT_NOT_OFFERED = re.compile(
    "(min|max)?(latitude|lat|longitude|lon)|(min|max)(radius|radiuskm|depth|gap)|magnitudetype"
    "|magtype|include(allorigins|allmagnitudes|arrivals|superseded)|catalog|contributor|callback"
    "|alertlevel|producttype|productcode|kmlcolorby|kmlanimated"
)


class ApiError(Exception):
    """A refusal of the service with its HTTP status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Query:
    """A parsed query; times in epoch milliseconds, bounds inclusive."""

    start_ms: int
    end_ms: int
    format: str = "quakeml"
    updated_after_ms: int | None = None
    minima: dict[str, float] = field(default_factory=dict)
    maxima: dict[str, float] = field(default_factory=dict)
    event_types: list[str] | None = None
    review_status: str | None = None
    order_by: str = "time"
    limit: int | None = None
    offset: int = 1
    include_deleted: str = "false"
    no_data: int = 204
    event_id: str | None = None


def parse(params: Mapping[str, str], now_ms: int, cap: int) -> Query:
    """The query in the parameters; empty values are ignored. Raises ApiError 400.

    Without `starttime` only the last 30 days match, in queries by `updatedafter` too.
    """
    look_back_ms = (now_ms - DEFAULT_LOOK_BACK_MS) // 1000 * 1000
    query = Query(start_ms=look_back_ms, end_ms=now_ms)
    for name, value in params.items():
        if value != "":
            _set(query, name, value, now_ms, cap)
    if query.include_deleted != "false" and query.format not in ("geojson", "csv"):
        raise ApiError(400, "Cannot use includedeleted parameter unless format is geojson or csv.")
    return query


def _set(query: Query, name: str, value: str, now_ms: int, cap: int) -> None:
    match ALIASES.get(name, name):
        case "format":
            query.format = _choice(name, value, FORMATS)
        case "starttime":
            query.start_ms = _time_ms(name, value, now_ms)
        case "endtime":
            query.end_ms = _time_ms(name, value, now_ms)
        case "updatedafter":
            query.updated_after_ms = _time_ms(name, value, now_ms)
        case "eventtype":
            query.event_types = value.split(",")
        case "reviewstatus":
            query.review_status = _choice(name, value, ("automatic", "reviewed"))
        case "orderby":
            query.order_by = _choice(name, value, ORDERS)
        case "limit":
            query.limit = _integer(name, value, 0, cap)
        case "offset":
            query.offset = _integer(name, value, 1, None)
        case "includedeleted":
            query.include_deleted = _choice(name, value.lower(), ("false", "true", "only"))
        case "nodata":
            query.no_data = int(_choice(name, value, ("204", "404")))
        case "eventid":
            query.event_id = value
        case "jsonerror":
            _choice(name, value.lower(), ("false", "true"))
        case bound if bound in MINIMA:
            query.minima[MINIMA[bound]] = _number(name, value)
        case bound if bound in MAXIMA:
            query.maxima[MAXIMA[bound]] = _number(name, value)
        case _ if REAL_BUT_NOT_OFFERED.fullmatch(name):
            raise ApiError(400, f'Parameter "{name}" is not offered by this stand-in.')
        case _:
            raise ApiError(400, f'Unknown parameter "{name}".')


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ApiError(400, f'Bad {name} value "{value}". Valid values are numeric') from None


def _integer(name: str, value: str, low: int, high: int | None) -> int:
    if not value.isdecimal() or int(value) < low or (high is not None and int(value) > high):
        span = f"{low} <= {name}" + ("" if high is None else f" <= {high}")
        raise ApiError(400, f'Bad {name} value "{value}". Valid values are {span}')
    return int(value)


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        listed = '", "'.join(choices)
        raise ApiError(400, f'Bad {name} value "{value}". Valid values are: "{listed}".')
    return value


def _time_ms(name: str, value: str, now_ms: int) -> int:
    """Epoch milliseconds of a whole second: fractions are dropped. No offset means UTC.

    Real parsing is lenient; of its words only now, today and yesterday are known here.
    """
    now = EPOCH + timedelta(milliseconds=now_ms)
    today = now.replace(hour=0, minute=0, second=0)
    words = {"now": now, "today": today, "yesterday": today - timedelta(days=1)}
    try:
        moment = words.get(value.lower()) or datetime.fromisoformat(value)
    except ValueError:
        message = f'Bad {name} value "{value}". Valid values are ISO-8601 timestamps.'
        raise ApiError(400, message) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(seconds=1) * 1000
