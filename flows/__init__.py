"""One file per source and per job, each read top to bottom."""
