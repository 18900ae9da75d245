"""The batch protocol as pure functions: imports neither Prefect nor Google."""
