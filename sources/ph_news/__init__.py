"""Philippine news of mediastack: how it loads and what it is configured with."""
