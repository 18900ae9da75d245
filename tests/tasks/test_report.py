"""What a run says of itself, from the counts of its lines."""

from __future__ import annotations

from typing import Any

from core.batch import Window
from core.ledger import COUNTS, Line
from runs.outcome import Outcome, in_words
from sources.finance.mapping import TABLE

NUMBERS: dict[str, Any] = {name: number for number, name in enumerate(COUNTS, start=1_000)}
LINE = Line(batch_id="b", state="applied", **NUMBERS)


def test_a_message_tells_the_counts_that_are_not_zero_in_one_order() -> None:
    assert in_words(TABLE, NUMBERS.__getitem__) == (
        "1,001 inserted, 1,002 updated, 1,003 deleted, 1,004 renamed away, 1,005 replaced, "
        "1,006 gone, 1,007 kept whose id was cleared, 1,008 deletions held back, 1,009 unchanged, "
        "1,010 older, 1,011 duplicate, 1,012 rejected, 1,013 rejected as before, 1,015 unparsed"
    )
    nothing = Outcome(TABLE, "incremental", Window(), [Line(batch_id="b", state="applied")])
    assert nothing.message == "0 rows into raw.finance__ledger"


def test_the_artifact_has_every_count_of_every_line() -> None:
    empty = Line(batch_id="c", state="no_change")
    told = Outcome(TABLE, "incremental", Window(), [LINE, empty]).markdown
    table = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in told.splitlines()
        if row.startswith("|")
    ]
    heads, rule, first, second = table[:4]
    assert heads[:2] == ["batch", "state"]
    assert len(heads) == len(rule) == 2 + len(COUNTS)
    assert {"extracted", "renamed away", "already seen", "source count", "requests", "bytes"} <= {
        *heads
    }
    assert first == ["b", "applied", *(f"{number:,}" for number in NUMBERS.values())]
    row = dict(zip(heads, second, strict=True))
    assert (row["inserted"], row["source count"]) == ("0", "")
