"""USGS earthquakes: how it loads and what it is configured with."""
