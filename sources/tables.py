"""The raw table of every source, by the source's name in the ledger."""

from __future__ import annotations

from core.schema import Table
from sources import finance, nyc_fhv, openweather, ph_news, usgs_earthquake

TABLES: dict[str, Table] = {
    source.TABLE.source: source.TABLE
    for source in (usgs_earthquake, openweather, ph_news, nyc_fhv, finance)
}
