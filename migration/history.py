"""Rows of an older system's tables as rows of ours: which column is which, and of what type.

A plan (a TOML file) says for each of our raw columns which old column it comes from, or which value
it always has; an old column that nothing is made of goes to `_extra`. A value that cannot be
converted without guessing is kept there too, and a row without a key goes to the rejects.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from core.rows import Record
from core.schema import Table
from core.values import as_json
from migration.plan import Import, InvalidPlan, Plan
from sources.finance import mapping as finance
from sources.openweather import mapping as openweather
from sources.ph_news import mapping as ph_news

Kind = Literal["articles", "weather", "ledger"]
KINDS: tuple[Kind, ...] = ("articles", "weather", "ledger")
TABLES: dict[Kind, Table] = {
    "articles": ph_news.TABLE,
    "weather": openweather.TABLE,
    "ledger": finance.TABLE,
}
# What a row cannot do without.
NEEDED: dict[Kind, tuple[str, ...]] = {
    "articles": ("url", "published_at"),
    "weather": ("location", "dt", "units"),
    "ledger": ("id", "type", "cost"),
}
# The day of an entry: three columns of ours, or one of an older table.
DAY, DATE = ("year", "month", "day"), "date"
# Whether the older system had marked an entry as deleted.
DELETED = "_is_deleted"
# Of articles, what is derived from the others.
DERIVED = {"article_id", "title_unescaped", "description_unescaped"}
# The first condition of an observation, where the old table has it in columns.
CONDITION = ("id", "main", "description", "icon")
SEEN = ("_first_seen_at", "_last_seen_at")
MANILA = ZoneInfo("Asia/Manila")
# Sheets counts days from here; from 1899-12-31 to 9999-12-31 they are dates.
SERIAL_ZERO, SERIALS = date(1899, 12, 30), range(1, 2_958_466)
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


def imports(plan: Plan) -> dict[Kind, Import]:
    """The imports that a plan has, in a fixed order."""
    named = {kind: getattr(plan, kind) for kind in KINDS}
    return {kind: wanted for kind, wanted in named.items() if wanted}


def read_plan(content: bytes, where: str) -> Plan:
    """The plan in a TOML file. Raises InvalidPlan that names the file and the part."""
    try:
        plan = msgspec.toml.decode(content, type=Plan)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidPlan(f"{where}: {error}") from error
    for kind, wanted in imports(plan).items():
        known = {*TABLES[kind].column_names} - DERIVED
        if kind == "ledger":
            known |= {DATE, DELETED}
        if kind == "weather":
            known |= {f"weather.{name}" for name in CONDITION}
        if unknown := sorted((wanted.columns.keys() | wanted.values.keys()) - known):
            raise InvalidPlan(f"{where}: [{kind}]: no such column: {', '.join(unknown)}")
        try:
            ZoneInfo(wanted.time_zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidPlan(f"{where}: [{kind}]: time_zone: {error}") from error
    for mart in plan.marts:
        if mart.fault:
            raise InvalidPlan(f"{where}: {mart.old}: {mart.fault}")
    return plan


def resolve(kind: Kind, wanted: Import, old_columns: Iterable[str]) -> dict[str, str]:
    """Our column to the old one that it comes from.

    Raises InvalidPlan when a mapped column is not there, or nothing gives one that is needed.
    """
    listed = list(old_columns)
    where = f"[{kind}] {wanted.table}"
    if missing := sorted(set(wanted.columns.values()) - set(listed)):
        raise InvalidPlan(f"{where} has no column {', '.join(missing)}")
    taken = set(wanted.columns.values())
    own = {name.lower(): name for name in listed if name not in taken}
    resolved = dict(wanted.columns)
    # A plan that names the date does without its three parts.
    skipped = {*DERIVED, *(DAY if DATE in wanted.columns else ())}
    names = (*TABLES[kind].column_names, *([DELETED] if kind == "ledger" else ()))
    for name in names:
        is_open = name not in resolved and name not in wanted.values and name not in skipped
        if is_open and name.lower() in own:
            resolved[name] = own[name.lower()]
    given = resolved.keys() | wanted.values.keys()
    lacking = [name for name in NEEDED[kind] if name not in given]
    if kind == "ledger" and DATE not in given and not given >= set(DAY):
        if DATE in own:
            resolved[DATE] = own[DATE]
        else:
            lacking.append(f"{', '.join(DAY)} or {DATE}")
    if lacking:
        raise InvalidPlan(
            f"{where}: nothing gives {', '.join(lacking)}: name an old column under "
            f"[{kind}.columns] or a value under [{kind}.values]"
        )
    return resolved


def digest(kind: Kind, wanted: Import, old_columns: Mapping[str, str]) -> str:
    """Twelve hex digits of how the table is read."""
    told = [kind, msgspec.to_builtins(wanted), dict(old_columns)]
    return hashlib.sha256(as_json(told).encode()).hexdigest()[:12]


def to_records(
    kind: Kind,
    wanted: Import,
    resolved: Mapping[str, str],
    rows: Iterable[Mapping[str, Any]],
    observed_at: datetime,
) -> Iterator[Record]:
    """Old rows as records of our table. `rows` of a ledger are all of it, since ids may repeat."""
    record: dict[Kind, Callable[..., Record]] = {"articles": article, "weather": observation}
    if kind == "ledger":
        yield from ledger_entries(wanted, resolved, rows)
        return
    for row in rows:
        yield record[kind](wanted, resolved, row, observed_at)


def article(
    wanted: Import, resolved: Mapping[str, str], row: Mapping[str, Any], observed_at: datetime
) -> Record:
    """An article, under the key that the live source would give it.

    Where the plan does not say when the old system saw it, that is not known: null.
    """
    zone = ZoneInfo(wanted.time_zone or "UTC")
    given, rest = _given(wanted, resolved, row)
    served = {name: plain(given[name]) for name in ph_news.SERVED if name in given}
    if (published_at := moment(given.get("published_at"), zone)) is not None:
        served["published_at"] = published_at.isoformat()
    made = ph_news.to_record(served, observed_at)
    fields = dict(made.fields)
    times = [moment(given.get(name), zone) for name in SEEN]
    for name, at in zip(SEEN, (times[0] or times[1], times[1] or times[0]), strict=True):
        fields[name] = at and at.isoformat()
    return Record(fields, rest, False, plain(row), made.reason)


def observation(
    wanted: Import, resolved: Mapping[str, str], row: Mapping[str, Any], observed_at: datetime
) -> Record:
    """A reading of the weather."""
    zone = ZoneInfo(wanted.time_zone or "UTC")
    given, rest = _given(wanted, resolved, row)
    fields: dict[str, object] = {}
    for column in openweather.TABLE.columns:
        value = given.get(column.name)
        if column.type == "TIMESTAMP":
            at = moment(value, zone)
            fields[column.name] = plain(value) if at is None else epoch(at)
        elif column.name == "weather":
            fields[column.name] = _conditions(value, given)
        else:
            fields[column.name] = typed(value, column.type)
    return Record(fields, rest, False, plain(row))


def _conditions(value: object, given: Mapping[str, Any]) -> object:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    first = {
        name: plain(given[f"weather.{name}"]) for name in CONDITION if f"weather.{name}" in given
    }
    return [first] if value is None and any(first.values()) else plain(value)


def ledger_entries(
    wanted: Import, resolved: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> Iterator[Record]:
    """Entries as the sheet would have them: a Philippine day in three parts, times as texts.

    A date that cannot be read is kept in `_extra`, and its entry has no day. What was marked as
    deleted stays so.
    """
    zone = ZoneInfo(wanted.time_zone) if wanted.time_zone else MANILA
    read = []
    for row in rows:
        given, rest = _given(wanted, resolved, row)
        is_deleted = given.pop(DELETED, None) is True
        if not finance.is_blank(day := given.pop(DATE, None)):
            if (at := local_day(day, zone)) is None:
                rest[DATE] = plain(day)
            else:
                given |= {"year": at.year, "month": at.month, "day": at.day}
        cells: dict[str, object] = {}
        for column in finance.TABLE.columns:
            value = given.get(column.name)
            if finance.is_blank(value):
                continue
            if column.name in ("created_at", "updated_at"):
                cells[column.name] = stamp(value, zone)
            else:
                cells[column.name] = typed(value, column.type)
        read.append((dict.fromkeys(given) | cells, rest, is_deleted, row))
    ids = Counter(finance.id_of(cells) for cells, *_ in read)
    for cells, rest, is_deleted, row in read:
        fields = cells | {"id": finance.id_of(cells) or None}
        yield Record(fields, rest, is_deleted, plain(row), finance.fault(cells, ids))


def _given(
    wanted: Import, resolved: Mapping[str, str], row: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, object]]:
    """Values by our columns, and what nothing is made of."""
    given = dict(wanted.values) | {name: row[old] for name, old in resolved.items()}
    used = set(resolved.values())
    rest = {
        name: plain(value)
        for name, value in row.items()
        if name not in used and value is not None and value != []
    }
    return given, rest


def plain(value: object) -> Any:
    """A BigQuery value as JSON has it; exact numbers and times as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def typed(value: object, type_: str) -> object:
    """A number that was kept as text or exactly, as the type of its column; the rest as it is."""
    if type_ not in ("INT64", "FLOAT64", "NUMERIC") or not isinstance(value, str | Decimal):
        return plain(value) if type_ != "NUMERIC" else value
    text = str(value).strip()
    if not NUMBER.fullmatch(text):
        return value if isinstance(value, str) else str(value)
    exact = Decimal(text)
    if type_ == "NUMERIC":
        return exact
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def moment(value: object, zone: ZoneInfo) -> datetime | None:
    """A point in time out of a timestamp, a date-time in `zone`, ISO 8601, or epoch seconds.

    None when it is none of these.
    """
    if isinstance(value, str):
        text = value.strip().removesuffix(" UTC") + ("Z" if value.strip().endswith(" UTC") else "")
        if NUMBER.fullmatch(text):
            value = Decimal(text)
        else:
            try:
                value = datetime.fromisoformat(text)
            except ValueError:
                return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=zone).astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(value))
    except (OverflowError, ValueError):
        return None


