"""Every page in a browser: marks, controls, weight, widths, both colour schemes, and axe."""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dashboards import exposures
from dashboards.server import GZIP_LEVEL, POLICY
from dashboards.site import PAGES, shown_to
from sandbox.stack import ROOT
from serving.contract import Audience
from serving.places import Places
from serving.status import TABLES
from testing.browser import Page, browser
from testing.site import MOST_BYTES, files_of, served

SLUGS = [slug for slug, *_ in PAGES]
# Marks of Vega's SVG: bars, circles, lines, areas and cells.
MARKS = "[class*=mark-][role=graphics-object]:not(.mark-group) > path"
DRAWN = f"""
[...document.querySelectorAll('[data-chart]')].map(plot => ({{
    chart: plot.dataset.chart,
    drawn: plot.dataset.drawn,
    marks: plot.querySelectorAll({MARKS!r}).length,
}}))
"""
TOO_WIDE = """
[...document.querySelectorAll('main *')]
    .filter(one => !one.closest('.rows') && !one.closest('svg')
        && one.getBoundingClientRect().right > innerWidth + 0.5)
    .map(one => one.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def site(small: Places) -> Iterator[str]:
    with served(small.pages("private")) as address:
        yield address


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def show(page: Page, site: str, slug: str, width: int = 1280, scheme: str = "light") -> None:
    page.look_like(width, scheme)
    page.errors.clear()
    page.open(f"{site}/{slug}.html")
    page.wait_for(f"location.pathname === '/{slug}.html' && document.body?.dataset.ready === 'yes'")


@pytest.mark.parametrize("slug", SLUGS)
def test_a_page_draws_its_charts_of_its_own_files_alone(page: Page, site: str, slug: str) -> None:
    show(page, site, slug)
    charts = page.evaluate(DRAWN)
    assert charts
    assert all(one["drawn"] == "yes" and one["marks"] > 0 for one in charts), charts
    assert page.errors == []
    assert page.requests
    assert all(one.startswith((f"{site}/", "data:", "blob:")) for one in page.requests)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("slug", SLUGS)
def test_nothing_is_wider_than_the_screen(
    page: Page, site: str, slug: str, width: int, scheme: str
) -> None:
    show(page, site, slug, width, scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(TOO_WIDE) == []


@pytest.fixture(scope="module")
def axe() -> str:
    """Deque's checker, from a Python package that carries it."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec and spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        pytest.param(390, "dark", marks=pytest.mark.slow),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("slug", SLUGS)
