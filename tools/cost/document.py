"""docs/cost.md, made of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from runs.due import declared
from testing.recording import Analysis, Recording
from tools.cost.month import (
    BATCH_ROWS,
    BRANCHES,
    BUDGET,
    NEWS,
    ROWS,
    TOUCHED_MONTHS,
    WITH_NEW_FIELDS,
    WITH_REJECTS,
    Line,
    Model,
)
from tools.cost.pricing import FLOOR, GIB, MIB

SCALES = (1, 10, 100)
# A month of what `deploy/gcloud.sh` makes: what, how much of it, dollars, Google's page. The size
# of the snapshots is assumed.
MACHINE = (
    (
        "VM, e2-medium",
        "730 h",
        730 * 0.03350571,
        "https://cloud.google.com/compute/vm-instance-pricing",
    ),
    (
        "disk, pd-balanced",
        "30 GB",
        30 * 0.10,
        "https://cloud.google.com/compute/disks-image-pricing",
    ),
    ("address in use, IPv4", "730 h", 730 * 0.005, "https://cloud.google.com/vpc/network-pricing"),
    (
        "daily snapshots, 14 days",
        "15 GB",
        15 * 0.05,
        "https://cloud.google.com/compute/pricing-announce",
    ),
)
PRICES_OF = "2026-09"
# What touches a table that only ever grows, in the run of an hour.
GROWING = ("earthquake_events", "weather_hours", "earthquake_magnitude_history")


def total(lines: Iterable[Line]) -> float:
    return sum(line.monthly for line in lines)


def render(recording: Recording, analysis: Analysis) -> str:
    """The whole page, in Markdown."""
    models = {scale: Model(recording, analysis, scale) for scale in SCALES}
    lines = {scale: list(model.lines()) for scale, model in models.items()}
    news = ", ".join(f"{name} {share:g}" for name, share in NEWS.items())
    return f"""\
# What BigQuery bills

`make cost` writes this page. {_verdict(total(lines[1]))}
Every statement that a load of news, a look without news and a build send was recorded on the
embedded stack. It is a model: nothing here was billed, and `raw._jobs` and `raw._builds` tell what
is.

