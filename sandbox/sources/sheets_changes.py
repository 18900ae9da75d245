"""What people do to the ledger between two reads: one edit, or a stage of many.

A change is a JSON object with its action and is all that is stored of it; `apply` repeats it.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from sandbox.sources.sheets_generator import KINDS, STAMP, new_row, wall_time
from sandbox.sources.sheets_grid import Row, check_cell, check_row, check_rows
from sandbox.sources.sheets_ledger import COLUMNS, Ledger

HOUR_MS = 3_600_000
INCOME = ("SALARY", "BONUS", "INTEREST", "CASHBACK", "CASH OUT", "ALLOWANCE", "SELL", "BET WIN")
EXPENSE = {kind.type for kind in KINDS} - set(INCOME)


def apply(ledger: Ledger, seed: int, change: dict[str, Any]) -> dict[str, Any]:
    """Do one change and say what it did. Raises ValueError before anything has changed."""
    fields = {name: value for name, value in change.items() if name != "action"}
    actions: dict[str, tuple[set[str], Callable[[], dict[str, Any]]]] = {
        "advance": ({"stage", "moment_ms"}, lambda: _advance(ledger, seed, **fields)),
        "set": ({"rows"}, lambda: _set(ledger, **fields)),
        "append": ({"rows"}, lambda: _append(ledger, **fields)),
        "edit": ({"id", "column", "value"}, lambda: _edit(ledger, fields)),
        "delete": ({"ids"}, lambda: _delete(ledger, **fields)),
        "header": ({"values"}, lambda: _header(ledger, **fields)),
        "duplicate": ({"id"}, lambda: _duplicate(ledger, fields)),
        "read": (set(), lambda: _read(ledger)),
    }
    names, action = actions[change["action"]]
    if fields.keys() != names:
        raise ValueError(f"{change['action']} takes {', '.join(sorted(names))}")
    return action()


def _set(ledger: Ledger, rows: Any) -> dict[str, Any]:
    """The whole tab, its first row being the header."""
    header, *rest = check_rows(rows) or [[]]
    ledger.header, ledger.rows = header, rest
    return {"rows": len(rest)}


def _append(ledger: Ledger, rows: Any) -> dict[str, Any]:
    new = check_rows(rows)
    ledger.rows += new
    return {"appended": len(new)}


def _edit(ledger: Ledger, fields: dict[str, Any]) -> dict[str, Any]:
    """The first row with the id; `updated_at` stays as it is."""
    row = ledger.with_id(str(fields["id"]))[0]
    ledger.put(row, str(fields["column"]), check_cell(fields["value"]))
    return {"edited": 1}


def _delete(ledger: Ledger, ids: Any) -> dict[str, Any]:
    """Every row with one of the ids."""
    if not isinstance(ids, list):
        raise ValueError("ids are a list")
    gone = [row for name in dict.fromkeys(map(str, ids)) for row in ledger.with_id(name)]
    _remove(ledger, gone)
    return {"deleted": len(gone)}


def _header(ledger: Ledger, values: Any) -> dict[str, Any]:
    ledger.header = check_row(values)
    return {"columns": len(ledger.header)}


def _duplicate(ledger: Ledger, fields: dict[str, Any]) -> dict[str, Any]:
    """A copy of the first row with the id, at the end."""
    ledger.rows.append(list(ledger.with_id(str(fields["id"]))[0]))
    return {"appended": 1}


def _read(ledger: Ledger) -> dict[str, Any]:
    ledger.note_read()
    return {}


def _advance(ledger: Ledger, seed: int, stage: int, moment_ms: int) -> dict[str, Any]:
    """One stage; a row is touched by one kind of change only. Raises ValueError for other headers.

    Of all changes only the pair of the same second writes `updated_at`.
    """
    if not set(COLUMNS) <= set(ledger.names()):
        raise ValueError("advance needs the ledger's own columns")
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
    ledger.put(row, "cost", check_cell(new))


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
