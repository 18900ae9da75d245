"""One version of the stand-in's dataset: its columns as Arrow arrays, its orders, its digest.

Texts are made when a page needs them and are not kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from sandbox.sources.socrata_generator import VIN_STARTS, Fleet, Text, pools, scatter

NEW_YORK = ZoneInfo("America/New_York")
# In the order of the real `x-soda2-fields`; what is not named below is text.
COLUMNS = (
    *("active", "vehicle_license_number", "name", "license_type", "expiration_date"),
    *("permit_license_number", "dmv_license_plate_number", "vehicle_vin_number"),
    *("wheelchair_accessible", "certification_date", "hack_up_date", "vehicle_year"),
    *("base_number", "base_name", "base_type", "veh", "base_telephone_number", "website"),
    *("base_address", "reason", "order_date", "last_date_updated", "last_time_updated"),
)
SYSTEM_COLUMNS = (":id", ":created_at", ":updated_at")
TYPES = {
    **dict.fromkeys(
        ("expiration_date", "certification_date", "hack_up_date", "order_date"),
        "floating_timestamp",
    ),
    "last_date_updated": "floating_timestamp",
    "vehicle_year": "number",
    ":id": "row_identifier",
    ":created_at": "fixed_timestamp",
    ":updated_at": "fixed_timestamp",
    "count": "number",
}
ID_LETTERS = "23456789abcdefghijkmnpqrstuvwxyz"
ID_BITS = 60
# Odd, so that multiplying by it modulo 2**60 maps no two numbers to one.
ID_STEP = 0x6C8E9CF570932BD
VERSIONS_APART = 1 << 40
CHUNK = 50_000


class Order:
    """Rows in an order that looks random: a permutation that takes no memory."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._step, self._start = scatter(count, name) if count else (1, 0)

    def rows(self, ranks: Iterable[int]) -> list[int]:
        """The rows that stand at these ranks."""
        return [(rank * self._step + self._start) % self._count for rank in ranks]

    def ranks(self, rows: Iterable[int]) -> list[int]:
        """Where these rows stand."""
        back = pow(self._step, -1, self._count) if self._count else 1
        return [(row - self._start) * back % self._count for row in rows]


@dataclass
class Dataset:
    """A version. Its fleet is never changed: Arrow arrays look into it."""

    seed: int
    fleet: Fleet
    updated_at_s: int
    created_at_s: int
    number: int = 0
    columns: tuple[str, ...] = COLUMNS

    def __len__(self) -> int:
        return len(self.fleet)

    def column(self, name: str, rows: Any) -> Any:
        """A column's texts in these rows (an integer array), in one array with nulls."""
        coded = _coded(self.seed)
        if name in coded:
            code, texts = coded[name]
            return pa.DictionaryArray.from_arrays(self._code(code, rows), texts)
        match name:
            case "vehicle_license_number":
                return self._code("license", rows).cast(pa.string())
            case "dmv_license_plate_number":
                number = self._code("plate", rows).cast(pa.string())
                return _joined("T", pc.utf8_lpad(number, 6, "0"), "C")
            case "vehicle_vin_number":
                start = pa.array(VIN_STARTS).take(self._code("make", rows))
                serial = _modulo(self._code("license", rows), 1_000_000).cast(pa.string())
                return _joined(start, pc.utf8_lpad(serial, 6, "0"))
            case "order_date":
                return pa.nulls(len(rows), pa.string())
            case ":id":
                return self._ids(rows)
        constants = self._constants
        if name in constants:
            return pa.DictionaryArray.from_arrays(positions([0] * len(rows)), [constants[name]])
        # An added column.
        texts = pa.array([None, name.upper(), "NO"])
        return texts.take(_modulo(self._code("license", rows), len(texts)))

    def id_order(self) -> Order:
        """What `:id` orders by; another one in every version."""
        return Order(len(self), f"{self.seed}/ids {self.number}")

    def records(self) -> Iterator[tuple[Text, ...]]:
        """All rows with their values in the order of `columns`."""
        for start in range(0, len(self), CHUNK):
            rows = positions(range(start, min(start + CHUNK, len(self))))
            columns = [decoded(self.column(name, rows)).to_pylist() for name in self.columns]
            yield from zip(*columns, strict=True)

    @cached_property
    def digest(self) -> str:
        """The digest of all rows, made once."""
        return digest(self.records())

    @property
    def _constants(self) -> dict[str, str]:
        moment = datetime.fromtimestamp(self.updated_at_s, NEW_YORK)
        return {
            "active": "YES",
            "last_date_updated": f"{moment:%Y-%m-%d}T00:00:00.000",
            "last_time_updated": f"{moment:%H:%M}",
            ":created_at": _utc(self.updated_at_s),
            ":updated_at": _utc(self.updated_at_s),
        }

    def _code(self, name: str, rows: Any) -> Any:
        buffer = pa.py_buffer(self.fleet.codes[name])
        return pa.Array.from_buffers(pa.int32(), len(self), [None, buffer]).take(rows)

    def _ids(self, rows: Any) -> Any:
        """`row-xxxx_xxxx~xxxx`: a replaced dataset has other ids, also for what did not change."""
        first = self.number * VERSIONS_APART + self.seed
        ranks = self.id_order().ranks(rows.to_pylist())
        numbers = positions((first + rank) * ID_STEP % (1 << ID_BITS) for rank in ranks)
        letters = pa.array(list(ID_LETTERS))
        parts = [
            letters.take(pc.bit_wise_and(pc.shift_right(numbers, bits), len(ID_LETTERS) - 1))
            for bits in range(0, ID_BITS, 5)
        ]
        return _joined("row-", *parts[:4], "_", *parts[4:8], "~", *parts[8:])


def decoded(column: Any) -> Any:
    """A column's texts without a pool behind them."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def positions(rows: Iterable[int]) -> Any:
    """Positions of rows as an Arrow array, also if there are none."""
    return pa.array(rows, pa.int64())


def digest(rows: Iterable[Sequence[Text]]) -> str:
    """What tells one content from another, whatever the order of its rows.

    The sum, modulo 2**64, of the first 8 bytes (big-endian) of each row's SHA-256 over its values
    joined by U+001F in UTF-8, a null being U+0000; in 16 hexadecimal digits.
    """
    total = 0
    for row in rows:
        joined = "\x1f".join(["\0" if text is None else text for text in row])
        total += int.from_bytes(sha256(joined.encode()).digest()[:8], "big")
    return f"{total % (1 << 64):016x}"


@lru_cache(maxsize=4)
def _coded(seed: int) -> dict[str, tuple[str, Any]]:
    """The pools as Arrow arrays. Every version of a world has the same."""
    return {
        name: (code, pa.array(texts, pa.string())) for name, (code, texts) in pools(seed).items()
    }


def _joined(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")


def _modulo(numbers: Any, count: int) -> Any:
    return pc.subtract(numbers, pc.multiply(pc.divide(numbers, count), count))


def _utc(epoch_s: int) -> str:
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%M:%S}.000Z"
