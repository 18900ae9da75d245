"""What people do to the ledger between two reads: one edit, or a stage of many.

A change is all that is stored of it; `apply` repeats it.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from sandbox.sources.sheets_generator import KINDS, STAMP, new_row, wall_time
from sandbox.sources.sheets_grid import Row, kept_cell, kept_row, kept_rows
from sandbox.sources.sheets_ledger import COLUMNS, Ledger
from sandbox.sources.world import Change, ControlError

HOUR_MS = 3_600_000
INCOME = ("SALARY", "BONUS", "INTEREST", "CASHBACK", "CASH OUT", "ALLOWANCE", "SELL", "BET WIN")
EXPENSE = {kind.type for kind in KINDS} - set(INCOME)


def apply(ledger: Ledger, seed: int, change: Change) -> dict[str, Any]:
    """Do one change and say what it did. Raises ValueError before anything has changed."""
    match change.action, change.payload:
        case "set", {"rows": rows}:
            ledger.set(rows)
            return {"rows": len(ledger.rows)}
        case "append", {"rows": rows}:
            new = kept_rows(rows)
            ledger.rows += new
            return {"appended": len(new)}
        case "edit", {"id": name, "column": column, "value": value}:
            ledger.put(ledger.with_id(str(name))[0], column, kept_cell(value))
            return {"edited": 1}
        case "delete", {"ids": names}:
            gone = [row for name in dict.fromkeys(map(str, names)) for row in ledger.with_id(name)]
            _remove(ledger, gone)
            return {"deleted": len(gone)}
        case "header", {"values": values}:
            ledger.header = kept_row(values)
            return {"columns": len(ledger.header)}
        case "duplicate", {"id": name}:
            ledger.rows.append(list(ledger.with_id(str(name))[0]))
            return {"appended": 1}
        case "read", _:
            ledger.note_read()
            return {}
        case _:
            return _advance(ledger, seed, change.stage, change.moment_ms)


def _advance(ledger: Ledger, seed: int, stage: int, moment_ms: int) -> dict[str, Any]:
    """One stage; a row is touched by one kind of change only. Raises ControlError.

    Of all changes only the pair of the same second writes `updated_at`.
    """
    if not set(COLUMNS) <= set(ledger.names()):
        raise ControlError(409, "advance needs the ledger's own columns")
    rng = Random(f"{seed}/stage {stage}")
    live = ledger.valid()
    rng.shuffle(live)
    many = max(3, len(live) // 50)

    def take(wanted: int, fits: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        """Up to `wanted` valid rows that fit; none is taken twice."""
        taken = [row for row in live if fits(row)][:wanted]
        marked = {id(row) for row in taken}
        live[:] = [row for row in live if id(row) not in marked]
        return taken

    retyped = take(1, lambda row: ledger.get(row, "type") in EXPENSE)
    for row in retyped:
        ledger.put(row, "type", "CASHBACK")
    pair = take(2)
    for row in pair:
        _raise_cost(ledger, row, rng)
        ledger.put(row, "updated_at", f"{wall_time(moment_ms):{STAMP}}")
    edited = take(many)
    for row in edited:
        _raise_cost(ledger, row, rng)
    # Awkward ids stay, so that every stage has them.
    deleted = take(max(2, many // 3), lambda row: ledger.id_of(row).startswith("L"))
    _remove(ledger, deleted)

    is_ascending = stage % 2 == 0
    _sort_by_date(ledger, is_ascending)
    first = len(ledger.rows) // 3
    ledger.rows[first:first] = [_late_row(rng, ledger, moment_ms) for _ in range(2)]
    ledger.rows += [
        new_row(rng, ledger, moment_ms - rng.randrange(HOUR_MS, 12 * HOUR_MS)) for _ in range(many)
    ]
    return {
        "appended": many,
        "inserted": 2,
        "edited": len(edited),
        "edited_same_second": len(pair),
        "retyped": len(retyped),
        "deleted": len(deleted),
        "sorted": "oldest first" if is_ascending else "newest first",
    }


def _raise_cost(ledger: Ledger, row: Row, rng: Random) -> None:
    cost = ledger.get(row, "cost")
    old = cost if isinstance(cost, int | float) and abs(cost) < 1e9 else 0
    new = round(old + rng.choice((0.01, 10.1, 100, 250.75)), 2)
    ledger.put(row, "cost", kept_cell(new))


def _late_row(rng: Random, ledger: Ledger, moment_ms: int) -> Row:
    """What somebody remembered weeks later."""
    return new_row(rng, ledger, moment_ms - rng.randrange(24 * HOUR_MS, 24 * 60 * HOUR_MS))


def _remove(ledger: Ledger, gone: list[Row]) -> None:
    marked = {id(row) for row in gone}
    ledger.rows = [row for row in ledger.rows if id(row) not in marked]


def _sort_by_date(ledger: Ledger, is_ascending: bool) -> None:
    """Rows with a date in its order, the others behind them; blank rows keep their places."""

    def key(row: Row) -> tuple[bool, list[float]]:
        parts = [ledger.get(row, name) for name in ("year", "month", "day")]
        numbers = [part for part in parts if isinstance(part, int | float)]
        return (len(numbers) < 3, [part if is_ascending else -part for part in numbers])

    ordered = iter(sorted((row for row in ledger.rows if row), key=key))
    ledger.rows = [next(ordered) if row else [] for row in ledger.rows]
