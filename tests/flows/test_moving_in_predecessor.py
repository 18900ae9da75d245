"""The ready plan, run against a stand-in of the older system's datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from migration.course import main
from testing import predecessor
from testing.platform import TestPlatform
from tests.flows.test_nothing_foreign import described

# Nine marts of an older system are built and compared.
pytestmark = pytest.mark.slow

PLAN = Path(__file__).resolve().parents[2] / "examples" / "moving-in-predecessor.toml"
WATER, LAUNDRY = "daily_drinking_water_expenses", "daily_laundry_expenses"
ARTICLES = [
    (*("Ana", "Flood", "Rain", "https://star.example/1", "Star", None, "general"), "2024-05-01"),
    (*(None, "Sport", None, "https://ledger.example/2", "Ledger", None, "sports"), "2023-06-02"),
]


class Moved:
    """A platform whose sheet lacks what was deleted, the older system's datasets, and the plan."""

    def __init__(self, platform: TestPlatform, directory: Path) -> None:
        self.platform, self.directory = platform, directory
        raw = platform.stores.warehouse.raw_dataset
        self.raw, self.marts = f"{raw}_their_raw", f"{raw}_their_finance"
        listed = predecessor.entries()
        # Six that its loader never marked, one that it did, and that the sheet has no more.
        self.gone = {one.id for one in listed[40:200:30]}
        self.marked = listed[60].id
        kept = [one for one in listed if one.id not in {*self.gone, self.marked}]
        platform.control("set", {"rows": [list(predecessor.HEADER), *(one.cells for one in kept)]})
        self._table(self.raw, "finance__ledger", predecessor.LEDGER_DDL)
        self._insert(
            self.raw, "finance__ledger", predecessor.raw_rows(listed, deleted=[self.marked])
        )
        self._table(self.raw, "ph_news__articles", predecessor.ARTICLES_DDL)
        platform.query(
            f"INSERT INTO {self.raw}.ph_news__articles VALUES "
            + ", ".join(
                f"({', '.join(map(predecessor.literal, row[:-1]))}, TIMESTAMP '{row[-1]}', "
                "TIMESTAMP '2024-06-01')"
                for row in ARTICLES
            )
        )
        live = [one for one in listed if one.id != self.marked]
        for name, (columns, rows) in predecessor.marts(live).items():
            self._table(self.marts, name, columns)
            self._insert(self.marts, name, rows)

    def _table(self, dataset: str, name: str, columns: str) -> None:
        self.platform.query(f"CREATE SCHEMA IF NOT EXISTS {dataset}")
        self.platform.query(f"CREATE TABLE {dataset}.{name} ({columns})")

    def _insert(self, dataset: str, name: str, rows: list[tuple[Any, ...]]) -> None:
        assert rows
        for start in range(0, len(rows), 400):
            some = predecessor.values(rows[start : start + 400])
            self.platform.query(f"INSERT INTO {dataset}.{name} VALUES {some}")

    def plan(self, *, with_ledger: bool) -> Path:
        """The plan as it is but for the names of the datasets, with the # of two lines away."""
        text = PLAN.read_text()
        if with_ledger:
            text = text.replace(
                '# [ledger]\n# table = "raw.finance', '[ledger]\ntable = "raw.finance'
            )
            assert "\n[ledger]\n" in text
        text = text.replace('"raw.', f'"{self.raw}.').replace('"finance.', f'"{self.marts}.')
        path = self.directory / "moving-in.toml"
        path.write_text(text)
        return path

    def theirs(self) -> Any:
        return [described(self.platform, dataset) for dataset in (self.raw, self.marts)]


