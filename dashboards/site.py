"""A site from a snapshot: every page as HTML beside the files that it needs.

Styles, scripts and data are named by their content and written before the page that names them, so
a page in a browser always finds the files it was made with. Pages are replaced one by one, each
in one step.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dashboards import charts
from dashboards.data import Data, absent_sources
from dashboards.formats import TONES, Formats, ago
from dashboards.page import Chart, Page, Section
from dashboards.pages import earthquakes, money, news, operations, start, vehicles, weather
from serving.contract import Audience
from serving.snapshot import Snapshot, write_durably

HERE = Path(__file__).resolve().parent
STATIC = ("style.css", "app.js", "icon.svg")
VENDORED = ("vega.js", "LICENSES.txt")
# What is named by its content: stem, digest, suffix.
HASHED = re.compile(r"[\w.-]+-[0-9a-f]{12}\.\w+")
RECORD = ".made.json"
KEPT_SECONDS = 86_400.0
# From then on a page says its age in the colour of what is wrong.
OLD_AFTER_MINUTES = 36 * 60
NUMERIC = ("count", "number", "money", "share", "bytes")

Make = Callable[[Data], Page]
# In the order of the navigation. The first one is the site's index.
PAGES: tuple[tuple[str, str, Make], ...] = (
    ("index", "Start", start.page),
    ("money", "Money", money.page),
    ("operations", "Operations", operations.page),
    ("earthquakes", "Earthquakes", earthquakes.page),
    ("weather", "Weather", weather.page),
    ("news", "News", news.page),
    ("vehicles", "Vehicles", vehicles.page),
)
PRIVATE = frozenset({"money"})
OWN_PAGES = frozenset(f"{slug}.html" for slug, *_ in PAGES)


def shown_to(audience: Audience) -> list[tuple[str, str, Make]]:
    """The pages of a site: the public one has none that is of private data alone."""
    return [one for one in PAGES if audience == "private" or one[0] not in PRIVATE]


def build(
    snapshot: Snapshot,
    directory: Path,
    audience: Audience,
    formats: Formats,
    now: datetime | None = None,
    only: Collection[str] = (),
) -> dict[str, int]:
    """The site of a snapshot is in `directory`; bytes of each page and of its data, by slug.

    With `only`, those pages alone are made, unless the others were made by other code or other
    sources are configured since.
    """
    directory.mkdir(parents=True, exist_ok=True)
    absent = absent_sources(snapshot)
    made_by = fingerprint(formats, absent)
    record = directory / RECORD
    known = json.loads(record.read_text()) if record.exists() else {}
    if known.get("made_by") != made_by:
        only = ()
    environment = _environment(formats)
    assets = {name: _asset(directory, HERE / "static" / name) for name in STATIC}
    assets |= {name: _asset(directory, HERE / "vendor" / name) for name in VENDORED}
    sizes = {}
    pages = shown_to(audience)
    for slug, _, make in pages:
        if only and slug not in only:
            continue
        data = Data(snapshot, audience, formats, now or datetime.now(UTC))
        page = make(data)
        outlines = {name: _asset(directory, HERE / "vendor" / name) for name in page.outlines}
        content = as_json(page, outlines)
        data_file = _hashed(directory, f"{slug}.json", content)
        html = _render(
            environment,
            page,
            data,
            slug=slug,
            pages=pages,
            asset=assets,
            data_file=data_file,
            notice=notice(slug, absent, audience),
        )
        _write(directory / f"{slug}.html", html.encode())
        sizes[slug] = len(html.encode()) + len(content)
    write_durably(record, json.dumps({"made_by": made_by}).encode())
    _remove_unnamed(directory, [f"{slug}.html" for slug, *_ in pages])
    return sizes


def _remove_unnamed(directory: Path, pages: list[str]) -> None:
    """Files that no page and no data of a page has named for a day are gone: a page that is open in
    a browser may still ask for what it was made with."""
    wanted = {RECORD, *pages}
    for page in pages:
        named = _named(directory / page)
        wanted |= named
        for name in named:
            if name.endswith(".json"):
                wanted |= _named(directory / name)
    for file in directory.iterdir():
        if file.name in wanted:
            if file.suffix != ".html":
                file.touch()
        elif time.time() - file.stat().st_mtime > KEPT_SECONDS:
            file.unlink()


def _named(file: Path) -> set[str]:
    return set(HASHED.findall(file.read_text())) if file.exists() else set()


def notice(slug: str, absent: Collection[str], audience: Audience) -> str:
    """What a page of a source that is not configured says first; empty for any other page."""
    if not any(start.OWN_PAGES.get(source) == f"{slug}.html" for source in absent):
        return ""
    told = "This source is not configured here: nothing new is loaded."
    if audience == "private":
        told += " python -m blocks.register --check says what is missing."
    return told


def fingerprint(formats: Formats, absent: Collection[str] = ()) -> str:
    """Changes when a page would be another one though its marts are the same."""
    digest = hashlib.sha256(repr((formats, sorted(absent))).encode())
    for file in sorted(HERE.rglob("*")):
        if file.suffix in (".py", ".html", ".css", ".js", ".svg", ".json"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def as_json(page: Page, outlines: Mapping[str, str]) -> bytes:
    """What a page's script reads: its charts, their rows and the addresses of outlines."""
    drawn = {
        chart.id: {
            "spec": charts.specification(chart.drawn),
            "aspect": chart.aspect,
            "rows": chart.rows,
        }
        for section in page.sections
        for chart in section.charts
    }
    data = {name: rows for section in page.sections for name, rows in section.data.items()}
    told = {"charts": drawn, "data": data, "outlines": outlines}
    return json.dumps(told, default=_json_value, separators=(",", ":"), allow_nan=False).encode()


