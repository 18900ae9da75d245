"""Snapshots: the marts as versioned Parquet files, which pages and programs read.

Imports neither an orchestrator nor a cloud client. Looking at a snapshot costs nothing, and works
while the warehouse is away.
"""
