"""BigQuery's formulas for what a statement bills, on one large table and one small one."""

from __future__ import annotations

import pytest

from tools.cost.pricing import FLOOR, Sized, Warehouse

LARGE, SMALL = "p.d.large", "p.d.small"
# A million rows of 10 + 100 + 1,000 + 8 bytes over twelve months, two of which are touched.
TYPES = {"id": "STRING", "text": "STRING", "payload": "STRING", "at": "TIMESTAMP"}
WIDTHS = {"id": 10.0, "text": 100.0, "payload": 1000.0, "at": 8.0}
ALL = sum(WIDTHS.values())
UPDATE = "when matched then update set text = s.text"
INSERT = "when not matched then insert (id, text) values (s.id, s.text)"
MERGE = "merge `p`.`d`.`large` as t using (select * from `p`.`d`.`small`) as s on t.id = s.id"
BOUND = "t.at between timestamp '2026-01-01' and timestamp '2026-01-02'"


@pytest.fixture
def warehouse() -> Warehouse:
    large = Sized(WIDTHS, TYPES, 1e6, months=12, ranges=frozenset({"at"}), touched_months=2)
    small = Sized({"id": 10.0, "text": 100.0}, {"id": "STRING", "text": "STRING"}, 10)
    return Warehouse({LARGE: large, SMALL: small})


@pytest.mark.parametrize(
    ("sql", "bytes_per_row"),
    [
        ("select id from `p`.`d`.`large` as t", 10),
        (f"select id from `p`.`d`.`large` as t where {BOUND}", 18 / 6),
        ("update `p`.`d`.`large` set text = 'x' where id = 'a'", 10 + ALL),
        ("update `p`.`d`.`large` as t set payload = t.text where true", 100 + ALL),
        (f"update `p`.`d`.`large` as t set payload = t.text where {BOUND}", (108 + ALL) / 6),
        ("delete from `p`.`d`.`large` where id = 'a'", 10 + ALL),
        (f"{MERGE} {UPDATE} {INSERT}", 10 + ALL),
        (f"{MERGE} and {BOUND} {UPDATE} {INSERT}", (18 + ALL) / 6),
        (f"{MERGE} when matched and t.payload = s.text then delete", 1010 + ALL),
        (f"{MERGE} {INSERT}", 10),
    ],
)
def test_what_changes_rows_bills_what_it_reads_and_all_of_the_changed_partitions(
    warehouse: Warehouse, sql: str, bytes_per_row: float
) -> None:
    assert warehouse.bill(sql)[LARGE] == pytest.approx(max(FLOOR, bytes_per_row * 1e6))


def test_what_only_adds_or_empties_bills_nothing_of_its_table(warehouse: Warehouse) -> None:
    assert warehouse.bill("truncate table `p`.`d`.`large`") == {}
    inserted = "insert into `p`.`d`.`large` (id) select id from `p`.`d`.`small`"
    assert warehouse.bill(inserted) == {SMALL: FLOOR}
