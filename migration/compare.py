"""Two tables that should be equal: what only one has, and what differs, key by key.

A difference that a rule of the plan gives is expected, and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from migration.plan import Expected

# Differences that a report lists of each sort; the rest are counted.
LISTED = 200

Row = Mapping[str, Any]
Key = tuple[str, ...]


# What a row has for each rule, by the rule's number: whether it is so, or what the old value is.
RULE = "_expected_"
NO_ROW = "no row"


@dataclass(frozen=True)
class Difference:
    """A value under one key and column that is not the same; without a column, a missing row.

    `reason` is that of the rule by which it is expected.
    """

    key: Key
    column: str
    old: str
    new: str
    reason: str = ""


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
    expected: list[Difference] = field(default_factory=list)

    @property
    def is_as_expected(self) -> bool:
        """Whether there is no difference but those that a rule gives."""
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
            (len(self.only_old), "only old"),
            (len(self.only_new), "only new"),
            (len({difference.key for difference in self.differences}), "with other values"),
            (len(self.repeated_old) + len(self.repeated_new), "keys that stand twice"),
        )
        found = [f"{count:,} {what}" for count, what in counts if count]
        if self.expected:
            found.append(f"{len(self.expected):,} expected differences")
        told = ", ".join(found) or "equal"
        return f"{self.old} ({self.old_rows:,} rows) and {self.new} ({self.new_rows:,}): {told}"

    @property
    def markdown(self) -> str:
        """The report of one pair of tables."""
        lines = [f"## {self.old} and {self.new}", "", self.message, ""]
        lines += _table(self.differences)
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
        for reason in dict.fromkeys(one.reason for one in self.expected):
            of_rule = [one for one in self.expected if one.reason == reason]
            lines += [f"Expected ({len(of_rule):,}): {_cell(reason)}", "", *_table(of_rule)]
        return "\n".join(lines)


def _table(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return []
    listed = [
        f"| {_cell(' / '.join(one.key))} | {one.column} | {_cell(one.old)} | {_cell(one.new)} |"
        for one in differences[:LISTED]
    ]
    return ["| key | column | old | new |", "|---|---|---|---|", *listed, *_more(len(differences))]


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
    rules: Sequence[Expected] = (),
) -> Comparison:
    """Compare rows by `key`, column by column; both have the same columns.

    Numbers are equal when they differ by no more than `tolerance`, whatever their types; days and
    times as they are written, UTC. The rows of the table that a rule asks have what it makes of
    them in a column of their own, RULE and its number.
    """
    old_by_key, repeated_old, old_rows = _by_key(old, key)
    new_by_key, repeated_new, new_rows = _by_key(new, key)
    skipped = {*repeated_old, *repeated_new}
    both = [name for name in old_by_key if name in new_by_key and name not in skipped]
    differences = []
    for name in both:
        row = new_by_key[name]
        for column, value in old_by_key[name].items():
            if column in key or column.startswith(RULE):
                continue
            if not is_same(value, row.get(column), tolerance):
                reason = _of_value(column, value, row, rules, tolerance)
                old_value, new_value = written(value), written(row.get(column))
                differences.append(Difference(name, column, old_value, new_value, reason))
    only_old = {name: old_by_key[name] for name in old_by_key.keys() - new_by_key.keys()}
    only_new = {name: new_by_key[name] for name in new_by_key.keys() - old_by_key.keys()}
    missing = [
        *(Difference(name, "", "row", NO_ROW, _of_row(only_old[name], rules)) for name in only_old),
        *(Difference(name, "", NO_ROW, "row", _of_row(only_new[name], rules)) for name in only_new),
    ]
    expected = [one for one in (*differences, *missing) if one.reason]
    return Comparison(
        old=old_name,
        new=new_name,
        key=tuple(key),
        old_rows=old_rows,
        new_rows=new_rows,
        compared=len(both),
        only_old=sorted(one.key for one in missing if one.new == NO_ROW and not one.reason),
        only_new=sorted(one.key for one in missing if one.old == NO_ROW and not one.reason),
        repeated_old=sorted(repeated_old),
        repeated_new=sorted(repeated_new),
        differences=sorted((one for one in differences if not one.reason), key=_place),
        expected=sorted(expected, key=_place),
    )


def _place(difference: Difference) -> tuple[Key, str]:
    return difference.key, difference.column


def _of_value(
    column: str, value: object, row: Row, rules: Sequence[Expected], tolerance: float
) -> str:
    """The reason of the rule by which our row gives the old value; empty when none does."""
    for number, rule in enumerate(rules):
        within = tolerance if rule.tolerance is None else rule.tolerance
        if rule.column == column and is_same(value, row.get(f"{RULE}{number}"), within):
            return rule.reason
    return ""


def _of_row(row: Row, rules: Sequence[Expected]) -> str:
    """The reason of the rule by which a row is in one table only; empty when there is none."""
    for number, rule in enumerate(rules):
        if rule.only and row.get(f"{RULE}{number}") is True:
            return rule.reason
    return ""


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
