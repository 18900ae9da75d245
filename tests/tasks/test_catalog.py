"""The data catalog: complete, published once per change, and readable in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dbt.cli.main import dbtRunner

from core import ledger
from core.schema import META
from runs.build import PROJECT_DIR, environment
from runs.catalog import publish
from runs.dbt_build import dbt_environment, target_path
from sources import SOURCES
from sources.tables import table_of
from stores.google import storage_client
from testing.browser import Page, browser
from testing.platform import TestPlatform

# Nodes and edges of the lineage graph, by its own account, once it is painted.
DRAWN = """
(() => {
    const canvas = document.querySelector('canvas[data-id="layer2-node"]');
    const graph = canvas && canvas.parentElement.parentElement._cyreg;
    if (!graph || !graph.cy.nodes().length) return null;
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    if (!pixels.some(value => value > 0)) return null;
    return {
        nodes: graph.cy.nodes().map(node => node.data('label') || node.id()),
        edges: graph.cy.edges().length,
    };
})()
"""
# Icons of the tree at the left that have a picture; those of closed folders are not drawn.
ICONS = """
[...document.querySelectorAll('.filename use')].filter(icon => icon.getBBox().width > 0).length
"""


@pytest.fixture(scope="module")
def platform(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestPlatform]:
    """News, loaded and built, in datasets of their own, and a folder to serve from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        platform = TestPlatform("catalog", stack_env, "ph_news")
        platform.source.start(platform, 20)
        platform.run()
        folder = tmp_path_factory.mktemp("www") / "catalog"
        settings = platform.blocks.warehouse.model_copy(update={"catalog_directory": str(folder)})
        platform.__dict__["blocks"] = replace(platform.blocks, warehouse=settings)
        options = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
        target = target_path(platform.stores.warehouse, "ph_news")
        options += ["--target-path", str(target), "--log-path", str(target / "logs"), "--quiet"]
        with (
            dbt_environment(platform.stores.warehouse, platform.blocks.google) as env,
            environment(env),
        ):
            assert dbtRunner().invoke(["run", "--select", "source:ph_news+", *options]).success
        yield platform


@pytest.fixture(scope="module")
def page(platform: TestPlatform) -> Path:
    """The served page, published for the first time."""
    catalog = publish(platform.stores, platform.blocks, [platform.source.TABLE])
    assert catalog.is_new
    assert "catalog.openweather__observations" in catalog.not_built
    assert "catalog_dbt_gold.monthly_pnl" in catalog.not_built
    assert not [name for name in catalog.not_built if "news" in name]
    return Path(platform.blocks.warehouse.catalog_directory) / "index.html"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def show(opened: Page, file: Path, place: str, word: str) -> str:
    """The text of a part of the catalog, as soon as the word is in it."""
    opened.errors.clear()
    opened.open("about:blank")
    opened.open(f"file://{file}#!/{place}")
    opened.wait_for(f"document.querySelector('.app-content')?.innerText.includes('{word}')")
    return str(opened.evaluate("document.querySelector('.app-content').innerText"))


def test_a_browser_finds_models_columns_sizes_and_lineage(page: Path, opened: Page) -> None:
    model = "model/model.data_pipelines.daily_news_listing_times"
    text = show(opened, page, model, "LAST MODIFIED")
    for told in ("One row per", "date_manila", "INT64", "# ROWS", "CONTRACT", "Enforced"):
        assert told in text, text
    assert opened.evaluate(ICONS) > 5
    assert opened.errors == []
    opened.open("about:blank")
    opened.open(f"file://{page}#!/overview?g_v=1")
    drawn = opened.wait_for(DRAWN)
    assert opened.errors == []
    assert drawn["edges"] >= len(drawn["nodes"]) / 2
    for node in ("ph_news.articles", "news_stories", "daily_news_listing_times", "monthly_pnl"):
        assert any(node in name for name in drawn["nodes"]), drawn["nodes"]
    # Lineage ends at the pages.
    assert {"Money", "News"} <= set(drawn["nodes"]), drawn["nodes"]


