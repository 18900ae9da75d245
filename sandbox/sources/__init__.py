"""Stand-ins of the source APIs: one local process, every source under `/<world>/<source>/`."""
