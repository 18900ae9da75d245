"""What a run came to, in numbers and in words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from core.batch import Window
from core.errors import (
    PARKED,
    DeletionsHeld,
    LoadFailed,
    PartlyExtracted,
    StoreFailed,
    TooManyRejects,
)
from core.ledger import COUNTS, Changes, Line
from core.names import flow_of
from core.schema import Mode, Table
from stores.errors import cause_of, reason_of
from stores.landing import LandingError


@dataclass
class Outcome:
    """What a run of a source did. `lines` are the ledger's, of every batch that it loaded;
    `failures` are by batch, `parked` those of them that were given up, `unlisted` by the address of
    a bucket that could not be looked into."""

    table: Table
    mode: Mode | Literal["undo"]
    window: Window
    lines: list[Line] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    parked: tuple[str, ...] = ()
    unlisted: dict[str, LandingError] = field(default_factory=dict)
    failed_parts: tuple[str, ...] = ()
    note: str | None = None
    announced: tuple[str, ...] = ()
    # What was applied of late by then; None when the ledger has to be asked.
    changes: Changes | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def total(self, name: str) -> int:
        return sum(getattr(line, name) or 0 for line in self.lines)

    @property
    def message(self) -> str:
        """One line for lists of runs."""
        note = "".join(f"; {told}" for told in (self.note, *self.announced) if told)
        if not self.lines:
            return self.note or f"nothing done ({self.window})"
        if all(line.state == "no_change" for line in self.lines):
            return f"nothing new ({self.window}); {self.total('requests')} requests{note}"
        if all(line.state == "undone" for line in self.lines):
            return f"undone: {', '.join(line.batch_id for line in self.lines)}{note}"
        counts = in_words(self.table, self.total)
        written = f"{self.total('written'):,} rows into raw.{self.table.name}"
        return f"{written} ({counts}){note}" if counts else f"{written}{note}"

    @property
    def markdown(self) -> str:
        """The run's artifact: counts in rows, sizes in bytes, seconds per step."""
        heads = ["batch", "state", *(label(self.table, name) for name in COUNTS)]
        rows = [
            [line.batch_id, line.state, *(in_cell(getattr(line, name)) for name in COUNTS)]
            for line in self.lines
        ]
        steps = [f"| {name} | {seconds:.3f} |" for name, seconds in sorted(self.seconds.items())]
        failures = [f"- {what}: {why}" for what, why in (self.failures | self.unlisted).items()]
        return "\n".join(
            [
                f"# {self.table.source}: {self.mode}, {self.window}",
                "",
                self.message,
                "",
                *(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)),
                *(["", "## What could not be loaded", *failures] if failures else []),
                "",
                "| step | seconds |",
                "|---|---|",
                *steps,
            ]
        )


def label(table: Table, name: str) -> str:
    """What people call a count."""
    return (COUNTS[name].word or name.removeprefix("size_").replace("_", " ")).format(
        key=", ".join(table.key)
    )


def in_words(table: Table, count: Callable[[str], int]) -> str:
    """The counts that a run's message tells and that are not zero."""
    told = (name for name, what in COUNTS.items() if what.word and count(name))
    return ", ".join(f"{count(name):,} {label(table, name)}" for name in told)


def in_cell(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def report(outcome: Outcome, logger: Logger | None = None) -> None:
    """Log the outcome, then raise what a person has to know of; by then all that is good is loaded.

    LoadFailed when a batch could not be loaded, StoreFailed when a bucket could not be looked into,
    PartlyExtracted when part of the source could not be had, DeletionsHeld when a snapshot lacks
    too many rows or is not what its table declares, TooManyRejects when more rows than the table's
    share were rejected.
    """
    where = flow_of(outcome.table.source)
    logger = logger or logging.getLogger(f"pipelines.{where}")
    logger.info("%s, %s: %s", where, outcome.window, outcome.message)
    for change in outcome.announced:
        logger.warning("%s: %s; it is kept in _extra or null, see raw._fields", where, change)
    if outcome.failures:
        failures = (outcome.failures | outcome.unlisted).items()
        causes = "; ".join(f"{what}: {cause}" for what, cause in failures)
        raise LoadFailed(f"{where}, {outcome.window}: {causes}", PARKED if outcome.parked else None)
    for error in outcome.unlisted.values():
        cause = "; ".join(map(cause_of, outcome.unlisted.values()))
        cause = f"{cause}; what the other bucket has is loaded: {outcome.message}"
        raise StoreFailed(outcome.table.source, outcome.window, cause, reason_of(error)) from error
    if outcome.failed_parts:
        raise PartlyExtracted(
            f"{where}, {outcome.window}: {'; '.join(outcome.failed_parts)}; the rest is loaded: "
            f"{outcome.message}"
        )
    # A later snapshot decides again about what an earlier one held back.
    last = outcome.lines[-1] if outcome.lines else None
    if last and (last.state == "held" or last.held):
        raise DeletionsHeld(f"{where}: {held_because(outcome, last)}")
    extracted, rejected = outcome.total("extracted"), outcome.total("rejected_unexpected")
    if rejected > outcome.table.max_reject_share * extracted:
        batches = ", ".join(line.batch_id for line in outcome.lines if line.rejected_unexpected)
        raise TooManyRejects(
            f"{where}, {outcome.window}: {rejected:,} of {extracted:,} rows rejected, more than "
            f"{outcome.table.max_reject_share:.0%}; {outcome.message}; see raw._rejects of batch "
            f"{batches}{' and earlier ones' if outcome.total('rejected_before') else ''}"
        )


def held_because(outcome: Outcome, line: Line) -> str:
    """Why a batch, or what it lacks, is held, and what to do about it."""
    advice = "if that is right, run once with allow_deletions=true"
    if line.held:
        return (
            f"{line.held:,} rows are gone from the source, more than "
            f"{outcome.table.max_absent_share:.0%} of all, and were not marked deleted; {advice}; "
            f"{outcome.message}"
        )
    return (
        f"what came is not what raw.{outcome.table.name} is declared to hold, and it was left as "
        f"it was: {line.message}; {advice}"
    )
