"""A plan for moving in from an older system: which tables, and which column is which."""

from __future__ import annotations

from typing import Literal

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


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A difference between an old table and ours that follows from a rule, and the `reason` for it.

    Either the old value of `column` is what the SQL expression `equals` makes of our row, within
    `tolerance`; or a row is in `only` one of the two tables, and the SQL condition `where` is true
    of it there. A difference that no rule gives is not expected.
    """

    reason: str
    column: str | None = None
    equals: str | None = None
    tolerance: float | None = None
    only: Literal["old", "new"] | None = None
    where: str | None = None

    @property
    def fault(self) -> str | None:
        """Why this is not a rule."""
        if not self.reason.strip():
            return "an expected difference needs a reason"
        of_value = bool(self.column and self.equals)
        of_row = bool(self.only and self.where)
        others = (self.only, self.where) if of_value else (self.column, self.equals, self.tolerance)
        if of_value == of_row or any(other is not None for other in others):
            return f"{self.reason!r}: give column and equals, or only and where"
        if of_row and (self.where or "").strip().lower() in ("true", "1 = 1", "1=1"):
            return f"{self.reason!r}: where must be a condition on the row"
        return None


class Mart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An old table that people read, and the model that takes its place.

    `columns` maps each old column to an SQL expression over the new one's; `key` names old columns.
    Numbers that differ by no more than `tolerance` are equal. In the SQL, `{gold}.name` and the
    like are our datasets. `uncompared` names columns that have no reason to be equal, and why.
    """

    old: str
    new: str
    key: list[str]
    columns: dict[str, str]
    tolerance: float = 0.0
    expected: list[Expected] = []
    uncompared: dict[str, str] = {}

    @property
    def fault(self) -> str | None:
        """What is wrong with it by itself."""
        if not self.key or set(self.key) - self.columns.keys():
            return "the key is not among the columns"
        named = {*self.uncompared, *(rule.column for rule in self.expected if rule.column)}
        if unknown := named - self.columns.keys() | named & set(self.key):
            return f"no such column to compare: {', '.join(sorted(unknown))}"
        return next((rule.fault for rule in self.expected if rule.fault), None)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is moved, and what is compared and kept readable under its old name."""

    articles: Import | None = None
    weather: Import | None = None
    ledger: Import | None = None
    marts: list[Mart] = []
