"""The answers of SODA 2.1 to a version of a dataset: pages in JSON and CSV, and metadata.

Facts come from a real recorded exchange, the provider's documentation and replies that others
published. How the real service quotes CSV is not known; here every text is, and a null is nothing
between two commas.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sandbox.sources.faults import Listing, Response
from sandbox.sources.socrata_dataset import CHUNK, TYPES, Dataset, Order, decoded, positions
from sandbox.sources.socrata_query import JSON, Query

DATASET_ID = "8wbx-tsch"
NAME = "For Hire Vehicles (FHV) - Active"
CSV = "text/csv;charset=utf-8"
JSON_ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
CSV_ESCAPES = (('"', '""'),)
VIEW_TYPES = {"floating_timestamp": "calendar_date"}


def page(query: Query, dataset: Dataset, is_csv: bool, shuffle: str) -> Response:
    """One page. Rows without an order stand as `shuffle` has them, also ties of an order."""
    if query.columns is None:
        count = pa.array([str(len(dataset))][query.offset :][: query.limit], pa.string())
        return Response(200, _listing(["count"], _lines(["count"], [count], is_csv), is_csv))
    rows = _rows(query, dataset, shuffle)
    lines: list[bytes] = []
    for start in range(0, len(rows), CHUNK):
        chunk = positions(rows[start : start + CHUNK])
        columns = [dataset.column(name, chunk) for name in query.columns]
        lines += _lines(query.columns, columns, is_csv)
    return Response(200, _listing(query.columns, lines, is_csv))


def headers(
    query: Query, uri: str, dataset: Dataset, truth_at_s: int, is_csv: bool
) -> dict[str, str]:
    """The headers of a page of this version, while the newest version is of `truth_at_s`."""
    fields = query.columns if query.columns is not None else ("count",)
    types = [TYPES.get(name, "text") for name in fields]
    served_at = formatdate(dataset.updated_at_s, usegmt=True)
    version = f"sandbox.{dataset.seed}_{dataset.number}_{dataset.updated_at_s}".encode()
    tag = f"{urlsafe_b64encode(version).decode()}---{sha256(uri.encode()).hexdigest()[:27]}"
    return {
        "content-type": CSV if is_csv else JSON,
        "etag": f'"{tag}"',
        "last-modified": served_at,
        "x-soda2-fields": json.dumps(fields, separators=(",", ":")),
        "x-soda2-types": json.dumps(types, separators=(",", ":")),
        "x-soda2-data-out-of-date": "true" if dataset.updated_at_s < truth_at_s else "false",
        "x-soda2-truth-last-modified": formatdate(truth_at_s, usegmt=True),
        "x-soda2-secondary-last-modified": served_at,
    }


def is_known(asked: Mapping[str, str], answer_headers: Mapping[str, str]) -> bool:
    """Whether a request's headers say that it has this answer already; a tag outweighs a date."""
    if "if-none-match" in asked:
        tags = {tag.strip().removeprefix("W/") for tag in asked["if-none-match"].split(",")}
        return bool(tags & {"*", answer_headers["etag"]})
    if "if-modified-since" not in asked:
        return False
    try:
        since = parsedate_to_datetime(asked["if-modified-since"]).timestamp()
    except ValueError:
        return False
    return parsedate_to_datetime(answer_headers["last-modified"]).timestamp() <= since


def metadata(dataset: Dataset) -> Response:
    """What `/api/views` says of the dataset; times in Unix seconds."""
    columns = []
    for position, name in enumerate(dataset.columns, start=1):
        kind = TYPES.get(name, "text")
        words = name.replace("_", " ")
        columns.append(
            {
                "id": 500_000_000 + position,
                "name": words.title(),
                "dataTypeName": VIEW_TYPES.get(kind, kind),
                "description": f"{words.capitalize()}.",
                "fieldName": name,
                "position": position,
            }
        )
    document = {
        "id": DATASET_ID,
        "name": NAME,
        "assetType": "dataset",
        "attribution": "Sandbox stand-in; invented vehicles",
        "createdAt": dataset.created_at_s,
        "publicationDate": dataset.created_at_s,
        "rowsUpdatedAt": dataset.updated_at_s,
        "viewLastModified": dataset.updated_at_s,
        "viewType": "tabular",
        "columns": columns,
    }
    return Response(200, json.dumps(document).encode(), {"content-type": JSON})


def _rows(query: Query, dataset: Dataset, shuffle: str) -> list[int]:
    """The positions of a page's rows. What stands behind `:id` in an order cannot matter."""
    ranks = range(len(dataset))
    names = [name for name, _ in query.order]
    keys, order = query.order, Order(len(dataset), shuffle)
    if ":id" in names:
        keys, order = keys[: names.index(":id")], dataset.id_order()
        if query.order[len(keys)][1]:
            ranks = ranks[::-1]
    if not keys:
        return order.rows(ranks[query.offset :][: query.limit])
    rows = positions(order.rows(ranks))
    columns = {name: decoded(dataset.column(name, rows)) for name, _ in keys}
    ways = [(name, "descending" if is_descending else "ascending") for name, is_descending in keys]
    sorted_rows = rows.take(pc.sort_indices(pa.table(columns), sort_keys=ways))
    return list(sorted_rows[query.offset :][: query.limit].to_pylist())


def _listing(names: tuple[str, ...] | list[str], lines: list[bytes], is_csv: bool) -> Listing:
    """Lines of CSV bring their own line ends, so that an empty page has no blank line."""
    if is_csv:
        return Listing(",".join(f'"{name}"' for name in names).encode() + b"\n", lines, b"", b"")
    return Listing(b"[", lines, b"]\n", b"\n,")


def _lines(names: tuple[str, ...] | list[str], columns: list[Any], is_csv: bool) -> list[bytes]:
    """A row's bytes each. In JSON a null is an absent key and every value is a string."""
    if is_csv:
        parts = [_quoted(column, '"', CSV_ESCAPES) for column in columns]
        rows = pc.binary_join_element_wise(
            *parts, ",", null_handling="replace", null_replacement=""
        )
        rows = pc.binary_join_element_wise(rows, "\n", "")
    else:
        parts = [
            _quoted(column, f'"{name}":"', JSON_ESCAPES)
            for name, column in zip(names, columns, strict=True)
        ]
        rows = pc.binary_join_element_wise(*parts, ",", null_handling="skip")
        rows = pc.binary_join_element_wise("{", rows, "}", "")
    return list(rows.cast(pa.binary()).to_pylist())


def _quoted(column: Any, head: str, escapes: tuple[tuple[str, str], ...]) -> Any:
    """The texts between head and quote; of a large coded column only the pool is worked on."""
    if pa.types.is_dictionary(column.type):
        if len(column.dictionary) <= len(column):
            return _quoted(column.dictionary, head, escapes).take(column.indices)
        column = decoded(column)
    for plain, escaped in escapes:
        column = pc.replace_substring(column, plain, escaped)
    return pc.binary_join_element_wise(head, column, '"', "")
