"""The verbs that every flow shares: extract, upload, load, cleanup, build, report."""
