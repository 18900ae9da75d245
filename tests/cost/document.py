"""docs/cost.md, made of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.cost.month import BATCH_ROWS, BUDGET, NEWS, ROWS, Line, Model
from tests.cost.pricing import FLOOR, GIB, MIB
from tests.recording import Recording

SCALES = (1, 10, 100)
# What touches a table that only ever grows, in the run of an hour.
GROWING = ("earthquake_events", "weather_hours", "earthquake_magnitude_history")


def total(lines: Iterable[Line]) -> float:
    return sum(line.monthly for line in lines)


def render(recording: Recording) -> str:
    """The whole page, in Markdown."""
    models = {scale: Model(recording, scale) for scale in SCALES}
    lines = {scale: list(model.lines()) for scale, model in models.items()}
    return f"""\
# What BigQuery bills

`make cost` writes this page; `tests/dbt_project/test_bigquery.py` fails when a month after a year of
operation exceeds {BUDGET // GIB} GiB, half of the TiB that is free. Every statement that a load of news, a look
without news and a build send was recorded on the embedded stack; nothing was billed.

**Counted by BigQuery's rules**: the columns that a statement reads, views written out; of a table that
is partitioned by month all partitions, or two where constants bound them; at least {FLOOR // MIB} MiB per table
and statement, also for the statements of a script, its temporary tables, and the target of an INSERT;
for UPDATE, DELETE and MERGE every column of the target; every branch of a script. A table that a
statement names twice counts once. Load jobs, views and metadata are free. How often: the schedules of
`prefect.yaml` in a month of 30 days.

**Assumed**: rows after a year ({_listed(ROWS)}); a batch of
{_listed(BATCH_ROWS)}, or the whole list; the share of runs that find news
({", ".join(f"{name} {share:g}" for name, share in NEWS.items())}); one build per load of news, of which one a day has every
test; rows of a model as many as its grain allows, else as its largest parent has; texts as long as the
stand-ins' are. A backfill, a full refresh, a failed run and a person's own queries come on top, and so
do the flows that read the ledger or the catalog.

{_month(lines[1])}

## As the tables grow

The same month with ten and a hundred times the history, the batches being what they are. What is asked
each hour of the tables that grow:

{_growth(recording, models)}

{_totals(lines)}

What grows: the questions where the batch's keys stand and what is new, over three narrow columns of the
whole table (the key, its time and when it was written); the tests of keys, over one; and every model
that is made anew as a whole, which [the marts](models.md) list. A merge does not: constants bound it to
the months of the rows that changed.
"""


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
    rows = []
    for what, cost in hourly(recording, models).items():
        rows.append((what, *(f"{value / MIB:,.0f}" for value in cost)))
    return _table(("MiB", *(f"{scale}x" for scale in SCALES)), rows)


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
    return _table(("GiB a month", *(f"{scale}x" for scale in SCALES)), rows)
