"""A plan for moving in from an older system: which tables, and which column is which."""

from __future__ import annotations

import msgspec

Value = str | int | float | bool


class InvalidPlan(ValueError):
    """A plan that cannot be carried out; the message names the part and what is wrong."""


class Import(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One old table. `columns` maps ours to theirs; those of the same name need no mention.

    `time_zone` is that of date-times without an offset; of the ledger, that of its wall clock.
    """

    table: str
    columns: dict[str, str] = {}
    values: dict[str, Value] = {}
    time_zone: str | None = None


class Mart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An old table that people read, and the model that takes its place.

    `columns` maps each old column to an SQL expression over the new one's; `key` names old columns.
    Numbers that differ by no more than `tolerance` are equal.
    """

    old: str
    new: str
    key: list[str]
    columns: dict[str, str]
    tolerance: float = 0.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is moved, and what is compared and kept readable under its old name."""

    articles: Import | None = None
    weather: Import | None = None
    ledger: Import | None = None
    marts: list[Mart] = []
