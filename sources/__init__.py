"""One module per source: how it loads, its schema, its mapping and its windows. Pure functions."""