def epoch(at: datetime) -> int | float:
    """Seconds since 1970, exact to the microsecond."""
    whole, rest = divmod(
        (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1), 10**6
    )
    return whole + rest / 10**6 if rest else whole


def local_day(value: object, zone: ZoneInfo) -> date | None:
    """The Philippine day of a date, a serial number of a sheet, or a point in time.

    A time without an offset is in `zone`. None when it is none of these.
    """
    if isinstance(value, str):
        text = value.strip()
        if NUMBER.fullmatch(text):
            value = Decimal(text)
        else:
            try:
                return date.fromisoformat(text)
            except ValueError:
                pass
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        days = int(value) if math.isfinite(value) else 0
        return SERIAL_ZERO + timedelta(days=days) if days in SERIALS else None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    at = moment(value, zone)
    return at.astimezone(MANILA).date() if at else None


def stamp(value: object, zone: ZoneInfo) -> object:
    """A point in time as the sheet has it, Philippine time in text; anything else as it is.

    A time without an offset is in `zone`.
    """
    if isinstance(value, int | float | Decimal):
        return typed(value, "FLOAT64")
    if isinstance(value, date) and not isinstance(value, datetime):
        return plain(value)
    at = moment(value, zone)
    if at is None or (isinstance(value, str) and NUMBER.fullmatch(value.strip())):
        return plain(value)
    text = at.astimezone(MANILA).replace(tzinfo=None).isoformat(" ")
    return value if isinstance(value, str) and text.startswith(value.strip()) else text