def test_axe_finds_nothing(
    page: Page, site: str, axe: str, slug: str, width: int, scheme: str
) -> None:
    show(page, site, slug, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate(f"{axe}\nnull")
    page.evaluate("window.found = null; axe.run().then(one => { window.found = one; }); null")
    page.wait_for("window.found !== null")
    violations = page.evaluate(
        "window.found.violations.map(one => [one.id, one.nodes.length, one.nodes[0].html])"
    )
    assert violations == []
    assert page.evaluate("window.found.passes.length") > 10


def rows_shown(page: Page, section: str) -> int:
    return int(
        page.evaluate(
            f"[...document.querySelectorAll('#{section} table[data-filtered] tbody tr')]"
            ".filter(row => !row.hidden).length"
        )
    )


def choose(page: Page, name: str, section: str, value: str) -> None:
    """What a reader does with a control, and its end."""
    page.evaluate(
        f"(() => {{ const one = document.getElementById('{section}-{name}'); "
        f"one.value = '{value}'; one.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
    )


def marks_of(page: Page, chart: str) -> int:
    return int(
        page.evaluate(
            f"document.querySelector('[data-chart=\"{chart}\"]').querySelectorAll({MARKS!r}).length"
        )
    )


def test_a_search_shows_the_headlines_with_all_of_its_words(page: Page, site: str) -> None:
    show(page, site, "news")
    everything = rows_shown(page, "headlines")
    choose(page, "word", "headlines", "storm senate")
    page.wait_for(
        "[...document.querySelectorAll('#headlines tbody tr')]"
        f".filter(row => !row.hidden).length < {everything}"
    )
    texts = page.evaluate(
        "[...document.querySelectorAll('#headlines tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.textContent.toLowerCase())"
    )
    assert texts
    assert all("storm" in text and "senate" in text for text in texts)
    told = page.evaluate("document.querySelector('#headlines [data-shown]').textContent")
    assert told == f"{len(texts)} of {everything} rows"
    choose(page, "word", "headlines", "")
    choose(page, "category", "headlines", "sports")
    sports = page.evaluate(
        "[...document.querySelectorAll('#headlines tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.dataset.category)"
    )
    assert set(sports) == {"sports"}


def test_sliders_choose_the_events_of_map_and_table(page: Page, site: str) -> None:
    show(page, site, "earthquakes")
    marks, rows = marks_of(page, "philippines"), rows_shown(page, "maps")
    choose(page, "least", "maps", "1")
    page.wait_for(
        f"document.querySelector('[data-chart=philippines]').querySelectorAll({MARKS!r}).length"
        f" < {marks}"
    )
    fewer = marks_of(page, "philippines")
    assert 0 < fewer < marks
    assert 0 < rows_shown(page, "maps") < rows
    least = page.evaluate(
        "Math.min(...[...document.querySelectorAll('#maps tbody tr')]"
        ".filter(row => !row.hidden).map(row => Number(row.dataset.magnitude)))"
    )
    assert least >= 1
    assert page.evaluate("document.querySelector('#maps output').textContent") == "1"


# Pages whose charts have days or hours.
OF_TIME = ("index", "operations", "earthquakes", "weather", "vehicles")
LABELS = f"""
[...document.querySelectorAll({MARKS!r})].map(one => one.getAttribute('aria-label'))
"""
TICKS = "[...document.querySelectorAll('.role-axis-label text')].map(one => one.textContent)"


@pytest.mark.parametrize("slug", OF_TIME)
def test_times_are_the_same_in_every_browsers_zone(page: Page, site: str, slug: str) -> None:
    """A day is not the day before where it is still yesterday."""
    seen = []
    for zone in ("Asia/Manila", "America/Los_Angeles"):
        page.be_in(zone)
        show(page, site, slug)
        seen.append((page.evaluate(LABELS), page.evaluate(TICKS)))
    page.be_in("UTC")
    assert seen[0][0] and seen[0][1]
    assert seen[0] == seen[1]


def test_a_chart_tells_a_mouse_its_numbers(page: Page, site: str) -> None:
    show(page, site, "vehicles")
    at = page.evaluate(
        f"(() => {{ const bar = document.querySelector('[data-chart=bases]')"
        f".querySelector({MARKS!r}); bar.scrollIntoView({{block: 'center'}}); "
        "const box = bar.getBoundingClientRect(); "
        "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    shown, moves = "document.querySelector('#vg-tooltip-element.visible')?.textContent || ''", 0
    while not (text := page.evaluate(shown)) and moves < 200:
        # A hand is never still.
        moves += 1
        page.move_to(at[0] - moves % 3, at[1])
    assert "HUDSON CAR SERVICE INC" in text
    assert "31,000" in text


def test_a_chart_is_drawn_again_in_the_other_colours(page: Page, site: str) -> None:
    show(page, site, "money")
    fill = (
        "document.querySelector('[data-chart=sides]')"
        f".querySelector({MARKS!r}).getAttribute('fill')"
    )
    light = page.evaluate(fill)
    page.evaluate("document.querySelector('[data-toggle]').click()")
    page.wait_for(f"{fill} !== '{light}'")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.evaluate("document.querySelector('[data-toggle]').click()")
    page.wait_for(f"{fill} === '{light}'")
    page.evaluate("localStorage.clear()")


@pytest.mark.parametrize("audience", ["private", "public"])
def test_a_page_weighs_less_than_half_a_megabyte_with_five_years_of_data(
    history: Places, audience: Audience
) -> None:
    folder = history.pages(audience)
    weights = {
        slug: sum(
            len(gzip.compress((folder / name).read_bytes(), GZIP_LEVEL))
            for name in files_of(folder, slug)
        )
        for slug, *_ in shown_to(audience)
    }
    assert weights
    assert max(weights.values()) <= MOST_BYTES, weights


def test_nginx_sends_what_the_small_server_sends() -> None:
    configured = (ROOT / "deploy" / "nginx" / "data-pipelines.conf").read_text()
    assert f'add_header Content-Security-Policy "{POLICY}" always;' in configured
    assert f"gzip_comp_level {GZIP_LEVEL};" in configured


def test_the_server_sends_nothing_but_the_sites_own_files(history: Places, site: str) -> None:
    with httpx.Client(base_url=site, trust_env=False) as client:
        index = client.get("/")
        assert index.status_code == 200
        assert index.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert index.headers["cache-control"] == "no-cache"
        (script,) = re.findall(r'src="(vega-[0-9a-f]+\.js)"', client.get("/money.html").text)
        assert "immutable" in client.get(f"/{script}").headers["cache-control"]
        for path in (
            "/../snapshots/private/current/manifest.json",
            "/%2e%2e/%2e%2e/snapshots/private/current/manifest.json",
            "//etc/passwd",
            "/nothing.html",
        ):
            assert client.get(path).status_code == 404


def test_a_page_says_of_when_its_data_is_and_what_it_is_made_of(history: Places) -> None:
    html = (history.pages("private") / "money.html").read_text()
    assert "Data of 2026-11-30 16:48 (Asia/Manila)" in html
    assert "gold.monthly_pnl" in html


def test_the_exposures_of_dbt_are_the_pages_with_all_of_their_marts(small: Places) -> None:
    assert exposures.FILE.read_text() == exposures.text(), "make it again: dashboards/exposures.py"
    of_status = {table.name for table in TABLES}
    for (slug, *_), exposure in zip(PAGES, exposures.exposures(), strict=True):
        html = (small.pages("private") / f"{slug}.html").read_text()
        named = set(re.findall(r"<code>gold\.(\w+)</code>", html)) - of_status
        assert exposure["depends_on"] == [f"ref('{mart}')" for mart in sorted(named)], slug
