"""The ledger from the sheet to the owner's page, to the centavo, and never to the public.

One run, one build, one export against the stand-ins.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow.parquet as pq
import pytest

from alerting.pages import serving_findings
from dashboards.formats import Formats
from runs.dbt_build import target_path
from runs.serve import announce_build, publish_status, serve_marts
from sandbox.sources.sheets_ledger import COLUMNS
from serving.places import Places
from serving.snapshot import Snapshot
from serving.status import TABLES
from testing.history import MAKERS
from testing.platform import TestPlatform
from testing.site import served
from tests.reliability.test_kill import PHASES, steps_in_code

# Amounts and payees that occur nowhere else.
AMOUNTS = ("73914.57", "86420.13")
PAYEES = ("QUIXOTIC ZEPHYR LENDER", "SECRET GARDEN CLINIC")


SERVING = "SERVING_DIRECTORY"
MOST_SECONDS = 60.0


def with_pages(platform: TestPlatform) -> None:
    """The platform's blocks have the serving folder that its environment names."""
    update = {"serving_directory": platform.env[SERVING]}
    settings = platform.blocks.warehouse.model_copy(update=update)
    platform.__dict__["blocks"] = replace(platform.blocks, warehouse=settings)


def serve_again(platform: TestPlatform) -> None:
    """An export as after a build, for a child that may be killed in it."""
    with_pages(platform)
    announce_build(platform.blocks, "finance")
    assert serve_marts(platform.stores, platform.blocks, "finance")


@pytest.fixture(scope="module")
def platform(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> TestPlatform:
    """A ledger with canaries, loaded, built and exported."""
    folder = tmp_path_factory.mktemp("serving")
    platform = TestPlatform("dashboards", {**stack_env, SERVING: str(folder)}, "finance")
    platform.source.start(platform, 300)
    planted = [
        {
            "id": f"canary-{number}",
            "year": 2026,
            "month": 2,
            "day": 3 + number,
            "item": "FOOD",
            "type": "EXPENSES",
            "source": "BANK",
            "cost": float(amount),
            "to": payee,
        }
        for number, (amount, payee) in enumerate(zip(AMOUNTS, PAYEES, strict=True))
    ]
    platform.control("append", {"rows": [[row.get(name) for name in COLUMNS] for row in planted]})
    with_pages(platform)
    platform.run()
    announce_build(platform.blocks, "finance")
    assert platform.build()
    told = serve_marts(platform.stores, platform.blocks, "finance")
    assert told is not None
    assert "marts exported" in told
    return platform


@pytest.fixture(scope="module")
def places(platform: TestPlatform) -> Places:
    return Places(Path(platform.blocks.warehouse.serving_directory))


@pytest.fixture(scope="module")
def html(places: Places) -> str:
    return (places.pages("private") / "money.html").read_text()


def gold(platform: TestPlatform, sql: str) -> list[dict[str, Any]]:
    dataset = f"`{platform.blocks.warehouse.dataset_prefix}gold`"
    return platform.query(sql.replace("{gold}", dataset))


def cells(html: str, section: str) -> list[list[str]]:
    """The rows of a section's first table, as text."""
    part = html.partition(f'<section id="{section}"')[2].partition("</section>")[0]
    body = part.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)]
        for row in re.findall(r"<tr.*?>(.*?)</tr>", body, re.DOTALL)
    ]


def test_the_pages_figures_equal_gold_to_the_centavo(platform: TestPlatform, html: str) -> None:
    money = Formats().money
    months = gold(
        platform,
        "SELECT year_month, income, expenses, savings, running_savings "
        "FROM {gold}.monthly_pnl ORDER BY year_month DESC",
    )
    assert len(months) > 3
    wanted = [
        [row["year_month"], *(money(value) for name, value in row.items() if name != "year_month")]
        for row in months
    ]
    assert cells(html, "months") == wanted
    figures = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert figures["Expenses"] == money(months[0]["expenses"])
    assert figures["Saved since the first entry"] == money(months[0]["running_savings"])
    spent = gold(
        platform,
        "SELECT year_month, type, item, SUM(cost) AS cost FROM {gold}.monthly_spending "
        "GROUP BY year_month, type, item",
    )
    listed = {tuple(row[:3]): row[3] for row in cells(html, "spending")}
    assert listed == {
        (row["year_month"], row["type"], row["item"]): money(row["cost"]) for row in spent
    }
    total = gold(
        platform,
        "SELECT SUM(cost) AS cost FROM {gold}.ledger WHERE direction = 'EXPENSES' "
        "AND uncounted_reason IS NULL",
    )
    assert sum(row["cost"] for row in spent) == total[0]["cost"]


def test_a_page_is_made_within_a_minute_of_its_build(
    platform: TestPlatform, places: Places
) -> None:
    (built,) = platform.query("SELECT MAX(ended_at) AS at FROM {raw}._builds")
    made_at = (places.pages("private") / "money.html").stat().st_mtime
    assert 0 < made_at - built["at"].timestamp() < MOST_SECONDS


def test_a_snapshot_holds_every_row_of_gold(platform: TestPlatform, places: Places) -> None:
    snapshot = Snapshot.open(places.snapshot("private"))
    marts = snapshot.manifest.marts
    assert {"monthly_pnl", "ledger", "monthly_spending"} <= marts.keys()
    for name, mart in marts.items():
        (counted,) = gold(platform, f"SELECT COUNT(*) AS n FROM {{gold}}.{name}")
        assert mart.rows == counted["n"] == snapshot.table(name).num_rows
    entries = {row["entry_id"]: row["cost"] for row in snapshot.table("ledger").to_pylist()}
    assert entries["canary-0"] == Decimal(AMOUNTS[0])


