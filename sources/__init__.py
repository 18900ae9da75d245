"""One folder per source: how it loads, its schema, its mapping and its windows. Pure functions.

SOURCES is the one list of sources. What belongs to one is found by its name in every room:
`mapping.py` (TABLE) and `settings.py` (SETTINGS) of its folder, `runs/extract/<name>.py`, the dbt
source and its folder, `sandbox/sources/<name>.py`, `testing/kits/<name>.py`. Nothing is imported
here, so that a run has only its own source in memory (`sources.tables.table_of`).
"""

# In the order in which people see them.
SOURCES = ("usgs_earthquake", "openweather", "ph_news", "nyc_fhv", "finance")
