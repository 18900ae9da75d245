"""What happens to the stand-in's dataset between two versions.

A change is all that is stored of it; `apply` repeats it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from random import Random

from sandbox.sources.socrata_dataset import Dataset
from sandbox.sources.socrata_generator import BASES, DAYS, PLATES, Fleet, generate, join, names
from sandbox.sources.world import Change

RENEWAL_DAYS = 730


def first_version(seed: int, size: int, moment_s: int) -> Dataset:
    """The dataset as it was made."""
    return Dataset(seed, generate(seed, size, _day(moment_s)), moment_s, created_at_s=moment_s)


def apply(dataset: Dataset, change: Change) -> tuple[Dataset, dict[str, int]]:
    """The next version and what is different in it; the old one stays. Raises ValueError."""
    fleet, moment_s = dataset.fleet.copy(), change.moment_ms // 1000
    rng = Random(f"{dataset.seed}/version {dataset.number + 1}")
    following = replace(dataset, fleet=fleet, number=dataset.number + 1, updated_at_s=moment_s)
    match change.action, change.payload:
        case "shrink", {"share": share}:
            return following, _shrink(fleet, rng, share)
        case "empty", _:
            return following, _shrink(fleet, rng, 1)
        case "columns", {"add": add, "remove": remove}:
            return following, _columns(following, add, remove)
        case _:
            return following, _advance(fleet, rng, dataset.seed, _day(moment_s))


def _advance(fleet: Fleet, rng: Random, seed: int, day: date) -> dict[str, int]:
    """One replacement of the dataset; a vehicle is touched by one kind of change only.

    The two rows of one license stay as they are. Of every row the update stamps change, too.
    """
    codes, many = fleet.codes, max(3, len(fleet) // 100)
    touched = rng.sample(range(2, max(len(fleet), 2)), min(6 * many, max(len(fleet) - 2, 0)))
    left, moved, replated, renamed, renewed, others = (touched[n::6] for n in range(6))
    restyled = [row for row in others if codes["base"][row] % 2]
    people = len(names())
    for row in moved:
        codes["base"][row] = 2 * ((codes["base"][row] // 2 + rng.randrange(1, BASES)) % BASES)
    for row in replated:
        codes["plate"][row] = (codes["plate"][row] + rng.randrange(1, PLATES)) % PLATES
    for row in renamed:
        codes["name"][row] = (codes["name"][row] + rng.randrange(1, people)) % people
    for row in renewed:
        codes["expires"][row] = (codes["expires"][row] + RENEWAL_DAYS) % (DAYS + 1)
    for row in restyled:
        codes["base"][row] -= 1
    fleet.remove(left)
    join(fleet, rng, seed, many, day)
    return {
        "joined": many,
        "left": len(left),
        "moved_base": len(moved),
        "replated": len(replated),
        "renamed": len(renamed),
        "renewed": len(renewed),
        "restyled": len(restyled),
    }


def _shrink(fleet: Fleet, rng: Random, share: float) -> dict[str, int]:
    gone = rng.sample(range(len(fleet)), round(len(fleet) * share))
    fleet.remove(gone)
    return {"left": len(gone)}


def _columns(dataset: Dataset, add: Sequence[str], remove: Sequence[str]) -> dict[str, int]:
    """Columns that come stand at the end, also one that was there before. Raises ValueError."""
    kept = [name for name in dataset.columns if name not in remove]
    if absent := set(remove) - set(dataset.columns):
        raise ValueError(f"no such column: {', '.join(sorted(absent))}")
    if present := set(add) & set(kept):
        raise ValueError(f"already there: {', '.join(sorted(present))}")
    dataset.columns = (*kept, *dict.fromkeys(add))
    if not dataset.columns:
        raise ValueError("a dataset has columns")
    return {"added": len(dict.fromkeys(add)), "removed": len(set(remove))}


def _day(moment_s: int) -> date:
    return datetime.fromtimestamp(moment_s, UTC).date()