def test_the_owner_sees_the_canaries(html: str) -> None:
    assert PAYEES[0] in html
    assert Formats().money(Decimal(AMOUNTS[1])) in html


def forms(word: str) -> set[bytes]:
    """How a text may stand in a file: as it is, in base64 at each offset, in an address."""
    found = {word.encode(), quote(word).encode(), word.replace(" ", "+").encode()}
    for pad in range(3):
        coded = base64.b64encode(b" " * pad + word.encode())
        # Ends depend on the neighbours.
        found.add(coded[4:-4] if pad else coded[:-4])
    return found


def public_bytes(places: Places) -> dict[str, bytes]:
    """Every file that is public, and what it holds when it is unpacked."""
    found = {}
    for root in (places.pages("public"), places.snapshot("public")):
        for file in root.rglob("*"):
            if not file.is_file():
                continue
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += json.dumps(pq.read_table(file).to_pylist(), default=str).encode()
                content += str(pq.read_schema(file)).encode()
            found[str(file)] = content
    return found


def test_nothing_of_the_ledger_is_in_a_public_byte(platform: TestPlatform, places: Places) -> None:
    now, rng = datetime.now(UTC), random.Random(1)
    rows = {table: list(MAKERS[table.name](rng)) for table in TABLES}
    for row in (row for listed in rows.values() for row in listed):
        if row["source"] == "finance":
            row["message"] = row["cause"] = PAYEES[0]
    publish_status(platform.blocks, rows)
    assert serving_findings(platform.blocks, now + timedelta(days=1)) == []
    files = public_bytes(places)
    assert len(files) > 10
    words = [*AMOUNTS, *PAYEES, "73,914.57", "86,420.13", "canary-0", "monthly_pnl", "finance"]
    words += ["invalid_access_key", "billed_bytes"]
    for name, content in files.items():
        unpacked = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        for word in words:
            for form in forms(word):
                assert form not in unpacked, (name, word)
    # The search finds what is there.
    private = b"".join(one.read_bytes() for one in places.pages("private").glob("*.html"))
    assert all(any(form in private for form in forms(word)) for word in (*PAYEES, "finance"))


def test_a_public_host_has_no_private_page(places: Places) -> None:
    assert places.pages("private").stat().st_mode & 0o007 == 0
    assert places.snapshot("private").stat().st_mode & 0o007 == 0
    with (
        served(places.pages("public")) as site,
        httpx.Client(base_url=site, trust_env=False) as client,
    ):
        assert client.get("/index.html").status_code == 200
        assert "Money" not in client.get("/operations.html").text
        for path in ("/money.html", "/../private/money.html", "/%2e%2e/private/money.html"):
            assert client.get(path).status_code == 404


def test_a_copy_is_in_the_bucket_and_no_batch(platform: TestPlatform, places: Places) -> None:
    prefix = platform.stores.prefix("_snapshots")
    names = {one.name.removeprefix(prefix) for one in platform.stores.landing.list(prefix)}
    version = Snapshot.open(places.snapshot("private")).manifest
    assert f"private/marts/{version.marts['ledger'].file}" in names
    assert any(re.fullmatch(r"private/[\w.-]+/manifest\.json", name) for name in names)
    assert not [name for name in names if name.startswith("public/marts/")]
    platform.assert_settled()


def test_an_export_that_fails_is_told_and_done_by_the_next_run(
    platform: TestPlatform, places: Places
) -> None:
    version = Snapshot.open(places.snapshot("private")).manifest.version
    manifest = target_path(platform.stores.warehouse, "finance") / "manifest.json"
    aside = manifest.rename(manifest.with_name("aside.json"))
    announce_build(platform.blocks, "finance")
    told = serve_marts(platform.stores, platform.blocks, "finance")
    aside.rename(manifest)
    assert told is not None
    assert told.startswith("pages not updated: ")
    assert Snapshot.open(places.snapshot("private")).manifest.version == version
    now = datetime.now(UTC)
    assert serving_findings(platform.blocks, now) == []
    (finding,) = serving_findings(platform.blocks, now + timedelta(hours=1))
    assert (finding.kind, finding.source) == ("pages", "finance")
    assert finding.cause in told
    again = serve_marts(platform.stores, platform.blocks, "finance")
    assert again is not None
    assert "marts exported" in again
    assert serving_findings(platform.blocks, now + timedelta(hours=1)) == []
    assert serve_marts(platform.stores, platform.blocks, "finance") is None


@pytest.mark.slow
def test_an_export_killed_at_any_step_is_done_by_the_next_run(
    platform: TestPlatform, places: Places
) -> None:
    points = [
        (name, phase)
        for name in sorted(steps_in_code())
        if name.startswith("export.")
        for phase in PHASES
    ]
    assert len(points) >= 8
    for point in points:
        before = Snapshot.open(places.snapshot("private")).manifest
        events = platform.run_in_child(kill_at=point, do=serve_again)
        assert events[-1] == point
        after = Snapshot.open(places.snapshot("private"))
        assert after.manifest.marts.keys() == before.marts.keys()
        for name, mart in after.manifest.marts.items():
            assert after.table(name).num_rows == mart.rows
        assert [one.source for one in places.pending()] == ["finance"]
        assert serve_marts(platform.stores, platform.blocks, "finance")
        assert places.pending() == []