def _json_value(value: object) -> object:
    """Money as a number, since a chart needs no centavo's exactness; times in UTC."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a chart")


def _environment(formats: Formats) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals |= {
        "write": formats.write,
        "formats": formats,
        "plain": lambda value: "" if value is None else value,
        "address": address,
        "numeric": NUMERIC,
        "tone": lambda state: TONES.get(state, "other"),
        "with_same_table": with_same_table,
        "old_after_minutes": OLD_AFTER_MINUTES,
    }
    return environment


def with_same_table(section: Section, chart: Chart) -> Chart:
    """The first chart of a section that is of the same rows: they are written once."""
    return next(one for one in section.charts if one.table is chart.table)


def address(value: object) -> str:
    """An address that may be a link: a page of the site, or one with http or https. Headlines come
    from outside."""
    if isinstance(value, str) and value in OWN_PAGES:
        return value
    try:
        is_web = isinstance(value, str) and urlsplit(value).scheme in ("http", "https")
    except ValueError:
        return ""
    return str(value) if is_web else ""


def _render(environment: Environment, page: Page, data: Data, **told: Any) -> str:
    """`told` is what the template asks for besides the page and what it is made of."""
    manifest = data.snapshot.manifest
    made_of = [manifest.marts[name] for name in data.used if name in manifest.marts]
    newest = max((mart.built_at for mart in made_of), default=None)
    return environment.get_template("page.html").render(
        **told,
        page=page,
        has_charts=any(section.charts for section in page.sections),
        made_of=made_of,
        newest=newest,
        ago=ago((data.now - newest).total_seconds()) if newest else "",
        not_built=[name for name in data.used if name not in manifest.marts],
        version=manifest.version,
    )


def _asset(directory: Path, file: Path) -> str:
    return _hashed(directory, file.name, file.read_bytes())


def _hashed(directory: Path, name: str, content: bytes) -> str:
    """The name under which this content is there: stem, digest, suffix."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    stem, _, suffix = name.rpartition(".")
    hashed = f"{stem}-{digest}.{suffix}"
    if not (directory / hashed).exists():
        _write(directory / hashed, content)
    return hashed


def _write(path: Path, content: bytes) -> None:
    # The web server is another user than the one that writes.
    write_durably(path, content, 0o644)
