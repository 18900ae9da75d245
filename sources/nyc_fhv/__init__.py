"""New York's for-hire vehicles: how it loads and what it is configured with."""
