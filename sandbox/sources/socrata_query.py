"""Queries of SODA 2.1: what the stand-in understands of them, and how it refuses the rest.

A query's error says `errorCode`, the platform's `code`. Not known are the codes of bad numbers and
of `$` parameters that do not exist. Filters and groups are offered by the real service and refused
here, so that nobody takes silence for support.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.sources.faults import Response
from sandbox.sources.socrata_dataset import SYSTEM_COLUMNS, Dataset
from sandbox.sources.world import Refusal

JSON = "application/json;charset=utf-8"
DEFAULT_LIMIT = 1000
PARAMETERS = ("$select", "$order", "$limit", "$offset", "$$app_token")
NOT_OFFERED = ("$where", "$group", "$having", "$q", "$query")
ORDER_KEY = re.compile(r"(?P<name>[:\w]+)(\s+(?P<way>asc|desc))?", re.IGNORECASE)
NUMBER = re.compile(r"\d{1,12}")


@dataclass(frozen=True)
class Query:
    """A parsed query. `columns` is None for a count of the rows."""

    columns: tuple[str, ...] | None
    order: tuple[tuple[str, bool], ...]
    """Columns and whether each descends."""
    limit: int
    offset: int


def parse(params: Mapping[str, str], dataset: Dataset) -> Query:
    """The query in the parameters. Raises Refusal."""
    for name in params:
        if name in NOT_OFFERED or name in dataset.columns:
            raise _bad_query("sandbox.not-offered", f"{name} is not offered by this stand-in")
        if name not in PARAMETERS:
            if name.startswith("$"):
                raise _bad_query("sandbox.no-such-parameter", f"Unrecognized arguments [{name}]")
            raise _no_such_column(name)
    return Query(
        columns=_selected(params.get("$select", "*"), dataset),
        order=_ordered(params.get("$order", ""), dataset),
        limit=_number(params, "$limit", DEFAULT_LIMIT),
        offset=_number(params, "$offset", 0),
    )


def platform_refusal(status: int, code: str, message: str, **data: str) -> Refusal:
    """An error that does not come from the query."""
    body: dict[str, Any] = {"code": code, "error": True, "message": message}
    return _refusal(status, {**body, "data": data} if data else body)


def _bad_query(code: str, message: str, **data: Any) -> Refusal:
    text = f"Query coordinator error: {code}; {message}"
    return _refusal(400, {"message": text, "errorCode": code, "data": data})


def _refusal(status: int, body: dict[str, Any]) -> Refusal:
    return Refusal(Response(status, json.dumps(body).encode(), {"content-type": JSON}))


def _no_such_column(name: str) -> Refusal:
    line = f"SELECT `{name}`"
    message = f'No such column: {name}; position: Map(row -> 1, column -> 8, line -> "{line}")'
    position = {"row": 1, "column": 8, "line": line}
    return _bad_query(
        "query.soql.no-such-column", message, column=name, dataset="sandbox.1", position=position
    )


def _selected(text: str, dataset: Dataset) -> tuple[str, ...] | None:
    entries = [entry.strip() for entry in text.split(",")]
    if [entry.lower() for entry in entries] == ["count(*)"]:
        return None
    columns: list[str] = []
    for entry in entries:
        if "(" in entry or " " in entry:
            raise _bad_query("sandbox.not-offered", f"{entry} is not offered by this stand-in")
        if entry not in ("*", *SYSTEM_COLUMNS, *dataset.columns):
            raise _no_such_column(entry)
        columns += dataset.columns if entry == "*" else [entry]
    return tuple(dict.fromkeys(columns))


def _ordered(text: str, dataset: Dataset) -> tuple[tuple[str, bool], ...]:
    keys: dict[str, bool] = {}
    for entry in text.split(",") if text else []:
        found = ORDER_KEY.fullmatch(entry.strip())
        name = found["name"] if found else entry.strip()
        if found is None or name not in (*SYSTEM_COLUMNS, *dataset.columns):
            raise _no_such_column(name)
        keys.setdefault(name, (found["way"] or "").lower() == "desc")
    return tuple(keys.items())


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, str(default))
    if not NUMBER.fullmatch(text):
        raise _bad_query("sandbox.bad-number", f"{name} must be a whole number from 0, not {text}")
    return int(text)
