"""Two tables that should be equal: what only one has, and what differs, key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

# Differences that a report lists of each sort; the rest are counted.
LISTED = 200

Row = Mapping[str, Any]
Key = tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A value under one key and column that is not the same."""

    key: Key
    column: str
    old: str
    new: str


@dataclass(frozen=True)
class Comparison:
    """What came of comparing `old` with `new`; keys that stand twice in one are not compared."""

    old: str
    new: str
    key: tuple[str, ...]
    old_rows: int
    new_rows: int
    compared: int
    only_old: list[Key] = field(default_factory=list)
    only_new: list[Key] = field(default_factory=list)
    repeated_old: list[Key] = field(default_factory=list)
    repeated_new: list[Key] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not (
            self.only_old
            or self.only_new
            or self.repeated_old
            or self.repeated_new
            or self.differences
        )

    @property
    def message(self) -> str:
        """One line."""
        counts = (
            f"{len(self.only_old):,} only old",
            f"{len(self.only_new):,} only new",
            f"{len({difference.key for difference in self.differences}):,} with other values",
            f"{len(self.repeated_old) + len(self.repeated_new):,} keys that stand twice",
        )
        told = "equal" if self.is_equal else ", ".join(c for c in counts if not c.startswith("0 "))
        return f"{self.old} ({self.old_rows:,} rows) and {self.new} ({self.new_rows:,}): {told}"

    @property
    def markdown(self) -> str:
        """The report of one pair of tables."""
        lines = [f"## {self.old} and {self.new}", "", self.message, ""]
        if self.differences:
            lines += ["| key | column | old | new |", "|---|---|---|---|"]
            lines += [
                f"| {_cell(' / '.join(one.key))} | {one.column} | {_cell(one.old)} "
                f"| {_cell(one.new)} |"
                for one in self.differences[:LISTED]
            ]
            lines += _more(len(self.differences))
        for title, keys in (
            ("Only in the old table", self.only_old),
            ("Only in the new table", self.only_new),
            ("More than once in the old table", self.repeated_old),
            ("More than once in the new table", self.repeated_new),
        ):
            if keys:
                lines += [f"{title} ({', '.join(self.key)}):", ""]
                lines += [f"- {_cell(' / '.join(key))}" for key in keys[:LISTED]]
                lines += _more(len(keys))
        return "\n".join(lines)


def _more(count: int) -> list[str]:
    return ["", *([f"... and {count - LISTED:,} more", ""] if count > LISTED else [])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def compare(
    old_name: str,
    old: Iterable[Row],
    new_name: str,
    new: Iterable[Row],
    key: Sequence[str],
    tolerance: float = 0.0,
) -> Comparison:
    """Compare rows by `key`, column by column; both have the same columns.

    Numbers are equal when they differ by no more than `tolerance`, whatever their types; days and
    times as they are written, UTC.
    """
    old_by_key, repeated_old, old_rows = _by_key(old, key)
    new_by_key, repeated_new, new_rows = _by_key(new, key)
    skipped = {*repeated_old, *repeated_new}
    both = [name for name in old_by_key if name in new_by_key and name not in skipped]
    differences = [
        Difference(name, column, written(value), written(new_by_key[name].get(column)))
        for name in both
        for column, value in old_by_key[name].items()
        if column not in key and not is_same(value, new_by_key[name].get(column), tolerance)
    ]
    return Comparison(
        old=old_name,
        new=new_name,
        key=tuple(key),
        old_rows=old_rows,
        new_rows=new_rows,
        compared=len(both),
        only_old=sorted(old_by_key.keys() - new_by_key.keys()),
        only_new=sorted(new_by_key.keys() - old_by_key.keys()),
        repeated_old=sorted(repeated_old),
        repeated_new=sorted(repeated_new),
        differences=sorted(differences, key=lambda one: (one.key, one.column)),
    )


def _by_key(rows: Iterable[Row], key: Sequence[str]) -> tuple[dict[Key, Row], set[Key], int]:
    found: dict[Key, Row] = {}
    repeated: set[Key] = set()
    count = 0
    for row in rows:
        count += 1
        name = tuple(written(row[column]) for column in key)
        if name in found:
            repeated.add(name)
        found[name] = row
    return found, repeated, count


def is_same(old: object, new: object, tolerance: float) -> bool:
    if _is_number(old) and _is_number(new):
        return abs(Decimal(str(old)) - Decimal(str(new))) <= Decimal(str(tolerance))
    return written(old) == written(new)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def written(value: object) -> str:
    """A value as the report shows it: 3 for 3.0, times in UTC, null for nothing."""
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float | Decimal):
        exact = Decimal(str(value))
        if exact.is_finite() and exact == exact.to_integral_value():
            return str(int(exact))
        return str(exact.normalize()) if exact.is_finite() else str(value)
    return str(value)