@pytest.fixture
def moved(
    make_platform: Callable[..., TestPlatform], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Moved]:
    platform = make_platform(kit="finance", size=0)
    settings = platform.blocks.warehouse
    monkeypatch.setenv("RAW_DATASET", settings.raw_dataset)
    monkeypatch.setenv("DBT_DATASET_PREFIX", settings.dataset_prefix)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield Moved(platform, tmp_path)


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()  # what dbt printed before
    code = main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_ready_plan_moves_all_and_finds_the_expected_differences_only(
    moved: Moved, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    platform, plan = moved.platform, moved.plan(with_ledger=True)
    theirs = moved.theirs()
    # Before the sheet was read nobody knows what it lacks.
    code, told = command(capsys, "import", plan)
    assert code == 1 and "finance was not read yet" in told
    platform.run()
    code, told = command(capsys, "import", plan)
    assert code == 1 and "ledger: 6 live rows of" in told and "--keep-missing" in told
    assert "nothing was imported" in told
    assert not [line for line in platform.ledger() if line["mode"] == "backfill"]
    code, told = command(capsys, "import", "--keep-missing", plan)
    assert code == 0, told
    rows = {id_: row for (id_,), row in platform.rows().items()}
    assert rows.keys() == {one.id for one in predecessor.entries()}
    assert {id_ for id_, row in rows.items() if row["_is_deleted"]} == {moved.marked}
    articles = platform.query("SELECT * FROM {raw}.ph_news__articles ORDER BY url")
    assert [row["title"] for row in articles] == ["Sport", "Flood"]
    for row in articles:
        assert (row["country"], row["language"]) == ("ph", None)
        assert row["_first_seen_at"] is row["_last_seen_at"] is None
    assert platform.query("SELECT * FROM {raw}._fields") == []
    code, told = command(capsys, "import", "--keep-missing", plan)
    assert code == 0 and told.count("nothing new") == 2

    # The sheet is read again and lacks them still; the marts are built of both.
    assert platform.run().total("held") == 0
    assert platform.build()
    report = tmp_path / "report.md"
    code, told = command(capsys, "compare", plan, "--report", report)
    assert code == 0, told
    assert moved.theirs() == theirs
    lines = {line.split()[0].rpartition(".")[2]: line for line in told.splitlines()[:9]}
    assert len(lines) == 9
    equal = {name for name, line in lines.items() if line.endswith(": equal")}
    assert lines.keys() - equal == {WATER, LAUNDRY, "monthly_pnl"}
    # February and March 2023, and from January 2025 to today.
    now = datetime.now(ZoneInfo("Asia/Manila"))
    empty = 2 + (now.year - 2025) * 12 + now.month
    assert lines["monthly_pnl"].endswith(f": {empty} expected differences")
    text = report.read_text()
    for reason in (
        "the average is the money so far by the days since 2022-01-01 there, rounded to two places",
        "the first purchase is spread back to 2022-01-01 there",
        "days since the last purchase have a row here, until the next one",
        "months without an entry have a row here",
    ):
        assert f"): {reason}\n" in text

    # A rule is no excuse for another difference.
    for change, told_of in (
        (f"{WATER} SET average_daily_cost = average_daily_cost + 0.01 WHERE date", WATER),
        (f"{LAUNDRY} SET daily_cost = daily_cost + 0.01 WHERE date", LAUNDRY),
    ):
        platform.query(f"UPDATE {moved.marts}.{change} = DATE '2024-06-01'")
        code, told = command(capsys, "compare", plan, "--report", report)
        assert code == 1
        (line,) = [line for line in told.splitlines() if told_of in line.split()[0]]
        assert ": 1 with other values, " in line


def test_without_the_ledger_the_entries_that_the_sheet_lacks_are_the_difference(
    moved: Moved, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    platform, plan = moved.platform, moved.plan(with_ledger=False)
    platform.run()
    code, told = command(capsys, "import", plan)
    assert code == 0, told
    assert platform.build()
    gone = [one for one in predecessor.entries() if one.id in moved.gone]
    code, told = command(capsys, "compare", plan, "--report", tmp_path / "report.md")
    assert code == 1
    text = (tmp_path / "report.md").read_text()
    for mart, listed in (
        ("monthly_electricity_expenses", [one for one in gone if one.item == "ELECTRICITY BILL"]),
        ("monthly_food_expenses", [one for one in gone if one.item in ("FOOD", "GROCERY")]),
    ):
        section = text.partition(f".{mart} and ")[2].partition("\n## ")[0]
        months = {one.year_month for one in listed if one.cost}
        assert {line.split()[1] for line in section.splitlines() if "| cost |" in line} == months