def test_a_raw_column_is_described_as_its_table_declares_it(page: Path, opened: Page) -> None:
    """dbt's own files say nothing of it: one place has the text."""
    source = "source/source.data_pipelines.ph_news.articles"
    text = show(opened, page, source, "article_id")
    for told in ("SHA-256 in hex of url, source and category", "The batch that wrote this version"):
        assert told in text, text
    source = "source/source.data_pipelines.operations.loads"
    assert "Rows that were staged or rejected." in show(opened, page, source, "extracted")
    described = [
        column["name"]
        for file in (PROJECT_DIR / "models").rglob("_*__sources.yml")
        for source in yaml.safe_load(file.read_text())["sources"]
        for table in source["tables"]
        for column in table.get("columns", [])
        if "description" in column
    ]
    assert described == []


def test_every_column_of_a_raw_table_is_described() -> None:
    tables = [table_of(source).columns for source in SOURCES]
    tables += [META, *(columns for columns, _ in ledger.TABLES.values())]
    assert len(tables) > 10
    for column in (column for columns in tables for column in columns):
        assert column.description.endswith((".", "...", ",")), column


def test_the_catalog_begins_with_what_this_platform_is(page: Path, opened: Page) -> None:
    text = show(opened, page, "overview", "Data platform")
    assert "Where to look" in text
    assert "auto-generated documentation" not in text
    exposure = show(opened, page, "exposure/exposure.data_pipelines.news", "headlines")
    assert "Headlines of the Philippines" in exposure
    assert opened.errors == []


def test_a_script_that_is_not_dbts_does_not_run(page: Path, opened: Page, tmp_path: Path) -> None:
    """Nor one that the page itself is made to run, or a handler in a description."""
    planted = "<script>window.planted = 1</script><img src=x onerror='window.planted = 2'>"
    file = tmp_path / "index.html"
    file.write_text(page.read_text().replace("</body>", f"{planted}</body>"))
    show(opened, file, "overview", "Data platform")
    opened.evaluate(
        "(() => { const one = document.createElement('script');"
        " one.textContent = 'window.planted = 3'; document.body.append(one);"
        " document.body.insertAdjacentHTML('beforeend', '<img src=y onerror=\"planted = 4\">');"
        " })()"
    )
    opened.wait_for("document.images.length > 1")
    assert opened.evaluate("window.planted") is None
    assert len([error for error in opened.errors if "script-src" in error]) >= 3, opened.errors


def test_nothing_is_made_anew_until_a_table_changes(platform: TestPlatform, page: Path) -> None:
    first = page.stat()
    looked = publish(platform.stores, platform.blocks, [platform.source.TABLE])
    assert not looked.is_new
    assert looked.message.startswith("nothing changed since ")
    assert page.stat().st_mtime_ns == first.st_mtime_ns
    platform.run()  # a look without news: a line in the ledger, and no change
    assert not publish(platform.stores, platform.blocks, [platform.source.TABLE]).is_new
    page.unlink()
    assert not publish(platform.stores, platform.blocks, [platform.source.TABLE]).is_new
    assert page.stat().st_size == first.st_size
    platform.control("advance")
    platform.run()
    changed = publish(platform.stores, platform.blocks, [platform.source.TABLE])
    assert changed.is_new and changed.fingerprint != looked.fingerprint
    assert (
        publish(platform.stores, platform.blocks, [platform.source.TABLE]).fingerprint
        == changed.fingerprint
    )


def test_the_page_in_the_bucket_is_the_served_one(platform: TestPlatform, page: Path) -> None:
    client = storage_client(platform.blocks.google, platform.blocks.warehouse.project)
    bucket = client.bucket(platform.blocks.gcs_bucket)
    name = f"{platform.stores.prefix('catalog')}index.html"
    assert bucket.blob(name).download_as_bytes() == page.read_bytes()
    assert not list(page.parent.glob(".catalog-*"))
    assert page.stat().st_mode & 0o777 == 0o644
