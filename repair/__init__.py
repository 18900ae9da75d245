"""Run a source without Prefect, trace a row to its batch, undo and replay batches."""
