"""Advances the stand-in's catalog by one stage: what changes in ComCat between two looks."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random

from sandbox.sources.usgs_catalog import Catalog, Event
from sandbox.sources.usgs_generator import (
    DAY_MS,
    HOUR_MS,
    delete,
    month_starts_before,
    new_event,
    prefer,
)

CHANGES_MAX = 200
STAMP_STEP_MS = 5
NEAR_MS = 70 * DAY_MS
# Sampled M2.5+ events appeared in ComCat 2.1 to 16.8 days after their origin; the last of these
# lies beyond the 30 days that a query without starttime looks back.
LATE_DAYS = (2.1, 16.8, 45.0)


@dataclass
class StageCounts:
    """How many events a stage touched; an event is counted once."""

    new: int = 0
    revised: int = 0
    revised_across_month: int = 0
    reidentified: int = 0
    late: int = 0
    deleted: int = 0
    deleted_blank: int = 0


def advance(
    catalog: Catalog, seed: int, stage: int, moment_ms: int, previous_ms: int
) -> dict[str, int]:
    """Change the catalog as of a moment, at least CHANGES_MAX ms after the previous one.

    Every change has its own `updated`, after the previous moment and not after this one.
    """
    rng = Random(f"{seed}/stage {stage}")
    step = max(1, min(STAMP_STEP_MS, (moment_ms - previous_ms) // CHANGES_MAX))
    stamps = iter(range(moment_ms, moment_ms - CHANGES_MAX * step, -step))
    counts = StageCounts()
    live = list(catalog.live())
    rng.shuffle(live)
    many = max(3, min(40, len(live) // 100))

    def take(wanted: int, fits: Callable[[Event], bool] = lambda event: True) -> Iterator[Event]:
        """Up to `wanted` live events that fit; none is taken twice in a stage."""
        for event in [event for event in live if fits(event)][:wanted]:
            live.remove(event)
            yield event

    for event in take(1, _is_renamed):
        prefer(event, 0, next(stamps))
        counts.reidentified += 1
    for event in take(2, lambda event: not _is_renamed(event)):
        if len(event.members) == 1:
            event.members.append(_member_of_another_network(event))
        prefer(event, 1, next(stamps))
        counts.reidentified += 1
    counts.revised_across_month = _revise_across_month(rng, live, moment_ms, stamps)
    for event in take(many // 3 + 2):
        delete(event, next(stamps))
        counts.deleted += 1
    for event in take(many):
        _revise(rng, event, next(stamps))
        counts.revised += 1
    for _ in range(many):
        time = moment_ms - rng.randrange(60_000, 6 * HOUR_MS)
        new_event(rng, seed, catalog, time, next(stamps))
        counts.new += 1
    for days in LATE_DAYS:
        time = moment_ms - int(days * DAY_MS) - rng.randrange(HOUR_MS)
        new_event(rng, seed, catalog, time, next(stamps))
        counts.late += 1
    for _ in range(2):
        # Never served as live: a copy could not tell which of its rows is meant.
        time = moment_ms - rng.randrange(DAY_MS, 20 * DAY_MS)
        updated = next(stamps)
        delete(new_event(rng, seed, catalog, time, updated), updated, is_blank=True)
        counts.deleted_blank += 1
    catalog.settle()
    return asdict(counts)


def _is_renamed(event: Event) -> bool:
    return event.id != event.ids[0]


def _member_of_another_network(event: Event) -> tuple[str, str]:
    net, code = event.members[0]
    return ("at" if net == "us" else "us", f"7{code}")


def _preferred_member(event: Event) -> int:
    return event.ids.index(event.id)


def _revise(rng: Random, event: Event, updated_ms: int) -> None:
    """A better solution: another magnitude and place, and more people who felt it."""
    old = event.properties
    changes = {
        "mag": round((old["mag"] or 1) + rng.choice((-0.41, -0.13, 0.07, 0.25)), 2),
        "magType": old["magType"] or "ml",
        "place": f"{rng.randrange(1, 90)} km {str(old['place']).split(' ', 2)[2]}",
        "felt": (old["felt"] or 0) + rng.randrange(1, 5),
        "status": "reviewed",
    }
    prefer(event, _preferred_member(event), updated_ms, **changes)


def _revise_across_month(
    rng: Random, live: list[Event], moment_ms: int, stamps: Iterator[int]
) -> int:
    """Move the events nearest to a month's start over it, one in each direction, where there are.

    The month is the newest that began a while ago, or an older one if nothing happened since.
    Revisions reach far only in a world whose events lie far from that moment.
    """
    if not live:
        return 0
    newest = max(event.properties["time"] for event in live)
    boundary = next(
        start
        for start in month_starts_before(min(newest, moment_ms))
        if start < moment_ms - 600_000
    )
    near = [event for event in live if abs(event.properties["time"] - boundary) < NEAR_MS]
    after = [event for event in near if event.properties["time"] >= boundary]
    before = [event for event in near if event.properties["time"] < boundary]
    moved = 0
    for side, direction in ((after, -1), (before, 1)):
        if side:
            event = min(side, key=lambda event: abs(event.properties["time"] - boundary))
            live.remove(event)
            time = boundary + direction * rng.randrange(1, 90_000)
            prefer(event, _preferred_member(event), next(stamps), time=time)
            moved += 1
    return moved