**Counted by BigQuery's rules**: the columns that a statement reads, views written out; of a table
partitioned by month all partitions, or {TOUCHED_MONTHS} where constants bound them; at least
{FLOOR // MIB} MiB per table and statement, also in a script, also for its temporary tables; of the
target of UPDATE, DELETE and MERGE what they read, and on top every column of the partitions that
they change; nothing of that of an INSERT, nothing for TRUNCATE TABLE, and nothing for what can
never be true. A table that a statement names twice counts once. Load jobs, views and metadata are
free, so the catalog and the watchdog cost nothing. How often: the schedules of
`prefect.yaml` in a month of 30 days.

**Assumed**: rows after a year ({_listed(ROWS)}); rows of a batch ({_listed(BATCH_ROWS)}, else the
whole list); the share of runs that find news ({news}); the share of
batches that take a rare branch of their script ({_branches()}), bring
rejects ({WITH_REJECTS:g}) or a new field ({WITH_NEW_FIELDS:g}); one build per load of news,
or as seldom as the dbt source says ({_intervals()}), told by the ledger
where the rows lie, one a day with every test; rows of a model as many as its grain allows, else as
its largest parent has; texts as long as the stand-ins'. A backfill, a full refresh, a failed run, a
look of `watch` at the ledger after it and a person's own queries come on top.

{_month(lines[1])}

## As the tables grow

MiB that one hour's batch bills, where the tables hold ten and a hundred times the history:

{_growth(recording, models)}

The same for the whole month, GiB:

{_totals(lines)}

{_free_until(lines)}

After a year most of it is the {FLOOR // MIB} MiB of small tables: what is asked hourly of one costs
{FLOOR * 720 / GIB:.0f} GiB a month for each statement that names it.

A merge costs what its batch changed: constants bound it, and what it reads of raw, to the months of
the rows. What grows with the table is the loader's question where the batch's keys stand; the
history of magnitudes, whose open periods may be of any age; the tests of keys, over one column; and
every model that is made again in full, which [builds](builds.md) lists.

## The machine

The bucket is free up to 5 GB in us-central1, us-east1 and us-west1, BigQuery's tables up to 10 GiB.
The machine is not free:

{_machine()}

These are list prices of us-central1, as public pages quoted them by {PRICES_OF}. The links are
Google's own price lists: look there before you rely on a number. The size of the snapshots is an
assumption: what a machine uses that was just installed, and its changes of 14 days.
"""


def _free_until(lines: dict[int, list[Line]]) -> str:
    """At what size the free TiB ends, between the scales that were counted."""
    free = 1024 * GIB
    scales = sorted(lines)
    for low, high in pairwise(scales):
        below, above = total(lines[low]), total(lines[high])
        if below <= free < above:
            scale = low + (high - low) * (free - below) / (above - below)
            return (
                "The TiB that is free each month, for all projects of one billing account, ends at "
                f"about {scale:.0f} times the history of a year."
            )
    return "The TiB that is free each month does not end in this table."


def _machine() -> str:
    rows = [(f"[{what}]({link})", size, f"{price:.2f}") for what, size, price, link in MACHINE]
    rows.append(("**together**", "", f"**{sum(price for _, _, price, _ in MACHINE):.2f}**"))
    return _table(("what", "a month", "USD a month"), rows)


def _verdict(month: float) -> str:
    limit = f"{BUDGET // GIB} GiB, of the TiB that is free"
    is_within = "stays within" if month <= BUDGET else "**exceeds**"
    return (
        f"A month after a year of operation bills {month / GIB:,.0f} GiB. It {is_within} the limit "
        f"of {limit}, which\n`tests/dbt_project/test_bigquery.py` holds it to."
    )


def _branches() -> str:
    return ", ".join(f"`{condition}` {share:g}" for condition, share in BRANCHES.items())


def _intervals() -> str:
    every = {source: declared(source).get("build_every_hours") for source in NEWS}
    return ", ".join(f"{source} every {hours} h" for source, hours in every.items() if hours)


def _listed(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name.lstrip('_')} {number:,}" for name, number in numbers.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _month(lines: list[Line]) -> str:
    rows = [
        (
            line.source,
            line.what,
            str(line.statements),
            f"{line.each / MIB:,.0f}",
            f"{line.times:,.0f}",
            f"{line.monthly / GIB:,.1f}",
        )
        for line in lines
        if line.times
    ]
    rows.append(("**all**", "", "", "", "", f"**{total(lines) / GIB:,.1f}**"))
    head = ("source", "what", "statements or nodes", "MiB each", "a month", "GiB a month")
    return _table(head, rows)


def _growth(recording: Recording, models: dict[int, Model]) -> str:
    rows = [
        (what, *(f"{value / MIB:,.0f}" for value in cost))
        for what, cost in hourly(recording, models).items()
    ]
    return _table(("what", *(f"{scale}x" for scale in SCALES)), rows)


def hourly(recording: Recording, models: dict[int, Model]) -> dict[str, list[float]]:
    """Group of statements to the bytes billed at each scale."""
    found = {
        f"load of {source}": [
            model.jobs(source, recording.loads[source])[1] for model in models.values()
        ]
        for source in ("usgs_earthquake", "openweather")
    }
    for node in recording.nodes:
        if node["name"] in GROWING:
            found[node["name"]] = [model.node(node) for model in models.values()]
    return found


def _totals(lines: dict[int, list[Line]]) -> str:
    sources = list(dict.fromkeys(line.source for line in lines[1]))
    rows = [
        (
            source,
            *(
                f"{total(line for line in found if line.source == source) / GIB:,.1f}"
                for found in lines.values()
            ),
        )
        for source in sources
    ]
    rows.append(("**all**", *(f"**{total(found) / GIB:,.1f}**" for found in lines.values())))
    return _table(("source", *(f"{scale}x" for scale in SCALES)), rows)
